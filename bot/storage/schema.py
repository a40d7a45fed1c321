"""All tables of Parley, whoever declares them: what the migrations must add up to."""

from __future__ import annotations

import bot.storage.discord
import bot.storage.playground
import bot.storage.settings_tables
import bot.storage.slack  # noqa: F401  (so do these)
from bot.storage.models import Base

metadata = Base.metadata
