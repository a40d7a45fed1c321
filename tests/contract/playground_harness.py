"""The playground for the scenarios: the real page's HTTP API and socket, and tabs of people."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote

import aiohttp
from sqlalchemy import update

from bot.storage.database import Database
from bot.storage.playground_tables import PlaygroundPostRow
from tests.contract.harness import Ability, Core, Harness, Message, Person
from tests.contract.process import Process
from tests.support.core_rig import FakeReader
from tests.support.playground_rig import Rig, playground
from tests.support.playground_tab import Tab

WHO = {Person.ASKER: "ben", Person.OTHER: "chloe", Person.ADMIN: "ana"}


class PlaygroundHarness(Harness):
    name = "playground"
    missing: ClassVar[frozenset[Ability]] = frozenset(
        {
            Ability.PRIVATE_QUESTIONS,
            Ability.MESSAGE_MENUS,
            Ability.HISTORY,
            Ability.CATCH_UP,
        }
    )

    _running: AbstractAsyncContextManager[Rig]

    async def start(self) -> None:
        self._session = aiohttp.ClientSession()
        self._notices: dict[int, list[str]] = {}  # by message
        await self.restart()

    async def restart(self) -> None:
        process, engine = Process(), self.new_engine()
        self._running = playground(self.folder, engine, settings=self.settings, files=FakeReader())
        self._rig = await process.run(self._running.__aenter__())
        self.core = Core(self._rig.service, self._rig.core_store, engine, process)
        self._tabs = {
            person: await Tab(self._session, self._rig.url, name).open()
            for person, name in WHO.items()
        }
        self._general = await self._tabs[Person.ASKER].channel()

    async def crash(self) -> None:
        await self.kill()
        await self._leave()

    async def stop(self) -> None:
        await self._leave()
        await self._session.close()

    async def _leave(self) -> None:
        for tab in self._tabs.values():
            await tab.close()
        await self._running.__aexit__(None, None, None)

    # --- what people do

    @property
    def bot(self) -> str:
        return "@Parley"

    async def say(
        self,
        text: str,
        *,
        by: Person = Person.ASKER,
        after: Message | None = None,
        picture: bytes | None = None,
    ) -> Message:
        channel, thread = (self._general, None) if after is None else after.place
        return await self._write(by, channel, thread, text, picture)

    async def say_in_private(self, text: str, *, by: Person = Person.ASKER) -> Message:
        channel = await self._tabs[by].channel(WHO[by], "dm")
        return await self._write(by, channel, None, text)

    async def edit(self, message: Message, text: str) -> None:
        await self._ask(message.by, "PATCH", f"messages/{message.raw}", {"text": text})

    async def written_before(self, text: str, age: timedelta) -> Message:
        message = await self.say(text)
        database = Database(f"sqlite+aiosqlite:///{self.folder / 'parley.db'}")
        old = update(PlaygroundPostRow).where(PlaygroundPostRow.id == message.raw)
        async with database.write() as session:
            await session.execute(old.values(at=datetime.now(UTC) - age))
        await database.close()
        return message

    async def stop_reply(self, message: Message, *, by: Person = Person.ASKER) -> str:
        return await self._press(message, by, "stop")

    async def regenerate(self, message: Message) -> None:
        await self._press(message, message.by, "regenerate")

    async def press_made_up(self, message: Message, turn_id: str) -> None:
        path = f"messages/{quote(turn_id)}/regenerate"
        status, answer = await self._tabs[message.by].ask("POST", path, {})
        assert status == 404, answer

    async def command(
        self, text: str, *, by: Person = Person.ASKER, after: Message | None = None
    ) -> str:
        channel, thread = (self._general, None) if after is None else after.place
        seen = len(self._tabs[by].events)
        body = {"text": f"/{text}", "thread": thread}
        answer = await self._ask(by, "POST", f"channels/{channel}/messages", body)
        if answer["notice"] is not None:
            return str(answer["notice"]["text"])
        said = await self._tabs[by].event(lambda event: event["type"] == "message", seen)
        return str(said["message"]["text"])

    # --- what people read

    def posts(self, message: Message) -> list[str]:
        replies = [
            _shown(post)
            for post in self._bot_posts(message.by)
            if (post["channel"], post["thread"]) == message.place and post["id"] > message.raw
        ]
        return self._notices[message.raw] + replies

    def overheard(self) -> list[str]:
        return [_shown(post) for post in self._bot_posts(Person.OTHER)]

    def _bot_posts(self, by: Person) -> list[dict[str, Any]]:
        posts = _messages(self._tabs[by]).values()
        return [post for post in posts if post["author"] == "parley"]

    # --- the page's requests

    async def _write(
        self, by: Person, channel: int, thread: int | None, text: str, picture: bytes | None = None
    ) -> Message:
        uploads = [] if picture is None else [await self._upload(by, picture)]
        body = {"text": text, "thread": thread, "uploads": uploads}
        answer = await self._ask(by, "POST", f"channels/{channel}/messages", body)
        number = answer["message"]["id"]
        notice = answer["notice"]
        self._notices[number] = [notice["text"]] if notice else []
        is_dm = channel != self._general
        return Message(by, (channel, None if is_dm else thread or number), number)

    async def _upload(self, by: Person, picture: bytes) -> int:
        status, answer = await self._tabs[by].ask(
            "POST", "uploads", data=picture, params={"name": "picture.png"}
        )
        assert status == 201, answer
        return int(answer["upload"]["id"])

    async def _press(self, message: Message, by: Person, button: str) -> str:
        def reply() -> int | None:
            posts = _messages(self._tabs[by]).values()
            return next((p["id"] for p in reversed([*posts]) if p["reply"] is not None), None)

        number = await self.until(reply, "a reply")
        answer = await self._ask(by, "POST", f"messages/{number}/{button}", {})
        notice = answer["notice"]
        return str(notice["text"]) if notice else ""

    async def _ask(self, by: Person, method: str, path: str, body: Any) -> dict[str, Any]:
        status, answer = await self._tabs[by].ask(method, path, body)
        assert status in (200, 201), answer
        return answer


def _messages(tab: Tab) -> dict[int, dict[str, Any]]:
    """The messages that a tab shows, by id, as its events made them."""
    found: dict[int, dict[str, Any]] = {}
    for event in tab.events:
        if event["type"] == "message":
            found[event["message"]["id"]] = dict(event["message"])
        elif event["type"] == "delta":
            found[event["id"]]["text"] += event["text"]
        elif event["type"] == "removed":
            found.pop(event["id"], None)
    return found


def _shown(post: dict[str, Any]) -> str:
    reply = post["reply"] or {"notes": [], "error": None}
    return "\n".join(filter(None, (post["text"], *reply["notes"], reply["error"])))
