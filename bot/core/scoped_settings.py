"""Settings by scope, inherited: thread, channel, workspace, operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from bot.core import texts
from bot.core.events import ThreadKey
from bot.core.limits import MAX_DAYS
from bot.core.ports import SettingsStore
from bot.core.records import ChannelSettings, Mode
from bot.core.service_settings import ServiceSettings

INHERIT = "inherit"  # as a value: clear the setting, so that it is inherited
SWITCH = ("on", "off", INHERIT)
MAX_IMAGES = 100

NAMES: tuple[str, ...] = tuple(field.name for field in fields(ChannelSettings))
_SWITCH = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}


class SettingError(ValueError):
    """The value is not allowed; the text says what is."""


@dataclass(frozen=True, slots=True)
class ResolvedSettings:
    """The settings in effect at a place."""

    mode: Mode
    inline: bool
    answer_bots: bool
    retention_days: int
    max_images: int
    sources: Mapping[str, ThreadKey]  # the scope each comes from; none for the operator's

    @property
    def settings(self) -> ChannelSettings:
        return ChannelSettings(
            self.mode, self.inline, self.answer_bots, self.retention_days, self.max_images
        )


async def resolve(
    store: SettingsStore, key: ThreadKey, operator: ServiceSettings
) -> ResolvedSettings:
    """The settings in effect at `key`: each from the thread, else the channel, the workspace,
    the operator."""
    scopes = key.scopes()
    return merge(scopes, await store.channel_settings(scopes), operator)


def merge(
    scopes: tuple[ThreadKey, ...],
    by_scope: Mapping[ThreadKey, ChannelSettings],
    operator: ServiceSettings,
) -> ResolvedSettings:
    """Merge what is set on `scopes` (narrowest first) with the operator's settings."""
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
    """`now` with the changes from a command's arguments; an empty value is inherited again.

    Raises:
        SettingError: there are no changes, or a value is not allowed.
    """
    changes = {name: _value(name, args[name]) for name in NAMES if name in args}
    if not changes:
        raise SettingError(texts.no_setting(NAMES))
    return replace(now, **changes)


def _value(name: str, raw: str) -> Any:
    raw = raw.strip().lower()
    if raw in ("", INHERIT):
        return None
    if name == "mode":
        if raw not in list(Mode):
            raise SettingError(texts.not_a_choice(name, [*Mode, INHERIT]))
        return Mode(raw)
    if name in ("inline", "answer_bots"):
        if raw not in _SWITCH:
            raise SettingError(texts.not_a_choice(name, SWITCH))
        return _SWITCH[raw]
    return _number(name, raw, MAX_DAYS if name == "retention_days" else MAX_IMAGES)


def _number(name: str, raw: str, greatest: int) -> int:
    if not (raw.isascii() and raw.isdigit()) or len(raw) > 9 or int(raw) > greatest:
        raise SettingError(texts.not_a_whole_number(name, greatest, INHERIT))
    return int(raw)


def described(settings: ChannelSettings) -> str:
    """Settings for the audit trail: `mode=always, inline=on`."""
    set_here = [
        f"{name}={_written(value)}"
        for name in NAMES
        if (value := getattr(settings, name)) is not None
    ]
    return ", ".join(set_here) or "nothing set"


def _written(value: object) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
