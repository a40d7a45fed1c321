"""One queue per conversation: turns are answered one after another, nothing is dropped."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias

from bot.core.access import require_reset
from bot.core.events import Author, ThreadKey
from bot.core.failures import new_reference
from bot.core.guarded_sink import GuardedSink, SinkFailed
from bot.core.ports import RetentionStore
from bot.core.records import Change, Turn, TurnState
from bot.core.replies import Interrupt, Reply, ReplyServices

logger = logging.getLogger(__name__)

Notes: TypeAlias = tuple[str, ...]


class _Conversation:
    """A conversation while something happens in it.

    `lock` makes one step of what is done to its queue: accepting a message and noting that its
    files load; taking a turn and noting that it is being answered.
    """

    def __init__(self, key: ThreadKey) -> None:
        self.key = key
        self.lock = asyncio.Lock()
        self.users = 0
        self.loads: set[asyncio.Task[None]] = set()
        self.again: deque[Turn] = deque()  # reopened, to be answered anew
        self.notes: dict[str, Notes] = {}  # for the foot of the reply, by message id
        self.reply: Reply | None = None
        self.runner: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        return not (self.users or self.loads or self.again or self.runner)


class Acceptance:
    """What may be done while a message is accepted and no turn is taken from the queue."""

    def __init__(self, conversation: _Conversation, forget_if_idle: Callable[[], None]) -> None:
        self._conversation = conversation
        self._forget_if_idle = forget_if_idle

    def note(self, message_id: str, notes: Iterable[str]) -> None:
        """Say this at the foot of the reply to that message."""
        notes_by_message = self._conversation.notes
        if added := tuple(notes):
            notes_by_message[message_id] = notes_by_message.get(message_id, ()) + added

    def load(self, load: Coroutine[Any, Any, None]) -> None:
        """Run what the next turn has to wait for: it is not taken before this has ended."""
        loads = self._conversation.loads
        task = asyncio.create_task(load, name=f"loads for {self._conversation.key}")
        loads.add(task)

        def done(task: asyncio.Task[None]) -> None:
            loads.discard(task)
            self._forget_if_idle()

        task.add_done_callback(done)


class Conversations:
    """Runs the conversations that have something to answer; idle ones take up nothing."""

    def __init__(self, services: ReplyServices, retention: RetentionStore) -> None:
        self._services = services
        self._retention = retention
        self._open: dict[ThreadKey, _Conversation] = {}
        self._withdrawals: set[asyncio.Task[None]] = set()
        self._closing = False

    def __len__(self) -> int:
        """How many conversations are awake."""
        return len(self._open)

    @asynccontextmanager
    async def accepting(self, key: ThreadKey) -> AsyncIterator[Acceptance]:
        """While this is held no turn is taken from the conversation's queue; it wakes after."""
        async with self._locked(key) as conversation:
            yield Acceptance(conversation, partial(self._forget_if_idle, conversation))
            self._wake(conversation)

    def answering(self, key: ThreadKey) -> Turn | None:
        """The turn that is being answered in this conversation."""
        conversation = self._open.get(key)
        return conversation.reply.turn if conversation and conversation.reply else None

    def stop(self, key: ThreadKey, turn_id: int) -> bool:
        """Stop a reply and keep what it says so far; False if it isn't being written."""
        reply = self._reply(key, turn_id)
        return reply is not None and reply.interrupt(Interrupt.STOP)

    async def regenerate(self, turn: Turn) -> bool:
        """Answer a turn anew; False if it waits for its first answer, or is gone."""
        async with self._locked(turn.key) as conversation:
            reply = self._reply(turn.key, turn.id)
            if reply is not None and reply.interrupt(Interrupt.RESTART, another=True):
                return True
            if any(waiting.id == turn.id for waiting in conversation.again):
                return True
            now = await self._services.turns.turn(turn.id)
            if now is None or now.state is TurnState.ACCEPTED or self._closing:
                return False
            if reply is not None:
                return False  # its last words are being delivered; press again
            reopened = await self._services.turns.reopen_turn(turn.id)
            if reopened is None:
                return False
            conversation.again.append(reopened)
            self._wake(conversation)
            return True

    async def edited(self, turn: Turn) -> None:
        """A message of this turn was edited: begin its reply again if it is being written."""
        async with self._locked(turn.key):
            reply = self._reply(turn.key, turn.id)
            if reply is not None:
                reply.edited(turn)

    async def deleted(self, before: Turn) -> None:
        """A message of this turn was deleted: cancel its reply, or answer what is left of it;
        where nothing is left, a reply that stands already is taken back."""
        async with self._locked(before.key) as conversation:
            reply = self._reply(before.key, before.id)
            left = await self._services.turns.turn(before.id)
            if reply is not None:
                if left is not None:
                    reply.edited(left)
                elif not reply.interrupt(Interrupt.WITHDRAW):
                    self._withdraw_soon(before, after=reply)  # its last words are on their way
            elif left is None:
                again = [turn for turn in conversation.again if turn.id != before.id]
                conversation.again = deque(again)
                self._withdraw_soon(before)

    def _withdraw_soon(self, turn: Turn, after: Reply | None = None) -> None:
        task = asyncio.create_task(self._withdraw(turn, after), name=f"withdraw turn {turn.id}")
        self._withdrawals.add(task)
        task.add_done_callback(self._withdrawals.discard)

    async def _withdraw(self, turn: Turn, after: Reply | None) -> None:
        """Take back the reply of a turn that is gone, where it stands on its platform."""
        if after is not None:
            await after.ended.wait()
            turn = replace(turn, posted=after.posted or turn.posted)
        target = self._services.targets.get(turn.key.platform)
        if target is None or not turn.posted:
            return
        try:
            timeout_s = self._services.settings.sink_timeout_s
            sink = await GuardedSink.open(target, turn, self._services.turns, timeout_s)
            await sink.withdraw()
        except SinkFailed as failure:
            logger.warning("turn %d: its reply still stands (%s)", turn.id, failure)

    async def reset(self, key: ThreadKey, by: Author, at: datetime) -> int:
        """Stop what is being written and delete the conversation; how many turns it had.

        Raises:
            NotAllowed: `by` takes no part in it and is no admin.
        """
        async with self._locked(key) as conversation:
            current = [conversation.reply.turn] if conversation.reply else []
            require_reset(by, [*await self._services.turns.transcript(key), *current])
            await self._abandon(conversation, None)
            return await self._retention.reset(key, at)

    async def forget(
        self,
        scope: ThreadKey,
        user_id: str | None = None,
        change: Change | None = None,
        *,
        at: datetime,
    ) -> int:
        """Stop what is being written below a scope (to one person) and delete it there; how many
        turns. See RetentionStore.forget."""
        keys = sorted(key for key in self._open if scope in key.scopes())
        async with AsyncExitStack() as stack:
            # All of them are held until it is done, in one order: two of these can't block
            # each other.
            for key in keys:
                conversation = await stack.enter_async_context(self._locked(key))
                await self._abandon(conversation, user_id)
            return await self._retention.forget(scope, user_id, change, at=at)

    async def _abandon(self, conversation: _Conversation, user_id: str | None) -> None:
        """Stop what is written (to this person); with nobody named also what is loaded."""
        if user_id is None:
            for load in conversation.loads:
                load.cancel()
        conversation.again = deque(
            turn for turn in conversation.again if not _concerns(turn, user_id)
        )
        reply = conversation.reply
        if reply is not None and _concerns(reply.turn, user_id):
            reply.interrupt(Interrupt.STOP)
            await reply.ended.wait()

    def wake(self, key: ThreadKey) -> None:
        """See whether a conversation has something to answer."""
        conversation = self._open.setdefault(key, _Conversation(key))
        self._wake(conversation)
        self._forget_if_idle(conversation)

    async def drain(self, grace_s: float, hand_back_s: float) -> None:
        """Let running replies end within `grace_s`; then hand the rest back and stop.

        Turns that wait stay as they are; the next start finds them.
        """
        self._closing = True
        await _settle(self._tasks(), grace_s)
        for conversation in self._open.values():
            # Nothing is answered any more that a file would be needed for.
            for load in conversation.loads:
                load.cancel()
            if conversation.reply is not None:
                conversation.reply.interrupt(Interrupt.RELEASE)
        await _settle(self._tasks(), hand_back_s)
        left = list(self._open.values())
        owed = [turn for conversation in left for turn in conversation.again]
        owed += [conversation.reply.turn for conversation in left if conversation.reply]
        tasks = self._tasks()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for turn in owed:
            await self._services.turns.release_turn(turn.id)
        self._open.clear()

    @asynccontextmanager
    async def _locked(self, key: ThreadKey) -> AsyncIterator[_Conversation]:
        conversation = self._open.setdefault(key, _Conversation(key))
        conversation.users += 1
        try:
            async with conversation.lock:
                yield conversation
        finally:
            conversation.users -= 1
            self._forget_if_idle(conversation)

    def _forget_if_idle(self, conversation: _Conversation) -> None:
        if conversation.idle and self._open.get(conversation.key) is conversation:
            del self._open[conversation.key]

    def _reply(self, key: ThreadKey, turn_id: int) -> Reply | None:
        conversation = self._open.get(key)
        reply = conversation.reply if conversation else None
        return reply if reply and reply.turn.id == turn_id else None

    def _tasks(self) -> list[asyncio.Task[None]]:
        conversations = self._open.values()
        runners = [c.runner for c in conversations if c.runner is not None]
        loads = [load for c in conversations for load in c.loads]
        return [*runners, *loads, *self._withdrawals]

    def _wake(self, conversation: _Conversation) -> None:
        if self._closing or conversation.runner is not None:
            return
        if conversation.key.platform not in self._services.targets:
            return  # woken again when its platform is there
        conversation.runner = asyncio.create_task(
            self._run(conversation), name=f"conversation {conversation.key}"
        )

    async def _run(self, conversation: _Conversation) -> None:
        """Answer turn after turn until none waits."""
        try:
            while not self._closing:
                if conversation.loads:
                    await asyncio.wait(conversation.loads)
                    continue
                async with conversation.lock:
                    if conversation.loads:
                        continue
                    reply = await self._take(conversation)
                    if reply is not None and self._closing:
                        # Nobody could interrupt it while it was being taken: it is not begun.
                        await self._services.turns.release_turn(reply.turn.id)
                        return
                    conversation.reply = reply
                if reply is None:
                    return  # no await before the runner is gone: nobody is accepted in between
                await self._answer(conversation, reply)
        except Exception:
            logger.exception("conversation %s stopped; its turns are kept", conversation.key)
        finally:
            conversation.runner = None
            self._forget_if_idle(conversation)

    async def _take(self, conversation: _Conversation) -> Reply | None:
        if conversation.again:
            return Reply(conversation.again.popleft(), self._services, another=True)
        turn = await self._services.turns.next_turn(conversation.key)
        if turn is None:
            return None
        said = [conversation.notes.pop(message.platform_id, ()) for message in turn.messages]
        return Reply(turn, self._services, foot=tuple(note for notes in said for note in notes))

    async def _answer(self, conversation: _Conversation, reply: Reply) -> None:
        """Answer one turn. What goes wrong here costs this turn only."""
        try:
            await reply.run()
        except Exception:
            ref = new_reference()
            logger.exception("turn %d failed [%s]", reply.turn.id, ref)
            await self._services.turns.save_reply(reply.turn.id, TurnState.FAILED, ref=ref)
        finally:
            conversation.reply = None
            reply.ended.set()


def _concerns(turn: Turn, user_id: str | None) -> bool:
    """Whether a turn is one of everybody's, or has a message of this person."""
    return user_id is None or any(message.author_id == user_id for message in turn.messages)


async def _settle(tasks: list[asyncio.Task[None]], timeout_s: float) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=timeout_s)
