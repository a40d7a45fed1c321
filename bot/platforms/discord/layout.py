"""Lays out a reply as Discord messages: within the limits, with notes, as a file if long."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bot.core.ports import FinishedReply
from bot.platforms.discord import texts
from bot.platforms.shared.message_splitter import split, utf16_units
from bot.platforms.shared.reply_ending import ReplyEnding, reply_ending

LIMIT = 2_000  # characters of one message
MAX_POSTS = 10  # messages of one reply; the rest is only in the file
FILE_FROM = 6_000  # characters; a longer reply is attached as a file, too
FILE_NAME = "reply.md"

#: The row of buttons below a message; "" for none.
Controls: TypeAlias = Literal["", "running", "ended"]

_FENCE = re.compile(r"^ {0,3}(```+|~~~+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Draft:
    """The intended content of one message; `file` is the text of its attached file."""

    content: str
    controls: Controls = ""
    file: str | None = None


def waiting_drafts(ahead: int) -> list[Draft]:
    """A reply before its first word."""
    return [Draft(texts.ahead(ahead) if ahead else texts.EMPTY_REPLY, "running")]


def running_drafts(text: str, limit: int = MAX_POSTS) -> list[Draft]:
    """A reply that is being written."""
    chunks = split(text, LIMIT, measure=utf16_units)[:limit]
    if not chunks:
        return waiting_drafts(0)
    closed = _close_fence(chunks[-1])
    if utf16_units(closed) <= LIMIT:
        chunks[-1] = closed
    return _drafts(chunks, "running")


def ended_drafts(reply: FinishedReply, limit: int = MAX_POSTS) -> list[Draft]:
    """A reply that has ended, with notes and buttons on its last message."""
    chunks = split(reply.text.rstrip(), LIMIT, measure=utf16_units)
    long = utf16_units(reply.text) > FILE_FROM or len(chunks) > limit
    foot = _foot(reply_ending(reply, rest_in_file=len(chunks) > limit))
    chunks = chunks[:limit]
    if foot:
        _add_foot(chunks, foot)
        if len(chunks) > limit:  # the file has the whole text
            del chunks[-2]
    drafts = _drafts(chunks, "ended")
    if long:
        last = drafts[-1]
        drafts[-1] = Draft(last.content, last.controls, reply.text)
    return drafts


def command_answer(text: str) -> list[str]:
    """The answer to a command, as messages."""
    return split(text, LIMIT, measure=utf16_units) or [texts.EMPTY_REPLY]


def thread_name(text: str, author: str) -> str:
    """A thread's name, from the question: at most 100 characters."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    line = " ".join(re.sub(r"[*_~`>#|]+", " ", line).split())
    if not line:
        line = texts.question_by(" ".join(author.split()))
    return _clipped(line, 100)


def _clipped(text: str, limit: int) -> str:
    if utf16_units(text) <= limit:
        return text
    while utf16_units(text) > limit - 1:
        text = text[:-1]
    cut = text.rpartition(" ")[0]
    return f"{cut if len(cut) > limit // 2 else text}…"


def _drafts(chunks: list[str], controls: Controls) -> list[Draft]:
    return [*map(Draft, chunks[:-1]), Draft(chunks[-1], controls)]


def _foot(ending: ReplyEnding) -> str:
    lines = [_one_line(ending.marked_error)] if ending.error else []
    lines += [f"-# {_one_line(note)}" for note in ending.notes]
    return "\n".join(lines)


def _add_foot(chunks: list[str], foot: str) -> None:
    foot = _clipped(foot, LIMIT)
    if chunks:
        with_foot = f"{_close_fence(chunks[-1])}\n{foot}"
        if utf16_units(with_foot) <= LIMIT:
            chunks[-1] = with_foot
            return
    chunks.append(foot)


def _close_fence(chunk: str) -> str:
    """`chunk` with its open code fence closed, so that text after it is not code."""
    fence = ""
    for match in _FENCE.finditer(chunk):
        run = match[1]
        if not fence:
            fence = run
        elif run[0] == fence[0] and len(run) >= len(fence):
            fence = ""
    return f"{chunk.rstrip()}\n{fence}" if fence else chunk


def _one_line(text: str) -> str:
    return " ".join(text.split())
