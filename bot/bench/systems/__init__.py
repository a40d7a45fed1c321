"""The systems under test, by the names that `--peers` accepts, and Parley itself."""

from __future__ import annotations

from bot.bench.systems.base import Setup, System

PARLEY = "parley"
PEERS = ("generate", "generate-static", "transformers-cb", "llama-cpp")
NO_PICTURES = {  # why a peer can't run a workload with pictures
    "transformers-cb": "transformers' continuous batching doesn't support pictures",
    "llama-cpp": "there is no GGUF of this model's vision tower",
}


def make_system(name: str, setup: Setup) -> System:
    """The system called `name`, not started; imports only what it needs.

    Raises:
        KeyError: there is no such system.
    """
    if name == PARLEY:
        from bot.bench.systems.parley import Parley

        return Parley(setup)
    if name in ("generate", "generate-static"):
        from bot.bench.systems.generate import Generate

        return Generate(setup, max_batch=1 if name == "generate" else 64)
    if name == "transformers-cb":
        from bot.bench.systems.continuous import ContinuousBatching

        return ContinuousBatching(setup)
    if name == "llama-cpp":
        from bot.bench.systems.llama import LlamaCpp

        return LlamaCpp(setup)
    raise KeyError(name)
