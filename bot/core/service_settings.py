"""The core's settings, as the composition root hands them over."""

from __future__ import annotations

from dataclasses import dataclass, field

from bot.core.personas import DEFAULT_TEXT
from bot.core.records import Mode
from bot.engine.api import SamplingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """How the service answers. Sizes in bytes, times in seconds."""

    mode: Mode = Mode.MENTION
    inline: bool = False  # answer in the channel itself instead of opening a thread
    answer_bots: bool = False
    retention_days: int = 0  # days until a conversation's turns are deleted; 0 keeps them
    persona: str = DEFAULT_TEXT  # where nobody has set one
    sampling: SamplingParams = field(default_factory=SamplingParams)
    # Used for Regenerate where sampling is greedy: the same reply again would be no answer.
    regenerate_temperature: float = 0.7

    max_attachments: int = 8  # of one message
    max_attachment_bytes: int = 20 * 1024 * 1024
    attachment_timeout_s: float = 30.0
    max_parallel_loads: int = 4

    max_images: int = 8  # pictures in one prompt, the newest first
    max_image_bytes: int = 32 * 1024 * 1024  # of all pictures in one prompt

    # A token has about four characters: what is more than the model's context can't be in a prompt,
    # and what is a little too much is cut exactly where the prompt is built.
    max_earlier_characters: int = 4 * 8192
    earlier_timeout_s: float = 20.0

    retention_interval_s: float = 3600.0  # between two looks for what is to be deleted
    claim_days: int = 14  # how long a message's id is kept, to know it when it comes again

    sink_timeout_s: float = 60.0  # a platform that takes longer for one call counts as down
    hand_back_s: float = 5.0  # after the grace of a shutdown, to say so on the platforms
