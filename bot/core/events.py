"""What comes in from a platform, in the platform's words translated once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal, TypeAlias


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, order=True)
class ThreadKey:
    """Where something is: in a thread, a channel or a workspace. An empty field means "all of it".

    `thread == ""` is the channel itself (a DM, or a channel with inline replies);
    `channel == ""` is the workspace. A conversation lives at a key; a persona is set on a key.
    """

    platform: str
    workspace: str
    channel: str = ""
    thread: str = ""

    def scopes(self) -> tuple[ThreadKey, ...]:
        """This key and those that it inherits from, narrowest first: thread, channel, workspace."""
        return tuple(dict.fromkeys((self, self.channel_key, self.workspace_key)))

    @property
    def channel_key(self) -> ThreadKey:
        """The channel that it is in."""
        return replace(self, thread="")

    @property
    def workspace_key(self) -> ThreadKey:
        """The workspace that it is in."""
        return replace(self, channel="", thread="")

    def in_thread(self, thread: str) -> ThreadKey:
        """The key of a thread in this channel."""
        return replace(self, thread=thread)

    def __str__(self) -> str:
        parts = (self.platform, self.workspace, self.channel, self.thread)
        return "/".join(parts).rstrip("/")


@dataclass(frozen=True, slots=True)
class Author:
    """Who did it. `is_admin`: may change personas here, as the platform's own permissions say."""

    id: str
    name: str
    is_admin: bool = False
    is_bot: bool = False
    is_self: bool = False


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file on a message. `content_type` and `size` (bytes) are claims; `load` gets the bytes."""

    name: str
    content_type: str
    size: int
    load: Callable[[], Awaitable[bytes]] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class PastMessage:
    """A message that was there before the bot joined. `author.is_self`: one of the bot's own."""

    id: str
    author: Author
    text: str
    attachments: tuple[Attachment, ...] = ()
    at: datetime = field(default_factory=_now)


Earlier: TypeAlias = Callable[[], Awaitable[Sequence[PastMessage]]]


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """Somebody wrote something. In `text` platform escapes are undone, the bot's mention is out."""

    key: ThreadKey  # where it was posted; `thread` is "" for a message in the channel itself
    id: str  # the platform's own id; also the id of a thread opened from it
    author: Author
    text: str
    attachments: tuple[Attachment, ...] = ()
    is_dm: bool = False
    has_threads: bool = True  # False: none can be opened, so the channel is one conversation
    mentions_bot: bool = False
    mentions_bot_role: bool = False
    mentions_everyone: bool = False
    replies_to_bot: bool = False
    # The message of the bot's that it is a reply to, as `Turn.posted` names it; "": none, or the
    # platform has no such replies. In the channel itself it goes on with that conversation.
    replies_to: str = ""
    addresses_other: bool = False  # opens by addressing somebody else ("@ana can you ...")
    at: datetime = field(default_factory=_now)
    # What was said before in this thread or reply chain, oldest first, without this message. It
    # is asked for only where nothing is remembered of the conversation.
    earlier: Earlier | None = field(default=None, repr=False, compare=False)
    foot: tuple[str, ...] = ()  # short notes of the adapter for the foot of the reply
    # Where a command, a form or a shortcut asked this question. It has a conversation of its own
    # (at `key`), but the settings of this place decide whether it is answered.
    asked_in: ThreadKey | None = None


@dataclass(frozen=True, slots=True)
class MessageEdited:
    """The text of a message is another now.

    `as_new`: the message as if it had just come. If the edit mentions the bot and the message was
    left alone so far, it becomes a question (`gate.edit_asks`).
    """

    key: ThreadKey
    id: str
    author: Author
    text: str
    as_new: MessageReceived | None = None
    at: datetime = field(default_factory=_now)  # when it was edited


@dataclass(frozen=True, slots=True)
class MessageDeleted:
    """A message is gone."""

    key: ThreadKey
    id: str


@dataclass(frozen=True, slots=True)
class CommandInvoked:
    """A command: `name` as in `commands.COMMANDS` ("persona set"), `args` by parameter name."""

    key: ThreadKey
    author: Author
    name: str
    args: Mapping[str, str] = field(default_factory=dict)
    is_dm: bool = False  # in a DM the asker may set the DM's own persona without being an admin
    at: datetime = field(default_factory=_now)
    # How commands begin where this one was given ("/", "!", "/parley "): answers name them so.
    prefix: str = "/"


@dataclass(frozen=True, slots=True)
class ControlPressed:
    """A button under a reply. `good` and `bad` are feedback: anybody may give it."""

    key: ThreadKey
    author: Author
    action: Literal["stop", "regenerate", "good", "bad"]
    turn_id: int


Inbound: TypeAlias = (
    MessageReceived | MessageEdited | MessageDeleted | CommandInvoked | ControlPressed
)
