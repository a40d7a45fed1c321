"""`parley run` as a real process, pointed at a local server."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

START_S = 400.0  # torch takes its time on a busy machine


@dataclass
class Process:
    """A running Parley; `log` is its standard error, line by line."""

    process: asyncio.subprocess.Process
    log: list[str] = field(default_factory=list)
    reader: asyncio.Task[None] | None = None

    async def says(self, text: str, timeout_s: float = START_S) -> str:
        """The first line of its log with this in it. Raises AssertionError with all of it."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while asyncio.get_running_loop().time() < deadline:
            for line in self.log:
                if text in line:
                    return line
            if self.process.returncode is not None and self.reader and self.reader.done():
                break
            await asyncio.sleep(0.05)
        raise AssertionError(f"it never said {text!r}:\n" + "\n".join(self.log))

    async def kill(self) -> None:
        """As a crash ends it."""
        self.process.kill()
        await self.process.wait()

    async def stop(self, timeout_s: float = 60.0) -> int:
        """As an operator ends it; its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), timeout_s)


@asynccontextmanager
async def parley(
    folder: Path, env: Mapping[str, str], *args: str, ready: bool = True
) -> AsyncIterator[Process]:
    """Run `parley run` (or other `args`) with its data in `folder`; ended when the block is."""
    clean = {name: value for name, value in os.environ.items() if not _is_ours(name)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bot",
        *(args or ("run",)),
        cwd=folder,
        env={
            **clean,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PARLEY_DATA_DIR": str(folder / "data"),
            "PARLEY_HTTP_PORT": "0",
            "HF_HUB_OFFLINE": "1",
            **env,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    running = Process(process)

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            running.log.append(line.decode(errors="replace").rstrip())

    running.reader = asyncio.create_task(read())
    try:
        if ready:
            await running.says("parley: ready")
        yield running
    except BaseException:
        print("\n".join(running.log))  # a failed test shows what the process said
        raise
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await running.reader


def _is_ours(name: str) -> bool:
    return name.startswith(("PARLEY_", "DISCORD_", "SLACK_"))
