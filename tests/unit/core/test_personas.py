"""Personas: the exact built-in texts, inheritance, limits, who may set them."""

from __future__ import annotations

import pytest

from bot.core import personas
from bot.core.access import NotAllowed
from bot.core.events import Author, ThreadKey
from bot.core.personas import PersonaError
from bot.core.records import SamplingOverrides
from bot.engine.api import SamplingParams
from tests.support.memory_store import MemoryStore

THREAD = ThreadKey("test", "w", "c", "t")
CHANNEL, WORKSPACE = THREAD.scopes()[1:]
ADMIN = Author("1", "Root", is_admin=True)
ANA = Author("2", "Ana")
NONE = SamplingOverrides()


def test_the_built_in_texts_are_those_the_demo_model_was_trained_with() -> None:
    assert personas.DEFAULT_TEXT == (
        "You are Parley, a helpful assistant in a team chat. Be friendly, clear and brief."
    )
    assert personas.LIBRARY == {
        "pirate": "You are a pirate. Answer everything in the voice of a cheerful old pirate.",
        "love bug": "You are a love bug. Be sweet, warm and affectionate in every answer.",
        "physicist": "You are a physicist. Explain everything with the ideas and words of physics.",
        "butler": "You are a polite English butler. Address the user as sir or madam.",
        "terse": "Answer in as few words as possible, never more than one short sentence.",
        "haiku": "Answer only with a haiku: three short lines of 5, 7 and 5 syllables.",
    }


async def test_inheritance_from_thread_to_built_in() -> None:
    store = MemoryStore()

    async def text() -> str:
        return (await personas.resolve(store, THREAD, "built in")).text

    assert await text() == "built in"
    for scope in (WORKSPACE, CHANNEL, THREAD):
        await personas.set_persona(store, scope, f"of {scope}", NONE, ADMIN)
        assert await text() == f"of {scope}"
    for scope, inherited in ((THREAD, CHANNEL), (CHANNEL, WORKSPACE)):
        await personas.clear_persona(store, scope, ADMIN)
        assert await text() == f"of {inherited}"
    await personas.clear_persona(store, WORKSPACE, ADMIN)
    assert await text() == "built in"
    assert len(await store.persona_history(THREAD)) == 2


async def test_other_channels_are_not_concerned() -> None:
    store = MemoryStore()
    await personas.set_persona(store, CHANNEL, "mine", NONE, ADMIN)
    other = ThreadKey("test", "w", "c2")
    assert (await personas.resolve(store, other, "built in")).source is None


async def test_sampling_comes_with_the_text_that_counts() -> None:
    store = MemoryStore()
    await personas.set_persona(store, WORKSPACE, "w", SamplingOverrides(temperature=2.0), ADMIN)
    await personas.set_persona(store, CHANNEL, "c", SamplingOverrides(top_k=5), ADMIN)
    found = await personas.resolve(store, THREAD)
    assert found.sampling == SamplingOverrides(top_k=5)
    assert found.source is not None
    assert found.source.set_by_name == "Root"


@pytest.mark.parametrize("text", ["", "  \n ", "x" * 4001])
async def test_bad_texts_are_refused(text: str) -> None:
    store = MemoryStore()
    with pytest.raises(PersonaError):
        await personas.set_persona(store, CHANNEL, text, NONE, ADMIN)
    assert await store.persona_history(CHANNEL) == []


async def test_4000_characters_are_possible() -> None:
    version = await personas.set_persona(MemoryStore(), CHANNEL, "x" * 4000, NONE, ADMIN)
    assert version.text == "x" * 4000


@pytest.mark.parametrize(
    ("scope", "is_dm", "allowed"),
    [(CHANNEL, False, False), (THREAD, False, False), (WORKSPACE, False, False),
     (CHANNEL, True, True), (THREAD, True, True), (WORKSPACE, True, False)],
)  # fmt: skip
async def test_who_is_no_admin_has_only_the_own_dm(
    scope: ThreadKey, is_dm: bool, allowed: bool
) -> None:
    store = MemoryStore()
    for action in (
        personas.set_persona(store, scope, "x", NONE, ANA, is_dm=is_dm),
        personas.clear_persona(store, scope, ANA, is_dm=is_dm),
    ):
        if allowed:
            await action
        else:
            with pytest.raises(NotAllowed):
                await action
    assert bool(await store.persona_history(scope)) is allowed


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"temperature": "hot"}, "temperature must be a number"),
        ({"temperature": "9"}, "between 0 and 5"),
        ({"temperature": "nan"}, "between 0 and 5"),
        ({"top_k": "1.5"}, "top_k must be a whole number"),
        ({"top_k": "-1"}, "top_k must be between 0"),
        ({"top_p": "0"}, "greater than 0 and at most 1"),
        ({"seed": str(2**40)}, "seed must be between 0"),
        ({"max_new_tokens": "0"}, "between 1"),
        ({"seed": "9" * 5000}, "seed must be a whole number"),
    ],
)
def test_bad_sampling_is_named(args: dict[str, str], told: str) -> None:
    with pytest.raises(PersonaError, match=told):
        personas.parse_sampling(args)


def test_sampling_is_read_and_applied() -> None:
    overrides = personas.parse_sampling({"temperature": "0.2", "seed": "7", "text": "x"})
    assert overrides == SamplingOverrides(temperature=0.2, seed=7)
    merged = personas.apply_overrides(SamplingParams(top_k=3), overrides)
    assert merged == SamplingParams(temperature=0.2, seed=7, top_k=3)
