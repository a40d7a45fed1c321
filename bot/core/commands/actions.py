"""What the commands do: each turns a CommandInvoked into the answer for its asker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from types import MappingProxyType
from typing import TypeAlias

from bot.core import scoped_settings
from bot.core.access import (
    NotAllowed,
    require_admin,
    require_control,
    require_forget,
    require_settings,
)
from bot.core.commands import texts
from bot.core.commands.parsing import COMMANDS, help_text
from bot.core.commands.persona_actions import ACTIONS as PERSONA_ACTIONS
from bot.core.commands.persona_actions import PersonaActions
from bot.core.commands.scopes import BadScope, scope_of
from bot.core.conversations import Conversations
from bot.core.events import CommandInvoked
from bot.core.limits import MAX_DAYS, USAGE_DAYS
from bot.core.personas import PersonaError
from bot.core.ports import CommandReply, PersonaStore, SettingsStore
from bot.core.preview import Preview
from bot.core.records import Change, ChannelSettings
from bot.core.service_settings import ServiceSettings
from bot.core.texts import STOPPED

Action: TypeAlias = Callable[[CommandInvoked], Awaitable[CommandReply]]

_AUDIT_ENTRIES = 15
# A preview waits for the engine; what only reads needs no turn either.
_CHANGING = frozenset(name for name, command in COMMANDS.items() if command.admin_only) - {
    "persona preview",
    "audit",
}


class CommandActions:
    """Runs commands."""

    def __init__(
        self,
        store: SettingsStore,
        personas: PersonaStore,
        conversations: Conversations,
        settings: ServiceSettings,
        preview: Preview,
    ) -> None:
        self._store = store
        self._conversations = conversations
        self._settings = settings
        # One change at a time, so that the audit trail's "before" is what was there before.
        self._changing = asyncio.Lock()
        persona_actions = PersonaActions(personas, preview, settings.persona)
        self._actions: dict[str, Action] = {
            **{name: partial(act, persona_actions) for name, act in PERSONA_ACTIONS.items()},
            **{name: partial(act, self) for name, act in ACTIONS.items()},
        }

    async def run(self, event: CommandInvoked) -> CommandReply:
        """Run a command; what a person did wrong comes back as a reply that is not `ok`."""
        command = COMMANDS.get(event.name)
        if command is None:
            return CommandReply(help_text(event.name, event.prefix), ok=False)
        try:
            if command.admin_only and not event.is_dm:  # a DM's person may do some there
                require_admin(event.author)
            if event.name in _CHANGING:
                async with self._changing:
                    return await self._actions[event.name](event)
            return await self._actions[event.name](event)
        except (NotAllowed, PersonaError, scoped_settings.SettingError, BadScope) as refusal:
            return CommandReply(str(refusal), ok=False)

    async def _reset(self, event: CommandInvoked) -> CommandReply:
        turns = await self._conversations.reset(event.key, event.author, event.at)
        if not turns:
            return CommandReply(texts.NOTHING_TO_FORGET)
        return CommandReply(texts.forgotten_conversation(turns), private=False)

    async def _stop(self, event: CommandInvoked) -> CommandReply:
        turn = self._conversations.answering(event.key)
        if turn is None:
            return CommandReply(texts.NOT_WRITING, ok=False)
        require_control(event.author, turn)
        is_stopped = self._conversations.stop(event.key, turn.id)
        return CommandReply(STOPPED if is_stopped else texts.JUST_ENDED)

    async def _forget(self, event: CommandInvoked) -> CommandReply:
        what = event.args.get("what", "").strip().lower()
        if what == "me":
            return await self._forget_person(event)
        if what == "here":
            if event.key.thread and not event.is_dm:
                return await self._reset(event)
            return await self._forget_channel(event)
        return CommandReply(texts.forget_usage(event.prefix), ok=False)

    async def _forget_person(self, event: CommandInvoked) -> CommandReply:
        workspace = event.key.workspace_key
        turns = await self._conversations.forget(workspace, event.author.id, at=event.at)
        if not turns:
            return CommandReply(texts.NOTHING_OF_YOURS)
        return CommandReply(texts.forgotten_person(turns))

    async def _forget_channel(self, event: CommandInvoked) -> CommandReply:
        scope = event.key.channel_key
        require_forget(event.author, scope, is_dm=event.is_dm)
        change = Change(event.author, "forget here", "", "deleted")
        turns = await self._conversations.forget(scope, change=change, at=event.at)
        if not turns:
            return CommandReply(texts.NOTHING_TO_FORGET)
        return CommandReply(texts.forgotten_channel(turns), private=False)

    async def _show_settings(self, event: CommandInvoked) -> CommandReply:
        resolved = await scoped_settings.resolve(self._store, event.key, self._settings)
        return CommandReply(texts.settings_here(resolved, event.prefix))

    async def _set_settings(self, event: CommandInvoked) -> CommandReply:
        scope = scope_of(event)
        require_settings(event.author, scope, is_dm=event.is_dm)
        old = (await self._store.channel_settings([scope])).get(scope, ChannelSettings())
        new = scoped_settings.parse(event.args, old)
        described = scoped_settings.described(new)
        change = Change(event.author, event.name, scoped_settings.described(old), described)
        await self._store.set_channel_settings(scope, new, change)
        return CommandReply(texts.settings_saved(scope, described), private=False)

    async def _usage(self, event: CommandInvoked) -> CommandReply:
        days = event.args.get("days", "").strip() or str(USAGE_DAYS)
        if not (days.isascii() and days.isdigit() and len(days) < 6 and 1 <= int(days) <= MAX_DAYS):
            return CommandReply(texts.bad_days(MAX_DAYS), ok=False)
        everybody = event.author.is_admin
        user = None if everybody else event.author.id
        summary = await self._store.usage(event.key.workspace_key, int(days), user)
        return CommandReply(texts.usage(summary, everybody=everybody))

    async def _audit(self, event: CommandInvoked) -> CommandReply:
        require_admin(event.author)
        entries = await self._store.audit(event.key.workspace_key, _AUDIT_ENTRIES)
        return CommandReply(texts.audit(entries))

    async def _help(self, event: CommandInvoked) -> CommandReply:
        return CommandReply(help_text(event.args.get("command", ""), event.prefix))


#: By the name of the command.
ACTIONS: Mapping[str, Callable[[CommandActions, CommandInvoked], Awaitable[CommandReply]]] = (
    MappingProxyType(
        {
            "reset": CommandActions._reset,
            "stop": CommandActions._stop,
            "forget": CommandActions._forget,
            "settings show": CommandActions._show_settings,
            "settings set": CommandActions._set_settings,
            "usage": CommandActions._usage,
            "audit": CommandActions._audit,
            "help": CommandActions._help,
        }
    )
)


def require_actions(commands: Collection[str], actions: Collection[str]) -> None:
    """Every command has an action, and every action a command.

    Raises:
        RuntimeError: naming those that don't.
    """
    if missing := sorted(set(commands) - set(actions)):
        raise RuntimeError(f"commands without an action: {', '.join(missing)}")
    if unknown := sorted(set(actions) - set(commands)):
        raise RuntimeError(f"actions without a command: {', '.join(unknown)}")


require_actions(COMMANDS, [*ACTIONS, *PERSONA_ACTIONS])
