"""Errors as one sentence for the person, with a reference id that the log has as well."""

from __future__ import annotations

import secrets

from bot.core import texts
from bot.core.context import TurnTooLong
from bot.engine.api import EngineBusy, EngineStopped, PromptTooLong


def new_reference() -> str:
    """A short id that people can quote and operators can find in the log."""
    return secrets.token_hex(4)


def expected(error: Exception) -> str | None:
    """The sentence for an expected error, which needs no log; None for any other."""
    if isinstance(error, TurnTooLong):
        return str(error)
    if isinstance(error, PromptTooLong):
        return str(TurnTooLong(error.tokens, error.limit))
    if isinstance(error, EngineBusy):
        return texts.busy(error.queue_length)
    return None


def unexpected(error: Exception, ref: str) -> str:
    """The sentence for an error that is logged under the reference."""
    return texts.stopped(ref) if isinstance(error, EngineStopped) else texts.failed(ref)
