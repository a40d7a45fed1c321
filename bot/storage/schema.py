"""All tables of Parley: the schema that the migrations must produce."""

from __future__ import annotations

import bot.storage.discord
import bot.storage.playground
import bot.storage.settings_tables
import bot.storage.slack  # noqa: F401  (so do these)
from bot.storage.models import Base

metadata = Base.metadata
