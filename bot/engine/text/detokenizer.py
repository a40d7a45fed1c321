"""Turns token ids into text as they arrive: whole characters only, cut before a stop string."""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Sequence

from bot.engine.api import Delta
from bot.engine.text.tokenizer import ChatTokenizer

# An emoji at the end of a text, with everything that may still join it (skin tone, variation
# selector, ZWJ sequence). It is held back until the next character shows that it is complete.
_EMOJI_BASE = (
    "[\u00a9\u00ae\u203c-\u21ff\u2300-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030-\u303d\u3297\u3299"
)
_EMOJI_BASE += "\U0001f000-\U0001f1e5\U0001f200-\U0001f3fa\U0001f400-\U0001faff]"
_EMOJI_MODIFIER = "[\ufe0e\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]"
_EMOJI_TAIL = re.compile(
    rf"{_EMOJI_BASE}{_EMOJI_MODIFIER}*(?:\u200d(?:{_EMOJI_BASE}{_EMOJI_MODIFIER}*)?)*\Z"
)
_FLAG_TAIL = re.compile(r"[\U0001f1e6-\U0001f1ff]+\Z")
_MAX_EMOJI_CHARS = 32  # a longer chain of joiners is not held back


class IncrementalDetokenizer:
    """Turns one reply's token ids into `Delta`s.

    The work per token is bounded: bytes are decoded incrementally, and only the short tail held
    back (an unfinished character, emoji or stop string) is scanned again.
    """

    def __init__(self, tokenizer: ChatTokenizer, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop_strings = tuple(stop)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._pending_text = ""  # decoded, not yet emitted
        self._num_decoded = 0  # characters decoded so far,
        self._num_emitted = 0  # emitted,
        self._num_spelled = 0  # and spelled by the emitted ids
        self._unspelled_text = ""  # emitted text beyond the emitted ids
        self._pending_ids: deque[tuple[int, int]] = deque()  # (id, characters up to its end)
        self.stopped = False

    def push_token(self, token_id: int) -> Delta | None:
        """Add the next token; None if nothing can be emitted yet.

        After a stop string, `stopped` is True and the delta holds the text before it. If the cut
        falls inside a token, the text before the cut is tokenized anew, so that the ids of all
        deltas always spell the text.
        """
        new = self._decoder.decode(self._tokenizer.token_to_bytes(token_id))
        self._pending_text += new
        self._num_decoded += len(new)
        unfinished = bool(self._decoder.getstate()[0])
        self._pending_ids.append((token_id, self._num_decoded + unfinished))
        if (cut := self._find_stop()) is not None:
            self.stopped = True
            return self._cut_at(cut)
        keep = max(self._partial_stop_length(), _open_emoji_length(self._pending_text))
        return self._emit_chars(len(self._pending_text) - keep)

    def flush_text(self) -> Delta | None:
        """Emit whatever is held back, at the end of a reply without a stop string."""
        new = self._decoder.decode(b"", final=True)
        self._pending_text += new
        self._num_decoded += len(new)
        delta = self._emit_chars(len(self._pending_text))
        rest = tuple(token for token, _ in self._pending_ids)
        self._pending_ids.clear()
        if not rest:
            return delta
        return Delta(delta.text if delta else "", (delta.token_ids if delta else ()) + rest)

    def _emit_chars(self, count: int) -> Delta | None:
        """Emit the next `count` characters and the ids that end within them."""
        text, self._pending_text = self._pending_text[:count], self._pending_text[count:]
        self._num_emitted += count
        self._unspelled_text += text
        ids: list[int] = []
        while self._pending_ids and self._pending_ids[0][1] <= self._num_emitted:
            token, end = self._pending_ids.popleft()
            ids.append(token)
            self._unspelled_text = self._unspelled_text[end - self._num_spelled :]
            self._num_spelled = end
        return Delta(text, tuple(ids)) if text or ids else None

    def _cut_at(self, count: int) -> Delta | None:
        """Emit `count` characters and drop the rest for good."""
        delta = self._emit_chars(count) or Delta("")
        self._pending_text = ""
        self._pending_ids.clear()
        if self._unspelled_text:
            more = self._tokenizer.encode_text(self._unspelled_text)
            delta = Delta(delta.text, delta.token_ids + more)
        return delta if delta.text or delta.token_ids else None

    def _find_stop(self) -> int | None:
        positions = [
            at for stop in self._stop_strings if (at := self._pending_text.find(stop)) >= 0
        ]
        return min(positions, default=None)

    def _partial_stop_length(self) -> int:
        """Length of the longest tail that may still grow into a stop string."""
        longest = 0
        for stop in self._stop_strings:
            for length in range(min(len(stop) - 1, len(self._pending_text)), longest, -1):
                if self._pending_text.endswith(stop[:length]):
                    longest = length
                    break
        return longest


def _open_emoji_length(text: str) -> int:
    """Length of the emoji at the end of `text` that the next character may still extend."""
    tail = text[-_MAX_EMOJI_CHARS:]
    if match := _EMOJI_TAIL.search(tail):
        length = len(match[0])
        return length if length < _MAX_EMOJI_CHARS else 0
    if match := _FLAG_TAIL.search(tail):  # a flag is two letters: hold back an odd one
        return len(match[0]) % 2
    return 0
