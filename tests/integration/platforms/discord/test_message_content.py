"""What messages of every kind say to the model: stickers, polls, components, forwards, files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.discord.interactions import Interaction
from tests.servers.discord.rig import Rig, rig
from tests.support.scripted_engine import Request, prompt_text

COMPONENTS_V2 = 1 << 15


@pytest.fixture
async def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as found:
        monkeypatch.setattr("discord.asset.Asset.BASE", f"http://{found.discord.host}/cdn")
        yield found
        assert found.discord.rest.unknown == []


def pictures(request: Request) -> list[bytes]:
    return [p.data for m in request.messages for p in m.parts if hasattr(p, "digest")]


def snapshot(**fields: Any) -> dict[str, Any]:
    return {
        "type": 0,
        "content": "",
        "embeds": [],
        "attachments": [],
        "timestamp": "2026-01-01T00:00:00+00:00",
        "edited_timestamp": None,
        "flags": 0,
        "mentions": [],
        "mention_roles": [],
        **fields,
    }


async def test_a_sticker_is_a_picture_with_a_name(home: Rig) -> None:
    await home.ask("what is this?", stickers=[home.discord.sticker("Wumpus", b"a sticker")])
    request = await home.request(0)
    assert pictures(request) == [b"a sticker"]
    assert "[sticker: Wumpus]" in request.asked


async def test_a_sticker_that_moves_as_vectors_is_named_only(home: Rig) -> None:
    lottie = {"id": "77", "name": "Dance", "format_type": 3}
    await home.ask("what is this?", stickers=[lottie])
    request = await home.request(0)
    assert pictures(request) == []
    assert "[sticker: Dance]" in request.asked


async def test_a_poll_is_read_with_its_answers(home: Rig) -> None:
    poll = {
        "question": {"text": "Where shall we eat?"},
        "answers": [
            {"answer_id": 1, "poll_media": {"text": "Pizza"}},
            {"answer_id": 2, "poll_media": {"text": "Sushi", "emoji": {"name": "🍣"}}},
        ],
        "expiry": "2026-12-01T00:00:00+00:00",
        "allow_multiselect": False,
        "layout_type": 1,
    }
    asked = await home.discord.say(home.bob, home.general, "", poll=poll)
    await home.discord.say(
        home.ana, home.general, f"{home.discord.bot.mention} help us", reply_to=asked
    )
    said = prompt_text((await home.request(0)).messages)
    assert "Poll: Where shall we eat?\n  - Pizza\n  - Sushi\nAna: help us" in said


async def test_components_v2_are_read_with_their_pictures(home: Rig) -> None:
    def media(data: bytes) -> dict[str, Any]:
        found = home.discord.upload(f"{data.decode()}.png", data, "image/png")
        return {"url": found["url"], "proxy_url": found["proxy_url"]}

    components = [
        {
            "type": 17,
            "id": 1,
            "components": [
                {"type": 10, "id": 2, "content": "# Weather"},
                {
                    "type": 9,
                    "id": 3,
                    "components": [{"type": 10, "id": 4, "content": "It will rain."}],
                    "accessory": {"type": 11, "id": 5, "media": media(b"cloud")},
                },
                {"type": 12, "id": 6, "items": [{"media": media(b"map")}]},
                {"type": 14, "id": 7},
            ],
        },
        {
            "type": 1,
            "id": 8,
            "components": [{"type": 2, "id": 9, "style": 2, "label": "More", "custom_id": "x"}],
        },
    ]
    weather = home.discord.user("Weather", bot=True)
    shown = await home.discord.say(
        weather, home.general, "", components=components, flags=COMPONENTS_V2
    )
    await home.discord.say(
        home.ana, home.general, f"{home.discord.bot.mention} shall I go out?", reply_to=shown
    )
    request = await home.request(0)
    said = prompt_text(request.messages)
    assert said.index("# Weather") < said.index("It will rain.") < said.index("shall I go out?")
    assert "More" not in said
    assert sorted(pictures(request)) == [b"cloud", b"map"]


async def test_a_forward_is_read_with_all_that_is_in_it(home: Rig) -> None:
    original = await home.discord.say(home.bob, home.general, "elsewhere")
    forwarded = snapshot(
        content="The meeting is on Monday.",
        embeds=[{"type": "rich", "title": "Agenda", "description": "Money."}],
        attachments=[home.discord.upload("plan.png", b"a plan", "image/png")],
        sticker_items=[home.discord.sticker("Clock", b"a clock")],
    )
    message = await home.discord.say(
        home.bob, home.general, "", reference=original, reference_type=1, snapshots=[forwarded]
    )
    await home.discord.say(
        home.ana, home.general, f"{home.discord.bot.mention} what is this?", reply_to=message
    )
    request = await home.request(0)
    said = prompt_text(request.messages)
    for text in ("Forwarded message:", "> The meeting is on Monday.", "Agenda", "Money.", "Clock"):
        assert text in said
    assert sorted(pictures(request)) == [b"a clock", b"a plan"]
    assert "elsewhere" not in said  # a forward is no reply: there is nothing to read before it


async def test_a_forward_alone_is_a_question_in_a_dm(home: Rig) -> None:
    dm = home.discord.dm(home.ana)
    original = await home.discord.say(home.bob, home.general, "It rains frogs.")
    await home.discord.say(
        home.ana, dm, "", reference=original, reference_type=1,
        snapshots=[snapshot(content="It rains frogs.")],
    )  # fmt: skip
    assert "> It rains frogs." in (await home.request(0)).asked


# Addresses that expire


async def about(home: Rig, posted: Any) -> tuple[Interaction, Request]:
    """Ask about a message whose files' addresses have expired while the form was filled in."""
    form = await home.discord.menu(home.ana, posted, "Ask about this")
    await home.until(lambda: form.modal)
    home.discord.expire(posted)
    asked = await home.discord.submit(form, question="What is it?")
    return asked, await home.request(0)


def fetched(home: Rig, message: Any) -> int:
    path = f"/api/v10/channels/{message.channel.id}/messages/{message.id}"
    return home.discord.rest.requests.count(("GET", path))


async def test_an_expired_address_is_asked_for_anew_once(home: Rig) -> None:
    posted = await home.discord.say(
        home.bob, home.general, "my cat", files=(("cat.png", b"a cat"),)
    )
    _, request = await about(home, posted)
    assert pictures(request) == [b"a cat"]
    assert fetched(home, posted) == 1


async def test_a_file_that_stays_away_costs_no_answer(home: Rig) -> None:
    posted = await home.discord.say(
        home.bob, home.general, "my cat", files=(("cat.png", b"a cat"),)
    )
    home.discord.files.clear()
    asked, request = await about(home, posted)
    assert pictures(request) == []
    assert fetched(home, posted) == 1
    request.write("I can't see it.")
    request.finish()
    await home.until(lambda: asked.texts and "I can't see it." in asked.texts[0])
    await home.until(lambda: "cat.png" in asked.texts[0])  # the foot says what is missing
