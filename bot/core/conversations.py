"""One queue per conversation: turns are answered in order, and none is dropped."""

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
    """A conversation that has something to answer, to load or to change.

    `lock` makes one step of what is done to its queue: accepting a message and noting that its
    files load; taking a turn and noting that it is being answered.
    """

    def __init__(self, key: ThreadKey) -> None:
        self.key = key
        self.lock = asyncio.Lock()
        self.users = 0
        self.loads: set[asyncio.Task[None]] = set()
        self.reopened: deque[Turn] = deque()  # to be answered again
        self.notes: dict[str, Notes] = {}  # shown below the reply, by message id
        self.reply: Reply | None = None
        self.runner: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        return not (self.users or self.loads or self.reopened or self.runner)


class Acceptance:
    """What can be added while a message is accepted and no turn can leave the queue."""

    def __init__(self, conversation: _Conversation, forget_if_idle: Callable[[], None]) -> None:
        self._conversation = conversation
        self._forget_if_idle = forget_if_idle

    def note(self, message_id: str, notes: Iterable[str]) -> None:
        """Show these notes below the reply to that message."""
        notes_by_message = self._conversation.notes
        if added := tuple(notes):
            notes_by_message[message_id] = notes_by_message.get(message_id, ()) + added

    def load(self, load: Coroutine[Any, Any, None]) -> None:
        """Run a task that the next turn waits for."""
        loads = self._conversation.loads
        task = asyncio.create_task(load, name=f"loads for {self._conversation.key}")
        loads.add(task)

        def done(task: asyncio.Task[None]) -> None:
            loads.discard(task)
            self._forget_if_idle()

        task.add_done_callback(done)


class Conversations:
    """Runs the conversations that have something to answer. Idle ones use no memory."""

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
        """Hold the conversation's queue: no turn leaves it. Wakes the conversation afterwards."""
        async with self._locked(key) as conversation:
            yield Acceptance(conversation, partial(self._forget_if_idle, conversation))
            self._wake(conversation)

    def answering(self, key: ThreadKey) -> Turn | None:
        """The turn being answered in this conversation."""
        conversation = self._open.get(key)
        return conversation.reply.turn if conversation and conversation.reply else None

    def stop(self, key: ThreadKey, turn_id: int) -> bool:
        """Stop a reply, keeping its text so far; False if it isn't being written."""
        reply = self._reply(key, turn_id)
        return reply is not None and reply.interrupt(Interrupt.STOP)

    async def regenerate(self, turn: Turn) -> bool:
        """Answer a turn again; False if it still waits for its first answer, or was deleted."""
        async with self._locked(turn.key) as conversation:
            reply = self._reply(turn.key, turn.id)
            if reply is not None and reply.interrupt(Interrupt.RESTART, another=True):
                return True
            if any(waiting.id == turn.id for waiting in conversation.reopened):
                return True
            now = await self._services.turns.turn(turn.id)
            if now is None or now.state is TurnState.ACCEPTED or self._closing:
                return False
            if reply is not None:
                return False  # its end is being delivered: press again
            reopened = await self._services.turns.reopen_turn(turn.id)
            if reopened is None:
                return False
            conversation.reopened.append(reopened)
            self._wake(conversation)
            return True

    async def edited(self, turn: Turn) -> None:
        """A message of this turn was edited: restart its reply if it is being written."""
        async with self._locked(turn.key):
            reply = self._reply(turn.key, turn.id)
            if reply is not None:
                reply.edited(turn)

    async def deleted(self, old: Turn) -> None:
        """A message of this turn was deleted: answer what is left of the turn, or withdraw its
        reply if nothing is left."""
        async with self._locked(old.key) as conversation:
            reply = self._reply(old.key, old.id)
            left = await self._services.turns.turn(old.id)
            if reply is not None:
                if left is not None:
                    reply.edited(left)
                elif not reply.interrupt(Interrupt.WITHDRAW):
                    self._withdraw_soon(old, after=reply)  # its end is on its way
            elif left is None:
                again = [turn for turn in conversation.reopened if turn.id != old.id]
                conversation.reopened = deque(again)
                self._withdraw_soon(old)

    def _withdraw_soon(self, turn: Turn, after: Reply | None = None) -> None:
        task = asyncio.create_task(self._withdraw(turn, after), name=f"withdraw turn {turn.id}")
        self._withdrawals.add(task)
        task.add_done_callback(self._withdrawals.discard)

    async def _withdraw(self, turn: Turn, after: Reply | None) -> None:
        """Withdraw a deleted turn's reply from its platform."""
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
        """Stop the running reply and delete the conversation; returns how many turns it had.

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
        """Stop the running replies below a scope (to one person) and delete them there; returns
        how many turns. See RetentionStore.forget."""
        keys = sorted(key for key in self._open if scope in key.scopes())
        async with AsyncExitStack() as stack:
            # Locked in sorted order, so that two calls can't deadlock.
            for key in keys:
                conversation = await stack.enter_async_context(self._locked(key))
                await self._abandon(conversation, user_id)
            return await self._retention.forget(scope, user_id, change, at=at)

    async def _abandon(self, conversation: _Conversation, user_id: str | None) -> None:
        """Stop the running reply (to this person); without a person also the loads."""
        if user_id is None:
            for load in conversation.loads:
                load.cancel()
        conversation.reopened = deque(
            turn for turn in conversation.reopened if not _concerns(turn, user_id)
        )
        reply = conversation.reply
        if reply is not None and _concerns(reply.turn, user_id):
            reply.interrupt(Interrupt.STOP)
            await reply.ended.wait()

    def wake(self, key: ThreadKey) -> None:
        """Run a conversation if it has something to answer."""
        conversation = self._open.setdefault(key, _Conversation(key))
        self._wake(conversation)
        self._forget_if_idle(conversation)

    async def drain(self, grace_s: float, hand_back_s: float) -> None:
        """Let running replies end within `grace_s`; then return the rest to the store and stop.

        Turns that wait stay as they are; the next start finds them.
        """
        self._closing = True
        await _settle(self._tasks(), grace_s)
        for conversation in self._open.values():
            # No turn that would need a file is answered anymore.
            for load in conversation.loads:
                load.cancel()
            if conversation.reply is not None:
                conversation.reply.interrupt(Interrupt.RELEASE)
        await _settle(self._tasks(), hand_back_s)
        left = list(self._open.values())
        owed = [turn for conversation in left for turn in conversation.reopened]
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
            return  # woken when its platform is registered
        conversation.runner = asyncio.create_task(
            self._run(conversation), name=f"conversation {conversation.key}"
        )

    async def _run(self, conversation: _Conversation) -> None:
        """Answer turns until none waits."""
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
                        # It could not be interrupted while it was taken, so it isn't started.
                        await self._services.turns.release_turn(reply.turn.id)
                        return
                    conversation.reply = reply
                if reply is None:
                    return  # no await until the runner is cleared: nothing is accepted in between
                await self._answer(conversation, reply)
        except Exception:
            logger.exception("conversation %s stopped; its turns are kept", conversation.key)
        finally:
            conversation.runner = None
            self._forget_if_idle(conversation)

    async def _take(self, conversation: _Conversation) -> Reply | None:
        if conversation.reopened:
            return Reply(conversation.reopened.popleft(), self._services, another=True)
        turn = await self._services.turns.next_turn(conversation.key)
        if turn is None:
            return None
        said = [conversation.notes.pop(message.platform_id, ()) for message in turn.messages]
        return Reply(turn, self._services, foot=tuple(note for notes in said for note in notes))

    async def _answer(self, conversation: _Conversation, reply: Reply) -> None:
        """Answer one turn. An error here costs only this turn."""
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
    """Whether a turn has a message of this person; None means anybody."""
    return user_id is None or any(message.author_id == user_id for message in turn.messages)


async def _settle(tasks: list[asyncio.Task[None]], timeout_s: float) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=timeout_s)
