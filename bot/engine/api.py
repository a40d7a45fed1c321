"""The engine's contract: messages in, a stream of deltas out. Free of torch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text, always literal: `<end_of_turn>` in it is thirteen characters, not a token.

    Attributes:
        text: the text.
        token_ids: for an assistant's reply, the ids that the model generated for this text. They
            are reused as they are, so that the next turn hits the prefix cache.
    """

    text: str
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """A picture.

    Attributes:
        data: encoded and normalized: PNG, JPEG or WebP, in RGB.
        digest: the SHA-256 of `data`, in hex.
    """

    data: bytes = field(repr=False)
    digest: str


Part: TypeAlias = Text | Image
Role: TypeAlias = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message.

    A list of messages may begin with one system message. Then user and assistant strictly
    alternate, and the last message is the user's.
    """

    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers a setting accepts: `low` to `high`, both included unless excluded."""

    low: float
    high: float
    excludes_low: bool = False
    excludes_high: bool = False
    whole: bool = False  # integers only

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.excludes_low else value >= self.low
        below = value < self.high if self.excludes_high else value <= self.high
        return above and below and (not self.whole or value == int(value))

    def __str__(self) -> str:
        if not self.excludes_low and not self.excludes_high:
            return f"between {self.low:,} and {self.high:,}"
        low = "greater than" if self.excludes_low else "at least"
        high = "less than" if self.excludes_high else "at most"
        return f"{low} {self.low:,} and {high} {self.high:,}"


_MAX_WHOLE = 2**31 - 1  # what databases and samplers hold
#: What each sampling setting accepts, whether the operator, a persona or a form sets it.
SAMPLING_RANGES: Mapping[str, Range] = MappingProxyType(
    {
        "temperature": Range(0, 5),
        "top_k": Range(0, _MAX_WHOLE, whole=True),
        "top_p": Range(0, 1, excludes_low=True),
        "min_p": Range(0, 1, excludes_high=True),
        "repetition_penalty": Range(0, 5, excludes_low=True),
        "seed": Range(0, _MAX_WHOLE, whole=True),
        "max_new_tokens": Range(1, _MAX_WHOLE, whole=True),
    }
)


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the tokens of one reply are drawn.

    Attributes:
        temperature: 0 is greedy.
        top_k: 0 turns it off.
        top_p: 1 turns it off.
        min_p: 0 turns it off.
        repetition_penalty: over prompt and reply, as in transformers; 1 turns it off.
        seed: the same seed gives the same reply, whatever else is in the batch; None draws one.
        max_new_tokens: the reply's longest length, in tokens.
        stop: the reply ends before the first of these strings.

    Raises:
        ValueError: a value is out of range; the text names the field, the value and the range.
    """

    temperature: float = 0.7
    top_k: int = 64
    top_p: float = 0.95
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    max_new_tokens: int = 512
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, allowed in SAMPLING_RANGES.items():
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise ValueError(f"{name} is {value!r}, must be {allowed}")
        if not all(self.stop):
            raise ValueError(f"stop is {self.stop!r}, must not hold empty strings")


FinishReason: TypeAlias = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Usage:
    """What one reply took.

    Attributes:
        prompt_tokens: the prompt's length.
        cached_tokens: how many of them were found in the prefix cache.
        generated_tokens: the reply's length.
        queue_s: seconds from the request to its first step.
        ttft_s: seconds from the request to its first token.
        total_s: seconds from the request to its end.
    """

    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    queue_s: float
    ttft_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class Queued:
    """The request waits, and `ahead` others start before it. Sent whenever that changes."""

    ahead: int


@dataclass(frozen=True, slots=True)
class Delta:
    """New text of the reply, in whole characters, and the token ids generated for it."""

    text: str
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Finish:
    """The last item of a stream.

    `reason` is "stop" if the model ended its turn or a stop string was generated, "length" if
    `max_new_tokens` or the context was reached, "cancelled" if the engine was stopped.
    """

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
        image_tokens: soft tokens a picture takes; 0 if the model doesn't see.
        device: for example "cpu" or "cuda:0".
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
    """One sequence in the batch, as the playground's live strip shows it. Counts are tokens.

    Attributes:
        prompt: the prompt's length.
        prefilled: how many of the prompt's tokens are computed.
        cached: how many of them were found in the prefix cache.
        generated: the reply's length so far.
        max_new: the reply's longest length.
    """

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
    """The batcher at one moment.

    Attributes:
        running: the sequences in the batch.
        waiting: requests in the queue.
        tokens_per_s: tokens generated per second, over the last two seconds.
        steps: steps since the start.
        generated_total: tokens generated since the start.
    """

    running: tuple[Lane, ...]
    waiting: int
    tokens_per_s: float
    steps: int
    generated_total: int


class EngineError(Exception):
    """Something went wrong in the engine; the text is safe to log."""


class EngineBusy(EngineError):
    """The queue is full. Try again later."""

    def __init__(self, queue_length: int) -> None:
        super().__init__(f"{queue_length} requests are waiting already")
        self.queue_length = queue_length


class PromptTooLong(EngineError):
    """The prompt leaves no room in the context. Counts are tokens."""

    def __init__(self, tokens: int, limit: int) -> None:
        super().__init__(f"the prompt has {tokens} tokens, the limit is {limit}")
        self.tokens = tokens
        self.limit = limit


class ModelLoadError(EngineError):
    """The model can't be loaded; the text is one line that names the setting and the fix."""


class GenerationFailed(EngineError):
    """An error in a step ended this reply; the others go on."""


class EngineStopped(EngineError):
    """The engine is not running: not started, stopped, or its device doesn't answer."""


class Engine(Protocol):
    """Streams replies. Call its methods on the event loop; none blocks it."""

    @property
    def info(self) -> EngineInfo:
        """What is loaded. Raises EngineStopped before `start` has returned."""
        ...

    async def start(self) -> None:
        """Load the model. Raises ModelLoadError."""
        ...

    async def stop(self) -> None:
        """Cancel every stream (each gets a `cancelled` Finish) and free the model. Idempotent."""
        ...

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """The exact length in tokens of the prompt that `stream` would build of these messages.

        Raises:
            EngineStopped, ValueError: as `stream` does.
        """
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
        """Generate one reply: any number of `Queued`, then `Delta`s, then one `Finish`.

        Closing the iterator, or cancelling the task that reads it, frees the sequence at the next
        step.

        Args:
            messages: see `Message`.
            sampling: how tokens are drawn.
            owner: who shares the machine fairly with other owners, for example a user's id.
            conversation: a label for `Lane`.
            share: this request's weight against others while requests wait: 1 for a direct
                message; background work might use 0.25.

        Raises:
            EngineBusy, PromptTooLong, EngineStopped, ValueError: at the first `anext`; ValueError
                for a malformed message list or a picture that the model can't see.
            GenerationFailed: at any later `anext`.
        """
        ...

    def snapshot(self) -> Snapshot:
        """The batcher now, for display. Cheap, and never raises."""
        ...
