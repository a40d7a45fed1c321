"""`LocalEngine`: the contract of `api.py` over a model in this very process."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Self

import torch

from bot.engine.api import (
    EngineBusy,
    EngineInfo,
    EngineStopped,
    Finish,
    Message,
    ModelLoadError,
    PromptTooLong,
    SamplingParams,
    Snapshot,
    StreamItem,
)
from bot.engine.cuda.graphs import record_cuda
from bot.engine.model.kv_memory import MIB, build_blocks
from bot.engine.model.loading import LocalEngineConfig, load_model
from bot.engine.model.runner import ModelRunner
from bot.engine.model.sampling import Sampler
from bot.engine.model.vision import Vision
from bot.engine.prompt import Prompt
from bot.engine.request import Request, refuse
from bot.engine.schedule.scheduler import Scheduler
from bot.engine.text.detokenizer import IncrementalDetokenizer
from bot.engine.text.tokenizer import ChatTokenizer
from bot.engine.watchdog import Watchdog
from bot.engine.worker import Worker

log = logging.getLogger(__name__)
_JOIN_S = 30.0  # how long `stop` waits for a step under way
_NOTHING = Snapshot(running=(), waiting=0, tokens_per_s=0.0, steps=0, generated_total=0)


class LocalEngine:
    """Serves many conversations from one Gemma 3; see `api.Engine` for what it promises.

    The model lives on a thread of its own; the event loop only tokenises and passes items on.
    """

    def __init__(self, config: LocalEngineConfig) -> None:
        self._config = config
        self._thread: Thread | None = None
        self._ready: Future[_Running] | None = None
        self._running: _Running | None = None
        self._in_flight = 0  # replies asked for and not ended

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def info(self) -> EngineInfo:
        """What is loaded. Raises EngineStopped before `start` is done."""
        return self._now().info

    async def start(self) -> None:
        """Load the model on the engine's thread. Raises ModelLoadError."""
        if self._thread is not None:
            return
        self._ready = Future()
        self._thread = Thread(
            target=_live, args=(self._config, self._ready), name="parley-engine", daemon=True
        )
        self._thread.start()
        try:
            self._running = await asyncio.wrap_future(self._ready)
        except ModelLoadError:
            self._thread = None
            raise
        except asyncio.CancelledError:
            # Loading can't be interrupted; the thread ends by itself when it is done.
            self._ready.add_done_callback(_stop_when_loaded)
            self._thread = None
            raise

    async def stop(self) -> None:
        """Cancel what runs, free the model. Idempotent."""
        running, thread = self._running, self._thread
        self._running = self._thread = self._ready = None
        if running is None or thread is None:
            return
        thread = running.stop() or thread
        await asyncio.to_thread(thread.join, _JOIN_S)
        if thread.is_alive():
            log.error("the engine's thread does not answer; its memory is not freed")
        del running
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Length in tokens of the prompt made of these messages."""
        return len(self._now().tokenizer.build_prompt(messages).ids)

    def snapshot(self) -> Snapshot:
        """The batcher after its last step."""
        return self._running.worker.snapshot() if self._running else _NOTHING

    async def stream(
        self,
        messages: Sequence[Message],
        sampling: SamplingParams,
        *,
        owner: str,
        conversation: str,
        share: float = 1.0,
    ) -> AsyncIterator[StreamItem]:
        """Generate one reply; see `api.Engine.stream`."""
        running = self._now()
        prompt = running.tokenizer.build_prompt(messages)
        limit = running.info.max_context - 1
        if len(prompt.ids) > limit:
            raise PromptTooLong(len(prompt.ids), limit)
        if self._in_flight >= self._config.max_batch + self._config.max_queue:
            raise EngineBusy(max(0, self._in_flight - len(running.worker.snapshot().running)))
        self._in_flight += 1
        request = self._request(running, prompt, sampling, owner, conversation)
        request.share = share
        try:
            if running.vision is not None:
                for digest, pixels in running.vision.prepare(prompt.images).items():
                    request.pixels[digest] = await asyncio.wrap_future(pixels)
            running.submit(request)
            while True:
                item = await request.queue.get()
                if isinstance(item, Exception):
                    raise item
                yield item
                if isinstance(item, Finish):
                    return
        finally:
            self._in_flight -= 1
            if not request.done:
                running.cancel(request)

    def _now(self) -> _Running:
        if self._running is None:
            raise EngineStopped("the engine is not running")
        self._running.check_not_lost()
        return self._running

    def _request(
        self,
        running: _Running,
        prompt: Prompt,
        sampling: SamplingParams,
        owner: str,
        conversation: str,
    ) -> Request:
        return Request(
            prompt=prompt,
            params=sampling,
            owner=owner,
            conversation=conversation,
            text=IncrementalDetokenizer(running.tokenizer, sampling.stop),
            sampler=Sampler(sampling, prompt.ids),
            loop=asyncio.get_running_loop(),
            queue=asyncio.Queue(),
        )


class _Running:
    """What exists while a model is loaded."""

    def __init__(self, config: LocalEngineConfig) -> None:
        loaded = load_model(config)
        blocks, max_context = build_blocks(config, loaded)
        images = loaded.tokenizer.image_tokens
        self.info = loaded.info(max_context)
        self.tokenizer: ChatTokenizer = loaded.tokenizer
        self.vision: Vision | None = None
        if loaded.image_processor is not None:
            cache = config.image_cache_mib * MIB
            self.vision = Vision(loaded.model, loaded.image_processor, cache)
        runner = ModelRunner(
            loaded.text_model,
            loaded.head,
            blocks,
            images.soft_id if images else None,
            loaded.choice,
        )
        if loaded.choice.records_graphs:
            runner.record(record_cuda, longest=max_context, most=config.max_batch)
        self.worker = Worker(
            # Somebody who decodes takes one token of the budget: leave some for prompts.
            Scheduler(
                blocks,
                max_running=config.max_batch,
                max_step_tokens=max(config.max_step_tokens, config.max_batch + 16),
            ),
            runner,
            self.vision,
            stop_ids=frozenset() if config.ignore_eos else loaded.stop_ids,
            max_context=max_context,
        )
        self.lost = False  # the device hangs, whatever is tried
        self._config = config
        self._lock = Lock()  # while one worker takes over from another
        self._thread: Thread | None = None  # of a worker that took over
        self._steps = -1  # the worker's count when it took over
        self._watchdog: Watchdog | None = None
        if config.step_timeout_s:
            self._watchdog = Watchdog(config.step_timeout_s, self._check)

    def submit(self, request: Request) -> None:
        """Queue a request up. Raises EngineStopped if the device was given up."""
        with self._lock:
            self.check_not_lost()
            self.worker.submit(request)

    def check_not_lost(self) -> None:
        """Raise EngineStopped if the device was given up."""
        if self.lost:
            raise EngineStopped("the device does not answer; Parley must be restarted")

    def cancel(self, request: Request) -> None:
        """Nobody reads it any more."""
        with self._lock:
            self.worker.cancel(request)

    def stop(self) -> Thread | None:
        """Cancel everything; the thread to wait for, if it isn't the first one."""
        with self._lock:
            if self._watchdog is not None:
                self._watchdog.stop()
            self.worker.stop()
            if self.vision is not None:
                self.vision.close()
            return self._thread

    def _check(self) -> None:
        """On the watchdog's thread: replace a worker that hangs; twice in a row is too much."""
        with self._lock:
            others = None if self.lost else self.worker.abandon(self._config.step_timeout_s)
            if others is None:
                return
            if self.worker.steps > self._steps:
                log.error("a step hung: its replies failed, a new worker goes on with the others")
                try:
                    self.worker = self.worker.renewed()
                except Exception:
                    log.critical("there is no memory for a new worker", exc_info=True)
                else:
                    self._steps = self.worker.steps
                    self._thread = Thread(
                        target=_work,
                        args=(self.worker, self._config.threads),
                        name="parley-engine",
                        daemon=True,
                    )
                    for request in others:
                        self.worker.submit(request)
                    self._thread.start()
                    return
            log.critical("the device does not answer: restart Parley")
            self.lost = True
            refuse(others, EngineStopped("the device does not answer"))


def _work(worker: Worker, threads: int) -> None:
    if threads:
        torch.set_num_threads(threads)  # counts for the calling thread only
    worker.run()


def _live(config: LocalEngineConfig, ready: Future[_Running]) -> None:
    """The engine's thread from loading to stopping."""
    try:
        if config.threads:
            torch.set_num_threads(config.threads)  # counts for the calling thread only
        running = _Running(config)
    except ModelLoadError as error:
        ready.set_exception(error)
        return
    except Exception as error:
        log.exception("the model could not be loaded")
        failure = ModelLoadError(f"PARLEY_MODEL={config.model} can't be loaded: {error}")
        failure.__cause__ = error
        ready.set_exception(failure)
        return
    worker = running.worker
    ready.set_result(running)
    del running
    worker.run()


def _stop_when_loaded(ready: Future[_Running]) -> None:
    if not ready.cancelled() and ready.exception() is None:
        ready.result().stop()
