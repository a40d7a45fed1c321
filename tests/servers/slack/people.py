"""What people do in the local Slack: write, edit, delete, click, type commands, fill in modals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.servers.slack.composing import rich_text
from tests.servers.slack.delivery import Sent
from tests.servers.slack.server import SlackServer
from tests.servers.slack.world import Channel, StoredFile, Team, buttons, new_id, new_ts
from tests.servers.waiting import until

Message = dict[str, Any]


class Person:
    """Somebody in a workspace."""

    def __init__(self, server: SlackServer, team: Team, name: str, *, admin: bool = False) -> None:
        self.server = server
        self.team = team
        self.name = name
        self.id = team.add_user(name, admin=admin)
        for channel in team.channels.values():
            if channel.kind != "im":
                channel.members.add(self.id)

    @property
    def dm(self) -> Channel:
        return self.team.dm(self.id)

    # --- messages

    def say(
        self,
        channel: Channel,
        text: str,
        *,
        thread: str = "",
        files: list[tuple[str, str, bytes]] | None = None,
        ts: str = "",
        **more: Any,
    ) -> Message:
        """Write a message. `files`: name, type, bytes. Its events go out as Slack's do."""
        ts = ts or new_ts()
        message: Message = {
            "type": "message",
            "ts": ts,
            "user": self.id,
            "team": self.team.id,
            "text": text,
            **({"blocks": blocks} if (blocks := rich_text(text)) else {}),
            **more,
        }
        if thread:
            root = channel.messages[thread]
            root.setdefault("thread_ts", thread)
            message |= {"thread_ts": thread, "parent_user_id": root["user"]}
        if files:
            message["subtype"] = "file_share"
            message["files"] = [self._upload(channel, *file) for file in files]
        channel.messages[ts] = message
        self._tell(channel, message)
        return message

    def mention(self, channel: Channel, text: str, **more: Any) -> Message:
        """Write a message that begins by mentioning the bot."""
        return self.say(channel, f"<@{self.team.bot_user}> {text}", **more)

    def edit(self, channel: Channel, message: Message, text: str) -> None:
        previous = dict(message)
        message["text"] = text
        message["edited"] = {"user": self.id, "ts": new_ts()}
        message["blocks"] = rich_text(text)
        self.server.changes(self.team, channel, message, previous)

    def delete(self, channel: Channel, message: Message) -> None:
        del channel.messages[message["ts"]]
        self.server.delivery.event(
            self.team,
            {
                "type": "message",
                "subtype": "message_deleted",
                "hidden": True,
                "channel": channel.id,
                "channel_type": channel.kind,
                "ts": new_ts(),
                "deleted_ts": message["ts"],
                "previous_message": message,
            },
        )

    def _upload(self, channel: Channel, name: str, mimetype: str, data: bytes) -> Message:
        file = StoredFile(new_id("F"), name, mimetype, data, {channel.id})
        self.team.files[file.id] = file
        return self.server.file_object(self.team, file)

    def _tell(self, channel: Channel, message: Message) -> None:
        team, event = self.team, {**message, "channel": channel.id, "event_ts": message["ts"]}
        if team.bot_user not in channel.members:
            return
        if f"<@{team.bot_user}>" in message["text"] and channel.kind != "im":
            mention = {k: v for k, v in event.items() if k != "subtype"} | {"type": "app_mention"}
            self.server.delivery.event(team, mention)
        self.server.delivery.event(team, {**event, "channel_type": channel.kind})

    # --- clicks, commands, modals

    def click(self, channel: Channel, message: Message, action_id: str, value: str = "") -> Sent:
        element = buttons(message)[action_id]
        action: dict[str, Any] = {
            "type": element["type"],
            "action_id": action_id,
            "block_id": "b",
            "value": value or element.get("value", ""),
            "action_ts": new_ts(),
        }
        if element["type"] == "feedback_buttons":
            action["value"] = element[f"{value or 'positive'}_button"]["value"]
        return self.server.delivery.interactive(
            {
                **self._who("block_actions"),
                "container": {
                    "type": "message",
                    "message_ts": message["ts"],
                    "channel_id": channel.id,
                },
                "channel": {"id": channel.id, "name": channel.name},
                "message": message,
                "response_url": self.server.response_url(self.team),
                "actions": [action],
            }
        )

    def click_home(self, action_id: str, value: str = "", selected: str = "") -> Sent:
        action = {"type": "button", "action_id": action_id, "block_id": "b", "value": value}
        if selected:
            action |= {"type": "conversations_select", "selected_conversation": selected}
        return self.server.delivery.interactive(
            {
                **self._who("block_actions"),
                "container": {"type": "view", "view_id": "V1"},
                "view": {"type": "home", "id": "V1"},
                "actions": [action],
            }
        )

    def slash(self, channel: Channel, text: str) -> Sent:
        """Type `/parley <text>`."""
        return self.server.delivery.command(
            {
                "command": "/parley",
                "text": text,
                "team_id": self.team.id,
                "team_domain": self.team.name.lower(),
                "channel_id": channel.id,
                "channel_name": channel.name,
                "user_id": self.id,
                "user_name": self.name.lower(),
                "api_app_id": self.server.app_id,
                "trigger_id": self.server.trigger(self.id),
                "response_url": self.server.response_url(self.team),
            }
        )

    async def told(self, sent: Sent, number: int = 1) -> str:
        """What a command was answered at its response_url, once so many answers came."""
        url = sent.payload["response_url"]
        came = self.server.responses[url]
        await until(lambda: len(came) >= number, what=f"an answer to {sent.payload.get('text')}")
        return str(came[number - 1]["text"])

    def shortcut(self, channel: Channel, message: Message, callback_id: str) -> Sent:
        return self.server.delivery.interactive(
            {
                **self._who("message_action"),
                "callback_id": callback_id,
                "channel": {"id": channel.id, "name": channel.name},
                "message_ts": message["ts"],
                "message": message,
                "response_url": self.server.response_url(self.team),
            }
        )

    async def view(self) -> dict[str, Any]:
        """The modal that was opened for this person last."""
        return await until(
            lambda: next(
                (v for v in reversed(self.team.views.values()) if v["opened_by"] == self.id), None
            ),
            what="a modal",
        )

    def submit(self, view: dict[str, Any], values: Mapping[str, str]) -> Sent:
        """Submit a modal; what is not in `values` stays as it was prefilled."""
        self.team.views.pop(view["id"], None)
        state: dict[str, Any] = {}
        for block in view["blocks"]:
            if block["type"] == "input":
                state[block["block_id"]] = _filled(block, values)
        return self.server.delivery.interactive(
            {
                **self._who("view_submission"),
                "view": {**view, "state": {"values": state}, "hash": "1"},
                "response_urls": [],
            }
        )

    # --- home and assistant

    def open_home(self, tab: str = "home") -> Sent:
        event = {
            "type": "app_home_opened",
            "user": self.id,
            "channel": self.dm.id,
            "tab": tab,
            "event_ts": new_ts(),
        }
        return self.server.delivery.event(self.team, event)

    def look_at(self, channel: Channel) -> Sent:
        """Look at a channel beside the agent view."""
        event = {
            "type": "app_context_changed",
            "user": self.id,
            "channel": self.dm.id,
            "context": {
                "entities": [{"type": "slack#/types/channel_id", "value": channel.id}],
            },
        }
        return self.server.delivery.event(self.team, event)

    def start_assistant_thread(self, looking_at: Channel) -> str:
        """Open an assistant thread of the older kind; its root is the app's."""
        ts = new_ts()
        self.dm.messages[ts] = {
            "type": "message",
            "subtype": "assistant_app_thread",
            "ts": ts,
            "thread_ts": ts,
            "user": self.team.bot_user,
            "bot_id": self.team.bot_id,
            "text": "New Assistant Thread",
        }
        event = {
            "type": "assistant_thread_started",
            "assistant_thread": {
                "user_id": self.id,
                "channel_id": self.dm.id,
                "thread_ts": ts,
                "context": {"channel_id": looking_at.id, "team_id": self.team.id},
            },
            "event_ts": ts,
        }
        self.server.delivery.event(self.team, event)
        return ts

    def _who(self, kind: str) -> dict[str, Any]:
        return {
            "type": kind,
            "team": {"id": self.team.id, "domain": self.team.name.lower()},
            "enterprise": None,
            "user": {"id": self.id, "team_id": self.team.id, "name": self.name.lower()},
            "api_app_id": self.server.app_id,
            "token": "deprecated",
            "trigger_id": self.server.trigger(self.id),
            "is_enterprise_install": False,
        }


def _filled(block: dict[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    element, name = block["element"], block["block_id"]
    kind = element["type"]
    if kind == "static_select":
        chosen = element.get("initial_option")
        if name in values:
            chosen = next(o for o in element["options"] if o["value"] == values[name])
        return {element["action_id"]: {"type": kind, "selected_option": chosen}}
    value = values.get(name, element.get("initial_value"))
    return {element["action_id"]: {"type": kind, "value": value or None}}
