"""The systems under test: Parley and its peers, by the names that `--peers` takes."""

from __future__ import annotations

from bot.bench.systems.base import Setup, System

PARLEY = "parley"
PEERS = ("generate", "generate-static", "transformers-cb", "llama-cpp")
BLIND = {  # why a peer has no part in a workload with pictures
    "transformers-cb": "transformers' continuous batching takes no pictures",
    "llama-cpp": "no GGUF of this model's vision tower is at hand",
}


def make(name: str, setup: Setup) -> System:
    """The system called `name`, not started. Imports what it needs and no more.

    Raises:
        KeyError: there is none.
    """
    if name == PARLEY:
        from bot.bench.systems.parley import Parley

        return Parley(setup)
    if name in ("generate", "generate-static"):
        from bot.bench.systems.generate import Generate

        return Generate(setup, at_once=1 if name == "generate" else 64)
    if name == "transformers-cb":
        from bot.bench.systems.continuous import ContinuousBatching

        return ContinuousBatching(setup)
    if name == "llama-cpp":
        from bot.bench.systems.llama import LlamaCpp

        return LlamaCpp(setup)
    raise KeyError(name)
