"""What the driver asks of a system under test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from bot.bench.measure import PeakMemory
from bot.bench.trace import Trace
from bot.engine.api import Message
from bot.engine.model.loading import LocalEngineConfig


@dataclass(frozen=True, slots=True)
class Setup:
    """What to load and how; sent to each system's process.

    `dtype` and `device` are what Parley's engine chose, so that its peers compute alike.
    """

    engine: LocalEngineConfig
    folder: str  # the model's files, or its Hub id
    threads: int
    dtype: str = "bfloat16"
    device: str = "cpu"
    llama_server: str = ""  # the binary; "": look for it
    llama_gguf: str = ""  # the same weights for llama.cpp; "": the demo's
    scratch: str = ""  # a folder for temporary files
    model: str = ""  # how the model is called


@dataclass(frozen=True, slots=True)
class Room:
    """What a workload needs at most: conversations at once, tokens in the longest of them."""

    conversations: int
    context: int


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `number` is the conversation's place in the trace."""

    messages: tuple[Message, ...]
    new_tokens: int
    owner: str
    conversation: str
    number: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """New tokens of the reply. `count` may exceed the ids where a server swallows some."""

    ids: tuple[int, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The reply is complete."""

    prompt_tokens: int
    cached_tokens: int = 0


Item: TypeAlias = Tokens | Ended


class System(Protocol):
    """Something that answers. It lives on the loop of a worker process of its own."""

    async def start(self) -> dict[str, str]:
        """Load the model; gives `dtype` and `device` where it chose them itself.

        Raises:
            BenchFailed, EngineError: one line.
        """
        ...

    async def prepare(self, traces: Sequence[Trace]) -> None:
        """Before a workload's runs, outside the clock: make room for such traces."""
        ...

    def stream(self, ask: Ask) -> AsyncIterator[Item]:
        """Exactly `new_tokens` greedy tokens, as they come, then `Ended`."""
        ...

    async def stop(self) -> None:
        """Free everything. Idempotent."""
        ...

    @property
    def memory(self) -> PeakMemory:
        """Of the process that holds the model."""
        ...
