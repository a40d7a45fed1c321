"""Logging for operators: one line an event, and no secret in any of them."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable

from pydantic import SecretStr

from bot.config import Settings

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class RedactingFormatter(logging.Formatter):
    """Formats as usual, then blanks every known secret, in tracebacks too."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__(FORMAT)
        # The longest first, so that a secret inside another leaves no tail.
        self._secrets = sorted((s for s in secrets if s), key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """The record as one text without secrets."""
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def configure(settings: Settings) -> None:
    """Send Parley's log to standard error. Libraries speak up from WARNING on."""
    secrets = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    # The Hub's client has a handler of its own and warns of each retry; its errors come to us.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("bot").setLevel(settings.log_level)
