"""How channels, posts, people and the batcher look to the page: plain JSON values."""

from __future__ import annotations

import re
from typing import Any

from bot.core.ports import CommandReply
from bot.platforms.playground.people import Person, display_name
from bot.platforms.playground.text import utf16_length
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
_EXCERPT = 120


def person_view(person: Person) -> View:
    """A person for the switcher and for completion."""
    return {"id": person.id, "name": person.name, "admin": person.is_admin}


def channel_view(channel: Channel) -> View:
    """A channel. Direct messages are always with Parley; whose they are is known to the page."""
    return {"id": channel.id, "kind": channel.kind, "name": channel.name}


def upload_view(upload: Upload) -> View:
    """A file; a picture has its size in pixels, so that the page can leave room for it."""
    return {
        "id": upload.id,
        "name": upload.name,
        "size": upload.size,
        "picture": upload.content_type != DOCUMENT,
        "width": upload.width,
        "height": upload.height,
    }


def post_view(post: Post, live_text: str | None = None, ahead: int = 0) -> View:
    """A message. `live_text` is what a running reply has so far, newer than what is stored."""
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
        view["length"] = utf16_length(text)
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
    """What a root shows of its thread."""
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
        return "sent a picture"
    if not text and post.reply is not None:
        return {ReplyState.FAILED: "could not answer", ReplyState.STOPPED: "was stopped"}.get(
            post.reply.state, ""
        )
    return text if len(text) <= _EXCERPT else text[: _EXCERPT - 1].rstrip() + "…"


def notice_view(reply: CommandReply) -> View:
    """An answer for the one who asked only."""
    return {"text": reply.text, "ok": reply.ok}
