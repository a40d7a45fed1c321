"""`parley slack`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from bot.cli.running import CommandFailed

group = typer.Typer(name="slack", help="Set up the Slack app.", no_args_is_help=True)


@group.command("manifest")
def manifest(
    mode: Annotated[
        Literal["socket", "http"],
        typer.Option(help="How Slack reaches Parley. `socket` needs no public address."),
    ] = "socket",
    url: Annotated[
        str, typer.Option(help="The public https address. Required with `--mode http`.")
    ] = "",
    name: Annotated[str, typer.Option(help="The app's name.")] = "Parley",
    legacy: Annotated[
        bool, typer.Option("--legacy", help="For an app that uses Slack's older assistant view.")
    ] = False,
) -> None:
    """Print the app manifest. Paste it in Slack under Create New App, From a manifest."""
    from bot.platforms.slack import manifest as manifests

    try:
        content = manifests.manifest(mode=mode, url=url, name=name, legacy=legacy)
    except ValueError as error:
        raise CommandFailed(str(error)) from None
    typer.echo(manifests.as_json(content))
