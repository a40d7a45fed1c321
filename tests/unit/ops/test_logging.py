"""No secret reaches the log."""

import logging

from bot.config import Settings
from bot.ops.logging import RedactingFormatter, configure


def test_a_secret_in_a_traceback_is_blanked() -> None:
    formatter = RedactingFormatter(["xoxb-1234567890", "xoxb-1234567890-and-more"])
    try:
        raise RuntimeError("Authorization: Bearer xoxb-1234567890-and-more")
    except RuntimeError:
        import sys

        record = logging.LogRecord(
            "bot.x", logging.ERROR, __file__, 1, "sent %s", ("xoxb-1234567890",), sys.exc_info()
        )
    text = formatter.format(record)
    assert "1234567890" not in text
    assert "and-more" not in text
    assert "sent ***" in text


def test_configure_knows_the_settings_secrets(capsys, monkeypatch) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "discord-secret-token")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure(Settings(_env_file=None))
        logging.getLogger("bot.test").warning("connecting with discord-secret-token")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert "connecting with ***" in capsys.readouterr().err
