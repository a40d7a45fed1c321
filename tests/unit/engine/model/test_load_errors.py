"""What the Hub, the network and the machine raise becomes one line with the fix."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from huggingface_hub import errors

from bot.engine.api import ModelLoadError
from bot.engine.model.load_errors import explain_errors

# The Hub's client library has changed its HTTP library before: use whichever it uses now.
httpx: Any = importlib.import_module(errors.HTTPError.__module__.split(".")[0])  # type: ignore[attr-defined]


def response(status: int) -> Any:
    return httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co/x"))


def fail(error: Exception, token: str | None, wrapped: bool) -> None:
    with explain_errors("g/m", "g/m", token):
        if wrapped and not isinstance(error, MemoryError | RuntimeError | ValueError):
            raise OSError("several\nlines of advice") from error
        raise error


@pytest.mark.parametrize(
    ("error", "token", "says"),
    [
        (errors.GatedRepoError("gated", response=response(401)), None, "HF_TOKEN is not set"),
        (errors.GatedRepoError("gated", response=response(403)), "hf_x", "hasn't accepted"),
        (
            errors.GatedRepoError("gated", response=response(403)),
            "hf_x",
            "https://huggingface.co/g/m",
        ),
        (
            errors.RepositoryNotFoundError("no", response=response(404)),
            None,
            "neither a folder nor a model",
        ),
        (errors.HFValidationError("bad name"), None, "neither a folder nor a model"),
        (errors.LocalEntryNotFoundError("offline"), None, "can't be reached"),
        (errors.OfflineModeIsEnabled("offline"), None, "can't be reached"),
        (httpx.ConnectError("no route"), None, "can't be reached"),
        (MemoryError(), None, "doesn't fit"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), None, "doesn't fit"),
        (torch.OutOfMemoryError("CUDA out of memory"), None, "doesn't fit"),
        (ValueError("odd\nsecond line"), None, "can't be loaded: odd"),
    ],
)
def test_what_the_hub_says(error: Exception, token: str | None, says: str) -> None:
    """Also when transformers has wrapped it in an OSError of its own."""
    for wrapped in (False, True):
        with pytest.raises(ModelLoadError) as caught:
            fail(error, token, wrapped)
        text = str(caught.value)
        assert says in text
        assert "\n" not in text
        assert "PARLEY_MODEL=g/m" in text
