"""The toy platform for the scenarios: its adapter on its server, over a real socket."""

from __future__ import annotations

from typing import ClassVar

from tests.contract.harness import Ability, Harness, Message, Person
from tests.contract.toy_platform.adapter import PLATFORM, ToyAdapter
from tests.contract.toy_room import Line, ToyServer

WHO = {Person.ASKER: "ben", Person.OTHER: "chloe", Person.ADMIN: "ana"}
ROOM = "lobby"


class ToyHarness(Harness):
    name = "toy"
    missing: ClassVar[frozenset[Ability]] = frozenset(
        {
            Ability.THREADS,
            Ability.EDITS,
            Ability.BUTTONS,
            Ability.STREAMING,
            Ability.PRIVATE_REPLIES,
            Ability.PRIVATE_QUESTIONS,
            Ability.MESSAGE_MENUS,
            Ability.HISTORY,
            Ability.CATCH_UP,
        }
    )

    async def start(self) -> None:
        self._server = await ToyServer().__aenter__()
        await self.restart()

    async def restart(self) -> None:
        self.core = await self.new_core()
        self._adapter = ToyAdapter(self.core.service.handle, self._server.port, self._server.token)
        await self.core.process.run(self._adapter.start())
        await self.serve(PLATFORM, self._adapter)

    async def crash(self) -> None:
        await self.kill()
        await self._adapter.close()
        await self.close_core()

    async def stop(self) -> None:
        await self.drain()
        await self._adapter.close()
        await self.close_core()
        await self._server.__aexit__()

    # --- what people do

    @property
    def bot(self) -> str:
        return f"@{self._server.bot}"

    async def say(
        self,
        text: str,
        *,
        by: Person = Person.ASKER,
        after: Message | None = None,
        picture: bytes | None = None,
    ) -> Message:
        room = after.raw.room if after is not None else ROOM
        return Message(by, raw=self._say(by, room, text, picture))

    async def say_in_private(self, text: str, *, by: Person = Person.ASKER) -> Message:
        return Message(by, raw=self._say(by, f"@{WHO[by]}", text))

    async def stop_reply(self, message: Message, *, by: Person = Person.ASKER) -> str:
        return await self.command("stop", by=by, after=message)

    async def command(
        self, text: str, *, by: Person = Person.ASKER, after: Message | None = None
    ) -> str:
        said = await self.say(f"{self.bot} /{text}", by=by, after=after)

        def answer() -> str | None:  # its first post: of a long answer the rest may come late
            posts = self.posts(said)
            return next((text for text in posts if text.startswith(f"@{WHO[by]} ")), None)

        return str(await self.until(answer, f"an answer to /{text}"))

    # --- what people read

    def posts(self, message: Message) -> list[str]:
        return [
            line.text
            for line in self._server.lines
            if line.by == self._server.bot
            and line.room == message.raw.room
            and line.id > message.raw.id
        ]

    def overheard(self) -> list[str]:
        lines = [line for line in self._server.lines if line.by == self._server.bot]
        return [line.text for line in lines if not line.room.startswith("@")]

    def _say(self, by: Person, room: str, text: str, picture: bytes | None = None) -> Line:
        admin = by is Person.ADMIN
        return self._server.say(WHO[by], room, text, admin=admin, picture=picture)
