"""What a message says to whom: mentions found and the bot's own taken out; names made tidy."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from bot.platforms.playground.people import BOT, PEOPLE
from bot.platforms.playground.refusal import Refused

MAX_CHANNEL_NAME = 40
_EVERYONE = frozenset({"everyone", "here", "channel"})
_NAMES = "|".join(sorted({p.id for p in PEOPLE} | {BOT.id} | _EVERYONE))
# Not inside a word or an address ("ben@parley.org", "@parley.org"); "@Parley's" is a mention.
_MENTION = re.compile(rf"(?<![\w@/.-])@({_NAMES})(?![\w-])(?!\.\w)", re.IGNORECASE)
# What is quoted as code is about a mention, it is none.
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Understood:
    """A message as the core wants it: without the bot's mention, with what was mentioned."""

    text: str
    mentions_bot: bool
    mentions_everyone: bool
    addresses_other: bool


def understand(raw: str) -> Understood:
    """Find the mentions in `raw` and take the bot's out.

    At either end of the text the mention goes; in the middle it stays as the bare name, because
    "what can @Parley do" without it is no sentence.
    """
    code = [span.span() for span in _CODE.finditer(raw)]
    found = [
        match
        for match in _MENTION.finditer(raw)
        if not any(start <= match.start() < end for start, end in code)
    ]
    named = [match.group(1).lower() for match in found]
    opening = named[0] if found and not raw[: found[0].start()].strip() else ""
    return Understood(
        text=_without_bot(raw, [m for m in found if m.group(1).lower() == BOT.id]),
        mentions_bot=BOT.id in named,
        mentions_everyone=not _EVERYONE.isdisjoint(named),
        addresses_other=opening not in {"", BOT.id} and opening not in _EVERYONE,
    )


def _without_bot(raw: str, mentions: list[re.Match[str]]) -> str:
    """`raw` with the bot's mentions cut at the ends and bare names in the middle."""
    start, end = 0, len(raw)
    inner = list(mentions)
    while inner and not raw[start : inner[0].start()].strip():
        start = inner.pop(0).end()
        start += len(raw[start:end]) - len(raw[start:end].lstrip(" \t,:;"))
    while inner and not raw[inner[-1].end() : end].strip(" \t\n.!?"):
        last = inner.pop()
        raw = raw[: last.start()].rstrip(" \t,") + raw[last.end() : end].strip()
        end = len(raw)
    pieces: list[str] = []
    at = start
    for match in inner:
        pieces += (raw[at : match.start()], BOT.name)
        at = match.end()
    return "".join((*pieces, raw[at:end])).strip()


def channel_name(raw: str) -> str:
    """A channel's name in its tidy form: lower case, hyphens for blanks.

    Raises:
        Refused: 400, when nothing usable is left, it is too long or has odd characters.
    """
    name = unicodedata.normalize("NFC", raw).strip().lstrip("#").strip().lower()
    name = re.sub(r"\s+", "-", name)
    if not name:
        raise Refused(400, "A channel needs a name.")
    if len(name) > MAX_CHANNEL_NAME:
        raise Refused(400, f"A channel's name has at most {MAX_CHANNEL_NAME} characters.")
    if not re.fullmatch(r"[\w-]+", name):
        raise Refused(400, "A channel's name has letters, digits, hyphens and underscores only.")
    return name


def well_formed(text: str) -> str:
    """`text` without NUL and lone surrogates, which neither a database nor a socket takes."""
    text = text.replace("\0", "\ufffd")
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def utf16_length(text: str) -> int:
    """Length in UTF-16 units, which is how a browser counts."""
    return len(text) + sum(1 for char in text if char > "\uffff")
