"""The commands of `parley`, one module per group: thin, and quick to import for `--help`.

Torch, transformers and SQLAlchemy take seconds to import, so a command imports what it needs when
it runs.
"""
