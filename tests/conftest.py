"""Fixtures that several rooms' tests ask for by name."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Triton kernels run in its interpreter, on the CPU. Read where a kernel is defined: before any is.
os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny models are slower on two threads, much slower where others want them too."""
    import torch  # takes seconds: not for every test

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
