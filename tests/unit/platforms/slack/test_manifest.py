"""The manifest says exactly what the code uses; each is derived from the other here."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import bot.platforms.slack as package
from bot.platforms.slack import manifest
from bot.platforms.slack.events import Events

SOURCES = {path.name: path.read_text() for path in Path(package.__path__[0]).glob("*.py")}


def called_methods() -> set[str]:
    """Every Web API method that is named in a call in the code."""
    found = set()
    for name, source in SOURCES.items():
        if name in ("manifest.py", "pacer.py"):
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call):
                for argument in node.args:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        word = argument.value
                        if word.split(".")[0] in _FAMILIES and "." in word and " " not in word:
                            found.add(word)
    return found


_FAMILIES = {"assistant", "auth", "chat", "conversations", "files", "users", "views", "agents"}


def test_every_method_called_has_a_scope_and_none_is_superfluous() -> None:
    scoped = {m for methods in manifest.SCOPES.values() for m in methods}
    named = {m for m in scoped if m.split(".")[0] in _FAMILIES}
    assert called_methods() <= named | manifest.UNSCOPED_METHODS
    assert named <= called_methods()


def test_every_event_has_a_scope_and_a_handler() -> None:
    handled = Events(*[_Anything()] * 7).handled  # type: ignore[arg-type]
    assert {event.partition(".")[0] for event in manifest.EVENTS} == handled
    need_scopes = {
        m.removeprefix("event:")
        for methods in manifest.SCOPES.values()
        for m in methods
        if m.startswith("event:")
    }
    free = {"app_home_opened", "app_uninstalled", "tokens_revoked"}
    assert set(manifest.EVENTS) == need_scopes | free


def test_socket_mode() -> None:
    made = manifest.manifest()
    assert made["settings"]["socket_mode_enabled"]
    assert "request_url" not in str(made)
    assert "agent_view" in made["features"]
    events = made["settings"]["event_subscriptions"]["bot_events"]
    assert "app_context_changed" in events
    assert "assistant_thread_started" not in events
    assert made["oauth_config"]["scopes"]["bot"] == list(manifest.SCOPES)
    callbacks = [shortcut["callback_id"] for shortcut in made["features"]["shortcuts"]]
    for callback in callbacks:
        assert any(repr(callback)[1:-1] in source for source in SOURCES.values())


def test_older_assistants() -> None:
    made = manifest.manifest(legacy=True)
    assert "assistant_view" in made["features"]
    events = made["settings"]["event_subscriptions"]["bot_events"]
    assert "assistant_thread_started" in events
    assert "app_context_changed" not in events


def test_http_mode() -> None:
    made = manifest.manifest(mode="http", url="https://p.example.com/")
    assert not made["settings"]["socket_mode_enabled"]
    url = "https://p.example.com/slack/events"
    assert made["settings"]["event_subscriptions"]["request_url"] == url
    assert made["settings"]["interactivity"]["request_url"] == url
    assert made["features"]["slash_commands"][0]["url"] == url
    redirect = ["https://p.example.com/slack/oauth_redirect"]
    assert made["oauth_config"]["redirect_urls"] == redirect


@pytest.mark.parametrize("url", ["", "http://p.example.com", "p.example.com"])
def test_http_mode_needs_an_https_address(url: str) -> None:
    with pytest.raises(ValueError, match="--url https://"):
        manifest.manifest(mode="http", url=url)


def test_slack_s_lengths() -> None:
    information = manifest.manifest()["display_information"]
    assert len(information["description"]) <= 140
    assert 175 <= len(information["long_description"]) <= 4000


class _Anything:
    """Stands for a part that is not used here."""

    def __getattr__(self, name: str) -> object:
        return self
