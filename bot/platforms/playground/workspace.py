"""The workspace: every change is written down and told to the tabs in one and the same order.

A tab that asks for a channel gets its page in the same ordered line as the events that follow,
made under the same lock as every change: nothing is missed between the two, nothing comes twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from bot.platforms.playground.hub import Connection, Event, Hub
from bot.platforms.playground.people import BOT, Person
from bot.platforms.playground.ports import WorkspaceStore
from bot.platforms.playground.refusal import Refused
from bot.platforms.playground.text import utf16_length
from bot.platforms.playground.views import channel_view, post_view, summary_view
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
    """A reply that is being written: its text so far, ahead of what is stored."""

    post: Post
    audience: str | None
    text: str = ""
    length: int = 0  # of the text, in UTF-16 units as the page counts
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
        """What a person has in the sidebar."""
        return [c for c in await self.store.channels() if c.visible_to(person.id)]

    async def channel(self, channel_id: int, person: Person) -> Channel:
        """A channel that the person may see. Raises Refused (404)."""
        channel = await self.store.channel(channel_id)
        if channel is None or not channel.visible_to(person.id):
            raise Refused(404, "There is no such channel.")
        return channel

    async def add_channel(self, name: str) -> Channel:
        """Make a channel. Raises Refused (409) when the name is taken."""
        async with self._lock:
            try:
                channel = await self.store.add_channel(name)
            except NameTaken:
                raise Refused(409, f"There is a channel #{name} already.") from None
            self._hub.publish({"type": "channel", "channel": channel_view(channel)})
            return channel

    async def rename_channel(self, channel: Channel, name: str) -> Channel:
        """Rename a channel. Raises Refused (400 for direct messages, 404, 409)."""
        if channel.kind != "channel":
            raise Refused(400, "Direct messages can't be renamed.")
        async with self._lock:
            try:
                renamed = await self.store.rename_channel(channel.id, name)
            except NameTaken:
                raise Refused(409, f"There is a channel #{name} already.") from None
            if renamed is None:
                raise Refused(404, "There is no such channel.")
            self._hub.publish({"type": "channel", "channel": channel_view(renamed)})
            return renamed

    # --- reading

    async def admit(self, connection: Connection, greeting: Greeting) -> None:
        """Let a tab in: its greeting first, then every event from the very next on.

        Raises:
            Refused: 503, when there are too many tabs.
        """
        async with self._lock:
            connection.send(await greeting(connection.person))
            self._hub.add(connection)

    async def send_page(self, connection: Connection, channel_id: int, before: int | None) -> None:
        """Line up a page of a channel's messages for one tab."""
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
        """Line up a whole thread, root first, for one tab. Raises Refused (404)."""
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
        raise Refused(404, "There is no such message.")

    # --- messages

    async def add_post(
        self,
        channel: Channel,
        thread: int | None,
        author: str,
        text: str,
        uploads: Sequence[int] = (),
    ) -> Post:
        """Write a message down and show it."""
        async with self._lock:
            post = await self.store.add_post(channel.id, thread, author, text, uploads)
            await self._show(post, channel.audience, new=True)
            return post

    async def edit_post(self, post: Post, text: str) -> Post:
        """Another text for a message. Raises Refused (404) when it is gone."""
        async with self._lock:
            edited = await self.store.edit_post(post.id, text)
            if edited is None:
                raise Refused(404, "There is no such message.")
            await self._show(edited, await self._audience(edited))
            return edited

    async def remove_post(self, post: Post) -> None:
        """Delete a message; a root that others replied to stays as an empty shell."""
        async with self._lock:
            await self._remove(post)

    # --- replies

    async def begin_reply(
        self, channel: Channel, thread: int | None, reply: Reply, instead_of: Post | None
    ) -> Post:
        """Show that a reply is coming: a new post, or the old one emptied."""
        async with self._lock:
            old = instead_of and await self.store.save_reply(instead_of.id, "", reply)
            post = old or await self.store.add_post(channel.id, thread, BOT.id, "", (), reply)
            self._running[post.id] = Running(post, channel.audience)
            self._on_reply()
            await self._show(post, channel.audience, new=old is None)
            return post

    def set_ahead(self, post_id: int, ahead: int) -> None:
        """Tell how many others are served before this reply."""
        if (running := self._running.get(post_id)) and running.ahead != ahead:
            running.ahead = ahead
            self._publish({"type": "message", "message": self._view(running.post)}, running)

    def grow_reply(self, post_id: int, delta: str) -> str:
        """Append to a reply and show it. Returns the whole text so far."""
        running = self._running.get(post_id)
        if running is None:
            return ""
        event = {"type": "delta", "id": post_id, "offset": running.length, "text": delta}
        running.text += delta
        running.length += utf16_length(delta)
        self._publish(event, running)
        return running.text

    async def empty_reply(self, post_id: int, reply: Reply) -> None:
        """Writing begins again from nothing."""
        async with self._lock:
            running = self._running.get(post_id)
            post = await self.store.save_reply(post_id, "", reply)
            if running is None or post is None:
                return
            running.post, running.text, running.length = post, "", 0
            await self._show(post, running.audience)

    async def end_reply(self, post_id: int, text: str, reply: Reply) -> None:
        """The final text and state of a reply."""
        async with self._lock:
            post = await self.store.save_reply(post_id, text, reply)
            self._running.pop(post_id, None)
            if post is not None:
                await self._show(post, await self._audience(post))

    async def withdraw_reply(self, post_id: int) -> None:
        """Take a reply back."""
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

    async def _show(self, post: Post, audience: str | None, *, new: bool = False) -> None:
        """Publish a post as it is now, and its thread's summary where it is a reply."""
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
        gone = await self.store.remove_post(post.id)
        if post.id not in gone and (shell := await self.store.post(post.id)):
            await self._show(shell, audience)
        summary = None if post.thread in gone else await self._summary(post.thread)
        for post_id in gone:
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
