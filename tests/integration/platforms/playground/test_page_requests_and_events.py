"""The page's requests and events, against the real service and a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot.core.ports import CommandReply
from tests.support.pictures import encoded, plain
from tests.support.playground_rig import PacedEngine, Rig, playground
from tests.support.playground_tab import Tab
from tests.support.scripted_engine import ScriptedEngine
from tests.support.waiting import until


async def write(tab: Tab, text: str, channel: int | None = None, **more: Any) -> dict[str, Any]:
    place = await tab.channel() if channel is None else channel
    status, answer = await tab.ask("POST", f"channels/{place}/messages", {"text": text, **more})
    assert status in {200, 201}, answer
    return answer


# --- the way of a message


async def test_a_mention_is_answered_in_a_thread_that_needs_no_mention(
    ana: Tab, scripted: ScriptedEngine
) -> None:
    answer = await write(ana, "@Parley hello")
    assert answer["mentions_parley"]
    root = answer["message"]["id"]
    request = await scripted.request(0)
    assert request.asked.endswith("hello")
    assert "@Parley" not in request.asked
    request.write("hi ")
    request.write("there 😀!")
    request.finish()
    reply = await ana.reply("done")
    assert (reply["thread"], reply["author"], reply["text"]) == (root, "parley", "hi there 😀!")
    await write(ana, "and now?", thread=root)
    assert (await scripted.request(1)).asked.endswith("and now?")


async def test_without_a_mention_it_stays_quiet(ana: Tab, scripted: ScriptedEngine) -> None:
    root = (await write(ana, "good morning"))["message"]["id"]
    await write(ana, "anyone?", thread=root)
    await write(ana, "@Ben hello")
    await write(ana, "@everyone hello")
    await asyncio.sleep(0.1)
    assert scripted.requests == []


async def test_deltas_have_offsets_as_a_browser_counts(ana: Tab, scripted: ScriptedEngine) -> None:
    await write(ana, "@Parley hello")
    request = await scripted.request(0)
    for piece in ("a😀", "b", "c"):
        request.write(piece)
        await asyncio.sleep(0.02)
    request.finish()
    await ana.reply("done")
    deltas = [event for event in ana.events if event["type"] == "delta"]
    assert "".join(event["text"] for event in deltas) == "a😀bc"
    assert deltas[0]["offset"] == 0
    for before, after in pairwise(deltas):
        assert after["offset"] == before["offset"] + len(before["text"].encode("utf-16-le")) // 2


async def test_a_tab_that_comes_in_the_middle_of_a_reply_misses_nothing(
    rig: Rig, ana: Tab, session: aiohttp.ClientSession, scripted: ScriptedEngine
) -> None:
    root = (await write(ana, "@Parley hello"))["message"]["id"]
    request = await scripted.request(0)
    request.write("one ")
    await ana.event(lambda event: event["type"] == "delta")
    late = await Tab(session, rig.url, "chloe").open()
    await late.send(type="thread", id=root)
    shown = (await late.event(lambda event: event["type"] == "thread"))["messages"][-1]
    assert (shown["text"], shown["reply"]["state"]) == ("one ", "running")
    request.write("two")
    delta = await late.event(lambda event: event["type"] == "delta")
    assert (delta["offset"], delta["text"]) == (4, "two")
    request.finish()
    assert (await late.reply("done"))["text"] == "one two"
    await late.close()


async def test_a_dm_is_answered_inline_and_is_its_owners_alone(
    ana: Tab, ben: Tab, scripted: ScriptedEngine
) -> None:
    place = await ana.channel("ana", "dm")
    sent = await write(ana, "a secret", place)
    request = await scripted.request(0)
    request.write("kept")
    request.finish()
    reply = await ana.reply("done")
    assert (reply["thread"], reply["channel"]) == (None, place)
    for method, path in (
        ("POST", f"channels/{place}/messages"),
        ("PATCH", f"messages/{sent['message']['id']}"),
        ("POST", f"messages/{reply['id']}/regenerate"),
    ):
        assert (await ben.ask(method, path, {"text": "let me in"}))[0] == 404
    await ben.send(type="page", id=place)
    await ben.event(lambda event: event["type"] == "refused")
    assert not any("secret" in str(event) or "kept" in str(event) for event in ben.events)
    hello = await ben.event(lambda event: event["type"] == "hello")
    assert [c["name"] for c in hello["channels"] if c["kind"] == "dm"] == ["ben"]


# --- commands and controls


async def test_a_persona_is_the_admins_and_is_said_to_all(
    ana: Tab, ben: Tab, scripted: ScriptedEngine
) -> None:
    refused = await write(ben, "/persona set You are a pirate.")
    assert refused["message"] is None
    assert refused["notice"]["ok"] is False
    assert not any(event["type"] == "message" for event in ben.events)
    set_ = await write(ana, "/persona set You are a pirate.")
    assert set_["notice"] is None
    said = await ben.event(lambda event: event["type"] == "message")
    assert said["message"]["author"] == "parley"
    await write(ben, "@Parley hello")
    request = await scripted.request(0)
    assert "You are a pirate." in str(request.messages)


async def test_a_private_answer_is_for_the_asker_only(ana: Tab, ben: Tab) -> None:
    for text in ("/persona sett x", "/nonsense", "/help", "/HELP"):
        answer = await write(ana, text)
        assert answer["notice"]["text"], text
        assert answer["message"] is None, text
    assert not any(event["type"] == "message" for event in [*ana.events, *ben.events])


async def test_what_only_looks_like_a_command_is_a_message(ana: Tab) -> None:
    for text in ("/usr/bin/python is a path", "// a comment", "/"):
        assert (await write(ana, text))["message"]["text"] == text


async def test_commands_are_completed_by_the_core(ana: Tab) -> None:
    status, answer = await ana.ask("GET", "complete", params={"text": "/persona s"})
    assert status == 200
    texts = [completion["text"].strip() for completion in answer["completions"]]
    assert texts == ["/persona set", "/persona show"]
    assert all(completion["help"] for completion in answer["completions"])


async def test_stop_is_the_askers_and_the_admins(
    ana: Tab, ben: Tab, rig: Rig, session: aiohttp.ClientSession, scripted: ScriptedEngine
) -> None:
    await write(ben, "@Parley hello")
    request = await scripted.request(0)
    request.write("so far")
    reply = await ben.reply("running")
    await ben.event(lambda event: event["type"] == "delta")
    chloe = await Tab(session, rig.url, "chloe").open()
    _, answer = await chloe.ask("POST", f"messages/{reply['id']}/stop", {})
    assert answer["notice"]["ok"] is False
    assert not request.closed
    await chloe.close()
    await ana.ask("POST", f"messages/{reply['id']}/stop", {})
    stopped = await ben.reply("stopped")
    assert stopped["text"] == "so far"
    await until(lambda: request.closed)


async def test_regenerate_takes_the_place_of_the_old_reply(
    ana: Tab, scripted: ScriptedEngine
) -> None:
    root = (await write(ana, "@Parley hello"))["message"]["id"]
    first = await scripted.request(0)
    first.write("first")
    first.finish()
    old = await ana.reply("done")
    seen = len(ana.events)
    await ana.ask("POST", f"messages/{old['id']}/regenerate", {})
    second = await scripted.request(1)
    second.write("second")
    second.finish()
    new = await ana.reply("done", seen)
    assert (new["id"], new["text"]) == (old["id"], "second")
    await ana.send(type="thread", id=root)
    thread = await ana.event(lambda event: event["type"] == "thread")
    assert [message["text"] for message in thread["messages"]] == ["@Parley hello", "second"]


async def test_an_edit_restarts_the_running_reply(ana: Tab, scripted: ScriptedEngine) -> None:
    message = (await write(ana, "@Parley hello"))["message"]
    (await scripted.request(0)).write("about the old")
    await ana.event(lambda event: event["type"] == "delta")
    status, _ = await ana.ask("PATCH", f"messages/{message['id']}", {"text": "@Parley goodbye"})
    assert status == 200
    again = await scripted.request(1)
    assert again.asked.endswith("goodbye")
    again.write("bye")
    again.finish()
    assert (await ana.reply("done"))["text"] == "bye"


async def test_an_edit_that_adds_a_mention_asks(ana: Tab, scripted: ScriptedEngine) -> None:
    message = (await write(ana, "what is a qubit?"))["message"]
    assert message["text"] == "what is a qubit?"
    status, _ = await ana.ask(
        "PATCH", f"messages/{message['id']}", {"text": "@Parley what is a qubit?"}
    )
    assert status == 200
    request = await scripted.request(0)
    request.write("A quantum bit.")
    request.finish()
    reply = await ana.reply("done")
    assert (reply["thread"], reply["text"]) == (message["id"], "A quantum bit.")


async def test_a_delete_cancels_and_takes_everything_away(
    ana: Tab, ben: Tab, rig: Rig, scripted: ScriptedEngine
) -> None:
    message = (await write(ana, "@Parley hello"))["message"]
    request = await scripted.request(0)
    request.write("half")
    reply = await ana.reply("running")
    assert (await ben.ask("DELETE", f"messages/{message['id']}"))[0] == 403
    status, _ = await ana.ask("DELETE", f"messages/{message['id']}")
    assert status == 200
    await until(lambda: request.closed)
    gone = {message["id"], reply["id"]}
    for one in gone:
        await ben.event(lambda event, one=one: event["type"] == "removed" and event["id"] == one)
    assert [await rig.store.post(one) for one in gone] == [None, None]


async def test_a_failure_is_one_sentence_with_a_reference(
    ana: Tab, scripted: ScriptedEngine
) -> None:
    await write(ana, "@Parley hello")
    (await scripted.request(0)).fail(RuntimeError("secret detail"))
    failed = await ana.reply("failed")
    assert "reference" in failed["reply"]["error"]
    assert "secret" not in str(failed)


async def test_a_core_that_fails_is_said_without_a_traceback(
    rig: Rig, ana: Tab, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_event: object) -> CommandReply:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(rig.playground._api._messages, "_handle", broken)
    place = await ana.channel()
    status, answer = await ana.ask("POST", f"channels/{place}/messages", {"text": "hi"})
    assert status == 500
    assert "reference" in answer["error"]
    assert "secret" not in answer["error"]


# --- pictures


async def upload(tab: Tab, data: bytes, name: str = "cat.png") -> tuple[int, dict[str, Any]]:
    return await tab.ask("POST", "uploads", data=data, params={"name": name})


async def test_a_picture_goes_all_the_way_and_comes_back_plain(
    rig: Rig, ana: Tab, ben: Tab, session: aiohttp.ClientSession, scripted: ScriptedEngine
) -> None:
    status, answer = await upload(ana, encoded(plain(), "BMP"), "../../ca\x07t.bmp")
    assert status == 201
    picture = answer["upload"]
    assert (picture["name"], picture["width"], picture["height"]) == ("cat.bmp", 40, 30)
    url = f"{rig.url}/playground/api/uploads/{picture['id']}"
    async with session.get(url, params={"as": "ben"}) as response:
        assert response.status == 404  # not sent yet: its owner's alone
    sent = await write(ana, "@Parley look", uploads=[picture["id"]])
    assert sent["message"]["uploads"] == [picture]
    request = await scripted.request(0)
    assert "<" in request.asked  # the picture, named by its digest
    async with session.get(url, params={"as": "ben"}) as response:
        assert response.status == 200
        assert response.content_type in {"image/png", "image/jpeg", "image/webp"}
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_picture_in_a_dm_is_private(
    rig: Rig, ana: Tab, session: aiohttp.ClientSession
) -> None:
    _, answer = await upload(ana, encoded(plain()))
    await write(ana, "", await ana.channel("ana", "dm"), uploads=[answer["upload"]["id"]])
    url = f"{rig.url}/playground/api/uploads/{answer['upload']['id']}"
    for person, expected in (("ana", 200), ("ben", 404)):
        async with session.get(url, params={"as": person}) as response:
            assert response.status == expected


async def test_a_text_file_goes_into_the_prompt_and_is_only_ever_saved(
    rig: Rig, ana: Tab, session: aiohttp.ClientSession, scripted: ScriptedEngine
) -> None:
    data = "<script>alert('ä')</script>".encode("utf-16")
    status, answer = await upload(ana, data, "notes.html")
    assert (status, answer["upload"]["picture"]) == (201, False)
    assert answer["upload"]["size"] == len(data)
    await write(ana, "@Parley what does it do?", uploads=[answer["upload"]["id"]])
    asked = (await scripted.request(0)).asked
    assert "notes.html" in asked
    assert "alert('ä')" in asked
    url = f"{rig.url}/playground/api/uploads/{answer['upload']['id']}"
    async with session.get(url, params={"as": "ben"}) as response:
        assert await response.read() == data
        assert response.content_type == "application/octet-stream"
        assert response.headers["Content-Disposition"] == "attachment"
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_what_can_not_be_read_is_refused_in_one_sentence(ana: Tab) -> None:
    for data, expected in (
        (b"", 415),
        (b"MZ\x90\x00\x03\x00\x00\x00\x04\x00\x00\x00\xff\xff\x00\x00", 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", 415),
        (encoded(plain())[:60], 415),
        (b"\x89PNG\r\n\x1a\n" + b"0" * (2 * 2**20), 413),
    ):
        status, answer = await upload(ana, data)
        assert status == expected, data[:20]
        assert answer["error"].endswith("."), answer


async def test_an_endless_upload_is_cut_off(rig: Rig) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 200 * 2**20:
            sent += 2**16
            yield b"0" * 2**16

    # A session of its own: closed before the server, which else reads on for a while.
    async with aiohttp.ClientSession() as session:
        tab = Tab(session, rig.url, "ana")
        try:
            status, _ = await tab.ask("POST", "uploads", data=endless())
            assert status == 413
        except aiohttp.ClientError:
            pass  # the server hung up while we were still sending
    assert sent < 100 * 2**20


async def test_pictures_are_removed_before_sending_and_counted(
    ana: Tab, ben: Tab, rig: Rig
) -> None:
    data = encoded(plain())
    ids = [(await upload(ana, data))[1]["upload"]["id"] for _ in range(9)]
    place = await ana.channel()
    status, answer = await ana.ask(
        "POST", f"channels/{place}/messages", {"text": "x", "uploads": ids}
    )
    assert (status, "8" in answer["error"]) == (400, True)
    assert (await ben.ask("DELETE", f"uploads/{ids[0]}"))[0] == 404
    assert (await ana.ask("DELETE", f"uploads/{ids[0]}"))[0] == 200
    status, _ = await ana.ask(
        "POST", f"channels/{place}/messages", {"text": "x", "uploads": ids[:2]}
    )
    assert status == 400
    for _ in range(16):
        await upload(ana, data)
    assert (await upload(ana, data))[0] == 429


# --- channels


async def test_channels_are_created_and_renamed_for_everybody(ana: Tab, ben: Tab) -> None:
    status, answer = await ana.ask("POST", "channels", {"name": "Help Desk"})
    assert (status, answer["channel"]["name"]) == (201, "help-desk")
    made = answer["channel"]["id"]
    await ben.event(lambda e: e["type"] == "channel" and e["channel"]["name"] == "help-desk")
    assert (await ben.ask("POST", "channels", {"name": "help-desk"}))[0] == 409
    assert (await ben.ask("PATCH", f"channels/{made}", {"name": "general"}))[0] == 409
    status, answer = await ben.ask("PATCH", f"channels/{made}", {"name": "desk"})
    assert answer["channel"]["name"] == "desk"
    await ana.event(lambda e: e["type"] == "channel" and e["channel"]["name"] == "desk")
    own = await ana.channel("ana", "dm")
    assert (await ana.ask("PATCH", f"channels/{own}", {"name": "mine"}))[0] == 400


# --- bad input


BAD_REQUESTS = (
    ("POST", "channels", {}),
    ("POST", "channels", {"name": 5}),
    ("POST", "channels/1/messages", {"text": ""}),
    ("POST", "channels/1/messages", {"text": "  \n"}),
    ("POST", "channels/1/messages", {"text": "x" * 8001}),
    ("POST", "channels/1/messages", {"text": "x", "uploads": "1"}),
    ("POST", "channels/1/messages", {"text": "x", "uploads": [True]}),
    ("POST", "channels/1/messages", {"text": "x", "uploads": [10**30]}),
    ("POST", "channels/1/messages", {"text": "x", "uploads": [77]}),
    ("POST", "channels/1/messages", {"text": "x", "thread": "1"}),
    ("POST", "channels/1/messages", {"text": "x", "thread": 99}),
    ("POST", "channels/99/messages", {"text": "x"}),
    ("POST", "channels/x/messages", {"text": "x"}),
    ("POST", "channels/99999999999999999999/messages", {"text": "x"}),
    ("POST", "channels/1/messages", [1]),
    ("PATCH", "messages/99", {"text": "x"}),
    ("DELETE", "messages/99", None),
    ("POST", "messages/99/stop", {}),
    ("GET", "uploads/99", None),
    ("DELETE", "uploads/99", None),
)


async def test_bad_input_is_a_4xx_with_one_sentence(ana: Tab) -> None:
    for method, path, body in BAD_REQUESTS:
        status, answer = await ana.ask(method, path, body)
        assert 400 <= status < 500, (method, path, body)
        assert set(answer) == {"error"}, (method, path, body)
        assert answer["error"].endswith("."), answer
        assert "\n" not in answer["error"], answer


async def test_bad_bodies(ana: Tab) -> None:
    for data, content_type, expected in (
        (b"{", "application/json", 400),
        (b"[" * 50_000, "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"name": "x"}', "text/plain", 415),
        (b'{"name": "' + b"x" * 200_000 + b'"}', "application/json", 413),
    ):
        status, answer = await ana.ask(
            "POST", "channels", data=data, headers={"Content-Type": content_type}
        )
        assert (status, list(answer)) == (expected, ["error"]), data[:20]


async def test_an_unknown_person_is_refused(rig: Rig, session: aiohttp.ClientSession) -> None:
    for person in ("", "mallory", "parley"):
        tab = Tab(session, rig.url, person)
        assert (await tab.ask("POST", "channels", {"name": "x"}))[0] == 400


async def test_a_socket_refuses_and_goes_on(ana: Tab) -> None:
    assert ana._socket is not None
    for text in ("", "{", "[]", '{"type":"page"}', '{"type":"x","id":1}'):
        seen = len(ana.events)
        await ana._socket.send_str(text)
        await ana.event(lambda event: event["type"] == "refused", seen)
    await ana.send(type="page", id=await ana.channel())
    await ana.event(lambda event: event["type"] == "page")


async def test_lone_surrogates_and_nul_do_no_harm(ana: Tab) -> None:
    place = await ana.channel()
    status, _ = await ana.ask(
        "POST",
        f"channels/{place}/messages",
        data=b'{"text": "a\\ud800b\\u0000c"}',
        headers={"Content-Type": "application/json"},
    )
    assert status == 201
    await ana.send(type="page", id=place)
    page = await ana.event(lambda event: event["type"] == "page")
    assert page["messages"][-1]["text"] == "a\ufffdb\ufffdc"


# --- restarts


async def test_a_restart_takes_an_unfinished_reply_over_in_its_place(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    slow = ScriptedEngine()
    async with playground(tmp_path, slow) as rig:
        tab = await Tab(session, rig.url, "ana").open()
        root = (await write(tab, "@Parley hello"))["message"]["id"]
        (await slow.request(0)).write("half")
        running = await tab.reply("running")
        await tab.event(lambda event: event["type"] == "delta")
        await tab.close()
    async with playground(tmp_path, PacedEngine(0.001)) as rig:
        tab = await Tab(session, rig.url, "ana").open()
        async with asyncio.timeout(10):
            while True:
                post = await rig.store.post(running["id"])
                if post and post.reply and post.reply.state == "done":
                    break
                await asyncio.sleep(0.02)
        assert "hello" in post.text
        replies = await rig.store.thread(root)
        assert [one.id for one in replies] == [running["id"]]
        await tab.close()
