"""Reads messages: their text and whom they call; tidies the names of channels."""

from __future__ import annotations

import re
import unicodedata

from bot.platforms.playground import texts
from bot.platforms.playground.people import BOT, PEOPLE
from bot.platforms.playground.refusal import Refused
from bot.platforms.shared.mentions import Mention, MentionedText, Target, read_mentions

MAX_CHANNEL_NAME = 40
_EVERYONE = frozenset({"everyone", "here", "channel"})
_NAMES = "|".join(sorted({p.id for p in PEOPLE} | {BOT.id} | _EVERYONE))
# Not inside a word or an address ("ben@parley.org", "@parley.org"); "@Parley's" is a mention.
_MENTION = re.compile(rf"(?<![\w@/.-])@({_NAMES})(?![\w-])(?!\.\w)", re.IGNORECASE)


def read_message(raw: str) -> MentionedText:
    return read_mentions(raw, [_mention(match) for match in _MENTION.finditer(raw)])


def _mention(match: re.Match[str]) -> Mention:
    name = match[1].lower()
    if name == BOT.id:
        return Mention(match.start(), match.end(), Target.BOT, f"@{BOT.name}")
    target = Target.EVERYONE if name in _EVERYONE else Target.OTHER
    return Mention(match.start(), match.end(), target, match[0])


def channel_name(raw: str) -> str:
    """A channel's name in lower case, with hyphens for blanks.

    Raises:
        Refused: 400, if it is empty or too long, or has other characters.
    """
    name = unicodedata.normalize("NFC", raw).strip().lstrip("#").strip().lower()
    name = re.sub(r"\s+", "-", name)
    if not name:
        raise Refused(400, texts.CHANNEL_NAME_MISSING)
    if len(name) > MAX_CHANNEL_NAME:
        raise Refused(400, texts.channel_name_too_long(MAX_CHANNEL_NAME))
    if not re.fullmatch(r"[\w-]+", name):
        raise Refused(400, texts.CHANNEL_NAME_CHARACTERS)
    return name


def well_formed(text: str) -> str:
    """`text` without NUL and lone surrogates, which databases and sockets reject."""
    text = text.replace("\0", "\ufffd")
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
