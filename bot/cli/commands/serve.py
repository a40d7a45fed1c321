"""`parley run`, `playground` and `chat`: the ways to talk to the model."""

from __future__ import annotations

from typing import Annotated

import typer

from bot import config
from bot.cli.running import CommandFailed, Model, exit_with
from bot.cli.running import run as run_async


def run(model: Model = None) -> None:
    """Run the bot on every platform that has a token. Also serves /healthz and /readyz."""
    settings = config.load({"model": model})
    if not settings.has_platform:
        raise CommandFailed(
            f"no platform is configured: set {config.PLATFORM_TOKENS}, or try `parley playground`"
        )
    from bot.app import run_platforms

    run_async(run_platforms(settings), settings)


def playground(
    model: Model = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. Overrides PARLEY_HTTP_HOST.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on. Overrides PARLEY_HTTP_PORT.")
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in your browser.")
    ] = False,
) -> None:
    """Open a local web page that works like a small team chat."""
    settings = config.load({"model": model, "http_host": host, "http_port": port})
    from bot.app import serve_playground

    run_async(serve_playground(settings, open_browser=open_browser), settings)


def chat(
    model: Model = None,
    name: Annotated[str, typer.Option(help="What the model should call you.")] = "You",
    new: Annotated[bool, typer.Option("--new", help="Forget the previous chat first.")] = False,
) -> None:
    """Chat in the terminal, or answer a pipe: `echo hi | parley chat`."""
    settings = config.load({"model": model})
    from bot.app import chat_in_terminal

    exit_with(run_async(chat_in_terminal(settings, name=name, new=new), settings))
