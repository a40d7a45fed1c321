"""The command `parley`: its groups of commands, how it fails, how it exits."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from typing import Annotated

import typer

from bot import __version__
from bot.cli.commands import bench, db, discord, doctor, persona, serve, slack
from bot.cli.running import CommandFailed
from bot.config import SettingsError

app = typer.Typer(
    name="parley",
    help="A Slack and Discord chatbot that runs Gemma 3 in its own process.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    serve.run,
    serve.playground,
    serve.chat,
    doctor.doctor,
    bench.bench,
    persona.forget,
):
    app.command()(command)
for group in (db.group, discord.group, slack.group, persona.group):
    app.add_typer(group)


def print_version(value: bool) -> None:
    if value:
        typer.echo(f"parley {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option(help="Show a traceback when a command fails.")] = False,
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Options of all commands. `main` reads `--debug` itself, where the exception arrives."""


def expected_errors() -> tuple[type[Exception], ...]:
    """Errors that an operator can fix, shown as one line. Imported late, for a quick start."""
    from sqlalchemy.exc import DBAPIError

    from bot.bench.errors import BenchFailed
    from bot.core.personas import PersonaError
    from bot.demo.prepare import DemoModelError
    from bot.engine.api import EngineError
    from bot.platforms.base import PlatformError
    from bot.storage.errors import DatabaseError

    return (
        SettingsError,
        CommandFailed,
        BenchFailed,
        DemoModelError,
        EngineError,
        PlatformError,
        PersonaError,
        DatabaseError,
        DBAPIError,
        OSError,
    )


def one_line(error: BaseException) -> str:
    """The first line of an error's text."""
    from sqlalchemy.exc import DBAPIError

    if isinstance(error, DBAPIError):
        return f"PARLEY_DATABASE_URL: the database reports: {str(error.orig).splitlines()[0]}"
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


def main() -> None:
    """The console script. An error is one line on standard error, with exit code 1."""
    code = _exit_code()
    if any(thread.daemon and thread.is_alive() for thread in threading.enumerate()):
        # Loading a model can't be interrupted, and the interpreter aborts if it exits while a
        # thread is inside torch. Everything of ours is closed by now.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _exit_code() -> int:
    """Run the command and return its exit code."""
    debug = "--debug" in sys.argv
    try:
        app(prog_name="parley")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        elif isinstance(error, expected_errors()):
            typer.echo(f"parley: {one_line(error)}", err=True)
        else:
            typer.echo(
                f"parley: unexpected {type(error).__name__}: {one_line(error)} "
                "(run `parley --debug ...` for the traceback)",
                err=True,
            )
        return 1
    return 0
