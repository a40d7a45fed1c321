"""`LocalEngine`: the contract of `api.py` over a model in this process."""

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
from bot.engine.model.kv_memory import MIB, build_block_manager
from bot.engine.model.loading import LocalEngineConfig, load_model
from bot.engine.model.runner import ModelRunner
from bot.engine.model.sampling import Sampler
from bot.engine.model.vision import Vision
from bot.engine.prompt import Prompt
from bot.engine.request import Request, fail_requests
from bot.engine.schedule.scheduler import Scheduler
from bot.engine.text.detokenizer import IncrementalDetokenizer
from bot.engine.text.tokenizer import ChatTokenizer
from bot.engine.watchdog import Watchdog
from bot.engine.worker import Worker

log = logging.getLogger(__name__)
_JOIN_TIMEOUT_S = 30.0  # how long `stop` waits for the step under way
_IDLE_SNAPSHOT = Snapshot(running=(), waiting=0, tokens_per_s=0.0, steps=0, generated_total=0)


class LocalEngine:
    """Serves many conversations from one Gemma 3; `api.Engine` says what the methods promise.

    The model runs on a thread of its own. The event loop only tokenizes and passes items on.
    """

    def __init__(self, config: LocalEngineConfig) -> None:
        self._config = config
        self._thread: Thread | None = None
        self._loading: Future[_LoadedEngine] | None = None
        self._running: _LoadedEngine | None = None
        self._in_flight = 0  # streams that haven't ended

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def info(self) -> EngineInfo:
        return self._require_running().info

    async def start(self) -> None:
        if self._thread is not None:
            return
        self._loading = Future()
        self._thread = Thread(
            target=_run_engine,
            args=(self._config, self._loading),
            name="parley-engine",
            daemon=True,
        )
        self._thread.start()
        try:
            self._running = await asyncio.wrap_future(self._loading)
        except ModelLoadError:
            self._thread = None
            raise
        except asyncio.CancelledError:
            # Loading can't be interrupted; the thread ends by itself when it is done.
            self._loading.add_done_callback(_stop_when_loaded)
            self._thread = None
            raise

    async def stop(self) -> None:
        running, thread = self._running, self._thread
        self._running = self._thread = self._loading = None
        if running is None or thread is None:
            return
        thread = running.stop() or thread
        await asyncio.to_thread(thread.join, _JOIN_TIMEOUT_S)
        if thread.is_alive():
            log.error("the engine's thread does not answer; its memory is not freed")
        del running
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return len(self._require_running().tokenizer.build_prompt(messages).ids)

    def snapshot(self) -> Snapshot:
        return self._running.worker.snapshot() if self._running else _IDLE_SNAPSHOT

    async def stream(
        self,
        messages: Sequence[Message],
        sampling: SamplingParams,
        *,
        owner: str,
        conversation: str,
        share: float = 1.0,
    ) -> AsyncIterator[StreamItem]:
        running = self._require_running()
        prompt = running.tokenizer.build_prompt(messages)
        limit = running.info.max_context - 1
        if len(prompt.ids) > limit:
            raise PromptTooLong(len(prompt.ids), limit)
        if self._in_flight >= self._config.max_batch + self._config.max_queue:
            raise EngineBusy(max(0, self._in_flight - len(running.worker.snapshot().running)))
        self._in_flight += 1
        request = _build_request(running, prompt, sampling, owner, conversation, share)
        try:
            if running.vision is not None:
                for digest, pixels in running.vision.start_preprocessing(prompt.images).items():
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

    def _require_running(self) -> _LoadedEngine:
        if self._running is None:
            raise EngineStopped("the engine is not running")
        self._running.check_not_lost()
        return self._running


def _build_request(
    running: _LoadedEngine,
    prompt: Prompt,
    sampling: SamplingParams,
    owner: str,
    conversation: str,
    share: float,
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
        share=share,
    )


class _LoadedEngine:
    """What exists while a model is loaded.

    `lost`: the device doesn't answer, and a new worker didn't help; only a restart does.
    """

    def __init__(self, config: LocalEngineConfig) -> None:
        loaded = load_model(config)
        blocks, max_context = build_block_manager(config, loaded)
        image_tokens = loaded.tokenizer.image_tokens
        self.info = loaded.engine_info(max_context)
        self.tokenizer: ChatTokenizer = loaded.tokenizer
        self.vision: Vision | None = None
        if loaded.image_processor is not None:
            cache_bytes = config.image_cache_mib * MIB
            self.vision = Vision(loaded.model, loaded.image_processor, cache_bytes)
        runner = ModelRunner(
            loaded.text_model,
            loaded.head,
            blocks,
            image_tokens.soft_id if image_tokens else None,
            loaded.choice,
        )
        if loaded.choice.records_graphs:
            runner.record_graphs(record_cuda, max_context=max_context, max_batch=config.max_batch)
        self.worker = Worker(
            Scheduler(
                blocks,
                max_running=config.max_batch,
                # A decoding sequence takes one token of the budget: leave some for prompts.
                max_step_tokens=max(config.max_step_tokens, config.max_batch + 16),
            ),
            runner,
            self.vision,
            stop_ids=frozenset() if config.ignore_eos else loaded.stop_ids,
            max_context=max_context,
        )
        self.lost = False
        self._config = config
        self._lock = Lock()  # held while one worker takes over from another
        self._thread: Thread | None = None  # of a worker that took over
        self._steps_at_takeover = -1
        self._watchdog: Watchdog | None = None
        if config.step_timeout_s:
            self._watchdog = Watchdog(config.step_timeout_s, self._check_worker)

    def submit(self, request: Request) -> None:
        """Queue a request. Raises EngineStopped if the device is lost."""
        with self._lock:
            self.check_not_lost()
            self.worker.submit(request)

    def check_not_lost(self) -> None:
        """Raise EngineStopped if the device is lost."""
        if self.lost:
            raise EngineStopped("the device does not answer; Parley must be restarted")

    def cancel(self, request: Request) -> None:
        with self._lock:
            self.worker.cancel(request)

    def stop(self) -> Thread | None:
        """Cancel everything; returns the thread to wait for, if it isn't the first one."""
        with self._lock:
            if self._watchdog is not None:
                self._watchdog.stop()
            self.worker.stop()
            if self.vision is not None:
                self.vision.close()
            return self._thread

    def _check_worker(self) -> None:
        """On the watchdog's thread: replace a worker that hangs, or give up the second time."""
        with self._lock:
            others = None if self.lost else self.worker.abandon_if_hung(self._config.step_timeout_s)
            if others is None:
                return
            if self.worker.num_steps > self._steps_at_takeover:
                log.error("a step hung: its replies failed, a new worker continues the others")
                try:
                    self.worker = self.worker.new_successor()
                except Exception:
                    log.critical("there is no memory for a new worker", exc_info=True)
                else:
                    self._steps_at_takeover = self.worker.num_steps
                    self._thread = Thread(
                        target=_run_worker,
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
            fail_requests(others, EngineStopped("the device does not answer"))


def _run_worker(worker: Worker, threads: int) -> None:
    if threads:
        torch.set_num_threads(threads)  # applies to the calling thread only
    worker.run()


def _run_engine(config: LocalEngineConfig, loading: Future[_LoadedEngine]) -> None:
    """The engine's thread, from loading to stopping."""
    try:
        if config.threads:
            torch.set_num_threads(config.threads)  # applies to the calling thread only
        running = _LoadedEngine(config)
    except ModelLoadError as error:
        loading.set_exception(error)
        return
    except Exception as error:
        log.exception("the model could not be loaded")
        failure = ModelLoadError(f"PARLEY_MODEL={config.model} can't be loaded: {error}")
        failure.__cause__ = error
        loading.set_exception(failure)
        return
    worker = running.worker
    loading.set_result(running)
    del running
    worker.run()


def _stop_when_loaded(loading: Future[_LoadedEngine]) -> None:
    if not loading.cancelled() and loading.exception() is None:
        loading.result().stop()
