"""Loading errors as one line that names the setting and the fix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from bot.engine.api import ModelLoadError


@contextmanager
def explain_errors(model: str, source: str, token: str | None) -> Iterator[None]:
    """Turn any exception of loading into a ModelLoadError. Its text is one line with the fix."""
    try:
        yield
    except ModelLoadError:
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise out_of_memory_error(model, first_line(error)) from error
    except Exception as error:
        raise _explain_error(model, source, token, error) from error


def _explain_error(model: str, source: str, token: str | None, error: Exception) -> ModelLoadError:
    chain = _error_chain(error)
    setting = f"PARLEY_MODEL={model}"
    if any(isinstance(e, GatedRepoError) for e in chain) or "gated repo" in str(error).lower():
        cause = "HF_TOKEN's account hasn't accepted them" if token else "HF_TOKEN is not set"
        return ModelLoadError(
            f"{setting} requires its terms to be accepted, and {cause}: accept them at "
            f"https://huggingface.co/{source}, create a token at "
            "https://huggingface.co/settings/tokens and set HF_TOKEN"
        )
    if any(isinstance(e, RepositoryNotFoundError | HFValidationError) for e in chain):
        return ModelLoadError(
            f"{setting} is neither a folder nor a model on Hugging Face: check the spelling, or "
            "set HF_TOKEN if it is private"
        )
    offline = (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError, TimeoutError)
    if any(isinstance(e, HfHubHTTPError) for e in chain):
        return ModelLoadError(f"{setting}: Hugging Face reports: {first_line(error)}")
    network = ("httpx", "httpcore", "requests", "urllib3")  # whichever huggingface_hub uses
    if any(isinstance(e, offline) or type(e).__module__.startswith(network) for e in chain):
        return ModelLoadError(
            f"{setting} is not downloaded, and Hugging Face can't be reached: connect to the "
            "internet, use a local folder, or set PARLEY_MODEL=demo"
        )
    if "can't allocate memory" in str(error) or "out of memory" in str(error).lower():
        return out_of_memory_error(model, "memory ran out while loading")
    if isinstance(error, OSError) and Path(source).is_dir():
        return ModelLoadError(
            f"{setting}: a file in {source} is missing or unreadable ({first_line(error)}): copy "
            "the whole folder again"
        )
    return ModelLoadError(f"{setting} can't be loaded: {first_line(error)}")


def _error_chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


def out_of_memory_error(model: str, reason: str) -> ModelLoadError:
    """The error for a model that is too big."""
    return ModelLoadError(
        f"PARLEY_MODEL={model} doesn't fit in memory ({reason}): use a smaller model, "
        "PARLEY_DTYPE=bfloat16, or PARLEY_TEXT_ONLY=true to leave out the vision tower"
    )
