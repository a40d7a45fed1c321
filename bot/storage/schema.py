"""All tables of Parley, whoever declares them: what the migrations must add up to."""

from __future__ import annotations

import bot.storage.playground  # noqa: F401  (its tables join the same metadata)
from bot.storage.models import Base

metadata = Base.metadata
