"""Personas: the built-in ones, how they are inherited, and how they are set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from types import MappingProxyType
from typing import Any

from bot.core import texts
from bot.core.access import require_persona
from bot.core.events import Author, ThreadKey
from bot.core.limits import MAX_PERSONA_LENGTH, SAMPLING_RANGES
from bot.core.ports import PersonaStore
from bot.core.records import Change, PersonaVersion, ResolvedPersona, SamplingOverrides
from bot.engine.api import SamplingParams

DEFAULT_TEXT = "You are Parley, a helpful assistant in a team chat. Be friendly, clear and brief."

LIBRARY: Mapping[str, str] = MappingProxyType(
    {
        "pirate": ("You are a pirate. Answer everything in the voice of a cheerful old pirate."),
        "love bug": ("You are a love bug. Be sweet, warm and affectionate in every answer."),
        "physicist": (
            "You are a physicist. Explain everything with the ideas and words of physics."
        ),
        "butler": ("You are a polite English butler. Address the user as sir or madam."),
        "terse": ("Answer in as few words as possible, never more than one short sentence."),
        "haiku": ("Answer only with a haiku: three short lines of 5, 7 and 5 syllables."),
    }
)

NONE = "none"  # in the audit trail: a scope without its own persona

SAMPLING_FIELDS: tuple[str, ...] = tuple(field.name for field in fields(SamplingOverrides))


class PersonaError(ValueError):
    """The persona can't be set like this; the text says what to change."""


async def resolve(
    store: PersonaStore, key: ThreadKey, default: str = DEFAULT_TEXT
) -> ResolvedPersona:
    """The persona in effect at `key`: the thread's, else the channel's, the workspace's, `default`.

    A persona's sampling settings come with its text; they are not mixed across scopes.
    """
    scopes = key.scopes()
    versions = await store.personas(scopes)
    for scope in scopes:
        version = versions.get(scope)
        if version is not None and version.text is not None:
            return ResolvedPersona(version.text, version.sampling, version)
    return ResolvedPersona(default, SamplingOverrides(), None)


async def set_persona(
    store: PersonaStore,
    scope: ThreadKey,
    text: str,
    sampling: SamplingOverrides,
    by: Author,
    *,
    name: str | None = None,
    is_dm: bool = False,
    action: str = "persona set",
) -> PersonaVersion:
    """Set a scope's persona, starting with the next message. `action` is for the audit trail.

    Raises:
        NotAllowed: `by` may not set personas here.
        PersonaError: the text is empty or too long, or a sampling setting is out of its range.
    """
    require_persona(by, scope, is_dm=is_dm)
    text = checked_text(text)
    check_sampling(sampling)
    change = Change(by, action, await _current(store, scope), described(text, sampling))
    return await store.add_persona_version(scope, text, sampling, by, name, change)


async def clear_persona(
    store: PersonaStore, scope: ThreadKey, by: Author, *, is_dm: bool = False
) -> PersonaVersion:
    """Clear a scope's persona, so that it inherits again. Earlier versions stay.

    Raises:
        NotAllowed: `by` may not set personas here.
    """
    require_persona(by, scope, is_dm=is_dm)
    change = Change(by, "persona clear", await _current(store, scope), NONE)
    return await store.add_persona_version(scope, None, SamplingOverrides(), by, None, change)


async def undo_persona(
    store: PersonaStore, scope: ThreadKey, by: Author, *, is_dm: bool = False
) -> PersonaVersion:
    """Restore the version before the latest, which may be that there was none.

    Raises:
        NotAllowed: `by` may not set personas here.
        PersonaError: nothing was ever set here.
    """
    require_persona(by, scope, is_dm=is_dm)
    versions = await store.persona_history(scope)
    if not versions:
        raise PersonaError(texts.NOTHING_TO_UNDO)
    last, *older = versions
    back = older[0] if older else None
    text, sampling, name = (
        (back.text, back.sampling, back.name) if back else (None, SamplingOverrides(), None)
    )
    change = Change(
        by, "persona undo", described(last.text, last.sampling), described(text, sampling)
    )
    return await store.add_persona_version(scope, text, sampling, by, name, change)


async def _current(store: PersonaStore, scope: ThreadKey) -> str:
    version = (await store.personas([scope])).get(scope)
    return described(version.text, version.sampling) if version else NONE


def described(text: str | None, sampling: SamplingOverrides) -> str:
    """A persona as the audit trail shows it."""
    if text is None:
        return NONE
    changed = describe_sampling(sampling)
    return f"{text} ({changed})" if changed else text


def describe_sampling(sampling: SamplingOverrides) -> str:
    """A persona's sampling settings: "temperature 0.2, top_k 5"; "" for none."""
    return ", ".join(
        f"{name} {value}" for name, value in asdict(sampling).items() if value is not None
    )


def checked_text(text: str) -> str:
    """The persona text as it is stored.

    Raises:
        PersonaError: it is empty or longer than MAX_PERSONA_LENGTH characters.
    """
    text = text.strip()
    if not text:
        raise PersonaError(texts.NO_PERSONA_TEXT)
    if len(text) > MAX_PERSONA_LENGTH:
        raise PersonaError(texts.persona_too_long(len(text), MAX_PERSONA_LENGTH))
    return text


def parse_sampling(args: Mapping[str, str]) -> SamplingOverrides:
    """The sampling settings among a command's arguments, checked.

    Raises:
        PersonaError: a value is no number or out of its range.
    """
    values: dict[str, Any] = {}
    for name in SAMPLING_FIELDS:
        raw = args.get(name, "").strip()
        if not raw:  # an empty field inherits
            continue
        whole = SAMPLING_RANGES[name].whole
        try:
            values[name] = int(raw) if whole else float(raw)
        except ValueError:
            raise PersonaError(texts.not_a_number(name, raw, whole=whole)) from None
    overrides = SamplingOverrides(**values)
    check_sampling(overrides)
    return overrides


def check_sampling(overrides: SamplingOverrides) -> None:
    """Check every setting against its range.

    Raises:
        PersonaError: a setting is out of its range.
    """
    for name in SAMPLING_FIELDS:
        value = getattr(overrides, name)
        if value is not None and value not in SAMPLING_RANGES[name]:
            raise PersonaError(texts.out_of_range(name, SAMPLING_RANGES[name]))


def apply_overrides(defaults: SamplingParams, overrides: SamplingOverrides) -> SamplingParams:
    """The operator's settings with a persona's on top.

    Raises:
        PersonaError: a setting is out of its range.
    """
    check_sampling(overrides)
    changes = {
        name: value for name in SAMPLING_FIELDS if (value := getattr(overrides, name)) is not None
    }
    return replace(defaults, **changes)
