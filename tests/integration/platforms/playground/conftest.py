"""A playground behind a real server, and tabs of two people."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.playground_rig import PacedEngine, Rig, playground
from tests.support.playground_tab import Tab
from tests.support.scripted_engine import ScriptedEngine


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def scripted() -> ScriptedEngine:
    return ScriptedEngine(sees_images=True)


@pytest.fixture
async def rig(tmp_path: Path, scripted: ScriptedEngine) -> AsyncIterator[Rig]:
    """Answered by the scripted engine: the test says what and when."""
    async with playground(tmp_path, scripted) as rig:
        yield rig


@pytest.fixture
async def paced_rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """Answered by itself, quickly."""
    async with playground(tmp_path, PacedEngine(0.001)) as rig:
        yield rig


@pytest.fixture
async def ana(rig: Rig, session: aiohttp.ClientSession) -> AsyncIterator[Tab]:
    tab = await Tab(session, rig.url, "ana").open()
    yield tab
    await tab.close()


@pytest.fixture
async def ben(rig: Rig, session: aiohttp.ClientSession) -> AsyncIterator[Tab]:
    tab = await Tab(session, rig.url, "ben").open()
    yield tab
    await tab.close()
