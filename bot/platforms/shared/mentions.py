"""Reads the mentions in a message: whom it calls, and what it says apart from the address.

One rule for all platforms. A mention of the bot that opens the message is an address: it goes, with
the comma after it. So does one after a finished question or exclamation at the end. Any other stays
as a name, since "what can @Parley do?" is no sentence without it. A mention in code or in a quote
is cited: it calls nobody.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from bot.platforms.shared.code_spans import Region, classify

# "@Parley's answer": the mention is a part of the sentence.
_PART_OF_WORD = re.compile(r"['’-]\w")
# "@Parley, hi", "@Parley: hi", "@Parley! hi"; but not "@Parley !stop" or "@Parley :smile:".
_AFTER_ADDRESS = re.compile(r"(?:[,:;.!?…]+(?=\s|\Z)|,)?\s*(?:[,:;–—](?=\s))?\s*")
_CLOSING_MARKS = re.compile(r"[\s.!?…]*")
_FINISHED = re.compile(r"[!?！？]\Z")
_BARE_COMMAND = re.compile(r"[!/][\w-]+\Z")


class Target(Enum):
    """Who is meant."""

    BOT = auto()
    BOT_ROLE = auto()  # a role (a user group) that the bot has
    OTHER = auto()  # another person, role or user group
    EVERYONE = auto()  # @here and the like
    NOBODY = auto()  # a channel, an emoji: it has a name and calls nobody


@dataclass(frozen=True, slots=True)
class Mention:
    """A mention at `text[start:end]`, and the name that stands for it ("@Ana")."""

    start: int
    end: int
    target: Target
    name: str


@dataclass(frozen=True, slots=True)
class MentionedText:
    """What a message says, with names for mentions, and whom it calls."""

    text: str
    calls_bot: bool = False
    calls_bot_role: bool = False
    calls_everyone: bool = False
    addresses_other: bool = False  # it opens by addressing somebody else


def read_mentions(
    text: str, mentions: Sequence[Mention], *, open_quotes: bool = False
) -> MentionedText:
    """Read the `mentions` of a text, given in order and without overlaps.

    `open_quotes`: see `code_spans.classify`.
    """
    regions = classify(text, open_quotes=open_quotes)
    calls = [m for m in mentions if m.target is not Target.NOBODY and not regions[m.start]]
    targets = {mention.target for mention in calls}
    return MentionedText(
        text=_replaced(text, mentions, _addresses(text, regions, calls)),
        calls_bot=Target.BOT in targets,
        calls_bot_role=Target.BOT_ROLE in targets,
        calls_everyone=Target.EVERYONE in targets,
        addresses_other=bool(calls)
        and calls[0].target is Target.OTHER
        and _is_blank(text, regions, 0, calls[0].start),
    )


def _addresses(
    text: str, regions: bytearray, calls: Sequence[Mention]
) -> dict[int, tuple[int, int]]:
    """The stretches of text that are addresses to the bot, by their mention's start."""
    stretches: dict[int, tuple[int, int]] = {}
    position = 0
    for mention in calls:
        if not _is_bot(mention) or not _is_blank(text, regions, position, mention.start):
            break
        if _PART_OF_WORD.match(text, mention.end):
            break
        position = _end_of_address(text, mention.end)
        stretches[mention.start] = mention.start, position
    closing = _closing_mentions(text, calls[len(stretches) :])
    if closing:
        start = len(text[: closing[0].start].rstrip())
        sentence = text[position:start]
        if _FINISHED.search(sentence) or _BARE_COMMAND.match(sentence):
            stretches |= {mention.start: (len(text), len(text)) for mention in closing}
            stretches[closing[0].start] = start, len(text)
    return stretches


def _closing_mentions(text: str, calls: Sequence[Mention]) -> list[Mention]:
    """The mentions of the bot at the very end of the text, in order."""
    closing: list[Mention] = []
    end = len(text)
    for mention in reversed(calls):
        if not _is_bot(mention) or not _CLOSING_MARKS.fullmatch(text, mention.end, end):
            break
        closing.insert(0, mention)
        end = mention.start
    return closing


def _end_of_address(text: str, mention_end: int) -> int:
    match = _AFTER_ADDRESS.match(text, mention_end)
    return match.end() if match is not None else mention_end


def _replaced(text: str, mentions: Sequence[Mention], addresses: dict[int, tuple[int, int]]) -> str:
    """The text with names for mentions and without its addresses."""
    parts: list[str] = []
    position = 0
    for mention in mentions:
        start, end = addresses.get(mention.start, (mention.start, mention.end))
        parts.append(text[position:start])
        if mention.start not in addresses:
            parts.append(mention.name)
        position = end
    parts.append(text[position:])
    return "".join(parts).strip()


def _is_bot(mention: Mention) -> bool:
    return mention.target in (Target.BOT, Target.BOT_ROLE)


def _is_blank(text: str, regions: bytearray, start: int, end: int) -> bool:
    """Whether nothing is said there: white space, quotes and code blocks say nothing."""
    return all(regions[i] == Region.BLOCK or text[i].isspace() for i in range(start, end))
