"""Channels, posts and people as the JSON values that the page reads."""

from __future__ import annotations

import re
from typing import Any

from bot.core.ports import CommandReply
from bot.platforms.playground import texts
from bot.platforms.playground.people import Person, display_name
from bot.platforms.shared.message_splitter import utf16_units
from bot.records.playground import (
    DOCUMENT,
    Channel,
    Post,
    Reply,
    ReplyState,
    Summary,
    Upload,
)

View = dict[str, Any]
_EXCERPT = 120  # characters
_WITHOUT_TEXT = {
    ReplyState.FAILED: texts.COULD_NOT_ANSWER,
    ReplyState.STOPPED: texts.WAS_STOPPED,
}


def person_view(person: Person) -> View:
    return {"id": person.id, "name": person.name, "admin": person.is_admin}


def channel_view(channel: Channel) -> View:
    """A channel. A tab gets its own person's direct messages only, so they need no owner."""
    return {"id": channel.id, "kind": channel.kind, "name": channel.name}


def upload_view(upload: Upload) -> View:
    """A file; a picture's size in pixels lets the page reserve room for it."""
    return {
        "id": upload.id,
        "name": upload.name,
        "size": upload.size,
        "picture": upload.content_type != DOCUMENT,
        "width": upload.width,
        "height": upload.height,
    }


def post_view(post: Post, live_text: str | None = None, ahead: int = 0) -> View:
    """A message. `live_text`: a running reply's text so far, newer than the stored one."""
    text = post.text if live_text is None else live_text
    view: View = {
        "id": post.id,
        "channel": post.channel_id,
        "thread": post.thread,
        "author": post.author,
        "text": text,
        "at": post.at.isoformat(),
        "edited": post.edited,
        "removed": post.removed,
        "uploads": [upload_view(upload) for upload in post.uploads],
        "reply": None,
    }
    if post.reply is not None:
        view["reply"] = _reply_view(post.reply, ahead)
        view["length"] = utf16_units(text)
    return view


def _reply_view(reply: Reply, ahead: int) -> View:
    return {
        "turn": reply.turn_id,
        "asker": reply.asker,
        "state": reply.state,
        "ahead": ahead,
        "notes": list(reply.notes),
        "error": reply.error,
    }


def summary_view(channel_id: int, summary: Summary) -> View:
    """A thread, as shown below its root message."""
    last = summary.last
    return {
        "root": summary.root,
        "channel": channel_id,
        "replies": summary.replies,
        "people": list(summary.people),
        "running": last is not None and _is_running(last),
        "last": None
        if last is None
        else {
            "author": last.author,
            "name": display_name(last.author),
            "text": _excerpt(last),
            "at": last.at.isoformat(),
        },
    }


def _is_running(post: Post) -> bool:
    return post.reply is not None and post.reply.state is ReplyState.RUNNING


def _excerpt(post: Post) -> str:
    text = " ".join(re.sub(r"[*_`#>|~]+", "", post.text).split())
    if not text and post.uploads:
        is_file = all(upload.content_type == DOCUMENT for upload in post.uploads)
        return texts.SENT_FILE if is_file else texts.SENT_PICTURE
    if not text and post.reply is not None:
        return _WITHOUT_TEXT.get(post.reply.state, "")
    return text if len(text) <= _EXCERPT else text[: _EXCERPT - 1].rstrip() + "…"


def notice_view(reply: CommandReply) -> View:
    """An answer that only the asker sees."""
    return {"text": reply.text, "ok": reply.ok}
