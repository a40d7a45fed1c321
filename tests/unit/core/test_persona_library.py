"""Personas by name, their history, undo and preview."""

from __future__ import annotations

import pytest

from bot.core import persona_library
from bot.core.events import CommandInvoked, ThreadKey
from bot.core.personas import PersonaError
from bot.core.ports import CommandReply
from bot.core.records import LibraryPersona, SamplingOverrides
from bot.engine.api import EngineBusy
from tests.support.core_rig import ADMIN, CHANNEL, Rig
from tests.support.memory_store import MemoryStore
from tests.support.scripted_engine import prompt_text

THREAD = CHANNEL.in_thread("t")


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def command(rig: Rig, which: str, key: ThreadKey = THREAD, /, **args: str) -> CommandReply:
    reply = await rig.service.handle(CommandInvoked(key, ADMIN, which, args))
    assert reply is not None
    return reply


async def persona(rig: Rig, key: ThreadKey = THREAD) -> str:
    return (await rig.queries.persona_at(key)).text


@pytest.mark.parametrize("name", ["love bug", "Love  Bug", " LOVE BUG "])
async def test_names_are_forgiving(name: str) -> None:
    assert (await persona_library.find(MemoryStore(), THREAD, name)).name == "love bug"


async def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(PersonaError, match="pirate, love bug, physicist"):
        await persona_library.find(MemoryStore(), THREAD, "wizard")


async def test_a_workspace_s_own_is_taken_with_its_sampling(rig: Rig) -> None:
    await command(rig, "persona-library add", name="Sea  Dog", text="Arr.", top_k="1")
    assert (await command(rig, "persona use", name="sea dog")).ok
    found = await rig.queries.persona_at(THREAD)
    assert (found.text, found.sampling) == ("Arr.", SamplingOverrides(top_k=1))
    assert found.source is not None
    assert found.source.name == "Sea Dog"
    assert "- Sea Dog (yours): Arr. (top_k 1)" in (await command(rig, "persona list")).text


async def test_another_workspace_does_not_see_it(rig: Rig) -> None:
    await command(rig, "persona-library add", name="sea dog", text="Arr.")
    elsewhere = ThreadKey("test", "other", "c")
    assert not (await command(rig, "persona use", elsewhere, name="sea dog")).ok
    assert all(each.built_in for each in await rig.queries.library(elsewhere))


async def test_edit_changes_what_is_given_and_not_what_is_in_use(rig: Rig) -> None:
    await command(rig, "persona-library add", name="dog", text="Woof.", top_k="1", seed="3")
    await command(rig, "persona use", name="dog")
    await command(rig, "persona-library edit", name="dog", temperature="0.5", seed="")
    (dog,) = [each for each in await rig.queries.library(THREAD) if not each.built_in]
    assert (dog.text, dog.sampling) == ("Woof.", SamplingOverrides(top_k=1, temperature=0.5))
    assert (await rig.queries.persona_at(THREAD)).sampling == SamplingOverrides(top_k=1, seed=3)
    assert (await command(rig, "persona-library remove", name="DOG")).ok
    assert await persona(rig) == "Woof."


@pytest.mark.parametrize(
    ("name", "args", "told"),
    [
        ("persona-library add", {"name": "Pirate", "text": "x"}, "already"),
        ("persona-library add", {"name": "", "text": "x"}, "1 to 40 characters"),
        ("persona-library add", {"name": "x" * 41, "text": "x"}, "1 to 40 characters"),
        ("persona-library add", {"name": "x", "text": " "}, "Write the persona's instructions"),
        ("persona-library add", {"name": "x", "text": "x", "top_p": "2"}, "top_p"),
        ("persona-library edit", {"name": "pirate", "text": "x"}, "built in"),
        ("persona-library remove", {"name": "pirate"}, "built in"),
        ("persona-library remove", {"name": "nobody"}, "There's no persona"),
    ],
)
async def test_wrong_changes_are_explained(
    rig: Rig, name: str, args: dict[str, str], told: str
) -> None:
    reply = await command(rig, name, **args)
    assert not reply.ok
    assert told in reply.text
    assert rig.store.entries == []


async def test_a_library_has_an_end(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persona_library, "MAX_OWN", 1)
    await persona_library.add(rig.store, THREAD, LibraryPersona("a", "x"), ADMIN)
    with pytest.raises(PersonaError, match="full \\(1 personas\\)"):
        await persona_library.add(rig.store, THREAD, LibraryPersona("b", "x"), ADMIN)


async def test_undo_brings_the_one_before_back_and_then_this_one(rig: Rig) -> None:
    for text in ("one", "two"):
        await command(rig, "persona set", text=text)
    await command(rig, "persona undo")
    assert await persona(rig) == "one"
    await command(rig, "persona undo")
    assert await persona(rig) == "two"
    assert len(await rig.store.persona_history(CHANNEL)) == 4


async def test_undo_of_the_first_inherits_again(rig: Rig) -> None:
    assert "nothing to undo" in (await command(rig, "persona undo")).text
    before = await persona(rig)
    await command(rig, "persona set", text="one")
    assert "Cleared the persona" in (await command(rig, "persona undo")).text
    assert await persona(rig) == before


async def test_history_lists_the_newest_first(rig: Rig) -> None:
    assert "No persona has been set" in (await command(rig, "persona history")).text
    for number in range(12):
        await command(rig, "persona set", text=f"number {number}\nand more")
    lines = (await command(rig, "persona history")).text.splitlines()
    assert lines[0].endswith("Root: number 11 and more")
    assert lines[-1] == "- and 2 earlier"
    assert len(lines) == 11


async def test_default_counts_where_nothing_else_does(rig: Rig) -> None:
    await command(rig, "persona default", text="Be kind.")
    assert await persona(rig, ThreadKey("test", "w", "elsewhere")) == "Be kind."


async def test_a_preview_answers_and_leaves_no_trace(rig: Rig) -> None:
    rig.engine.auto = "Arr!"
    before = await persona(rig)
    reply = await command(
        rig, "persona preview", text="Be a pirate.", question="Who are you?", top_k="1"
    )
    assert reply.private
    assert "**Who are you?**\nArr!" in reply.text
    request = rig.engine.requests[0]
    assert prompt_text(request.messages) == "Be a pirate.\nWho are you?"
    assert request.sampling.top_k == 1
    assert request.share < 1  # replies go before
    assert await persona(rig) == before
    assert rig.store.turns == {}
    assert rig.store.entries == []


async def test_a_preview_that_fails_says_so(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.engine.refuse_with = EngineBusy(3)
    reply = await command(rig, "persona preview", text="x")
    assert (reply.ok, reply.text) == (
        False,
        "I'm busy: 3 requests are waiting. Please try again in a moment.",
    )
    rig.engine.refuse_with = RuntimeError("secret")
    reply = await command(rig, "persona preview", text="x")
    assert not reply.ok
    assert "secret" not in reply.text
    assert reply.text.split("reference ")[1].rstrip(").") in caplog.text
