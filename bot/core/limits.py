"""Limits that hold on every platform."""

from __future__ import annotations

from datetime import timedelta

#: Messages of a thread (or of a chain of replies) that are read when the bot joins it: the newest.
MAX_EARLIER_MESSAGES = 100

#: An edit that mentions the bot makes a message a question, if the message is no older than this.
EDIT_WINDOW = timedelta(minutes=15)
