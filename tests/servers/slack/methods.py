"""The Web API methods that Parley calls, refusing what Slack refuses."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.servers.slack.arguments import Args, Method, check_thread, need, own, writable
from tests.servers.slack.reading import (
    conversations_history,
    conversations_info,
    conversations_replies,
    users_conversations,
    users_info,
)
from tests.servers.slack.rules import Refusal, check_blocks, check_content, check_view
from tests.servers.slack.world import Channel, StoredFile, Team, new_id, new_ts

if TYPE_CHECKING:
    from tests.servers.slack.server import SlackServer


def put(team: Team, channel: Channel, args: Args) -> dict[str, Any]:
    """A new message of the bot's."""
    ts = new_ts()
    thread = args.get("thread_ts")
    message = {
        "type": "message",
        "ts": ts,
        "user": team.bot_user,
        "bot_id": team.bot_id,
        "team": team.id,
        "text": args.get("text", ""),
        "blocks": args.get("blocks") or [],
        **({"thread_ts": thread} if thread else {}),
        **_metadata(args),
    }
    channel.messages[ts] = message
    if thread:
        channel.messages[thread].setdefault("thread_ts", thread)
        channel.statuses.append((thread, ""))  # a message takes the status away
    return message


def _metadata(args: Args) -> dict[str, Any]:
    metadata = args.get("metadata")
    if metadata is None:
        return {}
    if not isinstance(metadata, dict) or set(metadata) != {"event_type", "event_payload"}:
        raise Refusal("invalid_metadata_format")
    return {"metadata": metadata}


def chat_post_message(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    (channel_id,) = need(args, "channel")
    channel = writable(team, channel_id)
    check_thread(channel, args.get("thread_ts"))
    check_content(team, args)
    message = put(team, channel, args)
    server.says(team, channel, message)
    return {"channel": channel.id, "ts": message["ts"], "message": message}


def chat_post_ephemeral(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    channel_id, user = need(args, "channel", "user")
    channel = writable(team, channel_id)
    if user not in channel.members:
        raise Refusal("user_not_in_channel")
    check_thread(channel, args.get("thread_ts"))
    check_content(team, args)
    team.ephemeral.append({**args, "via": "chat.postEphemeral"})
    return {"message_ts": new_ts()}


def chat_update(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    channel_id, ts = need(args, "channel", "ts")
    channel = writable(team, channel_id)
    message = own(team, channel, ts, "cant_update_message")
    if message.get("streaming"):
        raise Refusal("streaming_state_conflict")
    check_content(team, args)
    previous = dict(message)
    message.pop("streamed", None)
    message.update(_metadata(args))
    message["text"], message["blocks"] = args.get("text", ""), args.get("blocks") or []
    message["edited"] = {"user": team.bot_user, "ts": new_ts()}
    server.changes(team, channel, message, previous)
    return {"channel": channel.id, "ts": ts, "text": message["text"]}


def chat_delete(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    channel_id, ts = need(args, "channel", "ts")
    channel = writable(team, channel_id)
    message = own(team, channel, ts, "cant_delete_message")
    if message.get("streaming"):
        raise Refusal("streaming_state_conflict")
    del channel.messages[ts]
    return {"channel": channel.id, "ts": ts}


def _stream(team: Team, args: Args) -> tuple[Channel, dict[str, Any]]:
    channel_id, ts = need(args, "channel", "ts")
    channel = writable(team, channel_id)
    message = own(team, channel, ts, "message_not_owned_by_app")
    if not message.get("streaming"):
        raise Refusal("message_not_in_streaming_state")
    return channel, message


def _grow(server: SlackServer, message: dict[str, Any], args: Args) -> None:
    pieces = [args.get("markdown_text") or ""]
    pieces += [c["text"] for c in args.get("chunks") or [] if c["type"] == "markdown_text"]
    grown = message["streamed"] + "".join(pieces)
    if len(grown) > server.stream_at_most:
        raise Refusal("msg_too_long")
    message["streamed"] = grown
    message["streamed_at"] = time.monotonic()
    message["appends"] = message.get("appends", 0) + 1


def _has_streams(team: Team) -> None:
    if "stream" not in team.features:
        raise Refusal("unknown_method")


def chat_start_stream(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    _has_streams(team)
    channel_id, thread_ts = need(args, "channel", "thread_ts")
    channel = writable(team, channel_id)
    check_thread(channel, thread_ts)
    if channel.kind != "im":
        for name in ("recipient_team_id", "recipient_user_id"):
            if not args.get(name):
                raise Refusal(f"missing_{name}")
        if args["recipient_user_id"] not in team.users:
            raise Refusal("user_not_found")
    check_content(team, args, stream=True)
    if "metadata" in args:
        raise Refusal("invalid_arguments")  # a stream gets it at its end
    message = put(team, channel, {"thread_ts": thread_ts})
    message.update(streaming=True, streamed="", streamed_at=time.monotonic())
    _grow(server, message, args)
    server.says(team, channel, message)
    return {"channel": channel.id, "ts": message["ts"]}


def chat_append_stream(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    _has_streams(team)
    channel, message = _stream(team, args)
    if not args.get("markdown_text") and not args.get("chunks"):
        raise Refusal("no_text")
    if "metadata" in args:
        raise Refusal("invalid_arguments")
    check_content(team, args, stream=True)
    _grow(server, message, args)
    return {"channel": channel.id, "ts": message["ts"]}


def chat_stop_stream(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    _has_streams(team)
    channel, message = _stream(team, args)
    check_content(team, args, stream=True)
    previous = dict(message)
    _grow(server, message, args)
    message["streaming"] = False
    message["blocks"] = args.get("blocks") or []
    message.update(_metadata(args))
    server.changes(team, channel, message, previous)
    return {"channel": channel.id, "ts": message["ts"], "message": message}


def set_status(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    if "status" not in team.features:
        raise Refusal("unknown_method")
    channel_id, thread_ts = need(args, "channel_id", "thread_ts")
    channel = writable(team, channel_id)
    if thread_ts not in channel.messages:
        raise Refusal("thread_not_found")
    if "status" not in args or len(args.get("loading_messages") or []) > 10:
        raise Refusal("invalid_arguments")
    channel.statuses.append((thread_ts, args["status"]))
    return {}


def set_title(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    if "title" not in team.features:
        raise Refusal("unknown_method")
    channel_id, thread_ts, title = need(args, "channel_id", "thread_ts", "title")
    if writable(team, channel_id).kind != "im":
        raise Refusal("channel_not_found")
    team.titles[(channel_id, thread_ts)] = title
    return {}


def set_prompts(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    if "prompts" not in team.features:
        raise Refusal("unknown_method")
    channel_id, prompts = need(args, "channel_id", "prompts")
    writable(team, channel_id)
    if len(prompts) > 4 or any(not p["title"] or not p["message"] for p in prompts):
        raise Refusal("invalid_arguments")
    team.prompts.append(args)
    return {}


def auth_test(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    return {
        "url": f"https://{team.name.lower()}.slack.test/",
        "team": team.name,
        "user": "parley",
        "team_id": team.id,
        "user_id": team.bot_user,
        "bot_id": team.bot_id,
        "is_enterprise_install": False,
    }


def _trigger(server: SlackServer, args: Args) -> str:
    (trigger,) = need(args, "trigger_id")
    made = server.triggers.pop(trigger, None)
    if made is None:
        raise Refusal("exchanged_trigger_id")
    user, at = made
    if time.monotonic() - at > server.trigger_lives_s:
        raise Refusal("expired_trigger_id")
    return str(user)


def views_open(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    (view,) = need(args, "view")
    user = _trigger(server, args)
    check_view(team, view)
    made = {**view, "id": new_id("V"), "team_id": team.id, "opened_by": user}
    team.views[made["id"]] = made
    return {"view": made}


def views_update(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    view_id, view = need(args, "view_id", "view")
    if view_id not in team.views:
        raise Refusal("not_found")
    check_view(team, view)
    team.views[view_id].update(view)
    return {"view": team.views[view_id]}


def views_publish(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    user_id, view = need(args, "user_id", "view")
    if user_id not in team.users:
        raise Refusal("user_not_found")
    check_view(team, view)
    if view["type"] != "home":
        raise Refusal("invalid_arguments")
    team.homes[user_id] = view
    return {"view": view}


def files_info(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    (file,) = need(args, "file")
    if file not in team.files:
        raise Refusal("file_not_found")
    return {"file": server.file_object(team, team.files[file])}


def get_upload_url(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    filename, length = need(args, "filename", "length")
    file = StoredFile(new_id("F"), filename, "text/plain", b"")
    server.uploads[file.id] = (team, file, int(length))
    return {"upload_url": f"{server.url}/upload/{file.id}", "file_id": file.id}


def complete_upload(server: SlackServer, team: Team, args: Args) -> dict[str, Any]:
    (files,) = need(args, "files")
    done = []
    for entry in files:
        if entry["id"] not in team.files:
            raise Refusal("file_not_found")
        file = team.files[entry["id"]]
        done.append({"id": file.id, "title": entry.get("title", "")})
        if args.get("channel_id"):
            channel = writable(team, args["channel_id"])
            check_thread(channel, args.get("thread_ts"))
            message = put(team, channel, {"thread_ts": args.get("thread_ts")})
            message["files"] = [server.file_object(team, file)]
            file.channels.add(channel.id)
    check_blocks(team, [])
    return {"files": done}


METHODS: dict[str, Method] = {
    "auth.test": auth_test,
    "assistant.threads.setStatus": set_status,
    "assistant.threads.setSuggestedPrompts": set_prompts,
    "assistant.threads.setTitle": set_title,
    "chat.appendStream": chat_append_stream,
    "chat.delete": chat_delete,
    "chat.postEphemeral": chat_post_ephemeral,
    "chat.postMessage": chat_post_message,
    "chat.startStream": chat_start_stream,
    "chat.stopStream": chat_stop_stream,
    "chat.update": chat_update,
    "conversations.history": conversations_history,
    "conversations.info": conversations_info,
    "conversations.replies": conversations_replies,
    "files.completeUploadExternal": complete_upload,
    "files.getUploadURLExternal": get_upload_url,
    "files.info": files_info,
    "users.conversations": users_conversations,
    "users.info": users_info,
    "views.open": views_open,
    "views.publish": views_publish,
    "views.update": views_update,
}
