"""`parley persona` and `parley forget`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bot import config
from bot.cli.running import CommandFailed, Scope, run

group = typer.Typer(name="persona", help="Manage personas.", no_args_is_help=True)


@group.command("list")
def list_personas() -> None:
    """List all personas by scope, including each workspace's library."""
    from bot.cli import personas

    typer.echo(run(personas.list_all(config.load())))


@group.command("show")
def show(scope: Scope) -> None:
    """Print the persona in effect at a scope, and where it is set."""
    from bot.cli import personas

    typer.echo(run(personas.show(config.load(), scope)))


@group.command("set")
def set_persona(
    scope: Scope,
    text: Annotated[str, typer.Argument(help="The persona. `-` reads it from standard input.")],
    temperature: Annotated[float | None, typer.Option(help="0 to 5.")] = None,
    top_k: Annotated[int | None, typer.Option(help="0 turns it off.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Above 0, up to 1.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Maximum length of a reply, in tokens.")
    ] = None,
) -> None:
    """Set a scope's persona. A running bot uses it from the next message on."""
    from bot.cli import personas
    from bot.core.records import SamplingOverrides

    sampling = SamplingOverrides(
        temperature=temperature, top_k=top_k, top_p=top_p, max_new_tokens=max_new_tokens
    )
    persona = sys.stdin.read() if text == "-" else text
    typer.echo(run(personas.set_persona(config.load(), scope, persona, sampling)))


@group.command("export")
def export(
    target: Annotated[
        Path | None, typer.Argument(help="File to write. It must not exist yet.")
    ] = None,
) -> None:
    """Export all personas and libraries as JSON, to a file or standard output."""
    from bot.cli import personas

    typer.echo(run(personas.export(config.load(), target)))


@group.command("import")
def import_file(
    source: Annotated[Path, typer.Argument(help="A file that `parley persona export` wrote.")],
) -> None:
    """Import personas from a file. Nothing is changed unless the whole file is valid."""
    from bot.cli import personas

    typer.echo(run(personas.import_file(config.load(), source)))


def forget(
    scope: Scope,
    user: Annotated[
        str | None,
        typer.Option(help="Delete only what this person wrote (their id on the platform)."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask for confirmation.")] = False,
) -> None:
    """Permanently delete what is stored for a workspace, channel or thread."""
    from bot.cli import personas

    content = f"everything {user} wrote" if user else "all messages and replies"
    if not yes and not _confirmed(f"Permanently delete {content} in {scope}?"):
        raise CommandFailed("nothing was deleted (use --yes to skip the question)")
    typer.echo(run(personas.forget(config.load(), scope, user)))


def _confirmed(question: str) -> bool:
    """Ask a yes-or-no question. End of input counts as no."""
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        typer.echo(err=True)
        return False
