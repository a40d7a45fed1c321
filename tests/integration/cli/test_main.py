"""The command `parley`, as a process: exit codes, one-line errors, the database commands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bot.cli.main import app

TORCHLESS = "import sys; sys.argv = ['parley', '--help']\ntry:\n import bot.cli.main; bot.cli.main.main()\nexcept SystemExit: pass\nsys.exit('torch' in sys.modules)"  # noqa: E501


def parley(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PARLEY_")}
    for name in ("DISCORD_TOKEN", "SLACK_BOT_TOKEN", "SLACK_APP_TOKEN"):
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, "-m", "bot", *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[3]), **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def assert_one_line(done: subprocess.CompletedProcess[str], *says: str) -> None:
    assert done.returncode == 1, done
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("parley: ")
    for text in says:
        assert text in last
    assert "Traceback" not in done.stderr


def commands(command: Any, name: str = "") -> Iterator[str]:
    """The name of each group and command below this one, itself included."""
    yield name
    for child, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{name} {child}".strip())


@pytest.mark.parametrize("command", sorted(commands(typer.main.get_command(app))))
def test_every_command_has_help(command: str) -> None:
    shown = CliRunner().invoke(app, [*command.split(), "--help"])
    assert shown.exit_code == 0, shown.output
    assert "Usage" in shown.output


def test_help_as_a_process(tmp_path: Path) -> None:
    done = parley(tmp_path, "--help")
    assert done.returncode == 0
    assert "Usage: parley" in done.stdout


def test_help_does_not_load_torch() -> None:
    done = subprocess.run([sys.executable, "-c", TORCHLESS], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_wrong_setting_is_one_line(tmp_path: Path) -> None:
    assert_one_line(parley(tmp_path, "chat", PARLEY_MAX_BATCH="many"), "PARLEY_MAX_BATCH", "many")


def test_run_without_a_platform_says_what_to_set(tmp_path: Path) -> None:
    assert_one_line(parley(tmp_path, "run"), "DISCORD_TOKEN", "SLACK_BOT_TOKEN", "playground")


def test_run_does_not_show_the_token(tmp_path: Path) -> None:
    done = parley(
        tmp_path,
        "run",
        DISCORD_TOKEN="very-secret-token",
        DISCORD_API_URL="http://127.0.0.1:9/api",  # nobody listens there
        PARLEY_MODEL="./nothing-here",
    )
    assert_one_line(done)  # of the platform or the model, whichever is refused first
    assert "very-secret" not in done.stdout + done.stderr


def test_a_missing_model_folder_is_one_line(tmp_path: Path) -> None:
    done = parley(tmp_path, "chat", PARLEY_MODEL="./nothing-here")
    assert_one_line(done, "PARLEY_MODEL", "nothing-here")


def test_bench_refuses_unknown_names(tmp_path: Path) -> None:
    done = parley(tmp_path, "bench", "--workload", "marathon", "--model", str(tmp_path))
    assert_one_line(done, "--workload", "marathon", "steady")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = parley(tmp_path, "--debug", "run")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_the_database_is_made_shown_and_copied(tmp_path: Path) -> None:
    assert parley(tmp_path, "db", "upgrade").returncode == 0
    assert "latest" in parley(tmp_path, "db", "current").stdout
    assert parley(tmp_path, "db", "backup", "copy.db").returncode == 0
    assert (tmp_path / "copy.db").stat().st_size > 0
    assert_one_line(parley(tmp_path, "db", "backup", "copy.db"), "copy.db")


def test_an_unreachable_database_is_one_line(tmp_path: Path) -> None:
    url = "postgresql+asyncpg://me:geheim@127.0.0.1:1/parley"
    done = parley(tmp_path, "db", "current", PARLEY_DATABASE_URL=url)
    assert_one_line(done)
    assert "geheim" not in done.stderr


def test_personas_and_forgetting(tmp_path: Path) -> None:
    assert_one_line(parley(tmp_path, "persona", "list"), "parley db upgrade")
    assert parley(tmp_path, "db", "upgrade").returncode == 0
    done = parley(tmp_path, "persona", "set", "discord/1/2", "Be kind.", "--temperature", "0.2")
    assert done.returncode == 0, done
    assert "Be kind. (temperature 0.2)" in parley(tmp_path, "persona", "list").stdout
    assert_one_line(parley(tmp_path, "persona", "show", "nowhere"), "is not a scope")
    assert_one_line(parley(tmp_path, "forget", "discord/1"), "--yes")
    done = parley(tmp_path, "forget", "discord/1", "--yes")
    assert (done.returncode, done.stdout.strip()) == (0, "turns deleted in discord/1: 0")
