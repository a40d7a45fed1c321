"""What the persona commands do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import fields, replace
from types import MappingProxyType

from bot.core import persona_library, personas
from bot.core.access import require_persona
from bot.core.commands import texts
from bot.core.commands.scopes import scope_of
from bot.core.events import CommandInvoked
from bot.core.ports import CommandReply, PersonaStore
from bot.core.preview import Preview
from bot.core.records import LibraryPersona, SamplingOverrides

_SHOWN_VERSIONS = 10


class PersonaActions:
    """Runs `persona ...` and `persona-library ...`.

    Every action raises NotAllowed, PersonaError or BadScope for what the person did wrong.
    """

    def __init__(self, store: PersonaStore, preview: Preview, default_persona: str) -> None:
        self._store = store
        self._preview = preview
        self._default = default_persona

    async def set(self, event: CommandInvoked) -> CommandReply:
        scope = scope_of(event)
        version = await personas.set_persona(
            self._store,
            scope,
            event.args.get("text", ""),
            personas.parse_sampling(event.args),
            event.author,
            is_dm=event.is_dm,
            action=event.name,
        )
        sampling = personas.describe_sampling(version.sampling)
        return CommandReply(texts.persona_saved(scope, sampling), private=False)

    async def set_default(self, event: CommandInvoked) -> CommandReply:
        return await self.set(replace(event, args={**event.args, "scope": "workspace"}))

    async def use(self, event: CommandInvoked) -> CommandReply:
        scope = scope_of(event)
        chosen = await persona_library.find(self._store, event.key, event.args.get("name", ""))
        await personas.set_persona(
            self._store,
            scope,
            chosen.text,
            chosen.sampling,
            event.author,
            name=chosen.name,
            is_dm=event.is_dm,
            action=event.name,
        )
        return CommandReply(texts.persona_taken(scope, chosen.name), private=False)

    async def clear(self, event: CommandInvoked) -> CommandReply:
        scope = scope_of(event)
        await personas.clear_persona(self._store, scope, event.author, is_dm=event.is_dm)
        resolved = await personas.resolve(self._store, event.key, self._default)
        return CommandReply(texts.persona_cleared(scope, resolved.source), private=False)

    async def undo(self, event: CommandInvoked) -> CommandReply:
        scope = scope_of(event)
        version = await personas.undo_persona(self._store, scope, event.author, is_dm=event.is_dm)
        resolved = await personas.resolve(self._store, event.key, self._default)
        text = texts.persona_restored(scope, version, resolved.source)
        return CommandReply(text, private=False)

    async def show(self, event: CommandInvoked) -> CommandReply:
        resolved = await personas.resolve(self._store, event.key, self._default)
        return CommandReply(texts.persona_here(resolved, event.key))

    async def history(self, event: CommandInvoked) -> CommandReply:
        scope = scope_of(event)
        versions = await self._store.persona_history(scope)
        return CommandReply(texts.persona_history(scope, versions, _SHOWN_VERSIONS))

    async def preview(self, event: CommandInvoked) -> CommandReply:
        require_persona(event.author, event.key.channel_key, is_dm=event.is_dm)
        return await self._preview.answer(
            personas.checked_text(event.args.get("text", "")),
            personas.parse_sampling(event.args),
            event.args.get("question", ""),
            event.key,
            event.author.id,
        )

    async def list(self, event: CommandInvoked) -> CommandReply:
        library = await persona_library.personas_of(self._store, event.key)
        return CommandReply(texts.persona_list(library, event.prefix))

    async def add(self, event: CommandInvoked) -> CommandReply:
        persona = LibraryPersona(
            event.args.get("name", ""),
            event.args.get("text", ""),
            personas.parse_sampling(event.args),
        )
        added = await persona_library.add(self._store, event.key, persona, event.author)
        return CommandReply(texts.library_added(added.name), private=False)

    async def edit(self, event: CommandInvoked) -> CommandReply:
        """Change a persona of the library; what is not given stays."""
        name = event.args.get("name", "")
        old = await persona_library.find(self._store, event.key, name)
        text = event.args.get("text", "").strip() or old.text
        sampling = _changed(old.sampling, event)
        edited = await persona_library.edit(
            self._store, event.key, name, text, sampling, event.author
        )
        return CommandReply(texts.library_edited(edited.name), private=False)

    async def remove(self, event: CommandInvoked) -> CommandReply:
        name = event.args.get("name", "")
        removed = await persona_library.remove(self._store, event.key, name, event.author)
        return CommandReply(texts.library_removed(removed.name), private=False)


#: By the name of the command.
ACTIONS: Mapping[str, Callable[[PersonaActions, CommandInvoked], Awaitable[CommandReply]]] = (
    MappingProxyType(
        {
            "persona set": PersonaActions.set,
            "persona show": PersonaActions.show,
            "persona clear": PersonaActions.clear,
            "persona list": PersonaActions.list,
            "persona use": PersonaActions.use,
            "persona history": PersonaActions.history,
            "persona undo": PersonaActions.undo,
            "persona preview": PersonaActions.preview,
            "persona default": PersonaActions.set_default,
            "persona-library add": PersonaActions.add,
            "persona-library edit": PersonaActions.edit,
            "persona-library remove": PersonaActions.remove,
            "persona-library list": PersonaActions.list,
        }
    )
)


def _changed(old: SamplingOverrides, event: CommandInvoked) -> SamplingOverrides:
    """`old` with the values given; one given as empty is taken out."""
    given = personas.parse_sampling(event.args)
    changes = {
        field.name: getattr(given, field.name)
        for field in fields(SamplingOverrides)
        if field.name in event.args
    }
    return replace(old, **changes)
