"""The prompt: persona, transcript and pictures as a message list within a token budget."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap

from bot.core import safe_names, texts
from bot.core.excerpts import excerpt_within
from bot.core.records import StoredAttachment, Turn, UserMessage
from bot.engine.api import Image, Message, Part, Text

# The prefix cache matches prompts from their start. Cutting one turn at a time would change the
# start of every prompt of a long thread, so several turns leave at once.
_CUT_STEP = 4
# Stands for a bare mention: an empty user turn makes models ramble.
_CALLED = "Hello!"
# A line start that could be mistaken for a speaker's label.
_LABEL = re.compile(r"[^:\r\n]{1,80}:")
# Share of the prompt's budget for the texts of one turn's files.
_FILES_SHARE = 3 / 8
_BACKTICKS = re.compile("`+")

CountTokens = Callable[[Sequence[Message]], int]


class TurnTooLong(Exception):
    """The question alone exceeds the prompt's budget; the text tells the person."""

    def __init__(self, tokens: int, budget: int) -> None:
        super().__init__(texts.too_long(tokens, budget))
        self.tokens = tokens
        self.budget = budget


@dataclass(frozen=True, slots=True)
class Context:
    """A prompt and its exact length in tokens; how many of the oldest turns were cut, and the
    names of the turn's own files that were shortened."""

    messages: list[Message]
    tokens: int
    turns_cut: int
    files_cut: tuple[str, ...] = ()


def build(
    *,
    persona: str,
    transcript: Sequence[Turn],
    turn: Turn,
    pictures: Mapping[int, Image],
    count_tokens: CountTokens,
    budget: int,
) -> Context:
    """Build the prompt that answers `turn` after `transcript` (oldest first).

    `pictures` are the ones to show, by attachment id; others stand as `[image: name]`. When all
    is longer than `budget` (tokens), the oldest turns leave first, whole.

    Raises:
        TurnTooLong: persona and turn alone are over the budget.
    """
    names = safe_names.speakers([*transcript, turn])
    files = _file_texts([*transcript, turn], count_tokens, budget)
    renderer = _Renderer(names if len(names) > 1 else {}, pictures, files)
    own = [attachment for message in turn.messages for attachment in message.attachments]
    files_cut = tuple(a.name for a in own if a.text is not None and files[a.id] != a.text)

    def prompt(cut: int) -> tuple[list[Message], int]:
        messages = renderer.messages(persona, transcript[cut:], turn)
        return messages, count_tokens(messages)

    total = len(transcript)
    # A turn has at least one token: more turns than the budget need not be tokenized.
    least = max(0, total - max(budget, 0))
    messages, tokens = prompt(least)
    if tokens <= budget:
        return Context(messages, tokens, least, files_cut)
    alone, tokens = prompt(total)
    if tokens > budget:
        raise TurnTooLong(tokens, budget)
    cut = _fewest_cut(least, total, lambda count: prompt(count)[1] <= budget)
    cut = _in_steps(cut, total)
    messages, tokens = (alone, tokens) if cut == total else prompt(cut)
    return Context(messages, tokens, cut, files_cut)


def _fewest_cut(too_few: int, enough: int, fits: Callable[[int], bool]) -> int:
    """Binary search for the fewest turns to cut."""
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if fits(middle):
            enough = middle
        else:
            too_few = middle
    return enough


def _in_steps(cut: int, total: int) -> int:
    """`cut` rounded up to whole steps, if enough turns remain."""
    rounded = -(-cut // _CUT_STEP) * _CUT_STEP
    return rounded if total - rounded >= 2 * _CUT_STEP else cut


def _file_texts(turns: Sequence[Turn], count_tokens: CountTokens, budget: int) -> dict[int, str]:
    """The texts of files as the prompt has them, by attachment id.

    A turn's files together take a fixed share of the budget at most, so that a large one is read
    in part and not refused, and reads the same in every later prompt.
    """

    def count(text: str) -> int:
        return count_tokens([Message("user", (Text(text),))])

    excerpts: dict[int, str] = {}
    for turn in turns:
        texts = [a for m in turn.messages for a in m.attachments if a.text is not None]
        for attachment in texts:
            share = int(budget * _FILES_SHARE) // len(texts)
            excerpts[attachment.id] = excerpt_within(attachment.text or "", share, count)
    return excerpts


class _Renderer:
    """Renders records as messages. A record always renders to the same text."""

    def __init__(
        self, names: Mapping[str, str], pictures: Mapping[int, Image], files: Mapping[int, str]
    ) -> None:
        self._names = names
        self._pictures = pictures
        self._files = files

    def messages(self, persona: str, transcript: Sequence[Turn], turn: Turn) -> list[Message]:
        messages: list[Message] = []
        if persona.strip():
            messages.append(Message("system", (Text(persona),)))
        unanswered: list[UserMessage] = []
        for past in transcript:
            unanswered += past.messages
            # Roles must alternate: a question without a reply joins the next one. A reply
            # without a question is what the bot posted itself before this thread.
            if past.reply_text.strip():
                messages.append(self._user(unanswered))
                reply = Text(past.reply_text, past.reply_token_ids)
                messages.append(Message("assistant", (reply,)))
                unanswered = []
        messages.append(self._user([*unanswered, *turn.messages]))
        return messages

    def _user(self, sent: Sequence[UserMessage]) -> Message:
        pictures = [a for message in sent for a in message.attachments if a.id in self._pictures]
        numbers = (
            {a.id: number for number, a in enumerate(pictures, 1)} if len(pictures) > 1 else {}
        )
        parts: list[Part] = []
        for message in sent:
            for part in self._message(message, numbers):
                _append(parts, part)
        if not any(isinstance(part, Image) or part.text for part in parts):
            return Message("user", (Text(_CALLED),))
        return Message("user", tuple(parts))

    def _message(self, message: UserMessage, numbers: Mapping[int, int]) -> list[Part]:
        """Speaker, pictures, text: the order that Gemma 3 was trained on."""
        parts: list[Part] = []
        lines: list[str] = []
        bad: dict[str, list[str]] = {}
        for attachment in message.attachments:
            image = self._pictures.get(attachment.id)
            if image is None:
                text = self._files.get(attachment.id)
                if text is not None:
                    lines.append(_fenced(attachment, text))
                elif attachment.digest is not None:
                    lines.append(f"[image: {safe_names.file_name(attachment.name)}]")
                else:
                    problem = safe_names.one_line(attachment.problem or "not read", 80)
                    bad.setdefault(problem, []).append(safe_names.file_name(attachment.name))
                continue
            number = numbers.get(attachment.id)
            if number is not None:
                parts.append(Text(f"Picture {number} ({safe_names.file_name(attachment.name)}):"))
            parts.append(image)
        lines += starmap(_unread, bad.items())
        if message.text.strip():
            lines.append(message.text.strip())
        name = self._names.get(message.author_id)
        text = "\n".join(lines)
        if name is None:
            return [*parts, Text(text)] if text else parts
        if not parts:
            return [Text(_said(f"{name}: ", text))] if text else []
        parts.insert(0, Text(f"{name}:" if text else f"{name} sent:"))
        if text:
            label = f"{name}: " if _LABEL.match(text) else ""
            parts.append(Text(_said(label, text)))
        return parts


def _said(label: str, text: str) -> str:
    """A text after its speaker's label.

    Only labels begin a line: else somebody could write a line "Bob: ..." in a message of their
    own and the model would take it for Bob's.
    """
    first, *others = text.splitlines()
    return "\n".join([label + first, *(f"  {line}" if line else line for line in others)])


def _append(parts: list[Part], part: Part) -> None:
    """Add a part; consecutive texts become one, joined by a line break."""
    last = parts[-1] if parts else None
    if isinstance(last, Text) and isinstance(part, Text):
        parts[-1] = Text(f"{last.text}\n{part.text}")
    else:
        parts.append(part)


def _fenced(attachment: StoredAttachment, text: str) -> str:
    """A file's text under its name, in a fence longer than any in it."""
    longest = max(map(len, _BACKTICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"File {safe_names.file_name(attachment.name)}:\n{fence}\n{text}\n{fence}"


def _unread(problem: str, names: Sequence[str]) -> str:
    """A marker for files with the same problem."""
    return f"[file{'s' if len(names) > 1 else ''}: {safe_names.some(names)} ({problem})]"
