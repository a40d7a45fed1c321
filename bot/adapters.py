"""The platforms that `parley run` serves: a new one is registered here, with one entry.

Part of the composition root. SDKs are imported when a platform is built or checked, no earlier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bot.config import Settings
from bot.core.ports import CoreQueries, InboundHandler
from bot.media.hosts import parse_extra_hosts
from bot.platforms.base import Adapter, Checker
from bot.storage.database import Database

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class AdapterParts:
    """What an adapter can be built from."""

    settings: Settings
    handle: InboundHandler
    queries: CoreQueries
    database: Database


@dataclass(frozen=True, slots=True)
class Platform:
    """One entry of `PLATFORMS`. `name` is as in `ThreadKey.platform`."""

    name: str
    is_configured: Callable[[Settings], bool]
    build: Callable[[AdapterParts], Adapter]
    load_checker: Callable[[], Checker]  # what `parley doctor` checks


def build_adapters(parts: AdapterParts, platforms: Sequence[Platform]) -> list[Adapter]:
    """The adapters of those platforms that are configured."""
    return [
        platform.build(parts) for platform in platforms if platform.is_configured(parts.settings)
    ]


def _discord(parts: AdapterParts) -> Adapter:
    from bot.platforms.discord.adapter import DiscordAdapter, DiscordOptions
    from bot.storage.discord import DiscordInteractions

    settings = parts.settings
    assert settings.discord_token is not None
    options = DiscordOptions(
        token=settings.discord_token.get_secret_value(),
        api_url=settings.discord_api_url,
        gateway_url=settings.discord_gateway_url,
        shards=settings.discord_shards,
        catch_up_s=settings.discord_catch_up_minutes * 60,
        max_file_bytes=int(settings.max_image_mib * MIB),
        extra_hosts=parse_extra_hosts(settings.extra_media_hosts),
    )
    return DiscordAdapter(parts.handle, parts.queries, options, DiscordInteractions(parts.database))


def _discord_checker() -> Checker:
    from bot.platforms.discord import checks

    return checks.check


def _slack(parts: AdapterParts) -> Adapter:
    from bot.platforms.slack.adapter import SlackAdapter
    from bot.platforms.slack.options import SlackOptions
    from bot.storage.slack import SlackStores, TokenCipher

    settings, stores = parts.settings, None
    options = SlackOptions.from_settings(settings)
    if options.has_oauth and options.client_id and settings.encryption_key is not None:
        keys = settings.encryption_key.get_secret_value().split(",")
        cipher = TokenCipher([key.strip() for key in keys])
        stores = SlackStores.open(parts.database, options.client_id, cipher)
    return SlackAdapter(
        parts.handle,
        parts.queries,
        options,
        installations=stores.installations if stores else None,
        states=stores.states if stores else None,
    )


def _slack_checker() -> Checker:
    from bot.platforms.slack import checks

    return checks.check


PLATFORMS = (
    Platform("discord", lambda settings: settings.has_discord, _discord, _discord_checker),
    Platform("slack", lambda settings: settings.has_slack, _slack, _slack_checker),
)
