"""What every command shares: its failure, its event loop, its exit code, common arguments."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any

import typer

from bot.config import Settings

Model = Annotated[
    str | None,
    typer.Option(help="A Hugging Face id, a local folder, or `demo`. Overrides PARLEY_MODEL."),
]
Scope = Annotated[
    str,
    typer.Argument(
        help="platform/workspace, then /channel and /thread if needed: "
        "as `parley persona list` prints it."
    ),
]


class CommandFailed(Exception):
    """The command can't do its work. The text is one line with the fix."""


def run(work: Coroutine[Any, Any, Any], settings: Settings | None = None) -> Any:
    """Run a command's coroutine to its end; with `settings`, configure logging first."""
    if settings is not None:
        from bot.ops.logging import configure

        configure(settings)
    return asyncio.run(work)


def exit_with(code: int) -> None:
    if code:
        raise typer.Exit(code)
