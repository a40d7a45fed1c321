"""The toy's part of `parley doctor`: whether the server takes the token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from bot.platforms.base import Finding, PlatformError
from tests.contract.toy_platform.adapter import ToyAdapter


async def check(settings: Any) -> AsyncIterator[Finding]:
    """One finding; none where the toy is not configured."""
    if settings.toy_token is None:
        return
    adapter = ToyAdapter(_nobody, settings.toy_port, settings.toy_token.get_secret_value())
    try:
        await adapter.start()
        yield Finding("toy token", True, "the server takes it")
    except (PlatformError, OSError) as error:
        yield Finding("toy token", False, str(error), "set TOY_TOKEN to the server's token")
    finally:
        await adapter.close()


async def _nobody(_event: object) -> None: ...
