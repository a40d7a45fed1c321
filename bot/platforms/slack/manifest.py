"""The app's manifest: the one list of scopes, events, commands and shortcuts that the code uses.

Listeners and manifest are both made from the names here, so that an app installed from the
manifest has exactly what the code needs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from bot.platforms.slack import texts

COMMAND = "/parley"
ASK_SHORTCUT = "parley_ask_about"
SUMMARIZE_SHORTCUT = "parley_summarise"  # installed apps have this id

EVENTS_PATH = "/slack/events"
INSTALL_PATH = "/slack/install"
REDIRECT_PATH = "/slack/oauth_redirect"

#: Bot scopes, each with what needs it: Web API methods, or events ("event:…").
SCOPES: Mapping[str, tuple[str, ...]] = {
    "app_mentions:read": ("event:app_mention",),
    "assistant:write": (
        "assistant.threads.setStatus",
        "assistant.threads.setTitle",
        "assistant.threads.setSuggestedPrompts",
        "event:assistant_thread_started",
        "event:assistant_thread_context_changed",
        "event:app_context_changed",
    ),
    "channels:history": (
        "event:message.channels",
        "conversations.history",
        "conversations.replies",
    ),
    "channels:read": ("conversations.info",),
    "chat:write": (
        "chat.postMessage",
        "chat.postEphemeral",
        "chat.update",
        "chat.delete",
        "chat.startStream",
        "chat.appendStream",
        "chat.stopStream",
    ),
    "commands": ("command", "shortcut"),
    "files:read": ("files.info", "url_private"),
    "files:write": ("files.upload_v2",),
    "groups:history": (
        "event:message.groups",
        "conversations.history",
        "conversations.replies",
    ),
    "groups:read": ("conversations.info", "users.conversations"),
    "im:history": ("event:message.im", "conversations.history", "conversations.replies"),
    "im:read": ("conversations.info", "users.conversations"),
    "mpim:history": ("event:message.mpim", "conversations.history", "conversations.replies"),
    "mpim:read": ("conversations.info", "users.conversations"),
    "users:read": ("users.info",),
}
#: Web API methods that any bot token may call.
UNSCOPED_METHODS = frozenset(
    {"auth.test", "views.open", "views.update", "views.publish", "apps.connections.open"}
)

#: Events by their subscription. (`message.channels` and the like arrive as `message`.)
EVENTS = (
    "app_context_changed",
    "app_home_opened",
    "app_mention",
    "app_uninstalled",
    "assistant_thread_context_changed",
    "assistant_thread_started",
    "message.channels",
    "message.groups",
    "message.im",
    "message.mpim",
    "tokens_revoked",
)
#: Those of the older assistant: an app with `features.agent_view` gets none.
LEGACY_EVENTS = ("assistant_thread_context_changed", "assistant_thread_started")
#: Those of the agent view.
AGENT_EVENTS = ("app_context_changed",)


def manifest(
    *,
    mode: Literal["socket", "http"] = "socket",
    url: str = "",
    name: str = texts.APP_NAME,
    legacy: bool = False,
) -> dict[str, Any]:
    """The manifest. `url` is where Slack reaches Parley, in HTTP mode. `legacy`: for an app that
    was created before the agent view and keeps the older assistant.

    Raises:
        ValueError: HTTP mode without an https URL; the text is one line with the fix.
    """
    base = _base(url) if mode == "http" else ""
    excluded = AGENT_EVENTS if legacy else LEGACY_EVENTS
    address = {"request_url": f"{base}{EVENTS_PATH}"} if base else {}
    oauth: dict[str, Any] = {"scopes": {"bot": list(SCOPES)}}
    if base:
        oauth["redirect_urls"] = [f"{base}{REDIRECT_PATH}"]
    return {
        "display_information": {
            "name": name,
            "description": texts.DESCRIPTION,
            "long_description": texts.LONG_DESCRIPTION,
            "background_color": "#1f2937",
        },
        "features": {
            **_assistant(legacy),
            "app_home": {
                "home_tab_enabled": True,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": False,
            },
            "bot_user": {"display_name": name, "always_online": True},
            "shortcuts": [
                _shortcut(ASK_SHORTCUT, *texts.ASK_SHORTCUT),
                _shortcut(SUMMARIZE_SHORTCUT, *texts.SUMMARIZE_SHORTCUT),
            ],
            "slash_commands": [
                {
                    "command": COMMAND,
                    "description": texts.COMMAND_DESCRIPTION,
                    "usage_hint": texts.COMMAND_HINT,
                    "should_escape": True,
                    **({"url": address["request_url"]} if address else {}),
                }
            ],
        },
        "oauth_config": oauth,
        "settings": {
            "event_subscriptions": {
                **address,
                "bot_events": [event for event in EVENTS if event not in excluded],
            },
            "interactivity": {"is_enabled": True, **address},
            "org_deploy_enabled": False,
            "socket_mode_enabled": mode == "socket",
            "token_rotation_enabled": False,
        },
    }


def as_json(content: dict[str, Any]) -> str:
    """The manifest as text; Slack takes JSON as well as YAML."""
    return json.dumps(content, indent=2, ensure_ascii=False)


def _assistant(legacy: bool) -> dict[str, Any]:
    if legacy:
        return {
            "assistant_view": {"assistant_description": texts.DESCRIPTION, "suggested_prompts": []}
        }
    return {"agent_view": {"agent_description": texts.DESCRIPTION}}


def _shortcut(callback_id: str, name: str, description: str) -> dict[str, str]:
    return {
        "name": name,
        "type": "message",
        "callback_id": callback_id,
        "description": description,
    }


def _base(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError(texts.HTTPS_URL_MISSING)
    return url.rstrip("/")
