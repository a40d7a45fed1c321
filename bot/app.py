"""The composition root: builds everything from the settings, starts it, drains it, stops it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import webbrowser
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Self

from aiohttp import web

from bot.config import Settings, SettingsError
from bot.core import commands
from bot.core.ports import ReplyTarget
from bot.core.service import Service
from bot.core.settings import ServiceSettings
from bot.demo.prepare import ensure_demo_model
from bot.engine.api import SamplingParams
from bot.engine.batcher import LocalEngine
from bot.engine.loading import LocalEngineConfig
from bot.media.images import ImageLimits, PillowImageReader
from bot.ops import health
from bot.platforms import terminal
from bot.platforms.playground.playground import Playground
from bot.platforms.terminal import TerminalChat
from bot.storage.database import Database
from bot.storage.playground import PlaygroundStore
from bot.storage.store import SqlStore

MIB = 1024 * 1024
DEMO_NOTICE = (
    "The demo is a toy: Gemma 3 270M converses, but it knows little, makes things up and reads "
    "text only. Name a bigger model with PARLEY_MODEL for real answers."
)

logger = logging.getLogger(__name__)


class App:
    """What every way to serve has in common: database, engine, service.

    `async with App(settings) as app:` opens and closes the database; `start` loads the model.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.effective_database_url)
        self.engine = LocalEngine(engine_config(settings))
        self.images = PillowImageReader(
            ImageLimits(
                max_bytes=int(settings.max_image_mib * MIB),
                max_pixels=int(settings.max_image_mpixels * 1_000_000),
            )
        )
        self.service = Service(
            SqlStore(self.database), self.engine, self.images, service_settings(settings)
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
        self.images.close()
        await self.database.close()

    async def start(self, platforms: dict[str, ReplyTarget]) -> None:
        """Load the model, then answer on these platforms, first what is still owed there.

        Messages that arrive before are accepted and wait.

        Raises:
            ModelLoadError, DemoModelError: one line for the operator.
        """
        await self.engine.start()
        await self.service.start()
        for platform, target in platforms.items():
            self.service.register(platform, target)
        self.is_ready = True

    async def stop(self) -> None:
        """Let running replies end within the grace period, hand the rest back, free the model."""
        self.is_ready = False
        await self.service.drain(self.settings.shutdown_grace_s)
        await self.engine.stop()


async def serve_playground(settings: Settings, *, open_browser: bool = False) -> None:
    """Serve the playground until SIGINT or SIGTERM. The page is there before the model is."""
    async with AsyncExitStack() as stack:
        app = await stack.enter_async_context(App(settings))
        playground = Playground(
            PlaygroundStore(app.database),
            app.service.handle,
            app.engine.snapshot,
            ready=lambda: app.is_ready,
            images=app.images,
            notice=DEMO_NOTICE if settings.model_name == "demo" else "",
            model=settings.model_name,
            token=settings.http_token.get_secret_value() if settings.http_token else None,
            max_upload_bytes=app.images.limits.max_bytes,
            hosts=() if settings.is_loopback else (settings.http_host,),
        )
        await playground.start()
        stack.push_async_callback(playground.close)
        add_routes = (playground.add_routes, partial(_add_health, app))
        url = await stack.enter_async_context(_web_server(settings, add_routes))
        say(f"The playground is at {url}")
        if open_browser:
            await asyncio.to_thread(webbrowser.open, url)
        stack.push_async_callback(app.stop)
        await _until_stopped(app.start({"playground": playground}))


async def chat_in_terminal(settings: Settings, *, name: str, new: bool) -> int:
    """Talk in the terminal; returns the exit code."""
    async with App(settings) as app:
        chat = TerminalChat(app.service.handle, commands.complete, name=name, forget_first=new)
        try:
            await app.start({terminal.PLATFORM: chat})
            return await chat.run()
        finally:
            await app.stop()


def local_model_folder(settings: Settings) -> str:
    """The folder (or Hub id) of the model, prepared if it is the demo's. Blocking."""
    if settings.model_name == "demo":
        return str(ensure_demo_model(settings.cache_dir, say))
    return settings.model_name


def engine_config(settings: Settings) -> LocalEngineConfig:
    """The engine's part of the settings."""
    spread = settings.device == "balanced"
    return LocalEngineConfig(
        model=settings.model_name,
        locate=partial(local_model_folder, settings),
        device="auto" if spread else settings.device,
        device_map="balanced" if spread else None,
        dtype=settings.dtype,
        text_only=settings.text_only,
        allow_pretrained=settings.allow_pretrained,
        hf_token=settings.hf_token.get_secret_value() if settings.hf_token else None,
        max_context=settings.max_context,
        max_batch=settings.max_batch,
        max_step_tokens=settings.max_step_tokens,
        max_queue=settings.max_queue,
        kv_memory_mib=settings.kv_memory_mib,
        progress=say,
    )


def service_settings(settings: Settings) -> ServiceSettings:
    """The core's part of the settings."""
    return ServiceSettings(
        persona=settings.system_prompt,
        sampling=SamplingParams(
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_p=settings.top_p,
            min_p=settings.min_p,
            repetition_penalty=settings.repetition_penalty,
            max_new_tokens=settings.max_new_tokens,
        ),
        max_attachments=settings.max_images_per_message,
        max_attachment_bytes=int(settings.max_image_mib * MIB),
        max_images=settings.max_images_per_context,
    )


def say(line: str) -> None:
    """Tell the operator what happens; standard output belongs to replies."""
    print(f"parley: {line}", file=sys.stderr, flush=True)


def _add_health(app: App, routes: web.Application) -> None:
    health.add_routes(routes, lambda: app.is_ready)


@asynccontextmanager
async def _web_server(
    settings: Settings, add_routes: tuple[Callable[[web.Application], None], ...]
) -> AsyncIterator[str]:
    """Parley's HTTP server; yields its address.

    Raises:
        SettingsError: the address is taken or is none of this machine's.
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
                "or stop what listens there"
            ) from None
        port = runner.addresses[0][1]
        host = f"[{settings.http_host}]" if ":" in settings.http_host else settings.http_host
        yield f"http://{host}:{port}/"
    finally:
        await runner.cleanup()


async def _until_stopped(start: Coroutine[Any, Any, None]) -> None:
    """Run `start`, then wait for SIGINT or SIGTERM; either may come while it starts.

    A second signal ends the process at once, as people expect of a second Ctrl-C.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal(number: signal.Signals) -> None:
        say("stopping: running replies may end; again to stop at once")
        loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    starting = asyncio.create_task(start, name="start")
    stopping = asyncio.create_task(stop.wait(), name="wait for a signal")
    try:
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            say("ready")
            await stopping
    finally:
        for task in (starting, stopping):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
