"""`parley doctor`."""

from __future__ import annotations

import typer

from bot import config
from bot.cli.running import Model, exit_with, run


def doctor(model: Model = None) -> None:
    """Check the settings, the model and the platforms. Every failed check names a fix."""
    settings = config.load({"model": model})
    from bot.app import checkers
    from bot.ops.doctor import examine

    async def all_ok() -> bool:
        ok = True
        async for finding in examine(settings, checkers()):
            typer.echo(str(finding))
            ok = ok and finding.ok
        return ok

    exit_with(0 if run(all_ok(), settings) else 1)
