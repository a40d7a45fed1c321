"""Parley's replies on the page: posts that grow live and are stored about once a second."""

from __future__ import annotations

import time
from dataclasses import replace

from bot.core.events import ThreadKey
from bot.core.ports import FinishedReply
from bot.core.records import Turn, TurnState
from bot.platforms.playground.workspace import Workspace
from bot.platforms.shared.ids import parse_id
from bot.platforms.shared.reply_ending import reply_ending
from bot.records.playground import Channel, Post, Reply, ReplyState

#: How often a running reply's text is stored.
PERSIST_EVERY_S = 1.0

_ENDED = {
    TurnState.DELIVERED: ReplyState.DONE,
    TurnState.FAILED: ReplyState.FAILED,
    TurnState.CANCELLED: ReplyState.STOPPED,
}


class ReplyGone(Exception):
    """The channel or the thread of the reply does not exist any more."""


class PlaygroundReply:
    """`bot.core.ports.ReplySink` on a post."""

    def __init__(self, workspace: Workspace, post: Post, reply: Reply) -> None:
        self._workspace = workspace
        self._post_id = post.id
        self._reply = reply
        self._saved_at = time.monotonic()

    @property
    def posted(self) -> tuple[str, ...]:
        return (str(self._post_id),)

    async def waiting(self, ahead: int) -> None:
        self._workspace.set_ahead(self._post_id, ahead)

    async def write(self, delta: str) -> None:
        if not delta:
            return
        text = self._workspace.grow_reply(self._post_id, delta)
        if time.monotonic() - self._saved_at >= PERSIST_EVERY_S:
            await self._workspace.store.save_text(self._post_id, text)
            self._saved_at = time.monotonic()

    async def restart(self) -> None:
        await self._workspace.empty_reply(self._post_id, self._reply)

    async def finish(self, reply: FinishedReply) -> tuple[str, ...]:
        ending = reply_ending(reply)
        ended = replace(
            self._reply, state=_ENDED[reply.state], notes=ending.notes, error=ending.error
        )
        await self._workspace.end_reply(self._post_id, reply.text, ended)
        return self.posted

    async def withdraw(self) -> None:
        await self._workspace.withdraw_reply(self._post_id)


async def open_reply(workspace: Workspace, turn: Turn) -> PlaygroundReply:
    """Begin the reply to a turn: in the post of its earlier reply, or in a new one.

    The earlier post is looked up by turn, not in `turn.posted`: a process that crashed may have
    shown it without recording where.

    Raises:
        ReplyGone: the channel or the thread does not exist.
    """
    channel, thread = await _find_place(workspace, turn.key)
    reply = Reply(
        turn_id=turn.id,
        asker=turn.asker,
        state=ReplyState.RUNNING,
    )
    old = await workspace.store.reply_to_turn(turn.id)
    post = await workspace.begin_reply(channel, thread, reply, old)
    return PlaygroundReply(workspace, post, reply)


async def _find_place(workspace: Workspace, key: ThreadKey) -> tuple[Channel, int | None]:
    channel_id, root_id = parse_id(key.channel), parse_id(key.thread)
    channel = None if channel_id is None else await workspace.store.channel(channel_id)
    if channel is None:
        raise ReplyGone(f"there is no channel {key.channel}")
    if not key.thread:
        return channel, None
    root = None if root_id is None else await workspace.store.post(root_id)
    if root is None or root.channel_id != channel.id:
        raise ReplyGone(f"there is no thread {key.thread}")
    return channel, root.id
