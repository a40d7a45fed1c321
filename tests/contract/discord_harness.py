"""Discord for the scenarios: the real adapter on the local Discord's REST and gateway."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, ClassVar

from tests.contract.harness import Ability, Core, Harness, Message, Person
from tests.contract.process import Process
from tests.servers.discord import DiscordServer
from tests.servers.discord.interactions import Interaction
from tests.servers.discord.rig import Rig, rig
from tests.servers.discord.world import Channel, User, snowflake
from tests.servers.discord.world import Message as Post


class DiscordHarness(Harness):
    name = "discord"
    missing: ClassVar[frozenset[Ability]] = frozenset()

    _rig: Rig
    _running: AbstractAsyncContextManager[Rig] | None = None

    async def start(self) -> None:
        self._server = await DiscordServer().__aenter__()
        await self.restart()

    async def restart(self) -> None:
        process = Process()
        self._running = rig(
            self.folder,
            discord=self._server,
            settings=self.settings,
            pace_s=0.02,
            servers_within_s=0.1,
        )
        self._rig = await process.run(self._running.__aenter__())
        self.core = Core(self._rig.service, self._rig.store, self._rig.engine, process)

    async def crash(self) -> None:
        client = self._rig.adapter._client
        assert client is not None
        await self.kill()
        client.ws._keep_alive.stop()  # a thread of discord.py's
        await client.http._HTTPClient__session.close()
        self._server.gateway.sessions.clear()  # nobody resumes: what is said now is not replayed
        await self._leave()

    async def stop(self) -> None:
        await self._leave()
        await self._server.__aexit__()
        assert self._server.rest.unknown == []

    async def _leave(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            await running.__aexit__(None, None, None)

    # --- what people do

    @property
    def bot(self) -> str:
        return self._server.bot.mention

    async def say(
        self,
        text: str,
        *,
        by: Person = Person.ASKER,
        after: Message | None = None,
        picture: bytes | None = None,
    ) -> Message:
        channel = self._place(after) if after is not None else self._rig.general
        files = (("picture.png", picture),) if picture is not None else ()
        return Message(by, raw=await self._server.say(self._user(by), channel, text, files=files))

    async def say_in_private(self, text: str, *, by: Person = Person.ASKER) -> Message:
        user = self._user(by)
        return Message(by, raw=await self._server.say(user, self._server.dm(user), text))

    async def summarize(self, message: Message) -> Message:
        user = self._user(Person.ASKER)
        first = list(self._place(message).messages.values())[1]  # after the thread's starter
        menu = next(c["name"] for c in self._server.commands if c["name"].startswith("Summ"))
        return Message(Person.ASKER, raw=await self._server.menu(user, first, menu))

    async def ask_privately(self, text: str) -> Message:
        user = self._user(Person.ASKER)
        asked = await self._server.slash(
            user, self._rig.general, "ask", question=text, private=True
        )
        return Message(Person.ASKER, raw=asked)

    async def edit(self, message: Message, text: str) -> None:
        await self._server.edit(message.raw, text)

    async def written_before(self, text: str, age: timedelta) -> Message:
        general = self._rig.general
        written = snowflake(self._server.now() - age.total_seconds())
        old = Post(general, self._user(Person.ASKER), text, id=written)
        general.messages = {old.id: old, **general.messages}
        return Message(Person.ASKER, raw=old)

    async def discussion(self, texts: list[str]) -> Message:
        other = self._user(Person.OTHER)
        first = await self._server.say(other, self._rig.general, texts[0])
        thread = await self._server.open_thread(first, "a discussion", other)
        for text in texts[1:]:
            await self._server.say(other, thread, text)
        return Message(Person.OTHER, raw=first)

    async def say_unheard(self, text: str) -> Message:
        return await self.say(f"{self.bot} {text}")

    async def stop_reply(self, message: Message, *, by: Person = Person.ASKER) -> str:
        def button() -> Post | None:
            posts = self._posts(message)
            return next((post for post in posts if "Stop" in post.labels), None)

        post = await self.until(button, "a Stop button")
        pressed = await self._server.press(self._user(by), post, "Stop")
        request = self.engine.requests[-1]
        await self.until(lambda: pressed.texts or request.closed, "an effect of Stop")
        return "\n".join(pressed.texts)

    async def regenerate(self, message: Message) -> None:
        await self._server.press(self._user(message.by), self._posts(message)[-1], "Regenerate")

    async def press_made_up(self, message: Message, turn_id: str) -> None:
        post = self._posts(message)[-1]
        for button in post.components[0]["components"]:
            action, _, _ = button["custom_id"].rpartition(":")
            button["custom_id"] = f"{action}:{turn_id}"[:100]
        await self._server.press(self._user(message.by), post, "Regenerate")

    async def command(
        self, text: str, *, by: Person = Person.ASKER, after: Message | None = None
    ) -> str:
        if after is None:
            name, _, topic = text.partition(" ")
            options = {"command": topic} if topic else {}
            used = await self._server.slash(self._user(by), self._rig.general, name, **options)
            await self.until(lambda: "".join(used.texts), f"an answer to /{text}")
            return "\n".join(used.texts)
        typed = await self.say(f"{self.bot} /{text}", by=by, after=after)

        def answer() -> Post | None:
            posts = typed.raw.channel.of_bot()
            return next((post for post in posts if post.reference is typed.raw), None)

        return str((await self.until(answer, f"an answer to /{text}")).content)

    # --- what people read

    def posts(self, message: Message) -> list[str]:
        if isinstance(message.raw, Interaction):
            return [text for text in message.raw.texts if text]
        return [post.content for post in self._posts(message)]

    def overheard(self) -> list[str]:
        channels = [c for c in self._server.channels.values() if c.guild is not None]
        return [post.content for channel in channels for post in channel.of_bot()]

    def _posts(self, message: Message) -> list[Post]:
        place = self._place(message)
        if place is message.raw.channel and place.guild is not None and not place.is_thread:
            return [post for post in place.of_bot() if post.reference is message.raw]
        return [post for post in place.of_bot() if post.id > message.raw.id]

    def _place(self, message: Message) -> Channel:
        """Where the conversation goes on: the thread that was opened, or where it began."""
        channel: Any = self._server.channels.get(message.raw.id)
        return channel or message.raw.channel

    def _user(self, person: Person) -> User:
        rig = self._rig
        return {Person.ASKER: rig.ana, Person.OTHER: rig.bob, Person.ADMIN: self._server.owner}[
            person
        ]
