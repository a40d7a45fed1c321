"""The workspace: every change is stored and published to the tabs in the same order.

A page that a tab requests is built under the lock of all changes and queued like the events, so a
tab misses nothing between the page and the events after it, and gets nothing twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from bot.platforms.playground import texts
from bot.platforms.playground.hub import Connection, Event, Hub
from bot.platforms.playground.people import BOT, Person
from bot.platforms.playground.ports import WorkspaceStore
from bot.platforms.playground.refusal import Refused
from bot.platforms.playground.views import channel_view, post_view, summary_view
from bot.platforms.shared.message_splitter import utf16_units
from bot.records.playground import (
    Channel,
    NameTaken,
    Post,
    Reply,
    Summary,
)

PAGE_SIZE = 50

#: Makes the first event of a tab.
Greeting = Callable[[Person], Awaitable[Event]]


@dataclass(slots=True)
class Running:
    """A reply that is being written: its text so far, newer than the stored one."""

    post: Post
    audience: str | None
    text: str = ""
    length: int = 0  # of the text, in UTF-16 units, as browsers count
    ahead: int = 0


class Workspace:
    """Reads and changes the workspace, and publishes what changed."""

    def __init__(
        self, store: WorkspaceStore, hub: Hub, on_reply: Callable[[], None] = lambda: None
    ) -> None:
        self.store = store
        self._hub = hub
        self._on_reply = on_reply
        self._lock = asyncio.Lock()
        self._running: dict[int, Running] = {}

    # --- channels

    async def visible_channels(self, person: Person) -> list[Channel]:
        return [c for c in await self.store.channels() if c.visible_to(person.id)]

    async def channel(self, channel_id: int, person: Person) -> Channel:
        """A channel that the person may see. Raises Refused (404)."""
        channel = await self.store.channel(channel_id)
        if channel is None or not channel.visible_to(person.id):
            raise Refused(404, texts.NO_CHANNEL)
        return channel

    async def add_channel(self, name: str) -> Channel:
        """Make a channel. Raises Refused (409) when the name is taken."""
        async with self._lock:
            try:
                channel = await self.store.add_channel(name)
            except NameTaken:
                raise Refused(409, texts.channel_name_taken(name)) from None
            self._hub.publish({"type": "channel", "channel": channel_view(channel)})
            return channel

    async def rename_channel(self, channel: Channel, name: str) -> Channel:
        """Rename a channel. Raises Refused (400 for direct messages, 404, 409)."""
        if channel.kind != "channel":
            raise Refused(400, texts.DM_NAME)
        async with self._lock:
            try:
                renamed = await self.store.rename_channel(channel.id, name)
            except NameTaken:
                raise Refused(409, texts.channel_name_taken(name)) from None
            if renamed is None:
                raise Refused(404, texts.NO_CHANNEL)
            self._hub.publish({"type": "channel", "channel": channel_view(renamed)})
            return renamed

    # --- reading

    async def admit(self, connection: Connection, greeting: Greeting) -> None:
        """Let a tab in: its greeting first, then every event after it.

        Raises:
            Refused: 503, when there are too many tabs.
        """
        async with self._lock:
            connection.send(await greeting(connection.person))
            self._hub.add(connection)

    async def send_page(self, connection: Connection, channel_id: int, before: int | None) -> None:
        """Queue a page of a channel's messages for one tab. Raises Refused (404)."""
        channel = await self.channel(channel_id, connection.person)
        async with self._lock:
            posts = await self.store.page(channel.id, before, PAGE_SIZE + 1)
            more, posts = len(posts) > PAGE_SIZE, posts[-PAGE_SIZE:]
            summaries = await self.store.summaries([post.id for post in posts])
            connection.send(
                {
                    "type": "page",
                    "channel": channel.id,
                    "before": before,
                    "more": more,
                    "messages": [self._view(post) for post in posts],
                    "threads": [summary_view(channel.id, s) for s in summaries.values()],
                }
            )

    async def send_thread(self, connection: Connection, root_id: int) -> None:
        """Queue a whole thread, root first, for one tab. Raises Refused (404)."""
        root = await self.post(root_id, connection.person)
        async with self._lock:
            replies = await self.store.thread(root.id)
            connection.send(
                {
                    "type": "thread",
                    "root": root.id,
                    "channel": root.channel_id,
                    "messages": [self._view(post) for post in (root, *replies)],
                }
            )

    async def post(self, post_id: int, person: Person) -> Post:
        """A message that the person may see. Raises Refused (404)."""
        post = await self.store.post(post_id)
        if post is not None:
            channel = await self.store.channel(post.channel_id)
            if channel is not None and channel.visible_to(person.id):
                return post
        raise Refused(404, texts.NO_MESSAGE)

    # --- messages

    async def add_post(
        self,
        channel: Channel,
        thread: int | None,
        author: str,
        text: str,
        uploads: Sequence[int] = (),
    ) -> Post:
        async with self._lock:
            post = await self.store.add_post(channel.id, thread, author, text, uploads)
            await self._publish_post(post, channel.audience, new=True)
            return post

    async def edit_post(self, post: Post, text: str) -> Post:
        """Replace a message's text. Raises Refused (404) if it was deleted."""
        async with self._lock:
            edited = await self.store.edit_post(post.id, text)
            if edited is None:
                raise Refused(404, texts.NO_MESSAGE)
            await self._publish_post(edited, await self._audience(edited))
            return edited

    async def remove_post(self, post: Post) -> None:
        """Delete a message; a root that others replied to stays as a placeholder."""
        async with self._lock:
            await self._remove(post)

    # --- replies

    async def begin_reply(
        self, channel: Channel, thread: int | None, reply: Reply, instead_of: Post | None
    ) -> Post:
        """Show that a reply is coming: in a new post, or in the emptied old one."""
        async with self._lock:
            old = instead_of and await self.store.save_reply(instead_of.id, "", reply)
            post = old or await self.store.add_post(channel.id, thread, BOT.id, "", (), reply)
            self._running[post.id] = Running(post, channel.audience)
            self._on_reply()
            await self._publish_post(post, channel.audience, new=old is None)
            return post

    def set_ahead(self, post_id: int, ahead: int) -> None:
        if (running := self._running.get(post_id)) and running.ahead != ahead:
            running.ahead = ahead
            self._publish({"type": "message", "message": self._view(running.post)}, running)

    def grow_reply(self, post_id: int, delta: str) -> str:
        """Append to a reply. Returns its text so far."""
        running = self._running.get(post_id)
        if running is None:
            return ""
        event = {"type": "delta", "id": post_id, "offset": running.length, "text": delta}
        running.text += delta
        running.length += utf16_units(delta)
        self._publish(event, running)
        return running.text

    async def empty_reply(self, post_id: int, reply: Reply) -> None:
        async with self._lock:
            running = self._running.get(post_id)
            post = await self.store.save_reply(post_id, "", reply)
            if running is None or post is None:
                return
            running.post, running.text, running.length = post, "", 0
            await self._publish_post(post, running.audience)

    async def end_reply(self, post_id: int, text: str, reply: Reply) -> None:
        async with self._lock:
            post = await self.store.save_reply(post_id, text, reply)
            self._running.pop(post_id, None)
            if post is not None:
                await self._publish_post(post, await self._audience(post))

    async def withdraw_reply(self, post_id: int) -> None:
        async with self._lock:
            self._running.pop(post_id, None)
            if post := await self.store.post(post_id):
                await self._remove(post)

    # --- telling the tabs

    def _view(self, post: Post) -> dict[str, object]:
        running = self._running.get(post.id)
        if running is None:
            return post_view(post)
        return post_view(post, running.text, running.ahead)

    def _publish(self, event: Event, running: Running) -> None:
        self._hub.publish(event, running.audience)

    async def _audience(self, post: Post) -> str | None:
        channel = await self.store.channel(post.channel_id)
        return channel.audience if channel else None

    async def _publish_post(self, post: Post, audience: str | None, *, new: bool = False) -> None:
        """Publish a post as it is now, and its thread's summary if it is in one."""
        summary = await self._summary(post.thread)
        self._hub.publish({"type": "message", "message": self._view(post), "new": new}, audience)
        if summary is not None:
            self._hub.publish(
                {"type": "summary", "summary": summary_view(post.channel_id, summary)}, audience
            )

    async def _summary(self, root: int | None) -> Summary | None:
        if root is None:
            return None
        return (await self.store.summaries([root])).get(root, Summary(root, 0, (), None))

    async def _remove(self, post: Post) -> None:
        audience = await self._audience(post)
        removed_ids = await self.store.remove_post(post.id)
        if post.id not in removed_ids and (placeholder := await self.store.post(post.id)):
            await self._publish_post(placeholder, audience)
        summary = None if post.thread in removed_ids else await self._summary(post.thread)
        for post_id in removed_ids:
            self._running.pop(post_id, None)
            self._hub.publish(
                {
                    "type": "removed",
                    "id": post_id,
                    "channel": post.channel_id,
                    "thread": post.thread if post_id == post.id else None,
                },
                audience,
            )
        if summary is not None:
            self._hub.publish(
                {"type": "summary", "summary": summary_view(post.channel_id, summary)}, audience
            )
