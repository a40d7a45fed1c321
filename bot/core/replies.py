"""Answers one turn: prompt, generation, sink and ending, with its interruptions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

from bot.core import failures, personas, sampling, scoped_settings, texts
from bot.core.context import Context, build
from bot.core.generation import Generation
from bot.core.guarded_sink import GuardedSink, SinkFailed
from bot.core.pictures import PictureLimits, limit_to_context, load_pictures
from bot.core.ports import FinishedReply, PersonaStore, ReplyTarget, SettingsStore, TurnStore
from bot.core.records import Turn, TurnState, TurnUsage
from bot.core.service_settings import ServiceSettings
from bot.engine.api import Engine, EngineStopped, Image, Queued, SamplingParams

logger = logging.getLogger(__name__)


class Interrupt(IntEnum):
    """Why a reply is interrupted; of two reasons the greater one applies."""

    RESTART = 1  # the question was edited, or Regenerate was pressed
    STOP = 2
    RELEASE = 3  # shutdown: answer it after the next start
    WITHDRAW = 4  # the question was deleted


@dataclass(frozen=True, slots=True)
class ReplyServices:
    """What replies need; shared by all of them."""

    turns: TurnStore
    personas: PersonaStore
    scoped: SettingsStore
    engine: Engine
    settings: ServiceSettings
    targets: Mapping[str, ReplyTarget] = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Outcome:
    state: TurnState
    text: str = ""
    token_ids: tuple[int, ...] = ()
    finish_reason: str | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None
    ref: str | None = None
    usage: TurnUsage | None = None


@dataclass(frozen=True, slots=True)
class _Prompt:
    context: Context
    sampling: SamplingParams
    notes: tuple[str, ...]


class Reply:
    """The reply to one turn."""

    def __init__(
        self,
        turn: Turn,
        services: ReplyServices,
        *,
        another: bool = False,
        foot: tuple[str, ...] = (),
    ) -> None:
        """`another`: it should differ from the previous reply. `foot`: notes to show below it."""
        self.turn = turn
        self.ended = asyncio.Event()  # set by whoever runs it
        self.posted: tuple[str, ...] = ()  # once it has ended
        self._foot = foot
        self._services = services
        self._another = another
        self._interrupt: Interrupt | None = None
        self._generation: Generation | None = None
        self._ending = False

    def interrupt(self, why: Interrupt, *, another: bool = False) -> bool:
        """Interrupt it; False if its end is already being delivered."""
        if self._ending:
            return False
        self._another |= another
        self._interrupt = max(why, self._interrupt or why)
        if self._generation is not None:
            self._generation.cancel()
        return True

    def edited(self, turn: Turn) -> None:
        """Restart if the question's text changed (an unfurled link changes none)."""
        if _texts(turn) != _texts(self.turn):
            self.turn = turn
            self.interrupt(Interrupt.RESTART)

    async def run(self) -> None:
        """Answer, deliver and store. Raises only what the store raises at the end."""
        settings = self._services.settings
        try:
            target = self._services.targets[self.turn.key.platform]
            sink = await GuardedSink.open(
                target, self.turn, self._services.turns, settings.sink_timeout_s
            )
        except (KeyError, SinkFailed) as error:
            self._ending = True
            await self._save(self._failed(error, ""), self.turn.posted)
            return
        await sink.waiting(0)
        outcome = await self._attempt(sink)
        while self._interrupt is Interrupt.RESTART:
            self._interrupt = None
            await sink.restart()
            outcome = await self._attempt(sink)
        self._ending = True
        await self._end(sink, outcome)

    async def _attempt(self, sink: GuardedSink) -> _Outcome:
        """Answer the current text of the turn, until the end or an interruption."""
        text = ""
        try:
            turn = await self._services.turns.turn(self.turn.id)
            if turn is None:
                self.interrupt(Interrupt.WITHDRAW)
                return _Outcome(TurnState.CANCELLED)
            self.turn = turn
            prompt = await self._prompt(turn)
            if self._interrupt is not None:
                return _Outcome(TurnState.CANCELLED)
            generation = self._generation = self._generate(prompt)
            try:
                await _stream(generation, sink)
            finally:
                text = generation.text
                self._generation = None
                await generation.close()
            return self._outcome(generation, prompt)
        except Exception as error:
            if self._interrupt is Interrupt.RELEASE and isinstance(error, EngineStopped):
                return _Outcome(TurnState.CANCELLED, text)
            return self._failed(error, text)

    async def _prompt(self, turn: Turn) -> _Prompt:
        services = self._services
        turns, engine, settings = services.turns, services.engine, services.settings
        persona = await personas.resolve(services.personas, turn.key, settings.persona)
        place = await scoped_settings.resolve(services.scoped, turn.key, settings)
        drawn = sampling.effective(
            settings, persona.sampling, engine.info.max_context, another=self._another
        )
        budget = engine.info.max_context - drawn.max_new_tokens
        transcript = await turns.transcript(turn.key, turn.id)
        limits = PictureLimits(place.max_images, settings.max_image_bytes)
        limits = limit_to_context(limits, engine.info, budget)
        pictures = await load_pictures(turns, [*transcript, turn], limits, engine.count_tokens)
        # Tokenizing a long thread takes a second or more; other replies continue meanwhile.
        context = await asyncio.to_thread(
            build,
            persona=persona.text,
            transcript=transcript,
            turn=turn,
            pictures=pictures,
            count_tokens=engine.count_tokens,
            budget=budget,
        )
        return _Prompt(context, drawn, self._notes(turn, context, pictures))

    def _notes(
        self, turn: Turn, context: Context, pictures: Mapping[int, Image]
    ) -> tuple[str, ...]:
        unseen = texts.unseen_pictures(turn, pictures, self._services.engine.info.sees_images)
        return texts.collect(
            texts.history_cut(context.turns_cut),
            texts.files(turn),
            texts.files_cut(context.files_cut),
            unseen,
        )

    def _generate(self, prompt: _Prompt) -> Generation:
        key = self.turn.key
        stream = self._services.engine.stream(
            prompt.context.messages,
            prompt.sampling,
            owner=f"{key.platform}/{key.workspace}/{self.turn.asker}",
            conversation=str(key),
        )
        return Generation(stream)

    def _outcome(self, generation: Generation, prompt: _Prompt) -> _Outcome:
        reason = generation.finish.reason if generation.finish is not None else "cancelled"
        complete = reason != "cancelled"
        if not complete and self._interrupt is None:
            raise EngineStopped("the engine stopped while it was answering")
        if complete and self._interrupt is Interrupt.RELEASE:
            self._interrupt = None  # complete: nothing to answer again
        return _Outcome(
            TurnState.DELIVERED if complete else TurnState.CANCELLED,
            generation.text,
            tuple(generation.token_ids),
            reason,
            prompt.notes + ((texts.AT_LENGTH,) if reason == "length" else ()),
            usage=self._usage(generation, prompt),
        )

    def _usage(self, generation: Generation, prompt: _Prompt) -> TurnUsage:
        """The engine's figures, or the ones known here if it was cut short."""
        usage = generation.finish.usage if generation.finish is not None else None
        key, elapsed = self.turn.key, generation.elapsed_s
        return TurnUsage(
            turn_id=self.turn.id,
            platform=key.platform,
            workspace=key.workspace,
            user_id=self.turn.asker,
            model=self._services.engine.info.model,
            prompt_tokens=usage.prompt_tokens if usage else prompt.context.tokens,
            cached_tokens=usage.cached_tokens if usage else 0,
            generated_tokens=usage.generated_tokens if usage else len(generation.token_ids),
            queue_s=usage.queue_s if usage else 0.0,
            ttft_s=usage.ttft_s if usage else generation.ttft_s or elapsed,
            total_s=usage.total_s if usage else elapsed,
        )

    def _failed(self, error: Exception, text: str) -> _Outcome:
        """A sentence for the person; the log has the traceback under its reference."""
        sentence = failures.expected(error)
        if sentence is not None:
            return _Outcome(TurnState.FAILED, error=sentence)
        ref = failures.new_reference()
        logger.error("turn %d failed [%s]", self.turn.id, ref, exc_info=error)
        return _Outcome(TurnState.FAILED, text, error=failures.unexpected(error, ref), ref=ref)

    async def _end(self, sink: GuardedSink, outcome: _Outcome) -> None:
        try:
            if self._interrupt is Interrupt.WITHDRAW:
                await sink.withdraw()
                await self._save(replace(outcome, state=TurnState.CANCELLED), ())
            elif self._interrupt is Interrupt.RELEASE and outcome.error is None:
                await self._hand_back(sink, outcome)
            else:
                foot = outcome.notes + self._foot
                reply = FinishedReply(outcome.state, outcome.text, foot, outcome.error)
                await self._save(outcome, await sink.finish(reply))
        except SinkFailed as error:
            if self._interrupt is Interrupt.RELEASE:
                logger.warning("turn %d is handed back unseen", self.turn.id, exc_info=True)
                await self._services.turns.release_turn(self.turn.id)
                return
            failed = self._failed(error, outcome.text)
            await self._save(replace(outcome, state=failed.state, ref=failed.ref), sink.posted)

    async def _hand_back(self, sink: GuardedSink, outcome: _Outcome) -> None:
        """Leave the turn to the next start, whose reply replaces this one."""
        reply = FinishedReply(TurnState.CANCELLED, outcome.text, (texts.RESTARTING,))
        posted = await sink.finish(reply)
        if posted:
            await self._services.turns.set_posted(self.turn.id, posted)
        await self._services.turns.release_turn(self.turn.id)

    async def _save(self, outcome: _Outcome, posted: tuple[str, ...]) -> None:
        self.posted = posted
        await self._services.turns.save_reply(
            self.turn.id,
            outcome.state,
            text=outcome.text,
            token_ids=outcome.token_ids,
            finish_reason=outcome.finish_reason,
            posted=posted,
            ref=outcome.ref,
            usage=outcome.usage,
        )


async def _stream(generation: Generation, sink: GuardedSink) -> None:
    async for change in generation.changes():
        if isinstance(change, Queued):
            await sink.waiting(change.ahead)
        else:
            await sink.write(change)


def _texts(turn: Turn) -> list[tuple[int, str]]:
    return [(message.id, message.text) for message in turn.messages]
