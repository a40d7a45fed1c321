"""The command `parley`: thin; each command builds the app or the store and hands over."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from bot import __version__, config
from bot.config import Settings, SettingsError

# Torch and transformers take seconds to import: commands import what they need when they run.

app = typer.Typer(
    name="parley",
    help="A Slack and Discord chatbot that answers with Gemma 3 in its own process.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
db = typer.Typer(help="The database.", no_args_is_help=True)
persona = typer.Typer(help="Personas from the command line.", no_args_is_help=True)
app.add_typer(db, name="db")
app.add_typer(persona, name="persona")

Model = Annotated[
    str | None, typer.Option(help="A Hub id, a folder, or `demo`; over PARLEY_MODEL.")
]
Scope = Annotated[
    str, typer.Option(help="platform/workspace[/channel[/thread]], as `persona list` shows it.")
]


class CommandFailed(Exception):
    """The command can't do it; the text is one line with the fix."""


def version(value: bool) -> None:
    """Print the version and leave."""
    if value:
        typer.echo(f"parley {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option(help="Show tracebacks.")] = False,
    _: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of all commands. `--debug` itself is read by `main`, which sees the exception."""


@app.command()
def run(model: Model = None) -> None:
    """Serve every platform that has a token, and /healthz."""
    settings = config.load({"model": model})
    if not (settings.discord_token or settings.slack_bot_token):
        raise CommandFailed(
            "no platform to serve: set DISCORD_TOKEN or SLACK_BOT_TOKEN, or try `parley playground`"
        )
    # Better refused than silently deaf: see CHANGELOG.md for what this version serves.
    name = "DISCORD_TOKEN" if settings.discord_token else "SLACK_BOT_TOKEN"
    raise CommandFailed(
        f"{name} is set, but Parley {__version__} has no adapter for that platform yet: "
        "use `parley playground`"
    )


@app.command()
def playground(
    model: Model = None,
    host: Annotated[str | None, typer.Option(help="Over PARLEY_HTTP_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Over PARLEY_HTTP_PORT.")] = None,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser.")
    ] = False,
) -> None:
    """Open a small workspace in the browser, answered by the model."""
    settings = config.load({"model": model, "http_host": host, "http_port": port})
    from bot.app import serve_playground

    _run(serve_playground(settings, open_browser=open_browser), settings)


@app.command()
def chat(
    model: Model = None,
    name: Annotated[str, typer.Option(help="Your name.")] = "You",
    new: Annotated[bool, typer.Option("--new", help="Forget the last chat first.")] = False,
) -> None:
    """Talk in the terminal; also in a pipe: `echo hi | parley chat`."""
    settings = config.load({"model": model})
    from bot.app import chat_in_terminal

    _exit(_run(chat_in_terminal(settings, name=name, new=new), settings))


@app.command()
def bench(
    workload: Annotated[str, typer.Option(help="What is asked: steady.")] = "steady",
    conversations: Annotated[str, typer.Option(help="How many at once, with commas.")] = "1,4,16",
    peers: Annotated[
        str, typer.Option(help="Beside what: generate, generate-static; with commas.")
    ] = "generate,generate-static",
    runs: Annotated[int, typer.Option(min=1, help="Interleaved runs; medians are shown.")] = 3,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write everything that was measured here.")
    ] = None,
    model: Model = None,
) -> None:
    """Measure Parley beside its peers, on the same weights, in one run."""
    from bot.app import local_model_folder
    from bot.bench import report

    settings = config.load({"model": model})
    report.bench(
        workload=workload,
        conversations=conversations,
        peers=peers,
        runs=runs,
        json_file=json_file,
        model=settings.model_name,
        folder=local_model_folder(settings),
        say=lambda line: typer.echo(line, err=True),
    )


@db.command("upgrade")
def db_upgrade() -> None:
    """Bring the database's schema to this version's."""
    from bot.storage import commands

    typer.echo(_run(commands.upgrade(config.load())))


@db.command("current")
def db_current() -> None:
    """Print the version of the database's schema."""
    from bot.storage import commands

    typer.echo(_run(commands.current(config.load())))


@db.command("backup")
def db_backup(
    target: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")],
) -> None:
    """Copy the SQLite database while it is in use."""
    from bot.storage import commands

    typer.echo(_run(commands.backup(config.load(), target)))


def _run(work: Coroutine[Any, Any, Any], settings: Settings | None = None) -> Any:
    """Run one command's coroutine; with settings, its log is set up first."""
    if settings is not None:
        from bot.ops.logging import configure

        configure(settings)
    return asyncio.run(work)


def _exit(code: int) -> None:
    if code:
        raise typer.Exit(code)


def expected_errors() -> tuple[type[Exception], ...]:
    """What an operator can mend: shown as one line. Imported late, for a quick start."""
    from sqlalchemy.exc import DBAPIError

    from bot.bench.runner import BenchFailed
    from bot.demo.prepare import DemoModelError
    from bot.engine.api import EngineError
    from bot.storage.errors import DatabaseError

    return (
        SettingsError,
        CommandFailed,
        BenchFailed,
        DemoModelError,
        EngineError,
        DatabaseError,
        DBAPIError,
        OSError,
    )


def one_line(error: BaseException) -> str:
    """The first line of an error's text."""
    from sqlalchemy.exc import DBAPIError

    if isinstance(error, DBAPIError):
        return f"PARLEY_DATABASE_URL: the database answers: {str(error.orig).splitlines()[0]}"
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


def main() -> None:
    """The console script. Errors are one line on standard error and exit code 1."""
    debug = "--debug" in sys.argv
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        if not isinstance(error, expected_errors()):
            typer.echo(
                f"parley: unexpected {type(error).__name__}: {one_line(error)} "
                "(run again with --debug before the command for the traceback)",
                err=True,
            )
            sys.exit(1)
        typer.echo(f"parley: {one_line(error)}", err=True)
        sys.exit(1)
