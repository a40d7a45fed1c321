"""The engine's contract: messages in, a stream of deltas out; free of torch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text. Always literal: `<end_of_turn>` in it is thirteen characters, not a token.

    `token_ids` are the ids the model itself generated for this text (assistant replies only);
    they are reused as they are, so that a following turn hits the prefix cache.
    """

    text: str
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """A picture: encoded, normalised bytes (PNG, JPEG or WebP; RGB) and their SHA-256 in hex."""

    data: bytes = field(repr=False)
    digest: str


Part: TypeAlias = Text | Image
Role: TypeAlias = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message. A list has at most one system message, first; then user and assistant
    strictly alternate, and the last is the user's."""

    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How tokens are drawn for one reply. `temperature=0` is greedy. The same seed gives the same
    reply whoever else is in the batch; `seed=None` draws one."""

    temperature: float = 0.7
    top_k: int = 64  # 0: off
    top_p: float = 0.95  # 1: off
    min_p: float = 0.0  # 0: off
    repetition_penalty: float = 1.0  # 1: off; over prompt and reply, as transformers does
    seed: int | None = None
    max_new_tokens: int = 512
    stop: tuple[str, ...] = ()  # the reply ends before the first of these

    def __post_init__(self) -> None:
        """Refuse what cannot be sampled with.

        Raises:
            ValueError: naming the field, its value and the range.
        """
        for name, ok, want in (
            ("temperature", 0 <= self.temperature <= 5, "0 to 5"),
            ("top_k", self.top_k >= 0, "0 (off) or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0, at most 1"),
            ("min_p", 0 <= self.min_p < 1, "0 (off) to below 1"),
            ("repetition_penalty", 0 < self.repetition_penalty <= 5, "above 0, at most 5"),
            ("max_new_tokens", self.max_new_tokens >= 1, "1 or more"),
            ("stop", all(self.stop), "no empty strings"),
        ):
            if not ok:
                raise ValueError(f"{name} is {getattr(self, name)!r}, must be {want}")


FinishReason: TypeAlias = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Usage:
    """What one reply took. Times in seconds since the request was made."""

    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    queue_s: float
    ttft_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class Queued:
    """The request waits and `ahead` others start before it. Sent when that changes."""

    ahead: int


@dataclass(frozen=True, slots=True)
class Delta:
    """New text of the reply (whole characters) and the new token ids behind it."""

    text: str
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Finish:
    """The last item of a stream. `stop`: the model ended its turn or a stop string came;
    `length`: max_new_tokens or the context was reached; `cancelled`: the engine was stopped."""

    reason: FinishReason
    usage: Usage


StreamItem: TypeAlias = Queued | Delta | Finish


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What is loaded.

    Attributes:
        model: its name, as the operator set it.
        sees_images: whether prompts may contain pictures.
        max_context: tokens, prompt and reply together.
        image_tokens: soft tokens a picture takes; 0 if it sees none.
        device: e.g. "cpu" or "cuda:0".
        dtype: the format of the linear layers' weights: "int8", "bfloat16", ...
        backend: what computes the decoder layers, by its registered name.
        rejected_backends: faster ones that were expected to run here, each "name: why it doesn't".
    """

    model: str
    sees_images: bool
    max_context: int
    image_tokens: int
    device: str
    dtype: str
    backend: str = ""
    rejected_backends: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lane:
    """One sequence in the batch, as the live strip shows it. Counts are tokens."""

    conversation: str
    owner: str
    phase: Literal["prefill", "decode"]
    prompt: int
    prefilled: int
    cached: int
    generated: int
    max_new: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The batcher at one moment. `tokens_per_s`: generated, over the last two seconds."""

    running: tuple[Lane, ...]
    waiting: int
    tokens_per_s: float
    steps: int
    generated_total: int


class EngineError(Exception):
    """Something went wrong in the engine; the text is safe to log."""


class EngineBusy(EngineError):
    """The queue is full."""

    def __init__(self, queue_length: int) -> None:
        super().__init__(f"{queue_length} requests are waiting already")
        self.queue_length = queue_length


class PromptTooLong(EngineError):
    """The prompt leaves no room in the context."""

    def __init__(self, tokens: int, limit: int) -> None:
        super().__init__(f"the prompt has {tokens} tokens, the limit is {limit}")
        self.tokens = tokens
        self.limit = limit


class ModelLoadError(EngineError):
    """The model can't be loaded; the text is one line that names the setting and the fix."""


class GenerationFailed(EngineError):
    """An exception in a step ended this sequence; the others go on."""


class EngineStopped(EngineError):
    """The engine is not running (not started, or stopping)."""


class Engine(Protocol):
    """Streams replies. All methods are called on the event loop and none blocks it."""

    @property
    def info(self) -> EngineInfo:
        """What is loaded. Raises EngineStopped before `start` is done."""
        ...

    async def start(self) -> None:
        """Load the model. Raises ModelLoadError."""
        ...

    async def stop(self) -> None:
        """Cancel what runs (each stream gets a `cancelled` Finish), free the model. Idempotent."""
        ...

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Exact length in tokens of the prompt that `stream` would build of these messages."""
        ...

    def stream(
        self,
        messages: Sequence[Message],
        sampling: SamplingParams,
        *,
        owner: str,
        conversation: str,
        share: float = 1.0,
    ) -> AsyncIterator[StreamItem]:
        """Generate one reply: any `Queued`, then `Delta`s, then one `Finish`.

        Closing the iterator (or cancelling the task that reads it) frees the sequence at the next
        step. `owner` is who shares the machine fairly with others; `conversation` is a label.
        `share` weighs this request against others where people wait: background work might have
        0.25, a direct message 1.

        Raises (at the first `anext`):
            EngineBusy, PromptTooLong, EngineStopped, ValueError for a malformed message list.
        Raises (later):
            GenerationFailed.
        """
        ...

    def snapshot(self) -> Snapshot:
        """The batcher now; cheap, for display."""
        ...
