"""`/parley …`: one slash command for all of the core's; the answer is for the asker only."""

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
from bot.platforms.slack import texts
from bot.platforms.slack.api import error_code
from bot.platforms.slack.ephemeral import respond
from bot.platforms.slack.manifest import COMMAND
from bot.platforms.slack.modals import Metadata, persona_modal, settings_modal
from bot.platforms.slack.mrkdwn import to_mrkdwn
from bot.platforms.slack.names import Names
from bot.platforms.slack.normalize import PLATFORM, is_dm_channel
from bot.platforms.slack.posting import MRKDWN_FORMAT
from bot.platforms.slack.private_questions import PrivateQuestions
from bot.platforms.slack.teams import Team
from bot.platforms.slack.text import read_text

logger = logging.getLogger(__name__)

Ack = Callable[..., Awaitable[Any]]

PREFIX = f"{COMMAND} "
MAX_ANSWERS = 4  # messages of one answer: a response_url takes five
_ALIASES = {
    "persona library": "persona-library list",
    "persona": "persona show",
    "settings": "settings show",
    "": "help",
}
#: Commands without an argument that open the persona's form, and the scope it offers first.
_PERSONA_FORMS = {"persona set": "channel", "persona default": "workspace"}
_ASK = re.compile(r"\s*ask(?:\s+(.*))?\s*\Z", re.IGNORECASE | re.DOTALL)
_SUBCOMMAND = re.compile(r"persona\s+library\s+(?=\S)", re.IGNORECASE)


class Commands:
    """Runs the slash command and opens the forms of personas and settings."""

    def __init__(
        self, names: Names, queries: CoreQueries, private: PrivateQuestions, handle: InboundHandler
    ) -> None:
        self._names = names
        self._queries = queries
        self._private = private
        self._handle = handle

    async def run(self, team: Team, body: dict[str, Any], ack: Ack) -> None:
        """Acknowledge and run one slash command."""
        text = str(body.get("text") or "")
        question = _ASK.match(text)
        if question is not None and question[1]:
            await ack(text=texts.THINKING, response_type="ephemeral")
        else:
            await ack()
        author = await self._names.author(team, str(body["user_id"]), fresh=True)
        key = ThreadKey(PLATFORM, team.id, str(body["channel_id"]))
        url = str(body.get("response_url") or "")
        names = self._names.lookup(team)
        if question is not None:
            question_text = await read_text(question[1] or "", names, team.bot_user_id)
            await self._ask(team, author, key, question_text, url)
            return
        text = await read_text(text, names, team.bot_user_id)
        scope = _PERSONA_FORMS.get(" ".join(text.lower().split()))
        if scope is None:
            await self._respond(team, url, await self._answer(author, key, text))
            return
        metadata = Metadata(key.channel, response_url=url)
        refusal = await self.open_persona(team, author, metadata, body["trigger_id"], scope)
        if refusal:
            await respond(team.api.session, url, refusal)

    async def open_persona(
        self, team: Team, author: Author, metadata: Metadata, trigger_id: str, scope: str = ""
    ) -> str:
        """Open the form of a persona, prefilled. Returns the sentence why not, or "".

        `scope`: the one that is selected, if it isn't the narrowest.
        """
        scope = scope or metadata.scope
        key = metadata.key(team.id).workspace_key if scope == "workspace" else metadata.key(team.id)
        try:
            require_persona(author, key, is_dm=is_dm_channel(key.channel))
        except NotAllowed as refusal:
            return str(refusal)
        persona = await self._queries.persona_at(key)
        place = await self._place(team, metadata)
        return await _open(team, trigger_id, persona_modal(persona, place, metadata, scope))

    async def open_settings(
        self, team: Team, author: Author, metadata: Metadata, trigger_id: str
    ) -> str:
        """Open the form of the settings, prefilled. Returns the sentence why not, or ""."""
        key = metadata.key(team.id)
        try:
            require_settings(author, key, is_dm=is_dm_channel(key.channel))
        except NotAllowed as refusal:
            return str(refusal)
        overview = await self._queries.overview(key)
        settings = overview.settings.get(key, ChannelSettings())
        place = await self._place(team, metadata)
        return await _open(team, trigger_id, settings_modal(settings, place, metadata))

    async def _ask(
        self, team: Team, author: Author, key: ThreadKey, question: str, url: str
    ) -> None:
        if question:
            await self._private.ask(team, author, key, question, url)
        else:
            await respond(team.api.session, url, texts.ASK_USAGE)

    async def _place(self, team: Team, metadata: Metadata) -> str:
        """The place that a form is about, in words."""
        if not metadata.channel:
            return texts.WORKSPACE
        channel = await self._names.channel(team, metadata.channel)
        place = texts.THIS_DM if channel.is_dm else channel.display_name
        return texts.one_thread_in(place) if metadata.thread else place

    async def _answer(self, author: Author, key: ThreadKey, text: str) -> str:
        parsed = parsing.parse(f"/{_without_alias(text)}", PREFIX)
        if isinstance(parsed, parsing.CommandError):
            return parsed.text
        is_dm = is_dm_channel(key.channel)
        answer = await self._handle(
            CommandInvoked(key, author, parsed.name, parsed.args, is_dm=is_dm, prefix=PREFIX)
        )
        if answer is None:
            return texts.DONE
        if parsed.name in ("stop", "reset") and not is_dm:
            return f"{answer.text}\n{texts.command_in_thread(parsed.name)}"
        return answer.text

    async def _respond(self, team: Team, url: str, text: str) -> None:
        for chunk in MRKDWN_FORMAT.chunks(text)[:MAX_ANSWERS]:
            await respond(team.api.session, url, to_mrkdwn(chunk))


async def _open(team: Team, trigger_id: str, view: dict[str, Any]) -> str:
    """Open a form. Returns the sentence why it can't be opened, or ""."""
    try:
        await team.api.call("views.open", trigger_id=trigger_id, view=view)
    except SlackApiError as error:
        logger.info("views.open: %s", error_code(error))
        return texts.TRIGGER_EXPIRED
    return ""


def _without_alias(text: str) -> str:
    """The command that a short form stands for; `persona library add` is `persona-library add`."""
    text = _SUBCOMMAND.sub("persona-library ", text, count=1) if _SUBCOMMAND.match(text) else text
    return _ALIASES.get(" ".join(text.lower().split()), text)
