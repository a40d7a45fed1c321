"""Token ids to text while they come: whole characters only, ended before a stop string."""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Sequence

from bot.engine.api import Delta
from bot.engine.text.tokenizer import ChatTokenizer

# The last emoji of a text, with everything that may still be joined to it (skin tone, variation
# selector, ZWJ sequences). It is held back until the next character shows that it is complete.
_BASE = "[\u00a9\u00ae\u203c-\u21ff\u2300-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030-\u303d\u3297\u3299"
_BASE += "\U0001f000-\U0001f1e5\U0001f200-\U0001f3fa\U0001f400-\U0001faff]"
_MORE = "[\ufe0e\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]"
_CLUSTER = re.compile(rf"{_BASE}{_MORE}*(?:\u200d(?:{_BASE}{_MORE}*)?)*\Z")
_FLAGS = re.compile(r"[\U0001f1e6-\U0001f1ff]+\Z")
_LONGEST_CLUSTER = 32  # characters; a longer chain of joiners is let go


class ReplyText:
    """One reply's text: push token ids, get `Delta`s.

    The work per token is bounded: bytes are decoded incrementally, and only the short tail that
    is held back (an unfinished character, emoji or stop string) is looked at again.
    """

    def __init__(self, tokenizer: ChatTokenizer, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""  # decoded, not yet given out
        self._decoded = 0  # characters so far: decoded,
        self._given = 0  # given out,
        self._spelled = 0  # and spelled by the ids given out
        self._unspelled = ""  # the text between the two
        self._ids: deque[tuple[int, int]] = deque()  # (id, characters up to its end)
        self.stopped = False

    def push(self, token_id: int) -> Delta | None:
        """Take the next token; None when nothing can be given out yet.

        After a stop string `stopped` is True and the delta holds the text before it. If the cut
        falls inside a token, ids of the remaining text stand in for it, so that the ids of all
        deltas always spell the text.
        """
        new = self._decoder.decode(self._tokenizer.piece(token_id))
        self._held += new
        self._decoded += len(new)
        unfinished = bool(self._decoder.getstate()[0])
        self._ids.append((token_id, self._decoded + unfinished))
        if (cut := self._find_stop()) is not None:
            self.stopped = True
            return self._cut(cut)
        keep = max(self._stop_prefix(), _cluster_tail(self._held))
        return self._give(len(self._held) - keep)

    def finish(self) -> Delta | None:
        """The rest, when the reply has ended by itself."""
        new = self._decoder.decode(b"", final=True)
        self._held += new
        self._decoded += len(new)
        delta = self._give(len(self._held))
        rest = tuple(token for token, _ in self._ids)
        self._ids.clear()
        if not rest:
            return delta
        return Delta(delta.text if delta else "", (delta.token_ids if delta else ()) + rest)

    def _give(self, count: int) -> Delta | None:
        """Give out the next `count` characters and the ids that end within them."""
        text, self._held = self._held[:count], self._held[count:]
        self._given += count
        self._unspelled += text
        ids: list[int] = []
        while self._ids and self._ids[0][1] <= self._given:
            token, end = self._ids.popleft()
            ids.append(token)
            self._unspelled = self._unspelled[end - self._spelled :]
            self._spelled = end
        return Delta(text, tuple(ids)) if text or ids else None

    def _cut(self, count: int) -> Delta | None:
        """Give out `count` characters and drop the rest for good."""
        delta = self._give(count) or Delta("")
        self._held = ""
        self._ids.clear()
        if self._unspelled:
            more = self._tokenizer.encode_text(self._unspelled)
            delta = Delta(delta.text, delta.token_ids + more)
        return delta if delta.text or delta.token_ids else None

    def _find_stop(self) -> int | None:
        found = [at for stop in self._stop if (at := self._held.find(stop)) >= 0]
        return min(found, default=None)

    def _stop_prefix(self) -> int:
        """Length of the longest tail that may grow into a stop string."""
        longest = 0
        for stop in self._stop:
            for size in range(min(len(stop) - 1, len(self._held)), longest, -1):
                if self._held.endswith(stop[:size]):
                    longest = size
                    break
        return longest


def _cluster_tail(text: str) -> int:
    """Length of the emoji at the end of `text` that the next character may still change."""
    tail = text[-_LONGEST_CLUSTER:]
    if match := _CLUSTER.search(tail):
        size = len(match[0])
        return size if size < _LONGEST_CLUSTER else 0
    if match := _FLAGS.search(tail):  # a flag is two letters: an odd one waits for its second
        return len(match[0]) % 2
    return 0
