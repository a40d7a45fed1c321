"""A method's arguments: what is missing, which channel or message is meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.servers.slack.rules import Refusal
from tests.servers.slack.world import Channel, Team

if TYPE_CHECKING:
    from tests.servers.slack.server import SlackServer

Args = dict[str, Any]
Method = Callable[["SlackServer", Team, Args], dict[str, Any]]


def need(args: Args, *names: str) -> list[Any]:
    for name in names:
        if args.get(name) in (None, ""):
            raise Refusal("invalid_arguments", missing=name)
    return [args[name] for name in names]


def writable(team: Team, channel_id: str) -> Channel:
    """A channel that the bot may write in."""
    if channel_id in team.users:
        return team.dm(channel_id)
    channel = team.channels.get(channel_id)
    if channel is None:
        raise Refusal("channel_not_found")
    if team.bot_user not in channel.members:
        raise Refusal("not_in_channel")
    return channel


def own(team: Team, channel: Channel, ts: str, lost: str) -> dict[str, Any]:
    message = channel.messages.get(ts)
    if message is None:
        raise Refusal("message_not_found")
    if message.get("bot_id") != team.bot_id:
        raise Refusal(lost)
    return message


def check_thread(channel: Channel, thread_ts: str | None) -> None:
    if not thread_ts:
        return
    root = channel.messages.get(thread_ts)
    if root is None or root.get("thread_ts", thread_ts) != thread_ts:
        raise Refusal("thread_not_found")
