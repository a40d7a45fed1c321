"""What Slack refuses: arguments, blocks and views that are not as its documentation says."""

from __future__ import annotations

from typing import Any

from tests.servers.slack.world import Team

TEXT_AT_MOST = 4_000
SUM_AT_MOST = 13_200
MARKDOWN_AT_MOST = 12_000
BLOCKS_AT_MOST = 50

HISTORY = ("channels:history", "groups:history", "im:history", "mpim:history")
SCOPE_OF = {
    "chat.postMessage": ("chat:write",),
    "chat.postEphemeral": ("chat:write",),
    "chat.update": ("chat:write",),
    "chat.delete": ("chat:write",),
    "chat.startStream": ("chat:write",),
    "chat.appendStream": ("chat:write",),
    "chat.stopStream": ("chat:write",),
    "assistant.threads.setStatus": ("assistant:write", "chat:write"),
    "assistant.threads.setTitle": ("assistant:write",),
    "assistant.threads.setSuggestedPrompts": ("assistant:write",),
    "users.info": ("users:read",),
    "conversations.info": ("channels:read", "groups:read", "im:read", "mpim:read"),
    "users.conversations": ("groups:read", "im:read", "mpim:read"),
    "conversations.history": HISTORY,
    "conversations.replies": HISTORY,
    "files.info": ("files:read",),
    "files.getUploadURLExternal": ("files:write",),
    "files.completeUploadExternal": ("files:write",),
    "auth.test": (),
    "views.open": (),
    "views.update": (),
    "views.publish": (),
}
"""The methods there are, with the scopes of which one is needed."""


class Refusal(Exception):
    """Slack's `{"ok": false, "error": ...}`."""

    def __init__(self, error: str, **more: Any) -> None:
        super().__init__(error)
        self.error = error
        self.more = more


def check_content(team: Team, args: dict[str, Any], *, stream: bool = False) -> None:
    """The text and blocks of a message."""
    text, blocks, markdown = args.get("text"), args.get("blocks"), args.get("markdown_text")
    if markdown is not None and (text or blocks) and not stream:
        raise Refusal("markdown_text_conflict")
    if not stream and not text and not blocks and not markdown:
        raise Refusal("no_text")
    if text and len(text) > TEXT_AT_MOST:
        raise Refusal("msg_too_long")
    if markdown and len(markdown) > MARKDOWN_AT_MOST:
        raise Refusal("msg_too_long")
    if blocks:
        check_blocks(team, blocks)


def check_blocks(team: Team, blocks: Any, *, most: int = BLOCKS_AT_MOST) -> None:
    if not isinstance(blocks, list) or len(blocks) > most:
        raise Refusal("invalid_blocks")
    ids: list[str] = []
    for block in blocks:
        _check_block(team, block, ids)
    if len(ids) != len(set(ids)):
        raise Refusal("invalid_blocks", why="action_id twice")
    _check_block_ids(blocks)
    markdown = sum(len(b["text"]) for b in blocks if b["type"] == "markdown")
    if markdown > MARKDOWN_AT_MOST:
        raise Refusal("invalid_blocks", why="markdown blocks together")
    if sum(map(_weight, blocks)) > SUM_AT_MOST:
        raise Refusal("msg_blocks_too_long")


def _check_block_ids(blocks: list[Any]) -> None:
    block_ids = [block["block_id"] for block in blocks if "block_id" in block]
    if len(block_ids) != len(set(block_ids)) or any(len(name) > 255 for name in block_ids):
        raise Refusal("invalid_blocks", why="block_id")


def _check_block(team: Team, block: Any, ids: list[str]) -> None:
    kind = block.get("type")
    if kind == "markdown":
        if "markdown" not in team.features or not block["text"]:
            raise Refusal("invalid_blocks", why="markdown")
    elif kind == "section":
        _text(block["text"], 3_000)
        if "accessory" in block:
            _element(block["accessory"], ids)
    elif kind == "header":
        _text(block["text"], 150, plain=True)
    elif kind == "context":
        if not 1 <= len(block["elements"]) <= 10:
            raise Refusal("invalid_blocks", why="context")
        for element in block["elements"]:
            _text(element, 2_000)
    elif kind == "actions":
        if not 1 <= len(block["elements"]) <= 25:
            raise Refusal("invalid_blocks", why="actions")
        for element in block["elements"]:
            _element(element, ids)
    elif kind == "context_actions":
        if "feedback" not in team.features or not 1 <= len(block["elements"]) <= 5:
            raise Refusal("invalid_blocks", why="context_actions")
        for element in block["elements"]:
            if element["type"] not in ("feedback_buttons", "icon_button"):
                raise Refusal("invalid_blocks", why=element["type"])
            for name in ("positive_button", "negative_button"):
                _text(element[name]["text"], 75, plain=True)
                if len(element[name]["value"]) > 2_000:
                    raise Refusal("invalid_blocks")
            ids.append(element["action_id"])
    elif kind == "input":
        _text(block["label"], 2_000, plain=True)
        if "hint" in block:
            _text(block["hint"], 2_000, plain=True)
        _element(block["element"], ids)
    elif kind != "divider":
        raise Refusal("invalid_blocks", why=str(kind))


def _element(element: dict[str, Any], ids: list[str]) -> None:
    kind = element["type"]
    if not 1 <= len(element["action_id"]) <= 255:
        raise Refusal("invalid_blocks", why="action_id")
    ids.append(element["action_id"])
    if "placeholder" in element:
        _text(element["placeholder"], 150, plain=True)
    if kind == "button":
        _text(element["text"], 75, plain=True)
        if len(element.get("value", "")) > 2_000 or element.get("style", "primary") not in (
            "primary",
            "danger",
        ):
            raise Refusal("invalid_blocks", why="button")
    elif kind == "static_select":
        if not 1 <= len(element["options"]) <= 100:
            raise Refusal("invalid_blocks", why="options")
        for option in element["options"]:
            _text(option["text"], 75, plain=True)
            if len(option["value"]) > 150:
                raise Refusal("invalid_blocks", why="option")
        if element.get("initial_option") not in (None, *element["options"]):
            raise Refusal("invalid_blocks", why="initial_option")
    elif kind == "plain_text_input":
        if not 1 <= element.get("max_length", 3_000) <= 3_000:
            raise Refusal("invalid_blocks", why="max_length")
        if len(element.get("initial_value", "")) > element.get("max_length", 3_000):
            raise Refusal("invalid_blocks", why="initial_value")
    elif kind == "number_input":
        if not isinstance(element.get("is_decimal_allowed"), bool):
            raise Refusal("invalid_blocks", why="is_decimal_allowed")
        initial = element.get("initial_value")
        if initial is not None and not _is_number(initial, element["is_decimal_allowed"]):
            raise Refusal("invalid_blocks", why="initial_value")
    elif kind != "conversations_select":
        raise Refusal("invalid_blocks", why=kind)


def _text(text: dict[str, Any], most: int, *, plain: bool = False) -> None:
    if plain and text["type"] != "plain_text":
        raise Refusal("invalid_blocks", why="plain_text")
    if text["type"] not in ("plain_text", "mrkdwn") or not 1 <= len(text["text"]) <= most:
        raise Refusal("invalid_blocks", why=f"text of {len(text['text'])}")


def _is_number(text: Any, decimal: bool) -> bool:
    try:
        return isinstance(text, str) and (float(text) if decimal else int(text)) is not None
    except ValueError:
        return False


def _weight(block: dict[str, Any]) -> int:
    if block["type"] == "markdown":
        return len(block["text"])
    text = block.get("text")
    elements = block.get("elements", [])
    inner = [e.get("text") for e in elements]
    return sum(
        len(t["text"] if isinstance(t, dict) else t) for t in (text, *inner) if t is not None
    )


def check_view(team: Team, view: Any) -> None:
    """A modal or a home tab."""
    if not isinstance(view, dict) or view.get("type") not in ("modal", "home"):
        raise Refusal("invalid_arguments")
    if view["type"] == "modal":
        if "title" not in view:
            raise Refusal("invalid_arguments", why="title")
        for name in ("title", "submit", "close"):
            if name in view:
                _text(view[name], 24, plain=True)
        if len(view.get("private_metadata", "")) > 3_000:
            raise Refusal("invalid_arguments", why="private_metadata")
        if any(b["type"] == "input" for b in view["blocks"]) and "submit" not in view:
            raise Refusal("invalid_arguments", why="submit")
    # One action id may stand in several blocks of a view.
    for block in view["blocks"]:
        check_blocks(team, [block])
    if len(view["blocks"]) > 100:
        raise Refusal("invalid_blocks")
    _check_block_ids(view["blocks"])
