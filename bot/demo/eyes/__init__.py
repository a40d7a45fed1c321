"""Ground for the demo's eyes: seeded pictures of known colours, shapes and counts to train on.

The tower and projector that learn from them are not here yet; the demo model reads text only.
"""
