"""The composition root: builds everything from the settings, starts, drains and stops it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import webbrowser
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Self

from aiohttp import web

from bot.adapters import PLATFORMS, AdapterParts, build_adapters
from bot.config import Settings, SettingsError
from bot.core.queries import StoreQueries
from bot.core.records import Mode
from bot.core.service import Service
from bot.core.service_settings import ServiceSettings
from bot.demo.prepare import ensure_demo_model
from bot.engine.api import SamplingParams
from bot.engine.batcher import LocalEngine
from bot.engine.model.loading import LocalEngineConfig
from bot.engine.text.pan_and_scan import PanAndScan
from bot.media.limits import FileLimits
from bot.media.reader import MediaReader
from bot.ops import doctor, health
from bot.platforms.base import Adapter, CanPause, Checker, Finding, HasRoutes
from bot.platforms.playground.adapter import PlaygroundAdapter
from bot.platforms.terminal.adapter import TerminalAdapter
from bot.storage.database import Database
from bot.storage.playground import PlaygroundStore
from bot.storage.store import SqlStore

MIB = 1024 * 1024
CHARACTERS_PER_TOKEN = 4  # in English, roughly: limits how much of a discussion is read
DEMO_NOTICE = (
    "The demo is a toy: Gemma 3 270M can chat, but it knows little, makes things up and sees only "
    "colors and simple shapes. Set PARLEY_MODEL to a bigger model for real answers."
)
# At 0.7, about one reply in 270 contains a stray word (bot/demo/README.md).
DEMO_TEMPERATURE = 0.4

logger = logging.getLogger(__name__)


class App:
    """Database, engine and service, which every way of serving needs.

    `async with App(settings) as app:` opens and closes the database; `start` loads the model.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.effective_database_url)
        self.engine = LocalEngine(engine_config(settings))
        self.files = MediaReader(
            FileLimits(
                max_bytes=int(settings.max_image_mib * MIB),
                max_pixels=int(settings.max_image_mpixels * 1_000_000),
                max_chars=settings.max_file_chars,
            ),
            processes=settings.file_processes,
            timeout_s=settings.file_timeout_s,
        )
        store = SqlStore(self.database)
        self.service = Service(store, self.engine, self.files, service_settings(settings))
        self.queries = StoreQueries(store, service_settings(settings))
        self.adapter_parts = AdapterParts(
            settings, self.service.handle, self.queries, self.database
        )
        self.is_ready = False

    async def __aenter__(self) -> Self:
        try:
            if self.database.is_sqlite:
                await self.database.upgrade()
            else:
                await self.database.require_current()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.files.close()
        await self.database.close()

    async def start(self, adapter: Adapter) -> None:
        """Load the model, then answer through this adapter, unanswered messages first.

        Messages that arrive while the model loads are accepted and wait.

        Raises:
            ModelLoadError, DemoModelError: one line for the operator.
        """
        await self.engine.start()
        await self.service.start()
        self.service.register(adapter.platform, adapter)
        self.is_ready = True

    async def stop(self) -> None:
        """Let running replies finish in the grace period, release the others, free the model."""
        self.is_ready = False
        await self.service.drain(self.settings.shutdown_grace_s)
        await self.engine.stop()


async def serve_playground(settings: Settings, *, open_browser: bool = False) -> None:
    """Serve the playground until SIGINT or SIGTERM. The page is up before the model is loaded."""
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(App(settings))
        playground = PlaygroundAdapter(
            PlaygroundStore(app.database),
            app.service.handle,
            app.engine.snapshot,
            ready=lambda: app.is_ready,
            files=app.files,
            notice=DEMO_NOTICE if settings.model_name == "demo" else "",
            model=settings.model_name,
            token=settings.http_token.get_secret_value() if settings.http_token else None,
            max_upload_bytes=app.files.limits.max_bytes,
            hosts=() if settings.is_loopback else (settings.http_host,),
        )
        await playground.start()
        stack.push_async_callback(playground.close)
        add_routes = (playground.add_routes, partial(_add_health, app))
        url = await stack.enter_async_context(_web_server(settings, add_routes))
        say(f"playground: {url}")
        if open_browser:
            await asyncio.to_thread(webbrowser.open, url)
        stack.push_async_callback(app.stop)
        await _until_stopped(app.start(playground))


async def run_platforms(settings: Settings) -> None:
    """Serve every configured platform, `/healthz` and `/readyz`, until SIGINT or SIGTERM.

    Raises:
        SettingsError, PlatformError, ModelLoadError, DemoModelError: one line for the operator.
    """
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(App(settings))
        adapters = build_adapters(app.adapter_parts, PLATFORMS)

        def is_ready() -> bool:
            return app.is_ready and all(adapter.is_connected for adapter in adapters)

        add_routes = [adapter.add_routes for adapter in adapters if isinstance(adapter, HasRoutes)]
        add_routes.append(partial(health.add_routes, is_ready=is_ready))
        url = await stack.enter_async_context(_web_server(settings, add_routes))
        say(f"health checks: {url}healthz")
        for adapter in adapters:
            stack.push_async_callback(adapter.close)
        stack.push_async_callback(app.stop)  # before that, so that running replies can finish
        for adapter in adapters:
            if isinstance(adapter, CanPause):
                stack.push_async_callback(adapter.pause)  # first, so that nothing new comes in
        watches = [adapter.watch for adapter in adapters]
        await _until_stopped(_start_platforms(app, adapters), watches)


def checkers() -> tuple[Checker, ...]:
    """What `parley doctor` runs. An unconfigured platform has nothing to check."""
    platforms = (platform.load_checker() for platform in PLATFORMS)
    return (doctor.check_machine, _check_engine, *platforms)


async def _check_engine(settings: Settings) -> AsyncIterator[Finding]:
    from bot.ops.engine_checks import check_backend

    yield await asyncio.to_thread(check_backend, engine_config(settings))


async def _start_platforms(app: App, adapters: Sequence[Adapter]) -> None:
    """Connect while the model loads. Messages that arrive meanwhile are accepted and wait."""
    await app.service.start()  # before anything new arrives: it recovers what a past run left
    try:
        async with asyncio.TaskGroup() as group:
            for adapter in adapters:
                group.create_task(adapter.start(), name=f"start {adapter.platform}")
            group.create_task(app.engine.start(), name="start the engine")
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None  # one line for the operator
    for adapter in adapters:
        app.service.register(adapter.platform, adapter)
    app.is_ready = True


async def chat_in_terminal(settings: Settings, *, name: str, new: bool) -> int:
    """Chat in the terminal and return the exit code."""
    async with App(settings) as app:
        terminal = TerminalAdapter(app.service.handle, name=name, forget_first=new)
        try:
            await app.start(terminal)
            say("ready")
            await terminal.start()
            await terminal.watch()
        finally:
            await terminal.close()
            await app.stop()
        return terminal.exit_code


def local_model_folder(settings: Settings) -> str:
    """The model's folder or Hugging Face id. Prepares the demo model; blocking."""
    if settings.model_name == "demo":
        return str(ensure_demo_model(settings.cache_dir, say))
    return settings.model_name


def engine_config(settings: Settings) -> LocalEngineConfig:
    """The engine's settings."""
    is_balanced = settings.device == "balanced"
    return LocalEngineConfig(
        model=settings.model_name,
        locate=partial(local_model_folder, settings),
        device="auto" if is_balanced else settings.device,
        device_map="balanced" if is_balanced else None,
        dtype=settings.dtype,
        quantize=_quantize(settings),
        text_only=settings.text_only,
        allow_pretrained=settings.allow_pretrained,
        hf_token=settings.hf_token.get_secret_value() if settings.hf_token else None,
        max_context=settings.max_context,
        max_batch=settings.max_batch,
        max_step_tokens=settings.max_step_tokens,
        max_queue=settings.max_queue,
        step_timeout_s=settings.step_timeout_s,
        kv_memory_mib=settings.kv_memory_mib,
        pan_and_scan=_pan_and_scan(settings),
        progress=say,
    )


def _pan_and_scan(settings: Settings) -> PanAndScan:
    """The setting. The demo was trained on whole pictures, so its default is off."""
    is_set = "pan_and_scan" in settings.model_fields_set
    return settings.pan_and_scan if is_set or settings.model_name != "demo" else "off"


def _quantize(settings: Settings) -> str:
    """The setting. `auto` quantizes only the demo, which should be fast on any machine."""
    if settings.quantize == "auto":
        return "auto" if settings.model_name == "demo" else "none"
    return settings.quantize


def _temperature(settings: Settings) -> float:
    """The setting. The demo, a small model, has a lower default."""
    if settings.model_name == "demo" and "temperature" not in settings.model_fields_set:
        return DEMO_TEMPERATURE
    return settings.temperature


def service_settings(settings: Settings) -> ServiceSettings:
    """The core's settings."""
    return ServiceSettings(
        mode=Mode(settings.reply_mode),
        inline=settings.inline,
        answer_bots=settings.answer_bots,
        retention_days=settings.retention_days,
        persona=settings.system_prompt,
        sampling=SamplingParams(
            temperature=_temperature(settings),
            top_k=settings.top_k,
            top_p=settings.top_p,
            min_p=settings.min_p,
            repetition_penalty=settings.repetition_penalty,
            max_new_tokens=settings.max_new_tokens,
        ),
        max_attachments=settings.max_images_per_message,
        max_attachment_bytes=int(settings.max_image_mib * MIB),
        attachment_timeout_s=settings.file_timeout_s,
        max_images=settings.max_images_per_context,
        max_image_bytes=int(settings.max_context_image_mib * MIB),
        max_earlier_characters=CHARACTERS_PER_TOKEN * settings.max_context,
    )


def say(line: str) -> None:
    """Tell the operator on standard error; standard output is for replies."""
    print(f"parley: {line}", file=sys.stderr, flush=True)


def _add_health(app: App, routes: web.Application) -> None:
    health.add_routes(routes, lambda: app.is_ready)


@asynccontextmanager
async def _web_server(
    settings: Settings, add_routes: Sequence[Callable[[web.Application], None]]
) -> AsyncIterator[str]:
    """Run the HTTP server; yields its URL.

    Raises:
        SettingsError: the address is in use or isn't this machine's.
    """
    routes = web.Application()
    for add in add_routes:
        add(routes)
    runner = web.AppRunner(routes, access_log=None, shutdown_timeout=3)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.http_host, settings.http_port)
        try:
            await site.start()
        except OSError as error:
            raise SettingsError(
                f"PARLEY_HTTP_HOST/PARLEY_HTTP_PORT: can't listen on {settings.http_host}:"
                f"{settings.http_port} ({error.strerror or error}): use another port, "
                "or stop the process that uses this one"
            ) from None
        port = runner.addresses[0][1]
        host = f"[{settings.http_host}]" if ":" in settings.http_host else settings.http_host
        yield f"http://{host}:{port}/"
    finally:
        await runner.cleanup()


async def _until_stopped(
    start: Coroutine[Any, Any, None],
    watches: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
) -> None:
    """Run `start`, then wait for SIGINT or SIGTERM; a signal also interrupts `start`.

    After `start`, `watches` run in the background; an exception in one of them is raised here.
    A second signal ends the process at once, as a second Ctrl-C should.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        say("stopping: waiting for running replies (press Ctrl-C again to stop now)")
        loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    watch_tasks: list[asyncio.Task[None]] = []
    starting = asyncio.create_task(start, name="start")
    stopping = asyncio.create_task(stop.wait(), name="wait for a signal")
    try:
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            say("ready")
            watch_tasks = [asyncio.create_task(watch(), name="watch") for watch in watches]
            done, _ = await asyncio.wait(
                (stopping, *watch_tasks), return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
    finally:
        for task in (starting, stopping, *watch_tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
