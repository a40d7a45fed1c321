"""A connected Parley on the local Slack, in one process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.servers.slack.rig import Rig, slack_rig


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with slack_rig() as made:
        yield made
