"""The interface between the driver and a system under test."""

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

    `dtype` and `device` are those Parley's engine chose, so that peers use the same.
    """

    engine: LocalEngineConfig
    folder: str  # the model's folder or Hub id
    threads: int
    dtype: str = "bfloat16"
    device: str = "cpu"
    llama_server: str = ""  # the binary; "": search for it
    llama_gguf: str = ""  # the same weights as GGUF; "": the demo's
    scratch: str = ""  # a folder for temporary files
    model: str = ""  # the model's name in the report


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a workload needs at most: concurrent conversations, tokens in the longest one."""

    conversations: int
    context_tokens: int


@dataclass(frozen=True, slots=True)
class ReplyRequest:
    """A request for one reply. `number`: the conversation's index in the trace."""

    messages: tuple[Message, ...]
    new_tokens: int
    owner: str
    conversation: str
    number: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """New tokens of a reply. `count` exceeds the ids if the server doesn't report all of them."""

    ids: tuple[int, ...]
    count: int


@dataclass(frozen=True, slots=True)
class ReplyEnd:
    """The reply is complete."""

    prompt_tokens: int
    cached_tokens: int = 0


Item: TypeAlias = Tokens | ReplyEnd


class System(Protocol):
    """A system under test; runs on the event loop of its own worker process."""

    async def start(self) -> dict[str, str]:
        """Load the model; returns `dtype` and `device` if the system chose them itself.

        Raises:
            BenchFailed, EngineError: the message is one line.
        """
        ...

    async def prepare(self, traces: Sequence[Trace]) -> None:
        """Allocate for traces like these; called before the runs and not timed."""
        ...

    def stream(self, ask: ReplyRequest) -> AsyncIterator[Item]:
        """Exactly `new_tokens` greedy tokens as they are generated, then a `ReplyEnd`."""
        ...

    async def stop(self) -> None:
        """Free everything. Idempotent."""
        ...

    @property
    def memory(self) -> PeakMemory:
        """The memory of the process that holds the model."""
        ...
