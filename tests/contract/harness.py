"""What a platform's harness does for the scenarios: people act, and read what the bot says."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import partial, wraps
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeAlias

from bot.core.ports import ReplyTarget
from bot.core.queries import StoreQueries
from bot.core.service import Service
from bot.core.service_settings import ServiceSettings
from bot.storage.database import Database
from bot.storage.store import SqlStore
from tests.contract.process import Process
from tests.support import databases
from tests.support.core_rig import FakeReader
from tests.support.scripted_engine import Request, ScriptedEngine

WAIT_S, POLL_S = 20.0, 0.005
MAX_CONTEXT = 4_000


class Ability(StrEnum):
    """What a platform may lack. docs/adapters.md says what happens instead, one row for each."""

    MENTIONS = "mentions"
    THREADS = "threads"
    EDITS = "edits"
    OTHER_PEOPLE = "other people"
    BUTTONS = "buttons"
    STREAMING = "streaming"
    PRIVATE_REPLIES = "private replies"
    PRIVATE_QUESTIONS = "private questions"
    MESSAGE_MENUS = "message menus"
    HISTORY = "history"
    CATCH_UP = "catch-up"


class Person(StrEnum):
    """Who acts. The asker and the other one are no admins, unless nobody else is there."""

    ASKER = "asker"
    OTHER = "other"
    ADMIN = "admin"


@dataclass(frozen=True)
class Message:
    """Something a person wrote. `place` and `raw` are the harness's own."""

    by: Person
    place: Any = None
    raw: Any = None


class Undeclared(AssertionError):
    """A scenario needs an ability that the platform neither has nor declares to be missing."""


@dataclass
class Core:
    """The parts of one run of Parley that scenarios look at."""

    service: Service
    store: SqlStore
    engine: ScriptedEngine
    process: Process = field(default_factory=Process)

    @property
    def queries(self) -> StoreQueries:
        return StoreQueries(self.store, ServiceSettings())


class Harness(ABC):
    """One platform on its local server, with a real core and a real database.

    A subclass implements what its platform can do and names the rest in `missing`. What needs an
    ability raises `Undeclared` here: a scenario fails on a platform that is silent about it.
    """

    name: ClassVar[str]
    missing: ClassVar[frozenset[Ability]] = frozenset()

    def __init__(self, folder: Path, settings: ServiceSettings) -> None:
        self.folder = folder
        self.settings = settings
        self.core: Core

    # --- life

    @abstractmethod
    async def start(self) -> None:
        """Start the local server and Parley; returns once messages arrive."""

    @abstractmethod
    async def stop(self) -> None:
        """Stop both."""

    @abstractmethod
    async def crash(self) -> None:
        """End Parley's process as SIGKILL would; the platform goes on."""

    @abstractmethod
    async def restart(self) -> None:
        """Start Parley on the same database, after `crash`."""

    def new_engine(self) -> ScriptedEngine:
        return ScriptedEngine(sees_images=True, max_context=MAX_CONTEXT)

    async def new_core(self) -> Core:
        """A service of its own on the harness's database."""
        database = Database(f"sqlite+aiosqlite:///{self.folder / 'parley.db'}")
        await databases.migrate(database)
        store, engine = SqlStore(database), self.new_engine()
        service = Service(store, engine, FakeReader(), self.settings)
        return Core(service, store, engine)

    async def serve(self, platform: str, target: ReplyTarget) -> None:
        """Start the service and answer on a platform."""
        await self.core.process.run(self.core.service.start())
        await self.core.process.run(_call(partial(self.core.service.register, platform, target)))

    async def drain(self) -> None:
        await self.core.service.drain(0)

    async def close_core(self) -> None:
        await self.core.store._database.close()

    async def kill(self) -> None:
        """End Parley's tasks at a moment when no transaction is open."""
        async with self.core.store._database._turnstile:
            await self.core.process.kill()

    # --- what people do

    @property
    def bot(self) -> str:
        """What people type to mention the bot."""
        self._undeclared(Ability.MENTIONS)

    async def ask(
        self, text: str, *, by: Person = Person.ASKER, picture: bytes | None = None
    ) -> Message:
        """Begin a conversation with the bot where others read it too."""
        return await self.say(f"{self.bot} {text}", by=by, picture=picture)

    async def ask_more(self, first: Message, text: str) -> Message:
        """Ask the bot something more in the conversation that `first` began."""
        if Ability.THREADS in self.missing:
            return await self.ask(text)
        return await self.say(f"{self.bot} {text}", after=first)

    @abstractmethod
    async def say(
        self,
        text: str,
        *,
        by: Person = Person.ASKER,
        after: Message | None = None,
        picture: bytes | None = None,
    ) -> Message:
        """Write exactly this, in the channel or in the conversation of `after`."""

    @abstractmethod
    async def say_in_private(self, text: str, *, by: Person = Person.ASKER) -> Message:
        """Write to the bot alone."""

    async def summarize(self, message: Message) -> Message:
        """Have a discussion summarized, with a menu on a message of it; `posts` has the summary."""
        self._undeclared(Ability.MESSAGE_MENUS)

    async def ask_privately(self, text: str) -> Message:
        """Ask in the channel so that only the asker reads the answer; `posts` has it."""
        self._undeclared(Ability.PRIVATE_QUESTIONS)

    async def edit(self, message: Message, text: str) -> None:
        """Change what a message says."""
        self._undeclared(Ability.EDITS)

    async def written_before(self, text: str, age: timedelta) -> Message:
        """A message of this age in the channel, which the bot saw and left alone."""
        self._undeclared(Ability.EDITS)

    async def discussion(self, texts: list[str]) -> Message:
        """People talk in a thread which the bot doesn't listen to; the thread's first message."""
        self._undeclared(Ability.HISTORY)

    async def say_unheard(self, text: str) -> Message:
        """Call the bot while it is not running."""
        self._undeclared(Ability.CATCH_UP)

    @abstractmethod
    async def stop_reply(self, message: Message, *, by: Person = Person.ASKER) -> str:
        """Stop the reply to a message the way people do here; what `by` is told at once, if
        anything."""

    async def regenerate(self, message: Message) -> None:
        """Ask for another reply instead of the one that stands there."""
        self._undeclared(Ability.BUTTONS)

    async def press_made_up(self, message: Message, turn_id: str) -> None:
        """Press Regenerate below a reply as somebody who has changed the id in the button."""
        self._undeclared(Ability.BUTTONS)

    @abstractmethod
    async def command(
        self, text: str, *, by: Person = Person.ASKER, after: Message | None = None
    ) -> str:
        """Type a command (`reset`, without its prefix) as a message in the conversation of
        `after`, or the platform's own way in the channel; the answer to `by`."""

    def typed(self, name: str, *, after: Message | None = None) -> str:
        """A command as people type it there, for `command`."""
        return f"/{name}"

    # --- what people read

    @abstractmethod
    def posts(self, message: Message) -> list[str]:
        """All that the bot says in the conversation that a message began, as its author reads it
        now."""

    def overheard(self) -> list[str]:
        """All that the bot says anywhere, as the other person reads it."""
        self._undeclared(Ability.OTHER_PEOPLE)

    # --- helpers of scenarios

    @property
    def engine(self) -> ScriptedEngine:
        return self.core.engine

    async def delivered(self) -> None:
        """Wait until the platform has delivered what was said, where it doesn't keep the order."""
        return

    async def until(self, condition: Callable[[], object], what: str = "") -> Any:
        """Wait for the condition; what it gave."""
        end = time.monotonic() + WAIT_S
        while not (value := condition()):
            if time.monotonic() > end:
                raise TimeoutError(f"{self.name}: {what or 'it never came'}")
            await asyncio.sleep(POLL_S)
        return value

    async def request(self, number: int) -> Request:
        """The engine's request of this number since Parley was started, from 0."""
        await self.until(lambda: len(self.engine.requests) > number, f"request {number}")
        return self.engine.requests[number]

    async def being_answered(self, text: str, words: str) -> tuple[Message, Request]:
        """A question whose reply has begun with these words; seen where replies stream."""
        number = len(self.engine.requests)
        question = await self.ask(text)
        request = await self.request(number)
        first, _, rest = words.partition(" ")
        request.write(f"{first} ")
        request.write(rest)
        await self.until(request.items.empty, "the words read")
        if Ability.STREAMING not in self.missing:
            await self.until(lambda: first in "".join(self.posts(question)), "the words seen")
        return question, request

    async def answer(self, message: Message, text: str) -> list[str]:
        """Let the engine answer the newest request with this; the posts once it has ended."""
        request = await self.until(
            lambda: next((r for r in self.engine.requests if not r.written and not r.closed), None),
            f"a request for {text!r}",
        )
        return await self.answer_on(message, request, text)

    async def answer_on(self, message: Message, request: Request, text: str) -> list[str]:
        """The same for a request that has begun."""
        request.write(text)
        request.finish()
        return await self.ended(message)

    async def ended(self, message: Message) -> list[str]:
        """The posts of a conversation once no reply is owed any more."""
        await self.until(lambda: self.engine.requests, "a request")
        async with asyncio.timeout(WAIT_S):
            while await self.core.store.unfinished():
                await asyncio.sleep(POLL_S)
        return self.posts(message)

    async def told(self, message: Message) -> list[str]:
        """The posts once there is one."""
        await self.until(lambda: self.posts(message), "a sentence")
        return self.posts(message)

    async def only_asked(self, *questions: str) -> None:
        """Ask something more; then the engine has been asked these questions and no others."""
        last = "One more thing"
        await self.delivered()
        await self.ask(last)
        request = await self.until(
            lambda: next((r for r in self.engine.requests if last in r.asked), None), last
        )
        request.write("Fine.")
        request.finish()
        asked = [request.asked for request in self.engine.requests if last not in request.asked]
        assert len(asked) == len(questions), asked
        for question, text in zip(questions, asked, strict=True):
            assert question in text

    def _undeclared(self, ability: Ability) -> NoReturn:
        raise Undeclared(f"{self.name} has no {ability} and doesn't declare them missing")


Scenario: TypeAlias = Callable[..., Awaitable[None]]


def needs(ability: Ability, *, otherwise: Scenario) -> Callable[[Scenario], Scenario]:
    """A scenario for platforms that have this ability; `otherwise` checks the documented fallback
    on those that declare it missing."""

    def decorate(scenario: Scenario) -> Scenario:
        @wraps(scenario)
        async def run(chat: Harness, **parameters: Any) -> None:
            if ability in chat.missing:
                await otherwise(chat)
            else:
                await scenario(chat, **parameters)

        run.abilities = {ability, *getattr(scenario, "abilities", ())}  # type: ignore[attr-defined]
        return run

    return decorate


async def _call(act: Callable[[], None]) -> None:
    act()
