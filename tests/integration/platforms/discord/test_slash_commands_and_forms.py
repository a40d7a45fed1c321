"""Slash commands, forms, autocomplete, /ask and the message menus, over the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.core.commands.parsing import COMMANDS
from bot.platforms.discord.locales import TEXTS
from tests.servers.discord.interactions import Interaction
from tests.servers.discord.rig import Rig, rig

MANAGE_GUILD = "32"


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as found:
        yield found
        assert found.discord.rest.unknown == []


async def said(home: Rig, interaction: Interaction) -> str:
    await home.until(lambda: interaction.texts and all(interaction.texts))
    return "\n".join(interaction.texts)


def root(home: Rig, name: str, type: int = 1) -> dict[str, Any]:
    return next(c for c in home.discord.commands if c["name"] == name and c.get("type", 1) == type)


async def set_persona(home: Rig, text: str, **fields: str) -> Interaction:
    form = await home.discord.slash(home.discord.owner, home.general, "persona set")
    await home.until(lambda: form.modal)
    return await home.discord.submit(form, text=text, **fields)


async def test_every_command_of_the_core_is_registered(home: Rig) -> None:
    found = set()
    for command in home.discord.commands:
        if command.get("type", 1) != 1:
            continue
        below = [o["name"] for o in command.get("options", ()) if o["type"] == 1]
        found |= {f"{command['name']} {name}" for name in below} or {command["name"]}
    assert found == {*COMMANDS, "ask"}
    menus = {c["name"] for c in home.discord.commands if c.get("type", 1) == 3}
    assert menus == {"Ask about this", "Summarise from here"}


async def test_admin_commands_are_for_those_who_manage_the_server(home: Rig) -> None:
    for name in ("persona", "persona-library", "settings", "audit"):
        assert root(home, name)["default_member_permissions"] == MANAGE_GUILD
    for name in ("ask", "reset", "stop", "forget", "usage", "help"):
        assert root(home, name)["default_member_permissions"] is None
    assert root(home, "ask")["contexts"] == [0, 1, 2]
    assert root(home, "ask")["integration_types"] == [0, 1]
    assert root(home, "persona")["integration_types"] == [0]
    assert root(home, "Ask about this", 3)["integration_types"] == [0, 1]
    assert root(home, "Ask about this", 3)["name_localizations"]["de"] == "Hierzu fragen"


async def test_every_translation_is_of_a_text_that_there_is(home: Rig) -> None:
    def texts(command: dict[str, Any]) -> set[str]:
        found = {command["name"], command.get("description", "")}
        return found.union(*map(texts, command.get("options", ())))

    there = set().union(*map(texts, home.discord.commands))
    for locale, translated in TEXTS.items():
        assert set(translated) <= there, locale
    shown = next(o for o in root(home, "ask")["options"] if o["name"] == "question")
    assert shown["description_localizations"]["de"] == "Deine Frage"


async def test_an_admin_sets_a_persona_in_a_form(home: Rig) -> None:
    form = await home.discord.slash(home.discord.owner, home.general, "persona set")
    await home.until(lambda: form.modal)
    assert form.modal is not None
    fields = {row["component"]["custom_id"]: row["component"] for row in form.modal["components"]}
    assert list(fields) == ["text", "temperature", "max_new_tokens", "more"]
    assert fields["text"]["max_length"] == 4000
    assert fields["text"]["value"].startswith("You are Parley")
    done = await home.discord.submit(
        form, text="You are a pirate.", temperature="0.2", more="top_k=40, seed=7"
    )
    assert "temperature 0.2" in await said(home, done)
    assert done.original is not None
    assert not done.original.flags & 64  # the channel is told
    await home.ask("Hello")
    request = await home.request(0)
    assert "You are a pirate." in "".join(p.text for m in request.messages for p in m.parts)
    assert (request.sampling.temperature, request.sampling.top_k) == (0.2, 40)
    again = await home.discord.slash(home.discord.owner, home.general, "persona set")
    await home.until(lambda: again.modal)
    assert again.modal is not None
    assert again.modal["components"][0]["component"]["value"] == "You are a pirate."


async def test_somebody_else_is_refused_in_code_too(home: Rig) -> None:
    form = await home.discord.slash(home.ana, home.general, "persona set")
    await home.until(lambda: form.modal)
    refused = await home.discord.submit(form, text="You are evil.")
    assert "admin" in await said(home, refused)
    assert refused.original is not None
    assert refused.original.flags & 64
    shown = await home.discord.slash(home.ana, home.general, "persona show")
    assert "evil" not in await said(home, shown)


async def test_a_bad_sampling_value_is_told(home: Rig) -> None:
    assert "top_p" in await said(home, await set_persona(home, "You are a fox.", more="top_p=7"))
    assert "no number" not in await said(home, await set_persona(home, "x", temperature="hot"))


async def test_personas_by_name_with_autocomplete_history_and_undo(home: Rig) -> None:
    owner, general, slash = home.discord.owner, home.general, home.discord.slash
    names = await home.discord.autocomplete(owner, general, "persona use", "name", "pir")
    assert names == ["pirate"]
    used = await slash(owner, general, "persona use", name="pirate", scope="channel")
    assert "pirate" in await said(home, used)
    await said(home, await slash(owner, general, "persona use", name="butler"))
    history = await said(home, await slash(owner, general, "persona history"))
    assert "pirate" in history
    assert "butler" in history
    await said(home, await slash(owner, general, "persona undo"))
    assert "pirate" in await said(home, await slash(owner, general, "persona show"))
    await said(home, await slash(owner, general, "persona clear"))
    assert "built-in" in await said(home, await slash(owner, general, "persona show"))
    audit = await said(home, await slash(owner, general, "audit"))
    assert "Olga" in audit


async def test_the_library_of_a_server(home: Rig) -> None:
    owner, general, slash = home.discord.owner, home.general, home.discord.slash
    form = await slash(owner, general, "persona-library add", name="fox")
    await home.until(lambda: form.modal)
    assert "fox" in await said(home, await home.discord.submit(form, text="You are a fox."))
    names = await home.discord.autocomplete(owner, general, "persona-library edit", "name", "")
    assert names == ["fox"]
    form = await slash(owner, general, "persona-library edit", name="fox")
    await home.until(lambda: form.modal)
    assert form.modal is not None
    assert form.modal["components"][0]["component"]["value"] == "You are a fox."
    await said(home, await home.discord.submit(form, text="You are a red fox."))
    assert "fox" in await said(home, await slash(owner, general, "persona use", name="fox"))
    assert "red fox" in await said(home, await slash(owner, general, "persona show"))
    await said(home, await slash(owner, general, "persona-library remove", name="fox"))
    assert "fox" not in await said(home, await slash(owner, general, "persona-library list"))


async def test_a_preview_is_private_and_saves_nothing(home: Rig) -> None:
    form = await home.discord.slash(home.discord.owner, home.general, "persona preview")
    await home.until(lambda: form.modal)
    shown = await home.discord.submit(form, text="You are a fox.", question="Who are you?")
    request = await home.request(0)
    request.write("A fox.")
    request.finish()
    assert "A fox." in await said(home, shown)
    assert shown.private
    after = await home.discord.slash(home.discord.owner, home.general, "persona show")
    assert "fox" not in await said(home, after)


async def test_a_slow_command_is_deferred_in_time(home: Rig) -> None:
    form = await home.discord.slash(home.discord.owner, home.general, "persona preview")
    await home.until(lambda: form.modal)
    shown = await home.discord.submit(form, text="You are a fox.", question="Who are you?")
    request = await home.request(0)
    await home.until(lambda: shown.acknowledged == 5)  # deferred, while the engine takes its time
    request.write("A fox.")
    request.finish()
    assert "A fox." in await said(home, shown)


async def test_settings_change_how_it_behaves(home: Rig) -> None:
    owner, general, slash = home.discord.owner, home.general, home.discord.slash
    await said(home, await slash(owner, general, "settings set", mode="always", inline="on"))
    shown = await said(home, await slash(owner, general, "settings show"))
    assert "always" in shown
    await home.discord.say(home.ana, general, "nobody is addressed")
    request = await home.request(0)
    request.write("Me!")
    request.finish()
    post = await home.ended(general, -1)
    assert post.content == "Me!"


async def test_usage_help_stop_and_forget(home: Rig) -> None:
    await home.exchange("Hello", "Hi")
    slash = home.discord.slash
    usage = ""
    while "1 reply" not in usage:  # stored just after it is shown
        usage = await said(home, await slash(home.ana, home.general, "usage", days=7))
    assert "/persona set" in await said(home, await slash(home.ana, home.general, "help"))
    one = await slash(home.ana, home.general, "help", command="reset")
    assert "persona" not in await said(home, one)
    assert "not writing" in await said(home, await slash(home.ana, home.general, "stop"))


async def test_what_is_forgotten_for_good_is_asked_about_first(home: Rig) -> None:
    _, thread = await home.exchange("My name is Ana.", "Hello Ana.")
    asked = await home.discord.slash(home.ana, thread, "forget", what="me")
    assert "can't be undone" in await said(home, asked)
    assert asked.original is not None
    assert asked.original.flags & 64
    assert asked.original.labels == ["Delete", "Keep"]
    await home.discord.press(home.ana, asked.original, "Keep")
    await home.until(lambda: asked.texts == ["Nothing was deleted."])
    assert asked.original.components == []
    assert await home.store.turn(1) is not None
    asked = await home.discord.slash(home.ana, home.general, "forget", what="me")
    await said(home, asked)
    assert asked.original is not None
    await home.discord.press(home.ana, asked.original, "Delete")
    await home.until(lambda: "I've forgotten what you wrote" in asked.texts[0])
    assert await home.store.turn(1) is None
    assert asked.original.components == []


async def test_a_channel_is_forgotten_by_an_admin_who_is_asked_first(home: Rig) -> None:
    await home.exchange("My name is Ana.", "Hello Ana.")
    refused = await home.discord.slash(home.ana, home.general, "forget", what="here")
    assert "Only an admin" in await said(home, refused)
    asked = await home.discord.slash(home.discord.owner, home.general, "forget", what="here")
    assert "this channel and its threads" in await said(home, asked)
    assert asked.original is not None
    assert await home.store.turn(1) is not None
    # Whoever gets hold of the button's id has no more rights than by the command.
    stolen = await home.discord.press(home.ana, asked.original, "Delete")
    await home.until(lambda: asked.texts and "Only an admin" in asked.texts[0])
    assert await home.store.turn(1) is not None
    assert stolen.texts == []
    asked = await home.discord.slash(home.discord.owner, home.general, "forget", what="here")
    await said(home, asked)
    assert asked.original is not None
    pressed = await home.discord.press(home.discord.owner, asked.original, "Delete")
    await home.until(lambda: pressed.texts)
    assert pressed.texts[0].startswith("I've forgotten this channel and its threads (1 exchange")
    assert not pressed.followups[0].flags & 64  # everybody may know
    assert await home.store.turn(1) is None


async def test_a_thread_and_a_dm_are_forgotten_by_those_in_them(home: Rig) -> None:
    _, thread = await home.exchange("My name is Ana.", "Hello Ana.")
    dm = home.discord.dm(home.ana)
    await home.discord.say(home.ana, dm, "In private")
    (await home.request(1)).finish()
    await home.ended(dm)
    for number, (place, words) in enumerate(((thread, "this thread"), (dm, "each other")), 1):
        asked = await home.discord.slash(home.ana, place, "forget", what="here")
        assert words in await said(home, asked)
        assert asked.original is not None
        pressed = await home.discord.press(home.ana, asked.original, "Delete")
        await home.until(lambda pressed=pressed: pressed.texts)
        assert pressed.texts[0].startswith("I've forgotten")
        assert await home.store.turn(number) is None


async def test_ask_is_answered_through_the_interaction(home: Rig) -> None:
    asked = await home.discord.slash(home.bob, home.general, "ask", question="What is a qubit?")
    request = await home.request(0)
    assert request.asked.endswith("What is a qubit?")
    request.write("A quantum bit.")
    await home.until(lambda: asked.original and asked.original.content)
    assert asked.original is not None
    assert asked.original.labels == ["Stop"]
    request.finish()
    await home.until(lambda: asked.original and "Regenerate" in asked.original.labels)
    assert asked.texts == ["A quantum bit."]
    assert home.thread(asked.original) is None


async def test_ask_can_be_private_and_long(home: Rig) -> None:
    asked = await home.discord.slash(
        home.bob, home.general, "ask", question="Write much", private=True
    )
    request = await home.request(0)
    request.write("word " * 3000)
    request.finish()
    await home.until(lambda: asked.followups and "Regenerate" in asked.followups[-1].labels)
    messages = [asked.original, *asked.followups]
    assert len(messages) == 5  # a user's app may not send more
    assert all(m is not None and m.flags & 64 for m in messages)
    assert asked.followups[-1].attachments[0]["filename"] == "reply.md"


async def test_regenerate_of_an_answer_whose_interaction_is_over(home: Rig) -> None:
    asked = await home.discord.slash(home.bob, home.general, "ask", question="Hello")
    request = await home.request(0)
    request.write("One.")
    request.finish()
    await home.until(lambda: asked.original and "Regenerate" in asked.original.labels)
    assert asked.original is not None
    home.discord.clock_ahead_s = 16 * 60  # as Discord sees it
    pressed = await home.discord.press(home.bob, asked.original, "Regenerate")
    another = await home.request(1)
    another.write("Two.")
    another.finish()
    await home.until(lambda: asked.original and asked.original.content == "Two.")
    assert pressed.texts == []


async def test_asking_about_somebodys_picture(home: Rig) -> None:
    posted = await home.discord.say(
        home.bob, home.general, "my cat", files=(("cat.png", b"a cat"),)
    )
    form = await home.discord.menu(home.ana, posted, "Ask about this")
    await home.until(lambda: form.modal)
    assert form.modal is not None
    assert form.modal["components"][0]["component"]["value"] == "What is in this picture?"
    asked = await home.discord.submit(form, question="What colour is it?")
    request = await home.request(0)
    assert "What colour is it?" in request.asked
    assert "my cat" in request.asked
    assert [p.data for m in request.messages for p in m.parts if hasattr(p, "digest")] == [b"a cat"]
    request.write("Black.")
    request.finish()
    await home.until(lambda: asked.texts == ["Black."])


async def test_summarising_from_a_message_on(home: Rig) -> None:
    await home.discord.say(home.bob, home.general, "before")
    start = await home.discord.say(home.bob, home.general, "We meet on Monday.")
    await home.discord.say(home.ana, home.general, "No, on Tuesday.")
    asked = await home.discord.menu(home.ana, start, "Summarise from here")
    request = await home.request(0)
    said_ = "\n".join(p.text for m in request.messages for p in m.parts)
    assert "before" not in said_
    assert said_.index("Monday") < said_.index("Tuesday") < said_.index("Summarize")
    request.write("Tuesday it is.")
    request.finish()
    await home.until(lambda: asked.texts == ["Tuesday it is."])
    assert asked.private


async def test_a_switched_off_channel_says_so(home: Rig) -> None:
    owner, general, slash = home.discord.owner, home.general, home.discord.slash
    await said(home, await slash(owner, general, "settings set", mode="never"))
    assert "turned off" in await said(home, await slash(home.ana, general, "ask", question="Hi"))
    await home.ask("hello?")
    await said(home, await slash(home.ana, general, "help"))
    assert home.engine.requests == []


async def test_commands_in_a_dm(home: Rig) -> None:
    dm = home.discord.dm(home.ana)
    form = await home.discord.slash(home.ana, dm, "persona set")
    await home.until(lambda: form.modal)
    assert "Saved." in await said(home, await home.discord.submit(form, text="You are a fox."))
    await home.discord.say(home.ana, dm, "Hello")
    request = await home.request(0)
    assert "You are a fox." in "".join(p.text for m in request.messages for p in m.parts)


async def test_syncing_again_changes_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as first:
        server = first.discord
        created = server.created_commands
        assert (server.registrations, created) == (1, len(server.commands))
        await first.service.drain(0)
        await first.adapter.close()
        async with rig(tmp_path, discord=server):
            assert (server.registrations, server.created_commands) == (1, created)
        server.commands[0]["description"] = "somebody changed it"
        async with rig(tmp_path, discord=server):
            assert (server.registrations, server.created_commands) == (2, created)
            assert server.commands[0]["description"] != "somebody changed it"
