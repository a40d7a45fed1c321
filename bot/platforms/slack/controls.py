"""Buttons, forms and shortcuts: acknowledged at once, with rights checked as of now."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Literal, cast

from slack_bolt.async_app import AsyncAck, AsyncApp
from slack_sdk.errors import SlackApiError

from bot.core.events import Author, CommandInvoked, ControlPressed, ThreadKey
from bot.core.failures import new_reference
from bot.core.ports import InboundHandler
from bot.platforms.shared.ids import parse_id
from bot.platforms.slack import home, modals, texts
from bot.platforms.slack.api import UNREACHABLE
from bot.platforms.slack.blocks import BAD, FEEDBACK, GOOD, REGENERATE, STOP
from bot.platforms.slack.commands import Commands
from bot.platforms.slack.ephemeral import notify, respond
from bot.platforms.slack.home import Home
from bot.platforms.slack.manifest import ASK_SHORTCUT, COMMAND, SUMMARIZE_SHORTCUT
from bot.platforms.slack.modals import Metadata
from bot.platforms.slack.mrkdwn import to_mrkdwn
from bot.platforms.slack.names import Names
from bot.platforms.slack.normalize import PLATFORM, is_dm_channel
from bot.platforms.slack.private_questions import PrivateQuestions
from bot.platforms.slack.teams import NotInstalled, Team, Teams

logger = logging.getLogger(__name__)

Action = Literal["stop", "regenerate", "good", "bad"]
_ACTIONS: Mapping[str, Action] = {STOP: "stop", REGENERATE: "regenerate", GOOD: "good", BAD: "bad"}
_REPLY_BUTTONS = re.compile("|".join((STOP, REGENERATE, GOOD, BAD, FEEDBACK)))
_PICKERS = (home.PICK, home.PICK_SETTINGS)
_SETTINGS_BUTTONS = (home.SETTINGS, home.PICK_SETTINGS)
_HOME_BUTTONS = re.compile("|".join((home.EDIT, home.SETTINGS, *_PICKERS)))


class Controls:
    """Listens to everything that people click."""

    def __init__(
        self,
        teams: Teams,
        names: Names,
        commands: Commands,
        private: PrivateQuestions,
        home_tab: Home,
        handle: InboundHandler,
    ) -> None:
        self._teams = teams
        self._names = names
        self._commands = commands
        self._private = private
        self._home = home_tab
        self._handle = handle

    def register(self, app: AsyncApp) -> None:
        """Add the listeners to the app."""
        app.error(self._failed)
        app.command(COMMAND)(self._command)
        app.shortcut(ASK_SHORTCUT)(self._ask_about)
        app.shortcut(SUMMARIZE_SHORTCUT)(self._summarize)
        app.view(modals.PERSONA)(self._persona_submitted)
        app.view(modals.SETTINGS)(self._settings_submitted)
        app.view(modals.ASK)(self._question_submitted)
        app.action(_REPLY_BUTTONS)(self._reply_button_pressed)
        app.action(_HOME_BUTTONS)(self._home_button_pressed)

    async def _failed(self, error: Exception, body: dict[str, Any]) -> None:
        """A listener failed: one sentence for the person, the traceback for the log."""
        ref = new_reference()
        logger.error("a %s failed [%s]", body.get("type", "command"), ref, exc_info=error)
        try:
            team = await self._team(body)
        except (NotInstalled, SlackApiError, *UNREACHABLE):
            return
        url, user = str(body.get("response_url") or ""), body.get("user")
        if url and await respond(team.api.session, url, texts.failed(ref)):
            return
        user_id = str(user.get("id")) if isinstance(user, Mapping) else str(body.get("user_id", ""))
        if user_id:
            await notify(team, user_id, user_id, texts.failed(ref))

    # The slash command and the shortcuts

    async def _command(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        await self._commands.run(await self._team(body), body, ack)

    async def _ask_about(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack()
        await self._private.open_ask_modal(await self._team(body), body)

    async def _summarize(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack()
        team = await self._team(body)
        author = await self._names.author(team, _user(body))
        await self._private.summarize(team, author, body)

    # Buttons below replies

    async def _reply_button_pressed(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack()
        pressed = _pressed_button(body)
        if pressed is None:
            return
        action, turn_id = pressed
        team, author = await self._team_and_author(body)
        container = body.get("container") or {}
        channel = str((body.get("channel") or container).get("id") or container["channel_id"])
        message = body.get("message") or {}
        thread = str(message.get("thread_ts") or "")
        key = ThreadKey(PLATFORM, team.id, channel, thread)
        answer = await self._handle(ControlPressed(key, author, action, turn_id))
        # Stop and Regenerate show in the reply itself.
        if answer is not None and (not answer.ok or action in ("good", "bad")):
            await notify(team, channel, author.id, to_mrkdwn(answer.text), thread_ts=thread)

    # Personas and settings: opened from App Home, submitted from anywhere

    async def _home_button_pressed(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack()
        action = body["actions"][0]
        action_id = str(action["action_id"])
        if action_id in _PICKERS:
            channel, thread = str(action.get("selected_conversation") or ""), ""
            if not channel:
                return
        else:
            channel, _, thread = str(action.get("value", "")).partition("/")
        team, author = await self._team_and_author(body)
        is_settings = action_id in _SETTINGS_BUTTONS
        open_form = self._commands.open_settings if is_settings else self._commands.open_persona
        metadata = Metadata(channel, thread)
        refusal = await open_form(team, author, metadata, str(body["trigger_id"]))
        if refusal:
            await notify(team, author.id, author.id, refusal)

    async def _persona_submitted(
        self, ack: AsyncAck, body: dict[str, Any], view: dict[str, Any]
    ) -> None:
        values = modals.submitted_values(view)
        problems = modals.persona_problems(values)
        if problems:
            await ack(response_action="errors", errors=problems)
            return
        metadata = Metadata.load(view.get("private_metadata"))
        args = modals.persona_args(values, metadata)
        await self._set(ack, body, metadata, "persona set", args, error_field="text")

    async def _settings_submitted(
        self, ack: AsyncAck, body: dict[str, Any], view: dict[str, Any]
    ) -> None:
        metadata = Metadata.load(view.get("private_metadata"))
        args = modals.settings_args(modals.submitted_values(view), metadata)
        await self._set(ack, body, metadata, "settings set", args, error_field="mode")

    async def _set(
        self,
        ack: AsyncAck,
        body: dict[str, Any],
        metadata: Metadata,
        name: str,
        args: dict[str, str],
        *,
        error_field: str,
    ) -> None:
        """Run a form's command, with the current rights of its submitter. A refusal is shown in
        the form, at `error_field`."""
        team, author = await self._team_and_author(body)
        key, is_dm = metadata.key(team.id), is_dm_channel(metadata.channel)
        answer = await self._handle(CommandInvoked(key, author, name, args, is_dm=is_dm))
        if answer is not None and not answer.ok:
            await ack(response_action="errors", errors={error_field: answer.text})
            return
        await ack()
        if not metadata.channel or not metadata.response_url:
            await self._home.publish(team, author.id)
        if answer is not None and metadata.channel:
            text = to_mrkdwn(answer.text)
            await notify(team, metadata.channel, author.id, text, thread_ts=metadata.thread)

    async def _question_submitted(
        self, ack: AsyncAck, body: dict[str, Any], view: dict[str, Any]
    ) -> None:
        question = modals.submitted_values(view).get("question", "")
        if not question:
            await ack(response_action="errors", errors={"question": texts.QUESTION_MISSING})
            return
        await ack()
        team = await self._team(body)
        author = await self._names.author(team, _user(body))
        metadata = Metadata.load(view.get("private_metadata"))
        await self._private.ask_about(team, author, metadata, question)

    async def _team_and_author(self, body: Mapping[str, Any]) -> tuple[Team, Author]:
        """The workspace, and who clicked, with their rights as of now."""
        team = await self._team(body)
        return team, await self._names.author(team, _user(body), fresh=True)

    async def _team(self, body: Mapping[str, Any]) -> Team:
        team_id = _id_in(body, "team")
        user = body.get("user")
        if not team_id and isinstance(user, Mapping):
            team_id = str(user.get("team_id") or "")
        enterprise_id = _id_in(body, "enterprise") or body.get("enterprise_id")
        return await self._teams.get(team_id or str(body.get("team_id") or ""), enterprise_id)


def _id_in(body: Mapping[str, Any], name: str) -> str:
    """The id of the workspace or organization in a payload; "" if it has none."""
    entry = body.get(name)
    return str(entry.get("id") or "") if isinstance(entry, Mapping) else ""


def _user(body: Mapping[str, Any]) -> str:
    return str(body["user"]["id"])


def _pressed_button(body: Mapping[str, Any]) -> tuple[Action, int] | None:
    """The action and the turn's id. Values come from outside: they may be anything."""
    action = body["actions"][0]
    action_id, value = str(action.get("action_id", "")), str(action.get("value", ""))
    if action_id == FEEDBACK:
        rating, _, value = value.partition(":")
        if rating not in ("good", "bad"):
            return None
        name = cast(Action, rating)
    elif action_id in _ACTIONS:
        name = _ACTIONS[action_id]
    else:
        return None
    turn_id = parse_id(value)
    return None if turn_id is None else (name, turn_id)
