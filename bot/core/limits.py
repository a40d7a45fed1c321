"""Limits that hold on every platform."""

from __future__ import annotations

from datetime import timedelta

# What sampling settings accept is the engine's to say.
from bot.engine.api import SAMPLING_RANGES as SAMPLING_RANGES

#: Characters of a persona.
MAX_PERSONA_LENGTH = 4_000

#: The most days that a setting or a command takes: ten years.
MAX_DAYS = 3_650

#: The days that usage is shown of, unless somebody asks for others.
USAGE_DAYS = 30

#: Messages of a thread (or of a chain of replies) that are read when the bot joins it: the newest.
MAX_EARLIER_MESSAGES = 100

#: An edit that mentions the bot makes a message a question, if the message is no older than this.
EDIT_WINDOW = timedelta(minutes=15)
