"""Logging: one line per event, with secrets redacted."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable

from pydantic import SecretStr

from bot.config import Settings

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class RedactingFormatter(logging.Formatter):
    """Replaces secrets in every record, tracebacks included."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__(FORMAT)
        # Longest first: replacing a secret that is part of another would leave its tail.
        self._secrets = sorted((s for s in secrets if s), key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def configure(settings: Settings) -> None:
    """Log to standard error: Parley at the configured level, libraries from WARNING up."""
    secrets = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    # huggingface_hub has its own handler and warns about each retry. Its errors reach us anyway.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("bot").setLevel(settings.log_level)
