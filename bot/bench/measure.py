"""What is measured in a run: token times, percentiles, occupancy, peak memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PERCENTILES = (50, 95, 99)


@dataclass(slots=True)
class Reply:
    """One reply of one run. Times are in seconds since the phase began.

    `token_times`: when each token reached the client.
    """

    conversation: str
    group: str
    turn: int  # from 1
    sent_s: float
    token_times: list[float] = field(default_factory=list)
    prompt_tokens: int = 0
    cached_tokens: int = 0

    @property
    def ttft_s(self) -> float:
        return self.token_times[0] - self.sent_s

    @property
    def itl_s(self) -> list[float]:
        """Inter-token latencies."""
        return [later - earlier for earlier, later in itertools.pairwise(self.token_times)]


@dataclass(slots=True)
class RunResult:
    """One run of one workload on one system: the replies of each phase, and its peak memory.

    `peak_mib`: resident memory of the process that holds the model; `peak_device_mib`: memory that
    PyTorch allocated on an accelerator (0 without one).
    """

    phases: list[list[Reply]]
    peak_mib: float = 0.0
    peak_device_mib: float = 0.0

    @property
    def replies(self) -> list[Reply]:
        return [reply for phase in self.phases for reply in phase]

    @property
    def tokens(self) -> int:
        return sum(len(reply.token_times) for reply in self.replies)

    @property
    def seconds(self) -> float:
        """From each phase's first request to its last token, summed over the phases."""
        return sum(
            max(reply.token_times[-1] for reply in phase) - min(reply.sent_s for reply in phase)
            for phase in self.phases
        )

    @property
    def tokens_per_s(self) -> float:
        """Aggregate throughput of all conversations."""
        return self.tokens / self.seconds

    @property
    def cached_share(self) -> float:
        """The fraction of prompt tokens found in a prefix cache."""
        prompts = sum(reply.prompt_tokens for reply in self.replies)
        return sum(reply.cached_tokens for reply in self.replies) / max(1, prompts)

    @property
    def occupancy(self) -> dict[str, float]:
        """Replies decoded concurrently: the mean while any reply decodes, and the maximum.

        Measured from each reply's first to its last token at the client, so it means the same for
        every system.
        """
        busy = area = 0.0
        peak = 0
        for phase in self.phases:
            changes = [(reply.token_times[0], 1) for reply in phase]
            changes += [(reply.token_times[-1], -1) for reply in phase]
            active = 0
            for (at, change), (later, _) in itertools.pairwise(
                [*sorted(changes, key=lambda end: (end[0], -end[1])), (0.0, 0)]
            ):
                active += change
                peak = max(peak, active)
                if active:
                    busy += later - at
                    area += active * (later - at)
        return {"mean": area / busy if busy else float(peak), "max": float(peak)}


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """Nearest-rank p50, p95 and p99; empty for no values."""
    ordered = sorted(values)
    return {f"p{p}": ordered[-(-len(ordered) * p // 100) - 1] for p in PERCENTILES if ordered}


def split_by_prefill(
    replies: Sequence[Reply], *, prefill_group: str = "long", decode_group: str = "decoding"
) -> tuple[list[float], list[float]] | None:
    """Token gaps of decoding replies before a long prompt arrives and during its prefill.

    The first list starts when all replies decode, so it excludes their own prefill. None if the
    run has no long prompt.
    """
    long = [reply for reply in replies if reply.group == prefill_group]
    others = [reply for reply in replies if reply.group == decode_group]
    if not long or not others:
        return None
    arrived, first_token = long[0].sent_s, long[0].token_times[0]
    all_decoding = max(reply.token_times[0] for reply in others)
    gaps = [pair for reply in others for pair in itertools.pairwise(reply.token_times)]
    quiet = [
        later - earlier for earlier, later in gaps if all_decoding <= earlier and later <= arrived
    ]
    loaded = [
        later - earlier for earlier, later in gaps if later > arrived and earlier < first_token
    ]
    return quiet, loaded


class PeakMemory:
    """Peak resident memory of a process since `reset`, from Linux's /proc; 0 elsewhere."""

    def __init__(self, pid: int | str = "self") -> None:
        self._proc = Path("/proc") / str(pid)

    def reset_peak(self) -> None:
        """Reset the kernel's high-water mark (5); without permission the peak is the process's."""
        try:
            (self._proc / "clear_refs").write_text("5")
        except OSError:
            return

    def peak_mib(self) -> float:
        try:
            status = (self._proc / "status").read_text()
        except OSError:
            return 0.0
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return 0.0
