"""`/parley`, its modals, the shortcuts, App Home and the assistant's prompts."""

from __future__ import annotations

import pytest

from bot.core import texts
from bot.core.events import Author, CommandInvoked, ThreadKey
from bot.platforms.slack.manifest import ASK_SHORTCUT, SUMMARIZE_SHORTCUT
from tests.servers.slack.rig import Rig
from tests.servers.slack.world import shown
from tests.servers.waiting import until
from tests.support.scripted_engine import prompt_text


async def test_help_names_the_commands_as_they_are_typed_here(rig: Rig) -> None:
    told = await rig.ana.told(rig.ana.slash(rig.general, "help"))
    assert "/parley persona set" in told
    assert "`/persona" not in told


async def test_wrong_commands_are_told_what_to_type(rig: Rig) -> None:
    assert "persona" in await rig.ana.told(rig.ana.slash(rig.general, "persone show"))
    assert "followed by" in await rig.ana.told(rig.ana.slash(rig.general, "persona dance"))
    assert "Ask me" in await rig.ana.told(rig.ana.slash(rig.general, "ask"))


async def test_persona_show_use_history_undo(rig: Rig) -> None:
    assert "built-in" in await rig.ana.told(rig.ana.slash(rig.general, "persona"))
    await rig.root.told(rig.root.slash(rig.general, "persona use pirate"))
    assert "pirate" in (await rig.ana.told(rig.ana.slash(rig.general, "persona show"))).lower()
    await rig.root.told(rig.root.slash(rig.general, "persona undo"))
    assert "built-in" in await rig.ana.told(rig.ana.slash(rig.general, "persona show"))
    assert "pirate" in (await rig.root.told(rig.root.slash(rig.general, "persona history"))).lower()
    assert "admin" in await rig.ana.told(rig.ana.slash(rig.general, "persona use pirate"))


async def test_the_library_is_reached_through_persona(rig: Rig) -> None:
    added = await rig.root.told(
        rig.root.slash(rig.general, "persona library add fox You are a fox.")
    )
    assert "fox" in added
    assert "fox" in await rig.ana.told(rig.ana.slash(rig.general, "persona library"))


async def test_the_persona_modal_is_prefilled_checked_and_saved(rig: Rig) -> None:
    rig.root.slash(rig.general, "persona set")
    view = await rig.root.view()
    text = next(b for b in view["blocks"] if b.get("block_id") == "text")
    assert "Parley" in text["element"]["initial_value"]
    sent = rig.root.submit(view, {"text": "You are a pirate.", "temperature": "9"})
    await sent.acked.wait()
    assert sent.answer is not None
    assert sent.answer["response_action"] == "errors"
    assert sent.answer["errors"].keys() == {"temperature"}
    sent = rig.root.submit(view, {"text": "You are a pirate.", "temperature": "0.2"})
    await sent.acked.wait()
    assert not sent.answer
    await until(lambda: rig.store.entries)
    rig.ana.mention(rig.general, "who are you?")
    request = await rig.asked(0)
    assert "You are a pirate." in prompt_text(request.messages)
    assert request.sampling.temperature == 0.2


async def test_others_get_neither_the_modal_nor_its_effect(rig: Rig) -> None:
    sent = rig.ana.slash(rig.general, "persona set")
    assert "admin" in await rig.ana.told(sent)
    assert not rig.team.views
    rig.root.slash(rig.general, "persona set")
    view = await rig.root.view()
    sent = rig.ana.submit(view, {"text": "Ana was here"})
    await sent.acked.wait()
    assert sent.answer is not None
    assert "admin" in sent.answer["errors"]["text"]
    assert not rig.store.entries


async def test_an_expired_trigger_is_told(rig: Rig) -> None:
    rig.slack.trigger_lives_s = -1.0
    assert "again" in await rig.root.told(rig.root.slash(rig.general, "persona set"))


async def test_in_a_dm_its_person_sets_the_persona(rig: Rig) -> None:
    rig.ana.slash(rig.ana.dm, "persona set")
    view = await rig.ana.view()
    sent = rig.ana.submit(view, {"text": "You are my butler."})
    await sent.acked.wait()
    rig.ana.say(rig.ana.dm, "who are you?")
    request = await rig.asked(0)
    assert "my butler" in prompt_text(request.messages)


async def test_ask_answers_its_asker_alone(rig: Rig) -> None:
    sent = rig.ana.slash(rig.general, "ask what is a qubit?")
    request = await rig.asked(0)
    assert sent.answer == {"text": "Thinking…", "response_type": "ephemeral"}
    request.write("A quantum bit.")
    request.finish()
    assert await rig.ana.told(sent) == "A quantum bit."
    assert not rig.bots(rig.general)


async def test_ask_about_this_sees_the_message_and_its_picture(rig: Rig) -> None:
    files = [("a.png", "image/png", b"some pixels")]
    message = rig.bob.say(rig.general, "the new logo", files=files)
    sent = rig.ana.shortcut(rig.general, message, ASK_SHORTCUT)
    view = await rig.ana.view()
    rig.ana.submit(view, {"question": "is it blue?"})
    request = await rig.asked(0)
    prompt = prompt_text(request.messages)
    assert "the new logo" in prompt
    assert "is it blue?" in prompt
    assert prompt.count("<") == 1
    request.write("It is.")
    request.finish()
    assert await rig.ana.told(sent) == "It is."


async def test_summarize_thread_reads_all_of_it(rig: Rig) -> None:
    first = rig.bob.say(rig.general, "Shall we launch on Friday?")
    rig.ana.say(rig.general, "Yes, let's.", thread=first["ts"])
    sent = rig.ana.shortcut(rig.general, first, SUMMARIZE_SHORTCUT)
    request = await rig.asked(0)
    prompt = prompt_text(request.messages)
    assert "launch on Friday" in prompt
    assert "let's" in prompt
    request.write("They launch on Friday.")
    request.finish()
    assert await rig.ana.told(sent) == "They launch on Friday."


async def test_a_thread_that_can_t_be_read_is_told(rig: Rig) -> None:
    other = rig.team.add_channel("other", bot=False)
    message = rig.ana.say(other, "secret")
    sent = rig.ana.shortcut(other, message, SUMMARIZE_SHORTCUT)
    assert "invite me" in await rig.ana.told(sent)


async def test_app_home_shows_and_edits(rig: Rig) -> None:
    await rig.root.told(rig.root.slash(rig.general, "persona use pirate"))
    rig.ana.open_home()
    await until(lambda: rig.ana.id in rig.team.homes)
    plain = str(rig.team.homes[rig.ana.id])
    assert "#general" in plain
    assert "parley_home_edit" not in plain
    rig.root.open_home()
    await until(lambda: rig.root.id in rig.team.homes)
    assert "parley_home_edit" in str(rig.team.homes[rig.root.id])
    assert "Latest changes" in str(rig.team.homes[rig.root.id])
    rig.root.click_home("parley_home_edit", "/")
    view = await rig.root.view()
    rig.root.submit(view, {"text": "You are everybody's friend."})
    await until(lambda: "everybody's friend" in str(rig.team.homes[rig.root.id]))
    rig.ana.click_home("parley_home_edit", f"{rig.general.id}/")
    await until(lambda: rig.bots(rig.ana.dm))
    assert "admin" in rig.bots(rig.ana.dm)[0]["text"]


async def test_a_channel_is_picked_in_app_home(rig: Rig) -> None:
    rig.root.click_home("parley_home_pick", selected=rig.general.id)
    view = await rig.root.view()
    assert "#general" in str(view)
    rig.root.submit(view, {"text": "You are a pirate."})
    await until(lambda: rig.store.entries)
    assert rig.store.entries[0].scope.channel == rig.general.id


async def test_app_home_edits_settings(rig: Rig) -> None:
    await rig.root.told(rig.root.slash(rig.general, "settings set inline=on"))
    rig.root.click_home("parley_home_settings", f"{rig.general.id}/")
    view = await rig.root.view()
    assert "#general" in str(view)
    sent = rig.root.submit(view, {"mode": "always", "retention_days": "99999"})
    await sent.acked.wait()
    assert sent.answer is not None
    assert "retention_days" in sent.answer["errors"]["mode"]
    sent = rig.root.submit(view, {"mode": "always", "retention_days": "30"})
    await until(lambda: "mode=always" in str(rig.team.homes.get(rig.root.id)))
    assert "mode=always, inline=on, retention_days=30" in str(rig.team.homes[rig.root.id])
    question = rig.ana.say(rig.general, "nobody in particular")
    await rig.asked(0)
    rig.root.click_home("parley_home_pick_settings", selected=rig.general.id)
    await until(lambda: len(rig.team.views) == 1)
    again = await rig.root.view()
    assert "30" in str(again)
    rig.root.submit(again, {"mode": "inherit", "retention_days": ""})
    await until(lambda: "mode=" not in str(rig.team.homes[rig.root.id]))
    assert question["ts"] in rig.general.messages


async def test_settings_for_the_whole_workspace(rig: Rig) -> None:
    rig.root.click_home("parley_home_settings", "/")
    rig.root.submit(await rig.root.view(), {"mode": "never"})
    await until(lambda: "mode=never" in str(rig.team.homes.get(rig.root.id)))
    rig.ana.mention(rig.general, "are you there?")
    await rig.slack.delivery.settled()
    assert not rig.engine.requests


@pytest.mark.parametrize("action", ["parley_home_edit", "parley_home_settings"])
@pytest.mark.parametrize("value", ["{channel}/", "/", "{channel}/1.000001"])
async def test_every_edit_is_for_admins_when_clicked_and_when_submitted(
    rig: Rig, action: str, value: str
) -> None:
    value = value.format(channel=rig.general.id)
    rig.ana.click_home(action, value)
    await until(lambda: rig.bots(rig.ana.dm))
    assert "admin" in shown(rig.bots(rig.ana.dm)[0])
    assert not rig.team.views
    rig.root.click_home(action, value)
    view = await rig.root.view()
    # Whose modal it is makes no difference, nor what rights somebody had when it opened.
    rig.team.users[rig.root.id]["is_admin"] = False
    rig.age_names()
    for person in (rig.ana, rig.root):
        sent = person.submit(view, {"text": "Mine", "mode": "never"})
        await sent.acked.wait()
        assert sent.answer is not None
        assert "admin" in str(sent.answer["errors"])
    assert not rig.store.entries


async def test_app_home_shows_nobody_what_slack_hides_from_them(rig: Rig) -> None:
    secret = rig.team.add_channel("secret", kind="group")
    group = rig.team.add_channel("mpdm-bob--root-1", kind="mpim")
    for channel in (secret, group):
        channel.members = {rig.bob.id, rig.team.bot_user}
        await rig.root.told(rig.root.slash(channel, "persona set You keep secrets."))
    await rig.bob.told(rig.bob.slash(rig.bob.dm, "persona set You are Bob's."))
    await rig.root.told(rig.root.slash(rig.general, "persona use pirate"))
    for person in (rig.ana, rig.bob, rig.root):
        person.open_home()
        await until(lambda person=person: person.id in rig.team.homes)
    for person in (rig.ana, rig.root):
        home = str(rig.team.homes[person.id])
        assert "#general" in home
        assert not any(word in home for word in ("secret", "bob", "direct message"))
    home = str(rig.team.homes[rig.bob.id])
    assert "#secret" in home
    assert "a group message (bob, root)" in home
    assert "You are Bob" in home
    # Bob is no admin: his own direct message is what he may edit.
    edits = [b for b in rig.team.homes[rig.bob.id]["blocks"] if b["type"] == "actions"]
    assert [e["elements"][0]["value"] for e in edits] == [f"{rig.bob.dm.id}/"]
    rig.bob.click_home("parley_home_settings", f"{rig.bob.dm.id}/")
    rig.bob.submit(await rig.bob.view(), {"mode": "strict"})
    await until(lambda: "mode=strict" in str(rig.team.homes[rig.bob.id]))


async def test_everybody_s_usage_is_the_admins_to_see(rig: Rig) -> None:
    question = rig.bob.mention(rig.general, "hello")
    await rig.exchange(rig.general, question, "hi")
    for person in (rig.ana, rig.root):
        person.open_home()
        await until(lambda person=person: person.id in rig.team.homes)
    assert "1 reply, " in str(rig.team.homes[rig.ana.id])
    assert rig.bob.id not in str(rig.team.homes[rig.ana.id])
    assert f"{rig.bob.id}: 1 reply" in str(rig.team.homes[rig.root.id])


async def test_a_persona_longer_than_slack_s_input_is_saved_whole(rig: Rig) -> None:
    persona = "\n\n".join(f"Rule {n}: be kind to number {n}." for n in range(116))
    assert 3_000 < len(persona) <= 4_000
    author = Author(rig.root.id, "Root", is_admin=True)
    key = ThreadKey("slack", rig.team.id, rig.general.id)
    await rig.service.handle(CommandInvoked(key, author, "persona set", {"text": persona}))
    rig.root.slash(rig.general, "persona set")
    view = await rig.root.view()
    sent = rig.root.submit(view, {"temperature": "0.3"})
    await sent.acked.wait()
    assert not sent.answer
    saved = await rig.queries.persona_at(key)
    assert saved.text == persona
    assert saved.sampling.temperature == 0.3
    rig.root.slash(rig.general, "persona set")
    sent = rig.root.submit(await rig.root.view(), {"more": "x" * 2_500})
    await sent.acked.wait()
    assert sent.answer is not None
    assert "4,000" in sent.answer["errors"]["text"]
    assert (await rig.queries.persona_at(key)).text == persona


async def test_the_agent_view_suggests_prompts_of_the_persona_in_view(rig: Rig) -> None:
    await rig.root.told(rig.root.slash(rig.general, "persona use pirate"))
    rig.ana.open_home("messages")
    await until(lambda: len(rig.team.prompts) == 1)
    assert "thread_ts" not in rig.team.prompts[0]
    rig.ana.look_at(rig.general)
    await until(lambda: len(rig.team.prompts) == 2)
    assert "#general" in str(rig.team.prompts[1])
    assert "pirate" in str(rig.team.prompts[1]).lower()
    assert len(rig.team.prompts[1]["prompts"]) <= 4


async def test_assistant_threads_of_the_older_kind(rig: Rig) -> None:
    thread = rig.ana.start_assistant_thread(rig.general)
    await until(lambda: rig.team.prompts)
    assert rig.team.prompts[0]["thread_ts"] == thread
    question = rig.ana.say(rig.ana.dm, "hello there", thread=thread)
    reply = await rig.exchange(rig.ana.dm, question, "hi")
    assert reply["thread_ts"] == thread
    assert rig.team.titles[(rig.ana.dm.id, thread)] == "hello there"
    other = rig.ana.start_assistant_thread(rig.general)
    more = rig.ana.say(rig.ana.dm, "another topic", thread=other)
    await rig.exchange(rig.ana.dm, more, "yes?")
    assert "hello there" not in prompt_text(rig.engine.requests[1].messages)


async def test_usage_settings_and_forget(rig: Rig) -> None:
    question = rig.ana.mention(rig.general, "hello")
    await rig.exchange(rig.general, question, "hi")
    assert "1" in await rig.ana.told(rig.ana.slash(rig.general, "usage"))
    assert "mention" in await rig.ana.told(rig.ana.slash(rig.general, "settings"))
    await rig.root.told(rig.root.slash(rig.general, "settings set mode=never"))
    rig.ana.mention(rig.general, "are you there?")
    await rig.slack.delivery.settled()
    assert len(rig.engine.requests) == 1
    await rig.ana.told(rig.ana.slash(rig.general, "forget me"))
    assert not rig.store.turns


async def test_a_private_question_where_the_bot_is_off_gets_a_sentence(rig: Rig) -> None:
    await rig.root.told(rig.root.slash(rig.general, "settings set mode=never"))
    sent = rig.ana.slash(rig.general, "ask what is a qubit?")
    assert texts.SWITCHED_OFF in await rig.ana.told(sent)
    await rig.slack.delivery.settled()
    assert not rig.engine.requests


async def test_a_command_that_fails_is_said_with_a_reference(rig: Rig) -> None:
    rig.slack.fail("views.open", "500", times=9)
    sent = rig.ana.shortcut(rig.general, rig.bob.say(rig.general, "look"), ASK_SHORTCUT)
    assert "reference" in await rig.ana.told(sent)
