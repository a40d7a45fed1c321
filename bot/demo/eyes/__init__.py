"""The demo's eyes: a small SigLIP tower and projector, trained by this folder on seeded renders.

They tell colors, simple shapes, how many there are and large characters apart; photographs they
know as such and no more. `assemble.add_eyes` joins them with the text model.
"""
