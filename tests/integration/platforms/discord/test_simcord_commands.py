"""Every command, form, menu and confirmation on simcord, and who is refused."""

from __future__ import annotations

from typing import Any

import pytest
from simcord import SetupError

from bot.core.commands.parsing import COMMANDS
from tests.support.scripted_engine import prompt_text
from tests.support.simcord_home import Home, a_home
from tests.support.waiting import until

#: Command, its options, who types it, what the answer says, and whether only they see it.
PLAIN: list[tuple[str, dict[str, Any], str, str, bool]] = [
    ("persona show", {}, "olga", "built-in persona", True),
    ("persona list", {}, "olga", "pirate", True),
    ("persona use", {"name": "pirate", "scope": "channel"}, "olga", "I'm now pirate", False),
    ("persona history", {}, "olga", "No persona has been set", True),
    ("persona undo", {}, "olga", "", True),
    ("persona clear", {}, "olga", "", False),
    ("persona-library list", {}, "olga", "pirate", True),
    ("persona-library remove", {"name": "nobody"}, "olga", "nobody", True),
    ("reset", {}, "ana", "nothing to forget", True),
    ("stop", {}, "ana", "not writing", True),
    ("settings show", {}, "olga", "mention", True),
    ("settings set", {"mode": "always", "inline": "on"}, "olga", "always", False),
    ("usage", {"days": 7}, "ana", "7 days", True),
    ("audit", {}, "olga", "", True),
    ("help", {}, "ana", "/persona set", True),
    ("help", {"command": "persona use"}, "bob", "/persona use", True),
]
#: Command, its options, what is filled in, what the answer says.
FORMS: list[tuple[str, dict[str, Any], dict[str, str], str]] = [
    ("persona set", {}, {"text": "You are a fox."}, "Saved."),
    ("persona set", {"scope": "workspace"}, {"text": "A fox.", "more": "seed=1"}, "seed 1"),
    ("persona set", {}, {"text": "A fox.", "temperature": "hot"}, "temperature"),
    ("persona default", {}, {"text": "You are a fox.", "temperature": "0.5"}, "temperature 0.5"),
    ("persona preview", {}, {"text": "A fox.", "question": "Who are you?"}, "An answer."),
    ("persona-library add", {"name": "fox"}, {"text": "A fox."}, "Added fox to your library"),
    ("persona-library edit", {"name": "nobody"}, {"text": "A fox."}, "nobody"),
]
ASKED_FIRST = {"forget"}
OPTIONS = {name: options for name, options, *_ in [*PLAIN, *FORMS]}


def test_no_command_is_left_out() -> None:
    covered = {entry[0] for entry in PLAIN} | {entry[0] for entry in FORMS} | ASKED_FIRST
    assert covered == set(COMMANDS)


@pytest.mark.parametrize(
    ("name", "options", "who", "says", "private"), PLAIN, ids=[f"{e[0]} {e[1]}" for e in PLAIN]
)
async def test_a_command(
    name: str, options: dict[str, Any], who: str, says: str, private: bool
) -> None:
    async with a_home() as home:
        done = await getattr(home, who).slash(home.channel, name, **options)
        assert done.response is not None
        assert says in done.response.content
        assert done.response.content
        assert done.response.ephemeral == private


@pytest.mark.parametrize(
    ("name", "options", "values", "says"), FORMS, ids=[f"{e[0]} {e[2]}" for e in FORMS]
)
async def test_a_form(
    name: str, options: dict[str, Any], values: dict[str, str], says: str
) -> None:
    async with a_home() as home:
        done = await home.form(home.olga, name, values, **options)
        await home.env.settle()
        assert done.response is not None
        assert says in done.response.content


async def test_the_form_shows_what_counts_now() -> None:
    async with a_home() as home:
        await home.form(home.olga, "persona set", {"text": "You are a fox.", "temperature": "0.3"})
        shown = await home.olga.slash(home.channel, "persona set")
        fields = [label["component"] for label in shown.modal["components"]]
        assert [field["custom_id"] for field in fields] == [
            "text",
            "temperature",
            "max_new_tokens",
            "more",
        ]
        assert (fields[0]["value"], fields[0]["max_length"]) == ("You are a fox.", 4000)
        assert fields[1]["value"] == "0.3"
        await home.ask()
        assert "You are a fox." in prompt_text(home.core.engine.requests[-1].messages)
        assert home.core.engine.requests[-1].sampling.temperature == 0.3


async def test_a_library_from_its_beginning_to_its_end() -> None:
    async with a_home() as home:
        await home.form(home.olga, "persona-library add", {"text": "A fox."}, name="fox")
        choices = await home.olga.autocomplete(home.channel, "persona use", "name", "fo")
        assert [choice["value"] for choice in choices] == ["fox"]
        edited = await home.form(
            home.olga, "persona-library edit", {"text": "A red fox."}, name="fox"
        )
        assert "Changed" in edited.response.content
        await home.olga.slash(home.channel, "persona use", name="fox")
        history = await home.olga.slash(home.channel, "persona history")
        assert "fox" in history.response.content
        await home.olga.slash(home.channel, "persona clear")
        undone = await home.olga.slash(home.channel, "persona undo")
        assert "fox" in undone.response.content
        removed = await home.olga.slash(home.channel, "persona-library remove", name="fox")
        assert "from your library" in removed.response.content
        audit = await home.olga.slash(home.channel, "audit")
        assert audit.response.content.count("olga") >= 5


# Who is refused

ADMINS = [name for name, command in COMMANDS.items() if command.admin_only]


@pytest.mark.parametrize("name", ADMINS)
async def test_an_admins_command_is_hidden_from_others_and_refused_in_code(name: str) -> None:
    async with a_home() as home:
        assert name not in home.ana.available_commands(home.channel)
        assert name in home.olga.available_commands(home.channel)
        options = OPTIONS[name]
        with pytest.raises(SetupError):
            await home.ana.slash(home.channel, name, **options)
        home.allow(name.split()[0], home.ana)  # as a server's admin may do
        done = await home.ana.slash(home.channel, name, **options)
        if done.modal is not None:
            done = await home.ana.submit_modal(done, {"text": "You are evil."})
        await home.env.settle()
        assert "nly an admin can" in done.response.content
        assert done.response.ephemeral
        assert home.core.store.entries == []
        assert home.core.engine.requests == []


async def test_everybodys_commands_are_there_for_everybody() -> None:
    async with a_home() as home:
        there = set(home.bob.available_commands(home.channel))
        assert {"ask", "reset", "stop", "forget", "usage", "help"} <= there


@pytest.mark.parametrize(
    ("who", "says"), [("bob", "takes part"), ("mo", "I've forgotten"), ("ana", "I've forgotten")]
)
async def test_reset_is_for_those_who_take_part_and_moderators(who: str, says: str) -> None:
    async with a_home() as home:
        await home.ask()
        done = await getattr(home, who).slash(home.thread(), "reset")
        assert says in done.response.content


@pytest.mark.parametrize(
    ("who", "says"), [("bob", "Only the person"), ("mo", "Stopped."), ("ana", "Stopped.")]
)
async def test_the_command_stop_is_for_the_asker_and_moderators(who: str, says: str) -> None:
    async with a_home(running=True) as home:
        request = await home.begin()
        done = await getattr(home, who).slash(home.thread(), "stop")
        assert says in done.response.content
        if says == "Stopped.":
            await until(lambda: request.closed)
        assert request.closed == (says == "Stopped.")


# What is asked first


@pytest.mark.parametrize("label", ["Delete", "Keep"])
async def test_forget_me_asks_first(label: str) -> None:
    async with a_home() as home:
        await home.ask()
        asked = await home.ana.slash(home.channel, "forget", what="me")
        assert asked.response.ephemeral
        assert len(home.core.store.turns) == 1
        await home.ana.click(asked.response, label=label)
        await home.env.settle()
        assert len(home.core.store.turns) == (label == "Keep")
        says = "Nothing was deleted." if label == "Keep" else "forgotten"
        assert says in asked.response.content


@pytest.mark.parametrize("who", ["mo", "olga"])
async def test_forget_here_is_an_admins_and_asks_first(who: str) -> None:
    async with a_home() as home:
        await home.ask()
        refused = await home.ana.slash(home.channel, "forget", what="here")
        assert "Only an admin" in refused.response.content
        admin = getattr(home, who)
        asked = await admin.slash(home.channel, "forget", what="here")
        assert len(home.core.store.turns) == 1
        done = await admin.click(asked.response, label="Delete")
        await home.env.settle()
        assert home.core.store.turns == {}
        (told,) = done.followups
        assert told.content.startswith("I've forgotten")
        assert not told.ephemeral


# /ask and the menus


@pytest.mark.parametrize("private", [True, False])
async def test_ask(private: bool) -> None:
    async with a_home() as home:
        asked = await home.bob.slash(home.channel, "ask", question="What?", private=private)
        await home.env.settle()
        assert asked.response.content == "An answer."
        assert asked.response.ephemeral == private
        assert asked.response.components


async def test_a_long_answer_to_ask_is_split_within_five_messages() -> None:
    async with a_home() as home:
        home.core.engine.auto = "word " * 3000
        asked = await home.bob.slash(home.channel, "ask", question="What?")
        await home.env.settle()
        posts = [asked.response, *asked.followups]
        assert len(posts) == 5
        assert posts[-1].attachments[0].filename == "reply.md"
        assert [bool(post.components) for post in posts] == [False] * 4 + [True]


async def test_asking_about_a_message() -> None:
    async with a_home() as home:
        message = await home.ana.send(home.channel, "my cat", attachments=[("cat.png", b"a cat")])
        form = await home.bob.context_menu(home.channel, "Ask about this", message)
        answered = await home.bob.submit_modal(form, {"question": "What is it?"})
        await home.env.settle()
        assert answered.response.content.startswith("An answer.")
        assert "my cat" in home.core.engine.requests[-1].asked


async def test_summarising_from_a_message_on() -> None:
    async with a_home() as home:
        await home.ana.send(home.channel, "before")
        start = await home.ana.send(home.channel, "We meet on Monday.")
        await home.bob.send(home.channel, "No, on Tuesday.")
        done = await home.bob.context_menu(home.channel, "Summarise from here", start)
        await home.env.settle()
        assert done.response.ephemeral
        said = prompt_text(home.core.engine.requests[-1].messages)
        assert said.index("Monday") < said.index("Tuesday")
        assert "before" not in said


async def test_a_switched_off_channel() -> None:
    async with a_home() as home:
        await home.olga.slash(home.channel, "settings set", mode="never")
        asked = await home.bob.slash(home.channel, "ask", question="What?")
        assert "turned off" in asked.response.content
        await home.ask()
        assert home.core.engine.requests == []


def typed(home: Home, text: str) -> str:
    return f"{home.call} {text}"


async def test_everybody_may_type_a_command_as_a_message() -> None:
    async with a_home() as home:
        await home.bob.send(home.channel, typed(home, "/persona show"))
        await home.env.settle()
        assert "built-in persona" in home.texts(home.channel)[-1]
        await home.bob.send(home.channel, typed(home, "/persona set You are evil."))
        await home.env.settle()
        assert "nly an admin can" in home.texts(home.channel)[-1]
