"""Buttons, modals and shortcuts: acknowledged at once, rights checked as of now."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Literal, cast

from slack_bolt.async_app import AsyncAck, AsyncApp
from slack_sdk.errors import SlackApiError

from bot.core.events import CommandInvoked, ControlPressed, ThreadKey
from bot.core.failures import new_reference
from bot.core.ports import InboundHandler
from bot.platforms.shared.ids import parse_id
from bot.platforms.slack import home, modals
from bot.platforms.slack.api import DOWN
from bot.platforms.slack.blocks import BAD, FEEDBACK, GOOD, REGENERATE, STOP
from bot.platforms.slack.commands import Commands
from bot.platforms.slack.home import Home
from bot.platforms.slack.manifest import ASK_SHORTCUT, COMMAND, SUMMARISE_SHORTCUT
from bot.platforms.slack.modals import Metadata
from bot.platforms.slack.mrkdwn import to_mrkdwn
from bot.platforms.slack.names import Names
from bot.platforms.slack.normalize import PLATFORM, is_dm
from bot.platforms.slack.private_questions import Private
from bot.platforms.slack.private_replies import respond, tell
from bot.platforms.slack.settings_modal import SETTINGS, settings_args
from bot.platforms.slack.teams import NotInstalled, Team, Teams

logger = logging.getLogger(__name__)

Action = Literal["stop", "regenerate", "good", "bad"]
_ACTIONS: Mapping[str, Action] = {STOP: "stop", REGENERATE: "regenerate", GOOD: "good", BAD: "bad"}
_CONTROLS = re.compile("|".join((STOP, REGENERATE, GOOD, BAD, FEEDBACK)))
_EDITS = re.compile("|".join((home.EDIT, home.PICK, home.SETTINGS, home.PICK_SETTINGS)))


class Controls:
    """Everything that people click."""

    def __init__(
        self,
        teams: Teams,
        names: Names,
        commands: Commands,
        private: Private,
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
        """Listen."""
        app.error(self._failed)
        app.command(COMMAND)(self._command)
        app.shortcut(ASK_SHORTCUT)(self._ask_about)
        app.shortcut(SUMMARISE_SHORTCUT)(self._summarise)
        app.view(modals.PERSONA)(self._persona_submitted)
        app.view(SETTINGS)(self._settings_submitted)
        app.view(modals.ASK)(self._question_submitted)
        app.action(_CONTROLS)(self._pressed)
        app.action(_EDITS)(self._edit_pressed)

    async def _failed(self, error: Exception, body: dict[str, Any]) -> None:
        """A listener failed: one sentence for the person, the whole story for the log."""
        ref = new_reference()
        logger.error("a %s failed [%s]", body.get("type", "command"), ref, exc_info=error)
        sentence = f"Something went wrong; please try again (reference {ref})."
        try:
            team = await self._team(body)
        except (NotInstalled, SlackApiError, *DOWN):
            return
        url, user = str(body.get("response_url") or ""), body.get("user")
        if url and await respond(team.api.session, url, sentence):
            return
        person = str(user.get("id")) if isinstance(user, Mapping) else str(body.get("user_id", ""))
        if person:
            await tell(team, person, person, sentence)

    # --- the slash command and the shortcuts

    async def _command(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        await self._commands.run(await self._team(body), body, ack)

    async def _ask_about(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack()
        await self._private.open_modal(await self._team(body), body)

    async def _summarise(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack()
        team = await self._team(body)
        author = await self._names.author(team, _user(body))
        await self._private.summarise(team, author, body)

    # --- buttons under replies

    async def _pressed(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack()
        pressed = _pressed_control(body)
        if pressed is None:
            return
        action, turn_id = pressed
        team = await self._team(body)
        author = await self._names.author(team, _user(body), fresh=True)
        container = body.get("container") or {}
        channel = str((body.get("channel") or container).get("id") or container["channel_id"])
        message = body.get("message") or {}
        thread = str(message.get("thread_ts") or "")
        key = ThreadKey(PLATFORM, team.id, channel, thread)
        answer = await self._handle(ControlPressed(key, author, action, turn_id))
        # What worked shows under the reply itself.
        if answer is not None and (not answer.ok or action in ("good", "bad")):
            await tell(team, channel, author.id, to_mrkdwn(answer.text), thread_ts=thread)

    # --- personas and settings: from App Home, and as their modals come back

    async def _edit_pressed(self, ack: AsyncAck, body: dict[str, Any]) -> None:
        await ack()
        action = body["actions"][0]
        kind = str(action["action_id"])
        if kind in (home.PICK, home.PICK_SETTINGS):
            channel, thread = str(action.get("selected_conversation") or ""), ""
            if not channel:
                return
        else:
            channel, _, thread = str(action.get("value", "")).partition("/")
        team = await self._team(body)
        author = await self._names.author(team, _user(body), fresh=True)
        of_settings = kind in (home.SETTINGS, home.PICK_SETTINGS)
        metadata, trigger_id = Metadata(channel, thread), str(body["trigger_id"])
        if of_settings:
            refusal = await self._commands.open_settings(team, author, metadata, trigger_id)
        else:
            refusal = await self._commands.open_persona(team, author, metadata, trigger_id)
        if refusal:
            await tell(team, author.id, author.id, refusal)

    async def _persona_submitted(
        self, ack: AsyncAck, body: dict[str, Any], view: dict[str, Any]
    ) -> None:
        filled = modals.values(view)
        wrong = modals.problems(filled)
        if wrong:
            await ack(response_action="errors", errors=wrong)
            return
        metadata = Metadata.load(view.get("private_metadata"))
        args = {"scope": "channel", **modals.joined(filled, metadata)}
        await self._set(ack, body, metadata, "persona set", args, blame="text")

    async def _settings_submitted(
        self, ack: AsyncAck, body: dict[str, Any], view: dict[str, Any]
    ) -> None:
        metadata = Metadata.load(view.get("private_metadata"))
        args = settings_args(modals.values(view), metadata)
        await self._set(ack, body, metadata, "settings set", args, blame="mode")

    async def _set(
        self,
        ack: AsyncAck,
        body: dict[str, Any],
        metadata: Metadata,
        name: str,
        args: dict[str, str],
        *,
        blame: str,
    ) -> None:
        """Run a modal's command, with the rights of who submits it now. What is wrong is said in
        the modal, at the input `blame`."""
        team = await self._team(body)
        author = await self._names.author(team, _user(body), fresh=True)
        private = bool(metadata.channel) and is_dm({"channel": metadata.channel})
        key = metadata.key(team.id)
        answer = await self._handle(CommandInvoked(key, author, name, args, is_dm=private))
        if answer is not None and not answer.ok:
            await ack(response_action="errors", errors={blame: answer.text})
            return
        await ack()
        if not metadata.channel or not metadata.response_url:
            await self._home.publish(team, author.id)
        if answer is not None and metadata.channel:
            text = to_mrkdwn(answer.text)
            await tell(team, metadata.channel, author.id, text, thread_ts=metadata.thread)

    async def _question_submitted(
        self, ack: AsyncAck, body: dict[str, Any], view: dict[str, Any]
    ) -> None:
        question = modals.values(view).get("question", "")
        if not question:
            await ack(response_action="errors", errors={"question": "Ask me something."})
            return
        await ack()
        team = await self._team(body)
        author = await self._names.author(team, _user(body))
        metadata = Metadata.load(view.get("private_metadata"))
        await self._private.ask_about(team, author, metadata, question)

    async def _team(self, body: Mapping[str, Any]) -> Team:
        team = body.get("team")
        found = team.get("id") if isinstance(team, Mapping) else None
        user = body.get("user")
        if not found and isinstance(user, Mapping):
            found = user.get("team_id")
        enterprise = body.get("enterprise")
        enterprise_id = enterprise.get("id") if isinstance(enterprise, Mapping) else None
        return await self._teams.get(
            str(found or body.get("team_id") or ""), enterprise_id or body.get("enterprise_id")
        )


def _user(body: Mapping[str, Any]) -> str:
    return str(body["user"]["id"])


def _pressed_control(body: Mapping[str, Any]) -> tuple[Action, int] | None:
    """What was pressed, for which turn. Values come from outside: they may say anything."""
    action = body["actions"][0]
    kind, value = str(action.get("action_id", "")), str(action.get("value", ""))
    if kind == FEEDBACK:
        word, _, value = value.partition(":")
        if word not in ("good", "bad"):
            return None
        name = cast(Action, word)
    elif kind in _ACTIONS:
        name = _ACTIONS[kind]
    else:
        return None
    turn_id = parse_id(value)
    return None if turn_id is None else (name, turn_id)
