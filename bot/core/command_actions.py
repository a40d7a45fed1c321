"""What the commands do: each turns a CommandInvoked into the answer for its asker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from datetime import UTC

from bot.core import personas
from bot.core.access import NotAllowed, require_control
from bot.core.commands import COMMANDS, SCOPES, help_text
from bot.core.conversations import Conversations
from bot.core.events import CommandInvoked, ThreadKey
from bot.core.labels import one_line
from bot.core.ports import CommandReply, Store
from bot.core.records import PersonaVersion, SamplingOverrides

_SCOPE_WORDS = {"thread": "this thread", "channel": "this channel", "workspace": "the workspace"}


class CommandActions:
    """Runs commands."""

    def __init__(self, store: Store, conversations: Conversations, default_persona: str) -> None:
        self._store = store
        self._conversations = conversations
        self._default = default_persona
        self._actions: dict[str, Callable[[CommandInvoked], Awaitable[CommandReply]]] = {
            "persona set": self._set,
            "persona show": self._show,
            "persona clear": self._clear,
            "persona list": self._list,
            "persona use": self._use,
            "reset": self._reset,
            "stop": self._stop,
            "help": self._help,
        }

    async def run(self, event: CommandInvoked) -> CommandReply:
        """Run a command; what a person did wrong comes back as a reply that is not `ok`."""
        if event.name not in COMMANDS:
            return CommandReply(help_text(event.name), ok=False)
        try:
            return await self._actions[event.name](event)
        except (NotAllowed, personas.PersonaError) as refusal:
            return CommandReply(str(refusal), ok=False)

    async def _set(self, event: CommandInvoked) -> CommandReply:
        scope, where = _scope(event)
        sampling = personas.parse_sampling(event.args)
        await personas.set_persona(
            self._store,
            scope,
            event.args.get("text", ""),
            sampling,
            event.author,
            is_dm=event.is_dm,
        )
        extra = f" ({_describe(sampling)})" if _describe(sampling) else ""
        return CommandReply(
            f"The persona of {where} is set{extra}, from the next message on.", private=False
        )

    async def _use(self, event: CommandInvoked) -> CommandReply:
        scope, where = _scope(event)
        name, text = personas.library_text(event.args.get("name", ""))
        await personas.set_persona(
            self._store,
            scope,
            text,
            SamplingOverrides(),
            event.author,
            name=name,
            is_dm=event.is_dm,
        )
        return CommandReply(
            f"In {where} I am now: {name}, from the next message on.", private=False
        )

    async def _clear(self, event: CommandInvoked) -> CommandReply:
        scope, where = _scope(event)
        await personas.clear_persona(self._store, scope, event.author, is_dm=event.is_dm)
        now = await personas.resolve(self._store, event.key, self._default)
        return CommandReply(
            f"The persona of {where} is cleared. Here I am now: {_origin(now.source)}.",
            private=False,
        )

    async def _show(self, event: CommandInvoked) -> CommandReply:
        found = await personas.resolve(self._store, event.key, self._default)
        lines = [_quote(found.text), f"This is {_origin(found.source)}."]
        if found.source is not None:
            if found.source.scope != event.key:
                lines.append(f"It counts here because {_inheritance(event.key, found.source)}.")
            by = one_line(found.source.set_by_name, 80) or "somebody"
            lines.append(f"Set by {by} on {found.source.at.astimezone(UTC):%Y-%m-%d at %H:%M} UTC.")
        sampling = _describe(found.sampling)
        if sampling:
            lines.append(f"Sampling: {sampling}.")
        return CommandReply("\n".join(lines))

    async def _list(self, event: CommandInvoked) -> CommandReply:
        lines = [f"- {name}: {text}" for name, text in personas.LIBRARY.items()]
        return CommandReply("\n".join([*lines, "Take one with `/persona use <name>`."]))

    async def _reset(self, event: CommandInvoked) -> CommandReply:
        turns = await self._conversations.reset(event.key, event.author)
        if not turns:
            return CommandReply("There is nothing to forget here.")
        deleted = "1 turn of this conversation is" if turns == 1 else f"{turns} turns are"
        return CommandReply(f"Forgotten: {deleted} deleted.", private=False)

    async def _stop(self, event: CommandInvoked) -> CommandReply:
        turn = self._conversations.answering(event.key)
        if turn is None:
            return CommandReply("I am not writing anything here.", ok=False)
        require_control(event.author, turn)
        stopped = self._conversations.stop(event.key, turn.id)
        return CommandReply("Stopped." if stopped else "That reply has just ended.")

    async def _help(self, event: CommandInvoked) -> CommandReply:
        return CommandReply(help_text(event.args.get("command", "")))


def _scope(event: CommandInvoked) -> tuple[ThreadKey, str]:
    """The scope that a command names, the channel unless it says otherwise; and its words."""
    name = event.args.get("scope", "channel")
    if name not in SCOPES:
        raise personas.PersonaError(f"The scope is one of: {', '.join(SCOPES)}.")
    if name == "thread" and not event.key.thread:
        raise personas.PersonaError("That works inside a thread only.")
    scope = {
        "thread": event.key,
        "channel": event.key.in_thread(""),
        "workspace": replace(event.key, channel="", thread=""),
    }[name]
    return scope, _SCOPE_WORDS[name]


def _scope_word(scope: ThreadKey) -> str:
    if scope.thread:
        return "thread"
    return "channel" if scope.channel else "workspace"


def _origin(source: PersonaVersion | None) -> str:
    if source is None:
        return "the built-in persona"
    named = f" ({source.name})" if source.name else ""
    return f"the persona of {_SCOPE_WORDS[_scope_word(source.scope)]}{named}"


def _inheritance(key: ThreadKey, source: PersonaVersion) -> str:
    if not key.thread:
        return "the channel has none of its own"
    if source.scope.channel:
        return "the thread has none of its own"
    return "neither the thread nor the channel has one of its own"


def _describe(sampling: SamplingOverrides) -> str:
    return ", ".join(
        f"{name} {value}" for name, value in asdict(sampling).items() if value is not None
    )


def _quote(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines())
