"""App Home: the channels with their personas and settings, what Parley did, buttons to edit."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from slack_sdk.errors import SlackApiError

from bot.core.events import Author, ThreadKey
from bot.core.ports import CoreQueries
from bot.core.records import (
    AuditEntry,
    ChannelSettings,
    PersonaVersion,
    ResolvedPersona,
    UsageSummary,
    WorkspaceOverview,
)
from bot.core.safe_names import one_line
from bot.core.scoped_settings import described
from bot.platforms.slack.api import DOWN, error_code
from bot.platforms.slack.blocks import Block, actions, button, section
from bot.platforms.slack.names import Channel, Names
from bot.platforms.slack.normalize import PLATFORM
from bot.platforms.slack.teams import Team
from bot.platforms.slack.text import escape

logger = logging.getLogger(__name__)

EDIT, PICK = "parley_home_edit", "parley_home_pick"
SETTINGS, PICK_SETTINGS = "parley_home_settings", "parley_home_pick_settings"
CHANNELS_AT_MOST = 30  # a view holds 100 blocks, a channel takes two
CHANGES_AT_MOST = 8


class Home:
    """Publishes the home tab."""

    def __init__(self, queries: CoreQueries, names: Names) -> None:
        self._queries = queries
        self._names = names

    async def publish(self, team: Team, user_id: str) -> None:
        """Show the workspace to somebody as it is now; never fails."""
        viewer = await self._names.author(team, user_id, fresh=True)
        workspace = ThreadKey(PLATFORM, team.id)
        overview = await self._queries.overview(workspace)
        default = await self._queries.persona_at(workspace)
        view = {"type": "home", "blocks": await self._blocks(team, viewer, overview, default)}
        try:
            await team.api.call("views.publish", user_id=user_id, view=view)
        except (SlackApiError, *DOWN) as error:
            logger.warning("views.publish: %s", error_code(error) or type(error).__name__)

    async def _blocks(
        self, team: Team, viewer: Author, overview: WorkspaceOverview, default: ResolvedPersona
    ) -> list[Block]:
        shared = await self._names.shared_with(team, viewer.id)
        workspace = ThreadKey(PLATFORM, team.id)
        blocks: list[Block] = [_header("Parley"), section(_hello(team)), _header("Channels")]
        blocks += await self._channels(team, viewer, overview, shared)
        blocks.append(
            section(_everywhere(default, overview.settings.get(workspace, ChannelSettings())))
        )
        if viewer.is_admin:
            blocks += [_edits(workspace), _pickers()]
        usage = _usage(overview.usage, everybody=viewer.is_admin)
        blocks += [_header("The last 30 days"), section(usage)]
        if viewer.is_admin:
            blocks += await self._changes(team, overview.audit, shared)
        return blocks

    async def _channels(
        self, team: Team, viewer: Author, overview: WorkspaceOverview, shared: frozenset[str]
    ) -> list[Block]:
        personas = {persona.scope: persona for persona in overview.personas}
        settings = {k: v for k, v in overview.settings.items() if v != ChannelSettings()}
        blocks: list[Block] = []
        shown = 0
        for scope in sorted({*personas, *settings}, key=str):
            place = await self._names.place(team, scope.channel) if scope.channel else None
            if place is None or not _may_see(place, shared):
                continue
            shown += 1
            if shown <= CHANNELS_AT_MOST:
                said = _said(personas.get(scope), settings.get(scope))
                blocks.append(section(_place(place, scope) + said))
                if viewer.is_admin or place.is_dm:
                    blocks.append(_edits(scope))
        if shown > CHANNELS_AT_MOST:
            blocks.append(section(f"… and {shown - CHANNELS_AT_MOST} more."))
        return blocks

    async def _changes(
        self, team: Team, audit: Sequence[AuditEntry], shared: frozenset[str]
    ) -> list[Block]:
        lines = []
        for entry in audit:
            where = "the workspace"
            if entry.scope.channel:
                place = await self._names.place(team, entry.scope.channel)
                if not _may_see(place, shared):
                    continue
                where = _place(place, entry.scope)
            who, what = escape(one_line(entry.by_name, 40)), escape(one_line(entry.action, 40))
            lines.append(f"• {entry.at:%Y-%m-%d %H:%M} {who}: {what} in {where}")
        if not lines:
            return []
        return [_header("Latest changes"), section("\n".join(lines[:CHANGES_AT_MOST]))]


def _may_see(place: Channel, shared: frozenset[str]) -> bool:
    """Whether somebody may know of a place: as in Slack itself, no admin sees private channels."""
    return place.is_public or place.id in shared


def _place(place: Channel, scope: ThreadKey) -> str:
    return f"*{escape(place.shown)}*" + (", in one thread" if scope.thread else "")


def _said(persona: PersonaVersion | None, settings: ChannelSettings | None) -> str:
    """What is set at a place, after its name."""
    text = ""
    if persona is not None:
        text += f" (set by {_by(persona)})\n{_excerpt(persona.text or '')}"
    if settings is not None:
        text += f"\nSettings: {described(settings)}"
    return text


def _everywhere(default: ResolvedPersona, settings: ChannelSettings) -> str:
    who = "the built-in persona" if default.source is None else f"set by {_by(default.source)}"
    text = f"*Everywhere else* ({who})\n{_excerpt(default.text)}"
    return text if settings == ChannelSettings() else f"{text}\nSettings: {described(settings)}"


def _edits(scope: ThreadKey) -> Block:
    value = f"{scope.channel}/{scope.thread}"
    return actions(button("Edit persona", EDIT, value), button("Settings", SETTINGS, value))


def _hello(team: Team) -> str:
    return (
        f"Mention <@{team.bot_user_id}> in a channel, or write to me here under _Messages_. "
        "I read pictures, too, if my model does. `/parley help` lists what I can do."
    )


def _usage(usage: UsageSummary, *, everybody: bool) -> str:
    if not usage.replies:
        return "No replies yet."
    lines = [
        f"{_count(usage.replies)}, {usage.generated_tokens:,} tokens written, "
        f"{usage.prompt_tokens:,} read ({usage.cached_tokens:,} of them from memory)."
    ]
    for user_id, replies, tokens in usage.by_user[:5] if everybody else ():
        name = escape(one_line(usage.names.get(user_id, "") or user_id or "forgotten people", 40))
        lines.append(f"• {name}: {_count(replies)}, {tokens} tokens")
    return "\n".join(lines)


def _count(replies: int) -> str:
    return "1 reply" if replies == 1 else f"{replies} replies"


def _pickers() -> Block:
    return actions(
        _picker(PICK, "Set a channel's persona…"),
        _picker(PICK_SETTINGS, "Change a channel's settings…"),
    )


def _picker(action_id: str, placeholder: str) -> Block:
    return {
        "type": "conversations_select",
        "action_id": action_id,
        "placeholder": {"type": "plain_text", "text": placeholder},
        "filter": {"include": ["public", "private", "mpim"], "exclude_bot_users": True},
    }


def _header(text: str) -> Block:
    return {"type": "header", "text": {"type": "plain_text", "text": text}}


def _excerpt(text: str) -> str:
    return f"> {escape(one_line(text, 200))}"


def _by(version: PersonaVersion) -> str:
    return escape(one_line(version.set_by_name, 40)) or "somebody"
