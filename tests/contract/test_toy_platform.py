"""What a new platform takes: a folder of its own, a setting, a dependency, and one entry."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.adapters import PLATFORMS, AdapterParts, Platform, build_adapters
from bot.config import Settings
from bot.platforms.base import Adapter, Checker, PlatformError
from tests.contract import toy_platform
from tests.contract.toy_platform.adapter import ToyAdapter
from tests.contract.toy_room import ToyServer

ALLOWED = ("bot.core", "bot.platforms.base", "bot.platforms.shared")
FOLDER = Path(next(iter(toy_platform.__path__)))


class ToySettings(Settings):
    """What a platform adds to `bot/config.py`."""

    toy_token: SecretStr | None = None
    toy_port: int = 0


def toy_entry() -> Platform:
    """What a platform adds to `bot/adapters.py`."""

    def build(parts: AdapterParts) -> Adapter:
        settings: Any = parts.settings
        return ToyAdapter(parts.handle, settings.toy_port, settings.toy_token.get_secret_value())

    def load_checker() -> Checker:
        from tests.contract.toy_platform import checks

        return checks.check

    def is_configured(settings: Any) -> bool:
        return getattr(settings, "toy_token", None) is not None

    return Platform("toy", is_configured, build, load_checker)


def parts(settings: Settings) -> AdapterParts:
    nothing: Any = None
    return AdapterParts(settings, nothing, nothing, nothing)


def test_its_folder_imports_nothing_of_parley_but_the_core_and_what_platforms_share() -> None:
    imported = set[str]()
    for file in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
            elif isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
    of_parley = {name for name in imported if name.split(".")[0] in ("bot", "tests")}
    own = {name for name in of_parley if name.startswith(toy_platform.__name__)}
    assert of_parley - own
    assert [name for name in of_parley - own if not name.startswith(ALLOWED)] == []


def test_one_entry_registers_it() -> None:
    platforms = (*PLATFORMS, toy_entry())
    assert build_adapters(parts(ToySettings(_env_file=None)), platforms) == []
    settings = ToySettings(_env_file=None, toy_token=SecretStr("a-token"))
    (adapter,) = build_adapters(parts(settings), platforms)
    assert isinstance(adapter, ToyAdapter)
    assert adapter.platform == "toy"


async def test_a_wrong_token_stops_the_start_with_the_setting_and_the_fix() -> None:
    async with ToyServer() as server:
        nothing: Any = None
        adapter = ToyAdapter(nothing, server.port, "wrong")
        with pytest.raises(PlatformError, match="TOY_TOKEN"):
            await adapter.start()
        await adapter.close()


async def test_doctor_checks_it() -> None:
    checker = toy_entry().load_checker()
    async with ToyServer() as server:
        for token, ok in ((server.token, True), ("wrong", False)):
            settings = ToySettings(_env_file=None, toy_token=SecretStr(token), toy_port=server.port)
            (finding,) = [finding async for finding in checker(settings)]
            assert finding.ok is ok
    assert "TOY_TOKEN" in finding.fix
