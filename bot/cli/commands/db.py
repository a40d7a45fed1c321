"""`parley db`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bot import config
from bot.cli.running import run

group = typer.Typer(name="db", help="Manage the database.", no_args_is_help=True)


@group.command("upgrade")
def upgrade() -> None:
    """Upgrade the database schema to this version of Parley."""
    from bot.cli import database

    typer.echo(run(database.upgrade(config.load())))


@group.command("current")
def current() -> None:
    """Print the version of the database schema."""
    from bot.cli import database

    typer.echo(run(database.current(config.load())))


@group.command("backup")
def backup(
    target: Annotated[Path, typer.Argument(help="File to write. It must not exist yet.")],
) -> None:
    """Back up a SQLite database. Safe while Parley is running."""
    from bot.cli import database

    typer.echo(run(database.backup(config.load(), target)))
