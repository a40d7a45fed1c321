"""The scope that a command is about: this thread, this channel or the workspace."""

from __future__ import annotations

from bot.core.commands import texts
from bot.core.commands.registry import SCOPES
from bot.core.events import CommandInvoked, ThreadKey


class BadScope(ValueError):
    """The command names no scope that there is here; the text says which there are."""


def scope_of(event: CommandInvoked) -> ThreadKey:
    """The scope that a command names; the channel unless it says otherwise.

    Raises:
        BadScope: there is none of this name here.
    """
    name = event.args.get("scope", "").strip().lower() or "channel"
    if name not in SCOPES:
        raise BadScope(texts.not_a_scope(SCOPES))
    if name == "thread" and not event.key.thread:
        raise BadScope(texts.ONLY_IN_THREADS)
    return {
        "thread": event.key,
        "channel": event.key.channel_key,
        "workspace": event.key.workspace_key,
    }[name]
