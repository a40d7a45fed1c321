"""A platform has an ability or declares that it lacks it; the suite checks what it declares."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.core.service_settings import ServiceSettings
from tests.contract.conftest import HARNESSES
from tests.contract.harness import Ability, Harness, Message, Person, Scenario, Undeclared, needs

ROOT = Path(__file__).parents[2]
SHIPPED = ("discord", "slack", "playground", "terminal")
#: What a harness has to do to show an ability; the others show in the scenarios only.
METHODS = {
    Ability.MENTIONS: ("bot",),
    Ability.EDITS: ("edit", "written_before"),
    Ability.OTHER_PEOPLE: ("overheard",),
    Ability.BUTTONS: ("regenerate", "press_made_up"),
    Ability.PRIVATE_QUESTIONS: ("ask_privately",),
    Ability.MESSAGE_MENUS: ("summarize",),
    Ability.HISTORY: ("discussion",),
    Ability.CATCH_UP: ("say_unheard",),
}

by_name = pytest.mark.parametrize("harness", HARNESSES, ids=lambda harness: harness.name)


def scenarios() -> Iterator[Scenario]:
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"tests.contract.{file.stem}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("test_") and "chat" in inspect.signature(function).parameters:
                yield function


@by_name
def test_what_is_not_implemented_is_declared_missing(harness: type[Harness]) -> None:
    for ability, methods in METHODS.items():
        for method in methods:
            has = getattr(harness, method) is not getattr(Harness, method)
            assert has is (ability not in harness.missing), (ability, method)


def test_every_shipped_platform_is_in_the_suite() -> None:
    folders = {path.parent.name for path in (ROOT / "bot/platforms").glob("*/adapter.py")}
    assert folders == set(SHIPPED)
    assert {harness.name for harness in HARNESSES} == {*SHIPPED, "toy"}


@pytest.mark.parametrize("name", SHIPPED)
def test_at_least_six_scenarios_need_no_fallback(name: str) -> None:
    harness = next(harness for harness in HARNESSES if harness.name == name)
    whole = [s for s in scenarios() if not getattr(s, "abilities", set()) & harness.missing]
    assert len(whole) >= 6


def test_every_ability_is_needed_by_a_scenario_and_missing_somewhere() -> None:
    needed = {ability for s in scenarios() for ability in getattr(s, "abilities", ())}
    assert needed == set(Ability)
    assert {ability for harness in HARNESSES for ability in harness.missing} == set(Ability)


def test_every_fallback_is_documented() -> None:
    guide = (ROOT / "docs/adapters.md").read_text()
    rows = [line.split("|") for line in guide.splitlines() if line.startswith("|")]
    documented = {cells[1].strip(): cells[3].strip() for cells in rows if len(cells) > 3}
    for ability in Ability:
        assert documented.get(str(ability)), f"no row for {ability!r}"


def test_every_rule_has_the_home_and_the_scenarios_that_the_architecture_names() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    section = text.partition("## One home for every rule")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| [^|]+ \| `([\w.]+)` \| `(\w+\.py)` \|$", section, re.MULTILINE)
    assert len(rows) >= 10
    for home, scenarios in rows:
        module, _, name = home.rpartition(".")
        assert hasattr(importlib.import_module(module), name), home
        assert (Path(__file__).parent / scenarios).exists(), scenarios


class Silent(Harness):
    """A platform that can do nothing and declares nothing."""

    name = "silent"

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def crash(self) -> None: ...

    async def restart(self) -> None: ...

    async def say(self, text: str, **_: object) -> Message:
        return Message(Person.ASKER)

    async def say_in_private(self, text: str, **_: object) -> Message:
        return Message(Person.ASKER)

    async def stop_reply(self, message: Message, **_: object) -> str:
        return ""

    async def command(self, text: str, **_: object) -> str:
        return ""

    def posts(self, message: Message) -> list[str]:
        return []


class Honest(Silent):
    """The same, declared."""

    missing = frozenset(Ability)


async def test_a_missing_ability_that_is_not_declared_fails_the_scenario(
    tmp_path: Path,
) -> None:
    checked = []

    async def fallback(chat: Harness) -> None:
        checked.append(chat.name)

    @needs(Ability.EDITS, otherwise=fallback)
    async def scenario(chat: Harness) -> None:
        await chat.edit(await chat.say("hello"), "hello, bot")

    with pytest.raises(Undeclared, match="silent has no edits"):
        await scenario(Silent(tmp_path, ServiceSettings()))
    assert checked == []
    await scenario(Honest(tmp_path, ServiceSettings()))
    assert checked == ["silent"]
