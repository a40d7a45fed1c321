"""`/parley ...`: one slash command with the core's commands; answers to the asker alone."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

from slack_sdk.errors import SlackApiError

from bot.core.access import NotAllowed, require_persona, require_settings
from bot.core.commands import parsing
from bot.core.events import Author, CommandInvoked, ThreadKey
from bot.core.ports import CoreQueries, InboundHandler
from bot.core.records import ChannelSettings
from bot.platforms.slack.api import error_code
from bot.platforms.slack.manifest import COMMAND
from bot.platforms.slack.modals import Metadata, persona_modal
from bot.platforms.slack.mrkdwn import to_mrkdwn
from bot.platforms.slack.names import Names
from bot.platforms.slack.normalize import PLATFORM, is_dm
from bot.platforms.slack.posting import SHAPES
from bot.platforms.slack.private_questions import Private
from bot.platforms.slack.private_replies import respond
from bot.platforms.slack.settings_modal import settings_modal
from bot.platforms.slack.teams import Team
from bot.platforms.slack.text import read_text

logger = logging.getLogger(__name__)

Ack = Callable[..., Awaitable[Any]]

THINKING = "Thinking…"
IN_THREADS = "For a thread, type `!{name}` in it: Slack knows no slash commands there."
EXPIRED = "That took too long for Slack; please try again."
ASK_NEEDS = f"Ask me something: `{COMMAND} ask <question>`."
_ALIASES = {
    "persona library": "persona-library list",
    "persona": "persona show",
    "settings": "settings show",
    "": "help",
}


class Commands:
    """Runs the slash command and opens the modals of personas and settings."""

    def __init__(
        self, names: Names, queries: CoreQueries, private: Private, handle: InboundHandler
    ) -> None:
        self._names = names
        self._queries = queries
        self._private = private
        self._handle = handle

    async def run(self, team: Team, body: dict[str, Any], ack: Ack) -> None:
        """Acknowledge and run one slash command."""
        text = await read_text(
            str(body.get("text") or ""), self._names.lookup(team), team.bot_user_id
        )
        word, _, rest = text.partition(" ")
        if word.lower() == "ask" and rest.strip():
            await ack(text=THINKING, response_type="ephemeral")
        else:
            await ack()
        author = await self._names.author(team, str(body["user_id"]), fresh=True)
        key = ThreadKey(PLATFORM, team.id, str(body["channel_id"]))
        url = str(body.get("response_url") or "")
        if word.lower() == "ask":
            if rest.strip():
                await self._private.ask(team, author, key, rest.strip(), url)
            else:
                await respond(team.api.session, url, ASK_NEEDS)
            return
        if " ".join(text.lower().split()) in ("persona set", "persona default"):
            scope = "workspace" if text.lower().endswith("default") else "channel"
            refusal = await self.open_persona(
                team, author, Metadata(key.channel, response_url=url), body["trigger_id"], scope
            )
            if refusal:
                await respond(team.api.session, url, refusal)
            return
        await self._say(team, url, await self._answer(author, key, text))

    async def open_persona(
        self, team: Team, author: Author, metadata: Metadata, trigger_id: str, scope: str = ""
    ) -> str:
        """Open the persona's modal, prefilled; returns the sentence why not, or "". `scope`: the
        one that is offered first, if it is not the narrowest."""
        scope = scope or metadata.scope
        place = _place(team, metadata, scope)
        try:
            require_persona(author, place, is_dm=_is_private(place))
        except NotAllowed as refusal:
            return str(refusal)
        persona = await self._queries.persona_at(place)
        where = await self._where(team, metadata)
        view = persona_modal(persona, where, metadata, scope)
        return await _open(team, trigger_id, view)

    async def open_settings(
        self, team: Team, author: Author, metadata: Metadata, trigger_id: str
    ) -> str:
        """Open the settings' modal, prefilled; returns the sentence why not, or ""."""
        place = metadata.key(team.id)
        try:
            require_settings(author, place, is_dm=_is_private(place))
        except NotAllowed as refusal:
            return str(refusal)
        overview = await self._queries.overview(place)
        now = overview.settings.get(place, ChannelSettings())
        where = await self._where(team, metadata)
        view = settings_modal(now, where, metadata)
        return await _open(team, trigger_id, view)

    async def _where(self, team: Team, metadata: Metadata) -> str:
        if not metadata.channel:
            return "the workspace"
        place = await self._names.place(team, metadata.channel)
        where = "this direct message" if place.is_dm else place.shown
        return f"one thread in {where}" if metadata.thread else where

    async def _answer(self, author: Author, key: ThreadKey, text: str) -> str:
        parsed = parsing.parse(f"/{_in_full(text)}")
        if isinstance(parsed, parsing.CommandError):
            return _as_typed(parsed.text)
        private = is_dm({"channel": key.channel})
        answer = await self._handle(
            CommandInvoked(key, author, parsed.name, parsed.args, is_dm=private)
        )
        if answer is None:
            return "Done."
        shown = _as_typed(answer.text)
        if parsed.name in ("stop", "reset") and not private:
            shown += "\n" + IN_THREADS.format(name=parsed.name)
        return shown

    async def _say(self, team: Team, url: str, text: str) -> None:
        shape = SHAPES[1]
        for chunk in shape.chunks(text)[:4]:
            await respond(team.api.session, url, to_mrkdwn(chunk))


async def _open(team: Team, trigger_id: str, view: dict[str, Any]) -> str:
    """Open a modal; returns the sentence why it can't be, or ""."""
    try:
        await team.api.call("views.open", trigger_id=trigger_id, view=view)
    except SlackApiError as error:
        logger.info("views.open: %s", error_code(error))
        return EXPIRED
    return ""


def _place(team: Team, metadata: Metadata, scope: str) -> ThreadKey:
    return ThreadKey(PLATFORM, team.id) if scope == "workspace" else metadata.key(team.id)


def _is_private(key: ThreadKey) -> bool:
    return bool(key.channel) and is_dm({"channel": key.channel})


def _in_full(text: str) -> str:
    """The command that a short form stands for; `persona library add` is `persona-library add`."""
    text = re.sub(r"(?i)^persona\s+library\s+(?=\S)", "persona-library ", text)
    return _ALIASES.get(" ".join(text.lower().split()), text)


def _as_typed(text: str) -> str:
    """The core's words with its commands as Slack has them: `/reset` is `/parley reset`."""
    for root in sorted({name.split()[0] for name in parsing.COMMANDS}, key=len, reverse=True):
        for before in ("`", " ", "\n", "("):
            text = text.replace(f"{before}/{root}", f"{before}{COMMAND}\x00{root}")
        if text.startswith(f"/{root}"):
            text = f"{COMMAND}\x00{text[1:]}"
    return text.replace("\x00", " ")
