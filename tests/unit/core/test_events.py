"""Where something is: the keys of its channel and its workspace, and what it inherits from."""

from __future__ import annotations

import pytest

from bot.core.events import ThreadKey

WORKSPACE = ThreadKey("p", "w")
CHANNEL = ThreadKey("p", "w", "c")
THREAD = ThreadKey("p", "w", "c", "t")


@pytest.mark.parametrize("key", [THREAD, CHANNEL, WORKSPACE])
def test_a_key_knows_its_workspace(key: ThreadKey) -> None:
    assert key.workspace_key == WORKSPACE


@pytest.mark.parametrize(("key", "channel"), [(THREAD, CHANNEL), (CHANNEL, CHANNEL)])
def test_a_key_knows_its_channel(key: ThreadKey, channel: ThreadKey) -> None:
    assert key.channel_key == channel


@pytest.mark.parametrize(
    ("key", "scopes"),
    [
        (THREAD, (THREAD, CHANNEL, WORKSPACE)),
        (CHANNEL, (CHANNEL, WORKSPACE)),
        (WORKSPACE, (WORKSPACE,)),
    ],
)
def test_scopes_go_from_narrow_to_wide(key: ThreadKey, scopes: tuple[ThreadKey, ...]) -> None:
    assert key.scopes() == scopes
