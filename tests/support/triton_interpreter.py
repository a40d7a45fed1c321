"""Triton's interpreter, faster, and with a GPU's bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

_patch_lang = interpreter._patch_lang
_patched: set[frozenset[str]] = set()


class _KeepPatched:
    def restore(self) -> None:
        pass


def patch_once() -> None:
    """Let the interpreter replace `triton.language`'s functions once, not at every call.

    It takes a third of the time. Only for a process in which every kernel is interpreted.
    """

    def patch(function: Any) -> _KeepPatched:
        modules = frozenset(
            name for name, value in function.__globals__.items() if value is tl or value is tl.core
        )
        if modules not in _patched:
            _patch_lang(function)
            _patched.add(modules)
        return _KeepPatched()

    interpreter._patch_lang = patch


def _to_float32(handle: TensorHandle) -> TensorHandle:
    if handle.dtype.scalar != tl.bfloat16:
        return handle
    bits = torch.from_numpy(np.ascontiguousarray(handle.data).view(np.int16))
    return TensorHandle(bits.view(torch.bfloat16).float().numpy(), tl.float32)


def _to_bfloat16(handle: TensorHandle) -> TensorHandle:
    numbers = torch.from_numpy(np.ascontiguousarray(handle.data)).bfloat16()
    return TensorHandle(numbers.view(torch.int16).numpy().view(np.uint16), tl.bfloat16)


@contextmanager
def real_bfloat16() -> Iterator[None]:
    """In here bfloat16 is cast and multiplied as on a GPU.

    The interpreter keeps it as whole numbers: it cuts float32 off instead of rounding it to the
    nearest, and multiplies the numbers themselves in `tl.dot`.
    """
    create_dot, cast_impl = InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl

    def dot(self: Any, a: TensorHandle, b: TensorHandle, *rest: Any) -> TensorHandle:
        return create_dot(self, _to_float32(a), _to_float32(b), *rest)

    def cast(self: Any, source: TensorHandle, to: Any) -> TensorHandle:
        if source.dtype.scalar == tl.bfloat16 and to.scalar == tl.float32:
            return _to_float32(source)
        if source.dtype.scalar == tl.float32 and to.scalar == tl.bfloat16:
            return _to_bfloat16(source)
        return cast_impl(self, source, to)

    InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl = dot, cast
    try:
        yield
    finally:
        InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl = create_dot, cast_impl
