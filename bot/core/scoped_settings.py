"""How the bot behaves at a place: settings inherited by thread, channel, workspace, operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from bot.core.commands.registry import INHERIT
from bot.core.events import ThreadKey
from bot.core.limits import MAX_DAYS
from bot.core.ports import SettingsStore
from bot.core.records import ChannelSettings, Mode
from bot.core.service_settings import ServiceSettings

MAX_IMAGES = 100

NAMES: tuple[str, ...] = tuple(field.name for field in fields(ChannelSettings))
_SWITCH = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}


class SettingError(ValueError):
    """A setting can't be set like this; the text says what to type."""


@dataclass(frozen=True, slots=True)
class ResolvedSettings:
    """The settings that count at a place, and how the bot behaves by them: none is None."""

    mode: Mode
    inline: bool
    answer_bots: bool
    retention_days: int
    max_images: int
    sources: Mapping[str, ThreadKey]  # the scope that each comes from; the operator's have none

    @property
    def settings(self) -> ChannelSettings:
        """As one record."""
        return ChannelSettings(
            self.mode, self.inline, self.answer_bots, self.retention_days, self.max_images
        )


async def resolve(
    store: SettingsStore, key: ThreadKey, operator: ServiceSettings
) -> ResolvedSettings:
    """The settings at `key`: each the thread's, else the channel's, the workspace's, the
    operator's."""
    scopes = key.scopes()
    return merge(scopes, await store.channel_settings(scopes), operator)


def merge(
    scopes: tuple[ThreadKey, ...],
    by_scope: Mapping[ThreadKey, ChannelSettings],
    operator: ServiceSettings,
) -> ResolvedSettings:
    """The same from what is set on the scopes, narrowest first."""
    values: dict[str, Any] = {name: getattr(operator, name) for name in NAMES}
    sources: dict[str, ThreadKey] = {}
    for scope in reversed(scopes):
        for name in NAMES:
            value = getattr(by_scope.get(scope), name, None)
            if value is not None:
                values[name] = value
                sources[name] = scope
    values["max_images"] = min(values["max_images"], operator.max_images)
    return ResolvedSettings(**values, sources=sources)


def parse(args: Mapping[str, str], now: ChannelSettings) -> ChannelSettings:
    """`now` with the changes among a command's arguments; an empty value inherits again.

    Raises:
        SettingError: there is none, or a value is none that the setting takes.
    """
    changes = {name: _value(name, args[name]) for name in NAMES if name in args}
    if not changes:
        raise SettingError(f"Say what to set: {', '.join(f'{name}=...' for name in NAMES)}.")
    return replace(now, **changes)


def _value(name: str, raw: str) -> Any:
    raw = raw.strip().lower()
    if raw in ("", INHERIT):
        return None
    if name == "mode":
        if raw not in list(Mode):
            raise SettingError(f"mode is one of: {', '.join(Mode)}, {INHERIT}.")
        return Mode(raw)
    if name in ("inline", "answer_bots"):
        if raw not in _SWITCH:
            raise SettingError(f"{name} is one of: on, off, {INHERIT}.")
        return _SWITCH[raw]
    return _number(name, raw, MAX_DAYS if name == "retention_days" else MAX_IMAGES)


def _number(name: str, raw: str, greatest: int) -> int:
    if not (raw.isascii() and raw.isdigit()) or len(raw) > 9 or int(raw) > greatest:
        raise SettingError(f"{name} is a whole number from 0 to {greatest:,}, or {INHERIT}.")
    return int(raw)


def shown(name: str, value: object) -> str:
    """A setting as people read it."""
    if value is None:
        return INHERIT
    if isinstance(value, bool):
        return "on" if value else "off"
    if name == "retention_days":
        days = "1 day" if value == 1 else f"{value} days"
        return "for ever" if value == 0 else days
    return str(value)


def described(settings: ChannelSettings) -> str:
    """What is set, for the audit trail: `mode=always, inline=on`."""
    set_here = [
        f"{name}={_written(value)}"
        for name in NAMES
        if (value := getattr(settings, name)) is not None
    ]
    return ", ".join(set_here) or "nothing set"


def _written(value: object) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
