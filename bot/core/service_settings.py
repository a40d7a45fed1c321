"""The core's settings, filled in by the composition root."""

from __future__ import annotations

from dataclasses import dataclass, field

from bot.core.personas import DEFAULT_TEXT
from bot.core.records import Mode
from bot.engine.api import SamplingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """How the service answers. Sizes in bytes, times in seconds."""

    mode: Mode = Mode.MENTION
    inline: bool = False  # answer in the channel instead of opening a thread
    answer_bots: bool = False
    retention_days: int = 0  # days until a conversation's turns are deleted; 0 keeps them
    persona: str = DEFAULT_TEXT  # the default persona
    sampling: SamplingParams = field(default_factory=SamplingParams)
    # For Regenerate where sampling is greedy, which would repeat the same reply.
    regenerate_temperature: float = 0.7

    max_attachments: int = 8  # of one message
    max_attachment_bytes: int = 20 * 1024 * 1024
    attachment_timeout_s: float = 30.0
    max_parallel_loads: int = 4

    max_images: int = 8  # pictures in one prompt, the newest first
    max_image_bytes: int = 32 * 1024 * 1024  # of all pictures in one prompt

    # About the model's context at four characters per token; the prompt is cut exactly later.
    max_earlier_characters: int = 4 * 8192
    earlier_timeout_s: float = 20.0

    retention_interval_s: float = 3600.0  # between two runs of the retention
    claim_days: int = 14  # how long message ids are kept to recognize repeated deliveries

    sink_timeout_s: float = 60.0  # per call; a slower platform counts as down
    hand_back_s: float = 5.0  # after a shutdown's grace period, to tell the platforms
