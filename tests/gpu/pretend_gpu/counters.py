"""What the pretend GPU counted; for programs started by run.sh."""

from __future__ import annotations

import ctypes
import os
import tempfile

# In the order of the enumeration in runtime.c.
_NAMES = [
    "launch", "gemm", "h2d_pageable", "h2d_pinned", "d2h_pageable", "d2h_pinned", "d2d", "memset",
    "streamsync", "devsync", "eventsync", "memcpysync", "malloc", "free", "hostalloc",
    "graphlaunch", "eventquery", "captured", "capture_errors", "eventrecord", "h2d_bytes",
    "offstream", "driver_launch", "refused", "module", "replayed",
]  # fmt: skip
_lib = ctypes.CDLL(None)  # preloaded
_raw = (ctypes.c_long * len(_NAMES)).in_dll(_lib, "fake_counts")
_record = ctypes.c_int.in_dll(_lib, "fake_record")
_lib.fake_used.restype = ctypes.c_size_t
_lib.fake_dump.argtypes = [ctypes.c_char_p]


def counts() -> dict[str, int]:
    """Counters that are not zero.

    `launch`: kernels, through the runtime or the driver (`driver_launch` of them); `gemm`: calls to
    cuBLAS; `captured`: graph nodes; `replayed`: nodes that `graphlaunch` graphs ran; `offstream`:
    work beside a capture that isn't part of it; `capture_errors`: calls that may not be captured;
    `refused`: refused launches.
    """
    return {name: _raw[i] for i, name in enumerate(_NAMES) if _raw[i]}


def reset() -> None:
    """All counters to zero; from here on kernels() knows the names of what is launched."""
    _lib.fake_reset()
    _record.value = 1


def kernels() -> dict[str, int]:
    """How often each kernel was launched since reset(), by its name in the binary."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "kernels")
        _lib.fake_dump(path.encode())
        with open(path) as lines:
            rows = (line.rstrip("\n").split("\t") for line in lines)
            return {name: int(count) for count, name in rows}


def used(device: int = 0) -> float:
    """MiB allocated on the pretend device."""
    return _lib.fake_used(device) / 2**20
