"""`parley discord`."""

from __future__ import annotations

import typer

from bot import config
from bot.cli.running import CommandFailed, run

group = typer.Typer(name="discord", help="Set up the Discord bot.", no_args_is_help=True)


@group.command("invite")
def invite() -> None:
    """Print the links that add the bot to a server or to your own account."""
    settings = config.load()
    if settings.discord_token is None:
        raise CommandFailed("DISCORD_TOKEN is not set: copy it from Discord's developer portal")
    from bot.platforms.discord import invite as links

    token = settings.discord_token.get_secret_value()
    application = run(links.application_id(settings.discord_api_url, token), settings)
    typer.echo(f"For a server:  {links.server_url(application)}")
    typer.echo(f"For yourself:  {links.user_url(application)}")
