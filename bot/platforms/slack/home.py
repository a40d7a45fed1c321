"""App Home: this workspace's channels, their personas, what Parley did, and buttons to edit."""

from __future__ import annotations

import logging
from typing import Any, Protocol

from slack_sdk.errors import SlackApiError

from bot.core.events import Author, ThreadKey
from bot.core.labels import one_line
from bot.core.personas import Resolved
from bot.core.records import AuditEntry, PersonaVersion, UsageSummary, WorkspaceOverview
from bot.platforms.slack.api import DOWN, error_code
from bot.platforms.slack.blocks import Block, actions, button, section
from bot.platforms.slack.names import Names
from bot.platforms.slack.normalise import PLATFORM
from bot.platforms.slack.teams import Team
from bot.platforms.slack.text import escape

logger = logging.getLogger(__name__)

EDIT, EDIT_DEFAULT, PICK = "parley_home_edit", "parley_home_default", "parley_home_pick"
CHANNELS_AT_MOST = 30  # a view holds 100 blocks
CHANGES_AT_MOST = 8


class Workspaces(Protocol):
    """The part of the service that App Home shows."""

    async def overview(self, workspace: ThreadKey) -> WorkspaceOverview:
        """A workspace at a glance."""
        ...

    async def persona_at(self, key: ThreadKey) -> Resolved:
        """The persona that counts at a key."""
        ...


class Home:
    """Publishes the home tab."""

    def __init__(self, workspaces: Workspaces, names: Names) -> None:
        self._workspaces = workspaces
        self._names = names

    async def publish(self, team: Team, user_id: str) -> None:
        """Show the workspace to somebody as it is now; never fails."""
        viewer = await self._names.author(team, user_id, fresh=True)
        workspace = ThreadKey(PLATFORM, team.id)
        overview = await self._workspaces.overview(workspace)
        default = await self._workspaces.persona_at(workspace)
        view = {"type": "home", "blocks": await self._blocks(team, viewer, overview, default)}
        try:
            await team.api.call("views.publish", user_id=user_id, view=view)
        except (SlackApiError, *DOWN) as error:
            logger.warning("views.publish: %s", error_code(error) or type(error).__name__)

    async def _blocks(
        self, team: Team, viewer: Author, overview: WorkspaceOverview, default: Resolved
    ) -> list[Block]:
        blocks: list[Block] = [_header("Parley"), section(_hello(team))]
        blocks += [_header("Personas"), self._default(default, viewer)]
        shown = [p for p in overview.personas if p.scope.channel]
        for persona in sorted(shown, key=lambda p: str(p.scope))[:CHANNELS_AT_MOST]:
            blocks.append(await self._channel(team, persona, viewer))
        if len(shown) > CHANNELS_AT_MOST:
            blocks.append(section(f"… and {len(shown) - CHANNELS_AT_MOST} more."))
        if viewer.is_admin:
            blocks.append(_picker())
        blocks += [_header("The last 30 days"), section(_usage(overview.usage))]
        if viewer.is_admin and overview.audit:
            lines = [await self._change(team, e) for e in overview.audit[:CHANGES_AT_MOST]]
            blocks += [_header("Latest changes"), section("\n".join(lines))]
        return blocks

    def _default(self, default: Resolved, viewer: Author) -> Block:
        who = "the built-in persona" if default.source is None else f"set by {_by(default.source)}"
        block = section(f"*Everywhere else* ({who})\n{_excerpt(default.text)}")
        if viewer.is_admin:
            block["accessory"] = button("Edit", EDIT_DEFAULT, "workspace")
        return block

    async def _channel(self, team: Team, persona: PersonaVersion, viewer: Author) -> Block:
        where = await self._place(team, persona.scope)
        block = section(f"{where} (set by {_by(persona)})\n{_excerpt(persona.text or '')}")
        if viewer.is_admin:
            value = f"{persona.scope.channel}/{persona.scope.thread}"
            block["accessory"] = button("Edit", EDIT, value)
        return block

    async def _change(self, team: Team, entry: AuditEntry) -> str:
        where = await self._place(team, entry.scope) if entry.scope.channel else "the workspace"
        who, what = escape(one_line(entry.by_name, 40)), escape(one_line(entry.action, 40))
        return f"• {entry.at:%Y-%m-%d %H:%M} {who}: {what} in {where}"

    async def _place(self, team: Team, scope: ThreadKey) -> str:
        if scope.channel.startswith("D"):
            return "*a direct message*"
        name = escape(await self._names.channel(team, scope.channel))
        return f"*#{name}*" + (", in one thread" if scope.thread else "")


def _hello(team: Team) -> str:
    return (
        f"Mention <@{team.bot_user_id}> in a channel, or write to me here under _Messages_. "
        "I read pictures, too, if my model does. `/parley help` lists what I can do."
    )


def _usage(usage: UsageSummary) -> str:
    if not usage.replies:
        return "No replies yet."
    lines = [
        f"{usage.replies} replies, {usage.generated_tokens} tokens written, "
        f"{usage.prompt_tokens} read ({usage.cached_tokens} of them from memory)."
    ]
    for user_id, replies, tokens in usage.by_user[:5]:
        name = escape(one_line(usage.names.get(user_id, "") or user_id or "forgotten people", 40))
        lines.append(f"• {name}: {replies} replies, {tokens} tokens")
    return "\n".join(lines)


def _picker() -> Block:
    select: dict[str, Any] = {
        "type": "conversations_select",
        "action_id": PICK,
        "placeholder": {"type": "plain_text", "text": "Set a channel's persona…"},
        "filter": {"include": ["public", "private"], "exclude_bot_users": True},
    }
    return actions(select)


def _header(text: str) -> Block:
    return {"type": "header", "text": {"type": "plain_text", "text": text}}


def _excerpt(text: str) -> str:
    return f"> {escape(one_line(text, 200))}"


def _by(version: PersonaVersion) -> str:
    return escape(one_line(version.set_by_name, 40)) or "somebody"
