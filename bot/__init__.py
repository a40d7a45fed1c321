"""Parley: a Slack and Discord chatbot that answers with Gemma 3 in its own process."""

__version__ = "0.1.0"
