"""Who owns which block of the K/V pool; pure Python.

K/V of `block_size` consecutive tokens is one block. Layers come in groups that need different
tokens: full-attention layers need all of them, sliding layers only the last `window`. Each group
has its own pool of blocks, and a sequence has one list of block ids per group, so a sliding
group's old blocks go back while the sequence runs.

A full block is published under a key that names everything its K/V depends on: the token ids (and
pictures) from the start of the sequence to its end. A later sequence that starts alike finds it
and computes nothing for it. A block nobody uses any more keeps its content until it is needed for
something else, least recently used first. The last block of a sequence that ends is mostly not
full: it can be found too, but by one that goes on from there, which takes it over and fills it.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from bot.engine.prompt import ImageSpan

NULL = 0
"""The id of no block: never handed out, stands for what a sliding layer no longer needs."""


class Pool:
    """Blocks 1 to `size`: in use (counted), idle (unused, but published), or free."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = deque(range(1, size + 1))
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._users = [0] * (size + 1)
        self._key_of: dict[int, bytes] = {}
        self._by_key: dict[bytes, int] = {}

    @property
    def available(self) -> int:
        """How many blocks `take` can hand out."""
        return len(self._free) + len(self._idle)

    @property
    def published(self) -> int:
        """How many blocks can be found by key."""
        return len(self._by_key)

    def take(self) -> int:
        """A block for new content. Raises IndexError when none is available."""
        if self._free:
            block = self._free.popleft()
        elif self._idle:
            block, _ = self._idle.popitem(last=False)
            del self._by_key[self._key_of.pop(block)]
        else:
            raise IndexError("no block available")
        self._users[block] = 1
        return block

    def find(self, key: bytes) -> int | None:
        """The block published under `key`."""
        return self._by_key.get(key)

    def share(self, block: int) -> None:
        """One user more of a published block."""
        if not self._users[block]:
            del self._idle[block]
        self._users[block] += 1

    def claim(self, block: int) -> None:
        """Make a published block that nobody uses one's own: it isn't found any more."""
        del self._idle[block]
        del self._by_key[self._key_of.pop(block)]
        self._users[block] = 1

    def idle(self, key: bytes) -> int | None:
        """The block published under `key`, if nobody uses it."""
        block = self._by_key.get(key)
        return block if block in self._idle else None

    def release(self, block: int) -> None:
        """One user less. Raises ValueError if it has none."""
        if self._users[block] <= 0:
            raise ValueError(f"block {block} is not in use")
        self._users[block] -= 1
        if self._users[block]:
            return
        if block in self._key_of:
            self._idle[block] = None
        else:
            self._free.append(block)

    def publish(self, block: int, key: bytes) -> None:
        """Let others find it; the first block published under a key stays."""
        if key not in self._by_key:
            self._by_key[key] = block
            self._key_of[block] = key


@dataclass(slots=True)
class Table:
    """One sequence's blocks: `blocks[group][i]` holds positions from `i * block_size` on."""

    blocks: tuple[list[int], ...]
    dropped: list[int]  # per group: how many leading entries are NULL
    published: int = 0  # how many blocks went through `publish`
    key: bytes = b""  # the key of the last of them


@dataclass(slots=True)
class Group:
    """Layers that need the same tokens. `window`: the last so many, or None for all."""

    window: int | None
    pool: Pool


@dataclass(slots=True)
class KVBlocks:
    """The block manager over all groups of layers."""

    block_size: int
    groups: tuple[Group, ...]
    step_tokens: int = 512  # the longest chunk computed at once (an image may be longer)
    reuse: bool = True

    def table(self) -> Table:
        """An empty table for a new sequence."""
        return Table(tuple([] for _ in self.groups), [0] * len(self.groups))

    def attach(self, table: Table, tokens: Sequence[int], spans: Sequence[ImageSpan]) -> int:
        """Fill an empty table with published blocks that hold the start of `tokens`.

        Returns:
            How many tokens need not be computed: less than all (somebody has to compute the
            logits of the last one).
        """
        if not self.reuse or not tokens:
            return 0
        size = self.block_size
        keys: list[bytes] = []
        for key in self._chain(b"", tokens[: len(tokens) - 1], spans, 0):
            keys.append(key)
            if any(group.window is None and group.pool.find(key) is None for group in self.groups):
                keys.pop()
                break
        hit = self._longest_hit(keys)
        for group, blocks in zip(self.groups, table.blocks, strict=True):
            first = self._first_needed(group, hit * size)
            for number, key in enumerate(keys[:hit]):
                block = group.pool.find(key) if number >= first else None
                if block is not None:
                    group.pool.share(block)
                blocks.append(NULL if block is None else block)
        table.dropped = [self._first_needed(group, hit * size) for group in self.groups]
        table.published = hit
        table.key = keys[hit - 1] if hit else b""
        return hit * size + self._take_over(table, tokens, spans)

    def _take_over(self, table: Table, tokens: Sequence[int], spans: Sequence[ImageSpan]) -> int:
        """Add the block in which an ended sequence began what follows; how many tokens it holds."""
        start = table.published * self.block_size
        for count in range(min(self.block_size, len(tokens) - start) - 1, 0, -1):
            key = self._key(table.key, tokens[start : start + count], spans, start)
            found = [group.pool.idle(key) for group in self.groups]
            if None not in found:
                for group, blocks, block in zip(self.groups, table.blocks, found, strict=True):
                    assert block is not None
                    group.pool.claim(block)
                    blocks.append(block)
                return count
        return 0

    def reserve(self, table: Table, length: int) -> bool:
        """Give the table blocks for positions below `length`; all of them or none."""
        need = -(-length // self.block_size)
        lacks = [need - len(blocks) for blocks in table.blocks]
        if any(lack > g.pool.available for lack, g in zip(lacks, self.groups, strict=True)):
            return False
        for lack, group, blocks in zip(lacks, self.groups, table.blocks, strict=True):
            blocks.extend(group.pool.take() for _ in range(lack))
        return True

    def fits(self, table: Table, length: int, spare: int = 0) -> bool:
        """Would a sequence of `length` tokens find room, with `spare` blocks left over?

        A sliding group never holds more than its window and one chunk.
        """
        for group, blocks in zip(self.groups, table.blocks, strict=True):
            need = -(-length // self.block_size)
            if group.window is not None:
                need = min(need, len(blocks) + self._most(group))
            if need - len(blocks) + spare > group.pool.available:
                return False
        return True

    def capacity(self) -> int:
        """The longest sequence, in tokens, that fits when it is alone."""
        size = self.block_size
        full = [g.pool.size * size for g in self.groups if g.window is None]
        sliding = [
            g.pool.size * size
            for g in self.groups
            if g.window is not None and g.pool.size < self._most(g)
        ]
        return min([*full, *sliding], default=0)

    def settle(
        self, table: Table, tokens: Sequence[int], spans: Sequence[ImageSpan], computed: int
    ) -> None:
        """After a step: K/V of `tokens[:computed]` is in the pool.

        Publishes blocks that became full and gives back what sliding layers no longer need.
        """
        if self.reuse:
            done = tokens[table.published * self.block_size : computed]
            for key in self._chain(table.key, done, spans, table.published * self.block_size):
                for group, blocks in zip(self.groups, table.blocks, strict=True):
                    if blocks[table.published] != NULL:
                        group.pool.publish(blocks[table.published], key)
                table.published += 1
                table.key = key
        for number, (group, blocks) in enumerate(zip(self.groups, table.blocks, strict=True)):
            first = min(self._first_needed(group, computed), len(blocks))
            for index in range(table.dropped[number], first):
                group.pool.release(blocks[index])
                blocks[index] = NULL
            table.dropped[number] = max(first, table.dropped[number])

    def fresh(self) -> KVBlocks:
        """One like this, with nothing in use and nothing published."""
        groups = tuple(Group(group.window, Pool(group.pool.size)) for group in self.groups)
        return KVBlocks(self.block_size, groups, self.step_tokens, self.reuse)

    def reset(self) -> None:
        """Everything free, nothing published; tables in use become invalid."""
        for group in self.groups:
            group.pool = Pool(group.pool.size)

    def release(
        self,
        table: Table,
        tokens: Sequence[int] = (),
        spans: Sequence[ImageSpan] = (),
        computed: int = 0,
    ) -> None:
        """Give everything back; published blocks can still be found until they are needed.

        So can the last one, if K/V of `tokens[:computed]` is in the pool and it isn't full.
        """
        start = table.published * self.block_size
        if self.reuse and 0 < computed - start < self.block_size:
            key = self._key(table.key, tokens[start:computed], spans, start)
            for group, blocks in zip(self.groups, table.blocks, strict=True):
                group.pool.publish(blocks[table.published], key)
        for group, blocks in zip(self.groups, table.blocks, strict=True):
            # The end first: of one sequence, its beginning is worth keeping longest.
            for block in reversed(blocks):
                if block != NULL:
                    group.pool.release(block)
            blocks.clear()
        table.dropped = [0] * len(self.groups)
        table.published = 0
        table.key = b""

    def _longest_hit(self, keys: list[bytes]) -> int:
        """The most leading blocks such that every group still has those it needs."""
        best = len(keys)
        for group in self.groups:
            if group.window is None:
                continue
            run = hit = 0
            for number, key in enumerate(keys[:best], start=1):
                run = run + 1 if group.pool.find(key) is not None else 0
                if run >= number - self._first_needed(group, number * self.block_size):
                    hit = number
            best = hit
        # With several sliding groups a shorter hit may break an earlier group's run; Gemma 3 has
        # one window, so one sliding group.
        return best

    def _first_needed(self, group: Group, computed: int) -> int:
        """Index of the first block that the token at position `computed` attends to."""
        if group.window is None:
            return 0
        return max(0, computed - group.window + 1) // self.block_size

    def _most(self, group: Group) -> int:
        """The most blocks a sequence holds in a sliding group."""
        return -(-((group.window or 0) + self.step_tokens) // self.block_size) + 1

    def _chain(
        self, key: bytes, tokens: Sequence[int], spans: Sequence[ImageSpan], start: int
    ) -> Iterator[bytes]:
        """Keys of the full blocks of `tokens`, whose first one has position `start`."""
        size = self.block_size
        for offset in range(0, len(tokens) - size + 1, size):
            key = self._key(key, tokens[offset : offset + size], spans, start + offset)
            yield key

    @staticmethod
    def _key(before: bytes, tokens: Sequence[int], spans: Sequence[ImageSpan], start: int) -> bytes:
        """The key of a block that holds `tokens` from position `start` on, by that before it."""
        content = blake2b(before, digest_size=16)
        content.update(array("q", tokens).tobytes())
        for span in spans:
            if span.start < start + len(tokens) and start < span.end:
                content.update(span.digest.encode())
        return content.digest()
