"""The Web API methods that look something up: people, channels, what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.servers.slack.arguments import Args, need, writable
from tests.servers.slack.rules import Refusal
from tests.servers.slack.world import Team

if TYPE_CHECKING:
    from tests.servers.slack.server import SlackServer


def users_info(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    (user,) = need(args, "user")
    if user not in team.users:
        raise Refusal("user_not_found")
    return {"user": team.users[user]}


def users_conversations(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    """The conversations of a user; those that are not public only where the bot is in, too."""
    kinds = {"public_channel": "channel", "private_channel": "group", "mpim": "mpim", "im": "im"}
    types = str(args.get("types") or "public_channel").split(",")
    if not set(types) <= set(kinds):
        raise Refusal("invalid_types")
    wanted, user = {kinds[name] for name in types}, args.get("user") or team.bot_user
    found = [
        {"id": channel.id, "name": channel.name}
        for channel in team.channels.values()
        if channel.kind in wanted
        and user in channel.members
        and (channel.kind == "channel" or team.bot_user in channel.members)
    ]
    return {"channels": found, "response_metadata": {"next_cursor": ""}}


def conversations_info(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    (channel_id,) = need(args, "channel")
    channel = team.channels.get(channel_id)
    if channel is None:
        raise Refusal("channel_not_found")
    return {"channel": {"id": channel.id, "name": channel.name, f"is_{channel.kind}": True}}


def conversations_replies(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    channel_id, ts = need(args, "channel", "ts")
    channel = writable(team, channel_id)
    message = channel.messages.get(ts)
    if message is None:
        raise Refusal("thread_not_found")
    is_reply = message.get("thread_ts", ts) != ts
    return _page([message] if is_reply else [message, *channel.thread(ts)], args)


def conversations_history(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    """What stands in the channel itself, newest first."""
    (channel_id,) = need(args, "channel")
    messages = writable(team, channel_id).messages.values()
    top = [m for m in messages if m.get("thread_ts", m["ts"]) == m["ts"]]
    return _page(top[::-1], args)


def _page(found: list[dict[str, Any]], args: Args) -> dict[str, Any]:
    inclusive = _yes(args, "inclusive")
    if latest := args.get("latest"):
        found = [m for m in found if m["ts"] < latest or (inclusive and m["ts"] == latest)]
    if oldest := args.get("oldest"):
        found = [m for m in found if m["ts"] > oldest or (inclusive and m["ts"] == oldest)]
    start, limit = int(args.get("cursor") or 0), int(args.get("limit") or 1000)
    rest = start + limit if start + limit < len(found) else None
    page = found[start : start + limit]
    if not _yes(args, "include_all_metadata"):
        page = [{k: v for k, v in m.items() if k != "metadata"} for m in page]
    return {
        "messages": page,
        "has_more": rest is not None,
        "response_metadata": {"next_cursor": str(rest or "")},
    }


def _yes(args: Args, name: str) -> bool:
    return str(args.get(name, "")).lower() in ("1", "true")
