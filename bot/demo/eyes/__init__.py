"""The demo's vision ("eyes"): a small SigLIP tower and projector, trained here on seeded renders.

It recognizes colors, simple shapes, their number and large characters, and whether a picture is a
photograph. `assemble.add_eyes` joins it with the text model.
"""
