"""Chooses the backend that computes the decoder layers: the fastest registered that serves.

A backend is a file with a `ProposeBackend` function and one `register_backend` call. The file is
imported only when a model is to run on its device.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import torch

from bot.engine.attention.base import (
    BackendChoice,
    BackendQuery,
    BackendRejected,
    ProposeBackend,
    Rejection,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Registration:
    """A backend that can be chosen; see `register_backend`."""

    name: str
    propose: str | ProposeBackend
    devices: frozenset[str]
    rank: int

    def load_propose(self) -> ProposeBackend:
        """The function, imported now if it is only named."""
        if not isinstance(self.propose, str):
            return self.propose
        module, _, function = self.propose.partition(":")
        propose: ProposeBackend = getattr(import_module(module), function)
        return propose


_registrations: dict[str, Registration] = {}


def register_backend(
    name: str, propose: str | ProposeBackend, *, devices: tuple[str, ...] = (), rank: int
) -> None:
    """Add a backend.

    Args:
        name: what logs, `EngineInfo` and `parley doctor` call it.
        propose: the function, or "module:function" to import it only when it is needed.
        devices: torch's device types that it runs on; none given: any.
        rank: lower is faster and asked first.

    Raises:
        ValueError: the name is taken.
    """
    if name in _registrations:
        raise ValueError(f"a backend named {name} is registered already")
    _registrations[name] = Registration(name, propose, frozenset(devices), rank)


def unregister_backend(name: str) -> None:
    """Remove a backend, e.g. one that a test added."""
    del _registrations[name]


def registered_backends(device_type: str | None = None) -> list[Registration]:
    """The backends for a type of device (None: all), fastest first."""
    fitting = [
        registration
        for registration in _registrations.values()
        if device_type is None or not registration.devices or device_type in registration.devices
    ]
    return sorted(fitting, key=lambda registration: registration.rank)


def choose_backend(
    config: Any,
    device: torch.device,
    dtype: torch.dtype,
    *,
    dtype_is_set: bool = True,
    quantize: str = "none",
    block_size: int = 16,
    spread: bool = False,
) -> BackendChoice:
    """Choose how a model's decoder layers are computed. Needs no weights; may try out kernels.

    The arguments are the fields of `BackendQuery`.

    Raises:
        BackendRejected: no backend serves, not even the portable one.
    """
    query = BackendQuery(config, device, dtype, dtype_is_set, quantize, block_size, spread)
    rejections: list[Rejection] = []
    for registration in registered_backends(device.type):
        try:
            choice = registration.load_propose()(query)
        except BackendRejected as answer:
            rejections.append(Rejection(registration.name, str(answer), answer.is_expected))
        except Exception as error:  # whatever a kernel, a compiler or a loader raises
            log.debug("backend %s failed", registration.name, exc_info=True)
            reason = f"{type(error).__name__}: {error}"
            rejections.append(Rejection(registration.name, reason))
        else:
            every = (*rejections, *choice.rejections)
            return replace(choice, name=registration.name, rejections=every)
    raise BackendRejected("; ".join(map(str, rejections)))


def log_choice(choice: BackendChoice) -> None:
    """Log what runs, and what is faster and doesn't: at WARNING unless that is as expected."""
    attention = choice.attention
    log.info(
        "backend %s: %s attention over blocks of %d tokens, %s weights%s",
        choice.name,
        attention.name,
        attention.block_size,
        choice.weights,
        ", decode steps recorded as CUDA graphs" if choice.records_graphs else "",
    )
    for rejection in choice.rejections:
        if rejection.is_expected:
            log.info("backend %s isn't used: %s", rejection.name, rejection.reason)
        else:
            log.warning(
                "backend %s serves instead of the faster %s: %s",
                choice.name,
                rejection.name,
                rejection.reason,
            )


register_backend("int16", "bot.engine.cpu.backends:propose_fused", devices=("cpu",), rank=10)
register_backend("lean-int8", "bot.engine.cpu.backends:propose_lean", devices=("cpu",), rank=20)
register_backend("packed-bf16", "bot.engine.cpu.backends:propose_packed", devices=("cpu",), rank=30)
register_backend("triton", "bot.engine.cuda.backends:propose_triton", devices=("cuda",), rank=10)
register_backend(
    "varlen", "bot.engine.cuda.varlen_attention:propose_varlen", devices=("cuda",), rank=20
)
register_backend("sdpa", "bot.engine.attention.sdpa:propose_sdpa", rank=100)
