"""Fixtures of the engine's unit tests."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import models


@pytest.fixture(scope="session")
def gemma_tokenizer() -> Any:
    """The real Gemma 3 tokenizer (needs the demo extra)."""
    return models.gemma_tokenizer()
