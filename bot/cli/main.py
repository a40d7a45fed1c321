"""The command `parley`: thin; each command builds the app or the store and hands over."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import traceback
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Literal

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
discord = typer.Typer(help="Discord: the invitation.", no_args_is_help=True)
db = typer.Typer(help="The database.", no_args_is_help=True)
persona = typer.Typer(help="Personas from the command line.", no_args_is_help=True)
app.add_typer(db, name="db")
app.add_typer(discord, name="discord")
slack = typer.Typer(help="Slack: the app's manifest.", no_args_is_help=True)
app.add_typer(slack, name="slack")
app.add_typer(persona, name="persona")

Model = Annotated[
    str | None, typer.Option(help="A Hub id, a folder, or `demo`; over PARLEY_MODEL.")
]
Scope = Annotated[
    str,
    typer.Argument(help="platform/workspace, /channel and /thread if need be; see `persona list`."),
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
    if not settings.has_platform:
        raise CommandFailed(
            "no platform to serve: set DISCORD_TOKEN or SLACK_BOT_TOKEN, or try `parley playground`"
        )
    from bot.app import run_platforms

    _run(run_platforms(settings), settings)


@app.command()
def doctor(model: Model = None) -> None:
    """Check the settings, the model and the platforms; one line each, with the fix."""
    settings = config.load({"model": model})
    from bot.app import checkers
    from bot.ops.doctor import examine

    async def check() -> bool:
        fine = True
        async for finding in examine(settings, checkers()):
            typer.echo(str(finding))
            fine = fine and finding.ok
        return fine

    _exit(0 if _run(check(), settings) else 1)


@discord.command("invite")
def discord_invite() -> None:
    """Print the address that invites the bot to a server."""
    settings = config.load()
    if settings.discord_token is None:
        raise CommandFailed("DISCORD_TOKEN is not set: copy it from Discord's developer portal")
    from bot.platforms.discord import invite

    token = settings.discord_token.get_secret_value()
    application = _run(invite.application_id(settings.discord_api_url, token), settings)
    typer.echo(f"For a server:  {invite.server_url(application)}")
    typer.echo(f"For yourself:  {invite.user_url(application)}")


@slack.command("manifest")
def slack_manifest(
    mode: Annotated[
        Literal["socket", "http"],
        typer.Option(help="How Slack reaches Parley: `socket` needs no public address."),
    ] = "socket",
    url: Annotated[str, typer.Option(help="For `--mode http`: the public https address.")] = "",
    name: Annotated[str, typer.Option(help="What the app is called.")] = "Parley",
    legacy: Annotated[
        bool, typer.Option("--legacy", help="For an app with the older assistant view.")
    ] = False,
) -> None:
    """Print the manifest to make the Slack app from: Create New App, From a manifest."""
    from bot.platforms.slack import manifest

    try:
        made = manifest.manifest(mode=mode, url=url, name=name, legacy=legacy)
    except ValueError as error:
        raise CommandFailed(str(error)) from None
    typer.echo(manifest.as_json(made))


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
    workload: Annotated[
        str,
        typer.Option(help="What is asked: steady, chat, turns, mixed, images, unfair; or loss."),
    ] = "steady",
    conversations: Annotated[
        str, typer.Option(help="How many at once, with commas; the workload's own if not given.")
    ] = "",
    peers: Annotated[
        str,
        typer.Option(
            help="Beside what, with commas: generate, generate-static, transformers-cb, llama-cpp."
        ),
    ] = "generate,generate-static",
    runs: Annotated[int, typer.Option(min=1, help="Interleaved runs; medians are shown.")] = 3,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write everything that was measured here.")
    ] = None,
    plot_file: Annotated[Path | None, typer.Option("--plot", help="Draw it into this PNG.")] = None,
    model: Model = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each system.")] = 2,
    seed: Annotated[int, typer.Option(help="Another seed asks other questions.")] = 0,
    scale: Annotated[
        float, typer.Option(help="Below 1, shorter and fewer: a quick look, no figure.")
    ] = 1.0,
    llama_server: Annotated[
        str,
        typer.Option(envvar="LLAMA_SERVER", help="llama.cpp's llama-server, if not in PATH."),
    ] = "",
    llama_gguf: Annotated[
        str,
        typer.Option(envvar="LLAMA_GGUF", help="The same weights for it; the demo's are known."),
    ] = "",
) -> None:
    """Measure Parley beside its peers, on the same weights, in one run."""
    from bot.app import engine_config, local_model_folder
    from bot.bench import report
    from bot.bench.systems.base import Setup

    settings = config.load({"model": model})
    report.bench(
        report.Wanted(
            workload,
            conversations,
            peers,
            runs,
            seed,
            scale,
            json_file=json_file,
            plot_file=plot_file,
        ),
        lambda: Setup(
            engine=engine_config(settings),
            folder=local_model_folder(settings),
            threads=threads,
            llama_server=llama_server,
            llama_gguf=llama_gguf,
            scratch=str(settings.cache_dir / "bench"),
            model=settings.model_name,
        ),
        say=lambda line: typer.echo(line, err=True),
        show=typer.echo,
    )


@db.command("upgrade")
def db_upgrade() -> None:
    """Bring the database's schema to this version's."""
    from bot.cli import database

    typer.echo(_run(database.upgrade(config.load())))


@db.command("current")
def db_current() -> None:
    """Print the version of the database's schema."""
    from bot.cli import database

    typer.echo(_run(database.current(config.load())))


@db.command("backup")
def db_backup(
    target: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")],
) -> None:
    """Copy the SQLite database while it is in use."""
    from bot.cli import database

    typer.echo(_run(database.backup(config.load(), target)))


@persona.command("list")
def persona_list() -> None:
    """List the personas that are set, and the libraries, with their scopes."""
    from bot.cli import personas

    typer.echo(_run(personas.list_all(config.load())))


@persona.command("show")
def persona_show(scope: Scope) -> None:
    """Print the persona that counts at a scope, and where it comes from."""
    from bot.cli import personas

    typer.echo(_run(personas.show(config.load(), scope)))


@persona.command("set")
def persona_set(
    scope: Scope,
    text: Annotated[str, typer.Argument(help="The persona; `-` reads standard input.")],
    temperature: Annotated[float | None, typer.Option(help="0 to 5.")] = None,
    top_k: Annotated[int | None, typer.Option(help="0 is off.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Above 0, to 1.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="The longest reply.")] = None,
) -> None:
    """Set the persona of a scope; a running Parley follows with the next message."""
    from bot.cli import personas
    from bot.core.records import SamplingOverrides

    sampling = SamplingOverrides(
        temperature=temperature, top_k=top_k, top_p=top_p, max_new_tokens=max_new_tokens
    )
    said = sys.stdin.read() if text == "-" else text
    typer.echo(_run(personas.set_persona(config.load(), scope, said, sampling)))


@persona.command("export")
def persona_export(
    target: Annotated[
        Path | None, typer.Argument(help="The file to write; it must not exist.")
    ] = None,
) -> None:
    """Write all personas and libraries as JSON, into a file or to standard output."""
    from bot.cli import personas

    typer.echo(_run(personas.export(config.load(), target)))


@persona.command("import")
def persona_import(
    source: Annotated[Path, typer.Argument(help="A file of `parley persona export`.")],
) -> None:
    """Set the personas of a file; it is checked as a whole first."""
    from bot.cli import personas

    typer.echo(_run(personas.import_file(config.load(), source)))


@app.command()
def forget(
    scope: Scope,
    user: Annotated[
        str | None, typer.Option(help="Only what this person wrote: their id on the platform.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Really delete what is remembered in a workspace, channel or thread."""
    from bot.cli import personas

    whose = f"what {user} wrote" if user else "everything that was said"
    if not yes and not _confirmed(f"Delete {whose} in {scope}? It can't be undone"):
        raise CommandFailed("nothing was deleted; --yes answers the question")
    typer.echo(_run(personas.forget(config.load(), scope, user)))


def _confirmed(question: str) -> bool:
    """Ask; no answer (the input has ended) is no."""
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        typer.echo(err=True)
        return False


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
        return f"PARLEY_DATABASE_URL: the database answers: {str(error.orig).splitlines()[0]}"
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


def main() -> None:
    """The console script. Errors are one line on standard error and exit code 1."""
    code = _exit_code()
    if any(thread.daemon and thread.is_alive() for thread in threading.enumerate()):
        # A model that is still being loaded can't be interrupted, and the interpreter aborts when
        # it ends under a thread that is inside torch. Everything of ours is closed by now.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _exit_code() -> int:
    """Run the command; its exit code."""
    debug = "--debug" in sys.argv
    try:
        app()
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
                "(run again with --debug before the command for the traceback)",
                err=True,
            )
        return 1
    return 0
