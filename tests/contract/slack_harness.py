"""Slack for the scenarios: the real adapter, Bolt and SDK on the local Slack over Socket Mode."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any, ClassVar

from bot.media.hosts import parse_extra_hosts
from bot.platforms.slack.adapter import SlackAdapter
from bot.platforms.slack.manifest import SUMMARIZE_SHORTCUT
from bot.platforms.slack.options import SlackOptions
from bot.platforms.slack.sink import Timing
from tests.contract.harness import Ability, Harness, Message, Person
from tests.servers.slack.delivery import Sent
from tests.servers.slack.people import Person as SlackUser
from tests.servers.slack.server import SlackServer
from tests.servers.slack.world import Channel, buttons, new_ts, shown, small_print

QUICK = Timing(append_s=0.0, edit_s=0.0, eager_chars=1, stop_after_s=0.0)


class SlackHarness(Harness):
    name = "slack"
    missing: ClassVar[frozenset[Ability]] = frozenset({Ability.CATCH_UP})

    async def start(self) -> None:
        self._server = await SlackServer().__aenter__()
        self._team = self._server.add_team()
        self._people = {
            person: SlackUser(self._server, self._team, person.title(), admin=person == "admin")
            for person in Person
        }
        self._general = self._team.add_channel("general")
        await self.restart()

    async def restart(self) -> None:
        self.core = await self.new_core()
        options = SlackOptions(
            api_url=self._server.api_url,
            bot_token=self._team.bot_token,
            app_token=self._server.app_token,
            extra_media_hosts=parse_extra_hosts(self._server.host),
            sockets=1,
            timing=QUICK,
        )
        self._adapter = SlackAdapter(self.core.service.handle, self.core.queries, options)
        await self.core.process.run(self._adapter.start())
        await self.serve("slack", self._adapter)

    async def crash(self) -> None:
        await self.kill()
        await self._adapter.close()
        await self.close_core()

    async def stop(self) -> None:
        await self._adapter.pause()
        await self.drain()
        await self._adapter.close()
        await self.close_core()
        await self._server.__aexit__()

    # --- what people do

    @property
    def bot(self) -> str:
        return f"<@{self._team.bot_user}>"

    async def say(
        self,
        text: str,
        *,
        by: Person = Person.ASKER,
        after: Message | None = None,
        picture: bytes | None = None,
    ) -> Message:
        files = [("picture.png", "image/png", picture)] if picture is not None else None
        if after is None:
            channel, thread = self._general, ""
        elif after.place.kind == "im":  # there every message begins a thread of its own
            channel, thread = after.place, ""
        else:
            channel, thread = after.place, after.raw.get("thread_ts", after.raw["ts"])
        said = self._people[by].say(channel, text, thread=thread, files=files)
        return Message(by, channel, said)

    async def say_in_private(self, text: str, *, by: Person = Person.ASKER) -> Message:
        user = self._people[by]
        return Message(by, user.dm, user.say(user.dm, text))

    async def summarize(self, message: Message) -> Message:
        last = self._general.thread(message.raw["ts"])[-1]
        user = self._people[Person.ASKER]
        sent = user.shortcut(self._general, last, SUMMARIZE_SHORTCUT)
        return Message(Person.ASKER, self._general, sent)

    async def ask_privately(self, text: str) -> Message:
        sent = self._people[Person.ASKER].slash(self._general, f"ask {text}")
        return Message(Person.ASKER, self._general, sent)

    async def edit(self, message: Message, text: str) -> None:
        self._people[message.by].edit(message.place, message.raw, text)

    async def written_before(self, text: str, age: timedelta) -> Message:
        user = self._people[Person.ASKER]
        ts = f"{int(time.time() - age.total_seconds())}.{new_ts().partition('.')[2]}"
        old = {"type": "message", "ts": ts, "user": user.id, "team": self._team.id, "text": text}
        self._general.messages[ts] = old
        return Message(Person.ASKER, self._general, old)

    async def discussion(self, texts: list[str]) -> Message:
        other = self._people[Person.OTHER]
        first = other.say(self._general, texts[0])
        for text in texts[1:]:
            other.say(self._general, text, thread=first["ts"])
        await self._server.delivery.settled()
        return Message(Person.OTHER, self._general, first)

    async def stop_reply(self, message: Message, *, by: Person = Person.ASKER) -> str:
        told = len(self._team.ephemeral)

        def button() -> dict[str, Any] | None:
            messages = self._general.messages.values()
            return next((m for m in messages if "parley_stop" in buttons(m)), None)

        post = await self.until(button, "a Stop button")
        self._people[by].click(self._general, post, "parley_stop")
        request = self.engine.requests[-1]
        await self.until(lambda: self._team.ephemeral[told:] or request.closed, "an effect of Stop")
        return "\n".join(sentence["text"] for sentence in self._team.ephemeral[told:])

    async def regenerate(self, message: Message) -> None:
        post = self._bot_messages(message)[-1]
        self._people[message.by].click(message.place, post, "parley_regenerate")

    async def press_made_up(self, message: Message, turn_id: str) -> None:
        post = self._bot_messages(message)[-1]
        user = self._people[message.by]
        sent = user.click(message.place, post, "parley_regenerate", turn_id)
        await asyncio.wait_for(sent.acked.wait(), 10)

    async def command(
        self, text: str, *, by: Person = Person.ASKER, after: Message | None = None
    ) -> str:
        user = self._people[by]
        if after is None:
            return await user.told(user.slash(self._general, text))
        private, posted = len(self._team.ephemeral), len(self._bot_messages(after))
        await self.say(f"!{text}", by=by, after=after)

        def answer() -> str | None:
            for sentence in self._team.ephemeral[private:]:
                return str(sentence["text"])
            return next((shown(m) for m in self._bot_messages(after)[posted:]), None)

        return str(await self.until(answer, f"an answer to !{text}"))

    def typed(self, name: str, *, after: Message | None = None) -> str:
        return f"/parley {name}" if after is None else f"!{name}"

    async def delivered(self) -> None:
        await self._server.delivery.settled()

    # --- what people read

    def posts(self, message: Message) -> list[str]:
        if isinstance(message.raw, Sent):
            answers = self._server.responses[message.raw.payload["response_url"]]
            return [str(answer["text"]) for answer in answers]
        messages = self._bot_messages(message)
        return ["\n".join(filter(None, (shown(m), small_print(m)))) for m in messages]

    def overheard(self) -> list[str]:
        other = self._people[Person.OTHER].id
        private = [e["text"] for e in self._team.ephemeral if e["user"] == other]
        answers = [answer for came in self._server.responses.values() for answer in came]
        public = [a["text"] for a in answers if a.get("response_type") == "in_channel"]
        posts = [shown(m) for m in self._general.messages.values() if self._by_bot(m)]
        return private + public + posts

    def _bot_messages(self, message: Message) -> list[dict[str, Any]]:
        channel: Channel = message.place
        if channel.kind == "im":
            found = [m for ts, m in channel.messages.items() if ts > message.raw["ts"]]
        else:
            found = channel.thread(message.raw.get("thread_ts", message.raw["ts"]))
        # A message that only holds a Stop button says nothing.
        return [m for m in found if self._by_bot(m) and m.get("text") != "Writing…"]

    def _by_bot(self, message: dict[str, Any]) -> bool:
        return message.get("bot_id") == self._team.bot_id
