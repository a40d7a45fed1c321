"""Personas by name: the built-in ones and a workspace's own."""

from __future__ import annotations

from dataclasses import replace

from bot.core import personas, texts
from bot.core.access import require_admin
from bot.core.events import Author, ThreadKey
from bot.core.personas import LIBRARY, PersonaError
from bot.core.ports import PersonaStore
from bot.core.records import Change, LibraryPersona, SamplingOverrides
from bot.core.safe_names import one_line

MAX_NAME = 40  # characters
MAX_OWN = 100  # personas in one library


async def personas_of(store: PersonaStore, key: ThreadKey) -> list[LibraryPersona]:
    """The personas a workspace can choose from: the built-in ones, then its own by name."""
    built_in = [LibraryPersona(name, text, built_in=True) for name, text in LIBRARY.items()]
    return built_in + await store.library(key.workspace_key)


async def find(store: PersonaStore, key: ThreadKey, name: str) -> LibraryPersona:
    """The persona with this name, ignoring case.

    Raises:
        PersonaError: there is none; the text lists those there are.
    """
    library = await personas_of(store, key)
    plain_name = _plain(name)
    for persona in library:
        if _plain(persona.name) == plain_name:
            return persona
    names = [persona.name for persona in library]
    raise PersonaError(texts.no_such_persona(name[:MAX_NAME], names))


async def add(
    store: PersonaStore, key: ThreadKey, persona: LibraryPersona, by: Author
) -> LibraryPersona:
    """Add a persona to a workspace's library.

    Raises:
        NotAllowed: `by` is no admin.
        PersonaError: its name is taken or none, its text or sampling is wrong, or there are too
            many.
    """
    require_admin(by)
    own = await store.library(key.workspace_key)
    persona = check(persona)
    if _plain(persona.name) in {*map(_plain, LIBRARY), *(_plain(other.name) for other in own)}:
        raise PersonaError(texts.persona_exists(persona.name))
    if len(own) >= MAX_OWN:
        raise PersonaError(texts.library_full(MAX_OWN))
    change = Change(by, "persona-library add", "", _described(persona))
    await store.save_library_persona(key.workspace_key, persona, change)
    return persona


async def edit(
    store: PersonaStore,
    key: ThreadKey,
    name: str,
    text: str,
    sampling: SamplingOverrides,
    by: Author,
) -> LibraryPersona:
    """Change the text and sampling of a persona in a workspace's library.

    Raises:
        NotAllowed: `by` is no admin.
        PersonaError: there is none of this name, it is built in, or text or sampling is wrong.
    """
    require_admin(by)
    old = await _own(store, key, name)
    new = check(replace(old, text=text, sampling=sampling))
    change = Change(by, "persona-library edit", _described(old), _described(new))
    await store.save_library_persona(key.workspace_key, new, change)
    return new


async def remove(store: PersonaStore, key: ThreadKey, name: str, by: Author) -> LibraryPersona:
    """Remove a persona from a workspace's library. Where it is in use it stays.

    Raises:
        NotAllowed: `by` is no admin.
        PersonaError: there is none of this name, or it is built in.
    """
    require_admin(by)
    old = await _own(store, key, name)
    change = Change(by, "persona-library remove", _described(old), "")
    await store.remove_library_persona(key.workspace_key, old.name, change)
    return old


async def _own(store: PersonaStore, key: ThreadKey, name: str) -> LibraryPersona:
    persona = await find(store, key, name)
    if persona.built_in:
        raise PersonaError(texts.persona_built_in(persona.name))
    return persona


def check(persona: LibraryPersona) -> LibraryPersona:
    """A persona checked and normalized for a library.

    Raises:
        PersonaError: its name, text or sampling is wrong.
    """
    name = one_line(persona.name, MAX_NAME + 1)
    if not name or len(name) > MAX_NAME:
        raise PersonaError(texts.bad_persona_name(MAX_NAME))
    text = personas.checked_text(persona.text)
    personas.check_sampling(persona.sampling)
    return replace(persona, name=name, text=text)


def _described(persona: LibraryPersona) -> str:
    return f"{persona.name}: {personas.described(persona.text, persona.sampling)}"


def _plain(name: str) -> str:
    return " ".join(name.split()).casefold()
