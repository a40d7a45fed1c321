"""Answers a sample question as an unsaved persona, for one person."""

from __future__ import annotations

import logging
from dataclasses import replace

from bot.core import failures, sampling, texts
from bot.core.events import ThreadKey
from bot.core.ports import CommandReply
from bot.core.records import SamplingOverrides
from bot.core.service_settings import ServiceSettings
from bot.engine.api import Delta, Engine, EngineStopped, Finish, Message, Text

logger = logging.getLogger(__name__)

MAX_TOKENS = 256
SHARE = 0.25  # of the engine's time, relative to a reply
MAX_QUESTION = 2_000  # characters


class Preview:
    """Asks the engine outside any conversation."""

    def __init__(self, engine: Engine, settings: ServiceSettings) -> None:
        self._engine = engine
        self._settings = settings

    async def answer(
        self, persona: str, overrides: SamplingOverrides, question: str, key: ThreadKey, user: str
    ) -> CommandReply:
        """The answer, or one sentence about what went wrong."""
        question = question.strip()[:MAX_QUESTION] or texts.PREVIEW_QUESTION
        try:
            text, reason = await self._ask(persona, overrides, question, key, user)
        except Exception as error:
            sentence = failures.expected(error)
            if sentence is None:
                ref = failures.new_reference()
                logger.exception("a preview failed [%s]", ref)
                sentence = failures.unexpected(error, ref)
            return CommandReply(sentence, ok=False)
        cut = f"\n_{texts.PREVIEW_CUT}_" if reason == "length" else ""
        return CommandReply(f"**{question}**\n{text.strip()}{cut}\n_{texts.PREVIEW}_")

    async def _ask(
        self, persona: str, overrides: SamplingOverrides, question: str, key: ThreadKey, user: str
    ) -> tuple[str, str]:
        drawn = sampling.effective(self._settings, overrides, self._engine.info.max_context)
        drawn = replace(drawn, max_new_tokens=min(drawn.max_new_tokens, MAX_TOKENS))
        stream = self._engine.stream(
            [Message("system", (Text(persona),)), Message("user", (Text(question),))],
            drawn,
            owner=f"{key.platform}/{key.workspace}/{user}",
            conversation=f"{key} (preview of {user})",
            share=SHARE,
        )
        pieces: list[str] = []
        async for item in stream:
            if isinstance(item, Delta):
                pieces.append(item.text)
            elif isinstance(item, Finish):
                if item.reason == "cancelled":
                    raise EngineStopped("the engine stopped during a preview")
                return "".join(pieces), item.reason
        raise EngineStopped("the engine ended a preview without a finish")
