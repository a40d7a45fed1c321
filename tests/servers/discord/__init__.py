"""A local Discord: REST, gateway and CDN over real sockets, driven by tests as people would."""

from tests.servers.discord.server import DiscordServer

__all__ = ["DiscordServer"]
