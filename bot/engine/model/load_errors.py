"""What went wrong while loading, in one line that names the setting and the fix."""

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
def explained(model: str, source: str, token: str | None) -> Iterator[None]:
    """Turn what loading raises into one line that says what to do."""
    try:
        yield
    except ModelLoadError:
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise no_memory(model, first_line(error)) from error
    except Exception as error:
        raise _explain(model, source, token, error) from error


def _explain(model: str, source: str, token: str | None, error: Exception) -> ModelLoadError:
    chain = _chain(error)
    what = f"PARLEY_MODEL={model}"
    if any(isinstance(e, GatedRepoError) for e in chain) or "gated repo" in str(error).lower():
        fix = "and HF_TOKEN's account has not accepted them" if token else "and HF_TOKEN is not set"
        return ModelLoadError(
            f"{what} needs its terms accepted, {fix}: accept them at https://huggingface.co/"
            f"{source}, make a token at https://huggingface.co/settings/tokens, set HF_TOKEN"
        )
    if any(isinstance(e, RepositoryNotFoundError | HFValidationError) for e in chain):
        return ModelLoadError(
            f"{what} is neither a folder nor a model on the Hub; check the spelling, or set "
            "HF_TOKEN if it is private"
        )
    offline = (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError, TimeoutError)
    if any(isinstance(e, HfHubHTTPError) for e in chain):
        return ModelLoadError(f"{what}: the Hub answered: {first_line(error)}")
    network = ("httpx", "httpcore", "requests", "urllib3")  # whichever the Hub's client uses
    if any(isinstance(e, offline) or type(e).__module__.startswith(network) for e in chain):
        return ModelLoadError(
            f"{what}: the Hub can't be reached and the model is not in the cache; go online, name "
            "a folder, or use PARLEY_MODEL=demo"
        )
    if "can't allocate memory" in str(error) or "out of memory" in str(error).lower():
        return no_memory(model, "the memory ran out while loading")
    if isinstance(error, OSError) and Path(source).is_dir():
        return ModelLoadError(
            f"{what}: a file is missing or unreadable in {source}: {first_line(error)}; copy the "
            "whole folder again"
        )
    return ModelLoadError(f"{what} can't be loaded: {first_line(error)}")


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def first_line(error: BaseException) -> str:
    """The first line of an error's text."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


def no_memory(model: str, why: str) -> ModelLoadError:
    """The error for a model that is too big."""
    return ModelLoadError(
        f"PARLEY_MODEL={model} does not fit: {why}; choose a smaller model, set "
        "PARLEY_DTYPE=bfloat16, or PARLEY_TEXT_ONLY=true to leave out the vision tower"
    )
