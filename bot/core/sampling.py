"""Sampling settings of a reply: the operator's, with the persona's on top."""

from __future__ import annotations

from dataclasses import replace

from bot.core import personas
from bot.core.records import SamplingOverrides
from bot.core.service_settings import ServiceSettings
from bot.engine.api import SamplingParams


def effective(
    settings: ServiceSettings,
    overrides: SamplingOverrides,
    max_context: int,
    *,
    another: bool = False,
) -> SamplingParams:
    """The parameters of one reply, which takes at most half the context.

    `another`: it should differ from the previous reply.

    Raises:
        PersonaError: an override is out of its range.
    """
    sampling = personas.apply_overrides(settings.sampling, overrides)
    longest = min(settings.sampling.max_new_tokens, max(1, max_context // 2))
    sampling = replace(sampling, max_new_tokens=min(sampling.max_new_tokens, longest))
    if another:  # greedy sampling or the same seed would repeat the reply
        temperature = sampling.temperature or settings.regenerate_temperature
        sampling = replace(sampling, seed=None, temperature=temperature)
    return sampling
