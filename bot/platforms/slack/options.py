"""Slack's settings, as the adapter and `parley doctor` need them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from pydantic import SecretStr

from bot.config import Settings
from bot.media.hosts import ExtraHost, parse_extra_hosts
from bot.platforms.slack.sink import Timing

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackOptions:
    """Slack's settings. With an `app_token` events come by Socket Mode, else by HTTP.

    With `client_id` and `client_secret` (HTTP mode) other workspaces may install the app.
    """

    api_url: str = "https://slack.com/api/"
    bot_token: str | None = field(default=None, repr=False)
    app_token: str | None = field(default=None, repr=False)
    signing_secret: str | None = field(default=None, repr=False)
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    public_url: str | None = None
    sockets: int = 2
    admins: frozenset[str] = frozenset()
    extra_media_hosts: tuple[ExtraHost, ...] = ()
    max_file_bytes: int = 20 * MIB
    timing: Timing = field(default_factory=Timing)

    @property
    def over_http(self) -> bool:
        return self.app_token is None

    @property
    def has_oauth(self) -> bool:
        return self.over_http and self.client_id is not None and self.client_secret is not None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(
            api_url=settings.slack_api_url,
            bot_token=_secret(settings.slack_bot_token),
            app_token=_secret(settings.slack_app_token),
            signing_secret=_secret(settings.slack_signing_secret),
            client_id=settings.slack_client_id,
            client_secret=_secret(settings.slack_client_secret),
            public_url=settings.public_url,
            sockets=settings.slack_sockets,
            admins=frozenset(settings.slack_admins.replace(",", " ").split()),
            extra_media_hosts=parse_extra_hosts(settings.extra_media_hosts),
            max_file_bytes=int(settings.max_image_mib * MIB),
        )


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value is not None else None
