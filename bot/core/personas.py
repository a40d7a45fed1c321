"""Personas: the built-in ones, how they are inherited, and how they are set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from bot.core.access import require_persona
from bot.core.events import Author, ThreadKey
from bot.core.ports import Store
from bot.core.records import PersonaVersion, SamplingOverrides
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

MAX_TEXT = 4_000  # characters

_WHOLE_NUMBERS = frozenset({"top_k", "seed", "max_new_tokens"})
_MAX_WHOLE = 2**31 - 1  # what every database and sampler holds
SAMPLING_FIELDS: tuple[str, ...] = tuple(field.name for field in fields(SamplingOverrides))


class PersonaError(ValueError):
    """The persona can't be set like this; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """The persona that counts at a place. `source` is None where it is the built-in one."""

    text: str
    sampling: SamplingOverrides
    source: PersonaVersion | None


async def resolve(store: Store, key: ThreadKey, default: str = DEFAULT_TEXT) -> Resolved:
    """The persona at `key`: the thread's, else the channel's, the workspace's, the default.

    A persona's sampling settings come with its text; they are not mixed across scopes.
    """
    scopes = key.scopes()
    versions = await store.personas(scopes)
    for scope in scopes:
        version = versions.get(scope)
        if version is not None and version.text is not None:
            return Resolved(version.text, version.sampling, version)
    return Resolved(default, SamplingOverrides(), None)


async def set_persona(
    store: Store,
    scope: ThreadKey,
    text: str,
    sampling: SamplingOverrides,
    by: Author,
    *,
    name: str | None = None,
    is_dm: bool = False,
) -> PersonaVersion:
    """Set the persona of a scope, effective with the next message.

    Raises:
        NotAllowed: `by` may not set personas here.
        PersonaError: the text is empty or too long, or a sampling setting is out of its range.
    """
    require_persona(by, scope, is_dm=is_dm)
    text = checked_text(text)
    apply_overrides(SamplingParams(), sampling)
    return await store.add_persona_version(scope, text, sampling, by, name)


async def clear_persona(
    store: Store, scope: ThreadKey, by: Author, *, is_dm: bool = False
) -> PersonaVersion:
    """Clear the persona of a scope: it inherits again. Earlier versions stay.

    Raises:
        NotAllowed: `by` may not set personas here.
    """
    require_persona(by, scope, is_dm=is_dm)
    return await store.add_persona_version(scope, None, SamplingOverrides(), by)


def checked_text(text: str) -> str:
    """The persona text as it is stored.

    Raises:
        PersonaError: it is empty or longer than MAX_TEXT characters.
    """
    text = text.strip()
    if not text:
        raise PersonaError("The persona needs a text, for example: You are a pirate.")
    if len(text) > MAX_TEXT:
        raise PersonaError(
            f"The persona has {len(text):,} characters; at most {MAX_TEXT:,} are possible."
        )
    return text


def parse_sampling(args: Mapping[str, str]) -> SamplingOverrides:
    """The sampling settings among a command's arguments, checked.

    Raises:
        PersonaError: a value is no number or out of its range.
    """
    values: dict[str, Any] = {}
    for name in SAMPLING_FIELDS:
        raw = args.get(name)
        if raw is None:
            continue
        whole = name in _WHOLE_NUMBERS
        try:
            values[name] = int(raw) if whole else float(raw)
        except ValueError:
            kind = "a whole number" if whole else "a number"
            raise PersonaError(f"{name} must be {kind}, not {raw[:40]!r}.") from None
    overrides = SamplingOverrides(**values)
    apply_overrides(SamplingParams(), overrides)
    return overrides


def apply_overrides(defaults: SamplingParams, overrides: SamplingOverrides) -> SamplingParams:
    """The operator's settings with a persona's on top.

    Raises:
        PersonaError: a setting is out of its range.
    """
    changes = {
        name: value for name in SAMPLING_FIELDS if (value := getattr(overrides, name)) is not None
    }
    for name in _WHOLE_NUMBERS & changes.keys():
        if not 0 <= changes[name] <= _MAX_WHOLE:
            raise PersonaError(f"{name} must be from 0 to {_MAX_WHOLE:,}.")
    try:
        return replace(defaults, **changes)
    except ValueError as error:
        raise PersonaError(f"{error}.") from None


def library_text(name: str) -> tuple[str, str]:
    """The library's persona of this name (case does not matter): its exact name and its text.

    Raises:
        PersonaError: there is none; the text lists those there are.
    """
    wanted = " ".join(name.split()).casefold()
    if wanted not in LIBRARY:
        raise PersonaError(f"There is no persona {name[:40]!r}. There are: {', '.join(LIBRARY)}.")
    return wanted, LIBRARY[wanted]
