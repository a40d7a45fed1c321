"""App Home: the channels with their personas and settings, usage, and buttons to edit them."""

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
from bot.platforms.slack import texts
from bot.platforms.slack.api import UNREACHABLE, error_name
from bot.platforms.slack.blocks import Block, actions, button, header, plain_text, section
from bot.platforms.slack.names import Channel, Names
from bot.platforms.slack.normalize import PLATFORM
from bot.platforms.slack.teams import Team
from bot.platforms.slack.text import escape

logger = logging.getLogger(__name__)

EDIT, PICK = "parley_home_edit", "parley_home_pick"
SETTINGS, PICK_SETTINGS = "parley_home_settings", "parley_home_pick_settings"
MAX_CHANNELS = 30  # a view holds 100 blocks, a channel takes two
MAX_CHANGES = 8
MAX_USERS = 5
_MAX_NAME = 40
_MAX_EXCERPT = 200


class Home:
    """Publishes the home tab."""

    def __init__(self, queries: CoreQueries, names: Names) -> None:
        self._queries = queries
        self._names = names

    async def publish(self, team: Team, user_id: str) -> None:
        """Show somebody the workspace as it is now; if Slack refuses, that is logged."""
        viewer = await self._names.author(team, user_id, fresh=True)
        workspace = ThreadKey(PLATFORM, team.id)
        overview = await self._queries.overview(workspace)
        default = await self._queries.persona_at(workspace)
        view = {"type": "home", "blocks": await self._blocks(team, viewer, overview, default)}
        try:
            await team.api.call("views.publish", user_id=user_id, view=view)
        except (SlackApiError, *UNREACHABLE) as error:
            logger.warning("views.publish: %s", error_name(error))

    async def _blocks(
        self, team: Team, viewer: Author, overview: WorkspaceOverview, default: ResolvedPersona
    ) -> list[Block]:
        private_channels = await self._names.private_channels(team, viewer.id)
        workspace = ThreadKey(PLATFORM, team.id)
        blocks: list[Block] = [
            header(texts.HOME_TITLE),
            section(texts.welcome(team.bot_user_id)),
            header(texts.CHANNELS_HEADING),
            *await self._channels(team, viewer, overview, private_channels),
            section(_default(default, overview.settings.get(workspace, ChannelSettings()))),
        ]
        if viewer.is_admin:
            blocks += [_edit_buttons(workspace), _channel_pickers()]
        usage = _usage(overview.usage, by_user=viewer.is_admin)
        blocks += [header(texts.USAGE_HEADING), section(usage)]
        if viewer.is_admin:
            blocks += await self._changes(team, overview.audit, private_channels)
        return blocks

    async def _channels(
        self,
        team: Team,
        viewer: Author,
        overview: WorkspaceOverview,
        private_channels: frozenset[str],
    ) -> list[Block]:
        personas = {persona.scope: persona for persona in overview.personas}
        settings = {k: v for k, v in overview.settings.items() if v != ChannelSettings()}
        blocks: list[Block] = []
        count = 0
        for scope in sorted({*personas, *settings}, key=str):
            channel = await self._names.channel(team, scope.channel) if scope.channel else None
            if channel is None or not _may_see(channel, private_channels):
                continue
            count += 1
            if count <= MAX_CHANNELS:
                summary = _summary(personas.get(scope), settings.get(scope))
                blocks.append(section(_heading(channel, scope) + summary))
                if viewer.is_admin or channel.is_dm:
                    blocks.append(_edit_buttons(scope))
        if count > MAX_CHANNELS:
            blocks.append(section(texts.more_channels(count - MAX_CHANNELS)))
        return blocks

    async def _changes(
        self, team: Team, audit: Sequence[AuditEntry], private_channels: frozenset[str]
    ) -> list[Block]:
        lines = []
        for entry in audit:
            place = texts.WORKSPACE
            if entry.scope.channel:
                channel = await self._names.channel(team, entry.scope.channel)
                if not _may_see(channel, private_channels):
                    continue
                place = _heading(channel, entry.scope)
            name = escape(one_line(entry.by_name, _MAX_NAME))
            action = escape(one_line(entry.action, _MAX_NAME))
            lines.append(texts.change(entry.at, name, action, place))
        if not lines:
            return []
        return [header(texts.CHANGES_HEADING), section("\n".join(lines[:MAX_CHANGES]))]


def _may_see(channel: Channel, private_channels: frozenset[str]) -> bool:
    """Whether somebody may know of a channel: as in Slack, admins don't see private ones."""
    return channel.is_public or channel.id in private_channels


def _heading(channel: Channel, scope: ThreadKey) -> str:
    return texts.scope_heading(escape(channel.display_name), is_thread=bool(scope.thread))


def _summary(persona: PersonaVersion | None, settings: ChannelSettings | None) -> str:
    """What is set in a place, for after its heading."""
    text = ""
    if persona is not None:
        text += f" ({_set_by(persona)})\n{_excerpt(persona.text or '')}"
    if settings is not None:
        text += f"\n{texts.settings_line(described(settings))}"
    return text


def _default(persona: ResolvedPersona, settings: ChannelSettings) -> str:
    """What applies in all other places."""
    origin = texts.BUILT_IN_PERSONA if persona.source is None else _set_by(persona.source)
    text = f"{texts.everywhere_else(origin)}\n{_excerpt(persona.text)}"
    if settings == ChannelSettings():
        return text
    return f"{text}\n{texts.settings_line(described(settings))}"


def _edit_buttons(scope: ThreadKey) -> Block:
    value = f"{scope.channel}/{scope.thread}"
    return actions(
        button(texts.EDIT_PERSONA_BUTTON, EDIT, value),
        button(texts.SETTINGS_BUTTON, SETTINGS, value),
    )


def _usage(usage: UsageSummary, *, by_user: bool) -> str:
    if not usage.replies:
        return texts.NO_REPLIES
    lines = [
        texts.usage(usage.replies, usage.generated_tokens, usage.prompt_tokens, usage.cached_tokens)
    ]
    for user_id, replies, tokens in usage.by_user[:MAX_USERS] if by_user else ():
        name = usage.names.get(user_id, "") or user_id or texts.FORGOTTEN_USERS
        lines.append(texts.usage_of(escape(one_line(name, _MAX_NAME)), replies, tokens))
    return "\n".join(lines)


def _channel_pickers() -> Block:
    return actions(
        _picker(PICK, texts.PICK_FOR_PERSONA), _picker(PICK_SETTINGS, texts.PICK_FOR_SETTINGS)
    )


def _picker(action_id: str, placeholder: str) -> Block:
    return {
        "type": "conversations_select",
        "action_id": action_id,
        "placeholder": plain_text(placeholder),
        "filter": {"include": ["public", "private", "mpim"], "exclude_bot_users": True},
    }


def _excerpt(text: str) -> str:
    return f"> {escape(one_line(text, _MAX_EXCERPT))}"


def _set_by(version: PersonaVersion) -> str:
    return texts.set_by(escape(one_line(version.set_by_name, _MAX_NAME)) or texts.SOMEBODY)
