"""Allocates blocks of the K/V pool to sequences and keeps the prefix cache; pure Python.

A block holds the keys and values of `block_size` consecutive tokens. Layers form groups by what
they attend to: full-attention layers need every token, sliding layers only the last `window`. Each
group has its own pool, and a sequence has one list of block ids per group, so blocks that fall out
of a sliding group's window are freed while the sequence still runs.

A full block is published under a hash of everything its K/V depends on: all token ids (and
pictures) from the start of the sequence to the end of the block. A later sequence with the same
prefix shares the block instead of computing it again. An unused block keeps its content until it
is evicted, least recently used first. When a sequence ends, its last block is usually not full; it
is published too, and the next sequence that continues from exactly there claims it and fills it.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from bot.engine.prompt import ImageSpan

NULL_BLOCK = 0
"""A block id that is never allocated; marks positions a sliding layer no longer needs."""


class BlockPool:
    """Blocks 1 to `num_blocks`: in use (reference counted), idle (only published), or free."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self._free_blocks = deque(range(1, num_blocks + 1))
        self._idle_blocks: OrderedDict[int, None] = OrderedDict()
        self._user_counts = [0] * (num_blocks + 1)
        self._key_of: dict[int, bytes] = {}
        self._block_of: dict[bytes, int] = {}

    @property
    def num_available(self) -> int:
        """Blocks that can be allocated: free ones and idle ones, which are evicted."""
        return len(self._free_blocks) + len(self._idle_blocks)

    @property
    def num_published(self) -> int:
        return len(self._block_of)

    def allocate_block(self) -> int:
        """A block for new content; evicts the least recently used one if none is free.

        Raises:
            IndexError: no block is available.
        """
        if self._free_blocks:
            block = self._free_blocks.popleft()
        elif self._idle_blocks:
            block, _ = self._idle_blocks.popitem(last=False)
            del self._block_of[self._key_of.pop(block)]
        else:
            raise IndexError("no block available")
        self._user_counts[block] = 1
        return block

    def find_block(self, key: bytes) -> int | None:
        return self._block_of.get(key)

    def share_block(self, block: int) -> None:
        """Add a reference to a published block."""
        if not self._user_counts[block]:
            del self._idle_blocks[block]
        self._user_counts[block] += 1

    def claim_block(self, block: int) -> None:
        """Take an idle block for exclusive use and unpublish it, since it is going to change."""
        del self._idle_blocks[block]
        del self._block_of[self._key_of.pop(block)]
        self._user_counts[block] = 1

    def find_idle_block(self, key: bytes) -> int | None:
        """The block published under `key`, if no sequence uses it."""
        block = self._block_of.get(key)
        return block if block in self._idle_blocks else None

    def release_block(self, block: int) -> None:
        """Drop a reference. Raises ValueError if the block isn't in use."""
        if self._user_counts[block] <= 0:
            raise ValueError(f"block {block} is not in use")
        self._user_counts[block] -= 1
        if self._user_counts[block]:
            return
        if block in self._key_of:
            self._idle_blocks[block] = None
        else:
            self._free_blocks.append(block)

    def publish_block(self, block: int, key: bytes) -> None:
        """Make a block findable by key; the first block published under a key wins."""
        if key not in self._block_of:
            self._block_of[key] = block
            self._key_of[block] = key


@dataclass(slots=True)
class BlockTable:
    """One sequence's blocks: `blocks[group][i]` holds positions from `i * block_size` on."""

    blocks: tuple[list[int], ...]
    num_dropped: list[int]  # per group: leading entries that are NULL_BLOCK
    num_published: int = 0  # full blocks published or shared so far
    last_key: bytes = b""  # the key of the last of them


@dataclass(slots=True)
class LayerGroup:
    """Layers that attend to the same tokens: the last `window`, or all of them if None."""

    window: int | None
    pool: BlockPool


@dataclass(slots=True)
class BlockManager:
    """Allocates, shares and frees the blocks of all layer groups."""

    block_size: int
    groups: tuple[LayerGroup, ...]
    max_chunk_tokens: int = 512  # the longest prefill chunk, a whole picture included
    prefix_cache: bool = True

    def new_table(self) -> BlockTable:
        return BlockTable(tuple([] for _ in self.groups), [0] * len(self.groups))

    def attach_cached_prefix(
        self, table: BlockTable, tokens: Sequence[int], spans: Sequence[ImageSpan]
    ) -> int:
        """Fill an empty table with cached blocks that hold a prefix of `tokens`.

        Returns:
            The number of cached tokens; less than all, since the last token's logits are needed.
        """
        if not self.prefix_cache or not tokens:
            return 0
        block_size = self.block_size
        keys: list[bytes] = []
        for key in self._block_keys(b"", tokens[: len(tokens) - 1], spans, 0):
            keys.append(key)
            if any(
                group.window is None and group.pool.find_block(key) is None for group in self.groups
            ):
                keys.pop()
                break
        num_hits = self._longest_hit(keys)
        for group, blocks in zip(self.groups, table.blocks, strict=True):
            first = self._first_needed_block(group, num_hits * block_size)
            for number, key in enumerate(keys[:num_hits]):
                block = group.pool.find_block(key) if number >= first else None
                if block is not None:
                    group.pool.share_block(block)
                blocks.append(NULL_BLOCK if block is None else block)
        table.num_dropped = [
            self._first_needed_block(group, num_hits * block_size) for group in self.groups
        ]
        table.num_published = num_hits
        table.last_key = keys[num_hits - 1] if num_hits else b""
        return num_hits * block_size + self._claim_partial_block(table, tokens, spans)

    def _claim_partial_block(
        self, table: BlockTable, tokens: Sequence[int], spans: Sequence[ImageSpan]
    ) -> int:
        """Append the partial block of a finished sequence that continues the cached prefix.

        Returns:
            How many tokens of the block are already computed; 0 if there is no such block.
        """
        start = table.num_published * self.block_size
        for count in range(min(self.block_size, len(tokens) - start) - 1, 0, -1):
            key = self._block_key(table.last_key, tokens[start : start + count], spans, start)
            idle_blocks = [group.pool.find_idle_block(key) for group in self.groups]
            if None not in idle_blocks:
                for group, blocks, block in zip(
                    self.groups, table.blocks, idle_blocks, strict=True
                ):
                    assert block is not None
                    group.pool.claim_block(block)
                    blocks.append(block)
                return count
        return 0

    def allocate_blocks(self, table: BlockTable, length: int) -> bool:
        """Extend the table to hold `length` tokens. False, and no change, if blocks run out."""
        num_needed = -(-length // self.block_size)
        missing = [num_needed - len(blocks) for blocks in table.blocks]
        if any(lack > g.pool.num_available for lack, g in zip(missing, self.groups, strict=True)):
            return False
        for lack, group, blocks in zip(missing, self.groups, table.blocks, strict=True):
            blocks.extend(group.pool.allocate_block() for _ in range(lack))
        return True

    def can_allocate(self, table: BlockTable, length: int, spare: int = 0) -> bool:
        """Whether a sequence of `length` tokens fits with `spare` blocks left over.

        A sliding group never holds more than its window and one chunk.
        """
        for group, blocks in zip(self.groups, table.blocks, strict=True):
            num_needed = -(-length // self.block_size)
            if group.window is not None:
                num_needed = min(num_needed, len(blocks) + self._max_window_blocks(group))
            if num_needed - len(blocks) + spare > group.pool.num_available:
                return False
        return True

    def max_sequence_length(self) -> int:
        """The longest sequence, in tokens, that fits into the empty pools."""
        block_size = self.block_size
        full = [g.pool.num_blocks * block_size for g in self.groups if g.window is None]
        sliding = [
            g.pool.num_blocks * block_size
            for g in self.groups
            if g.window is not None and g.pool.num_blocks < self._max_window_blocks(g)
        ]
        return min([*full, *sliding], default=0)

    def commit_tokens(
        self,
        table: BlockTable,
        tokens: Sequence[int],
        spans: Sequence[ImageSpan],
        num_computed: int,
    ) -> None:
        """Record that K/V of `tokens[:num_computed]` is in the pool.

        Publishes blocks that became full and frees those that left a sliding group's window.
        """
        if self.prefix_cache:
            self._publish_full_blocks(table, tokens[:num_computed], spans)
        self._free_outside_window(table, num_computed)

    def _publish_full_blocks(
        self, table: BlockTable, tokens: Sequence[int], spans: Sequence[ImageSpan]
    ) -> None:
        start = table.num_published * self.block_size
        for key in self._block_keys(table.last_key, tokens[start:], spans, start):
            for group, blocks in zip(self.groups, table.blocks, strict=True):
                if blocks[table.num_published] != NULL_BLOCK:
                    group.pool.publish_block(blocks[table.num_published], key)
            table.num_published += 1
            table.last_key = key

    def _free_outside_window(self, table: BlockTable, num_computed: int) -> None:
        for number, (group, blocks) in enumerate(zip(self.groups, table.blocks, strict=True)):
            first = min(self._first_needed_block(group, num_computed), len(blocks))
            for index in range(table.num_dropped[number], first):
                group.pool.release_block(blocks[index])
                blocks[index] = NULL_BLOCK
            table.num_dropped[number] = max(first, table.num_dropped[number])

    def empty_copy(self) -> BlockManager:
        """A manager of the same shape with nothing allocated or published."""
        groups = tuple(
            LayerGroup(group.window, BlockPool(group.pool.num_blocks)) for group in self.groups
        )
        return BlockManager(self.block_size, groups, self.max_chunk_tokens, self.prefix_cache)

    def reset_pools(self) -> None:
        """Free and unpublish everything; existing tables become invalid."""
        for group in self.groups:
            group.pool = BlockPool(group.pool.num_blocks)

    def free_blocks(
        self,
        table: BlockTable,
        tokens: Sequence[int] = (),
        spans: Sequence[ImageSpan] = (),
        num_computed: int = 0,
    ) -> None:
        """Free a table's blocks; published ones stay in the cache until they are evicted.

        If `num_computed` is given, the last block is published even if it is only partly full.
        """
        start = table.num_published * self.block_size
        if self.prefix_cache and 0 < num_computed - start < self.block_size:
            key = self._block_key(table.last_key, tokens[start:num_computed], spans, start)
            for group, blocks in zip(self.groups, table.blocks, strict=True):
                group.pool.publish_block(blocks[table.num_published], key)
        for group, blocks in zip(self.groups, table.blocks, strict=True):
            # Free the end first, so it is evicted first: a prefix is the most likely to be reused.
            for block in reversed(blocks):
                if block != NULL_BLOCK:
                    group.pool.release_block(block)
            blocks.clear()
        table.num_dropped = [0] * len(self.groups)
        table.num_published = 0
        table.last_key = b""

    def _longest_hit(self, keys: list[bytes]) -> int:
        """The largest number of leading blocks for which every group still holds what it needs."""
        best = len(keys)
        for group in self.groups:
            if group.window is None:
                continue
            run = hit = 0
            for number, key in enumerate(keys[:best], start=1):
                run = run + 1 if group.pool.find_block(key) is not None else 0
                if run >= number - self._first_needed_block(group, number * self.block_size):
                    hit = number
            best = hit
        # Correct for one sliding group, which is all Gemma 3 has: with several, a shorter hit may
        # break an earlier group's run.
        return best

    def _first_needed_block(self, group: LayerGroup, position: int) -> int:
        """Index of the first block that the token at `position` attends to."""
        if group.window is None:
            return 0
        return max(0, position - group.window + 1) // self.block_size

    def _max_window_blocks(self, group: LayerGroup) -> int:
        """The most blocks a sequence can hold in a sliding group."""
        return -(-((group.window or 0) + self.max_chunk_tokens) // self.block_size) + 1

    def _block_keys(
        self, key: bytes, tokens: Sequence[int], spans: Sequence[ImageSpan], start: int
    ) -> Iterator[bytes]:
        """Keys of the full blocks in `tokens`; the first token is at position `start`."""
        block_size = self.block_size
        for offset in range(0, len(tokens) - block_size + 1, block_size):
            key = self._block_key(key, tokens[offset : offset + block_size], spans, start + offset)
            yield key

    @staticmethod
    def _block_key(
        parent_key: bytes, tokens: Sequence[int], spans: Sequence[ImageSpan], start: int
    ) -> bytes:
        """The key of a block that holds `tokens` from position `start` on, after its parent."""
        content = blake2b(parent_key, digest_size=16)
        content.update(array("q", tokens).tobytes())
        for span in spans:
            if span.start < start + len(tokens) and start < span.end:
                content.update(span.digest.encode())
        return content.digest()
