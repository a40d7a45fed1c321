"""The forms: a persona with its sampling settings, a question about a message."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import discord
from discord import ui

from bot.core.commands.parsing import Command
from bot.core.personas import MAX_TEXT, SAMPLING_FIELDS
from bot.core.records import SamplingOverrides

Interaction = discord.Interaction[Any]
Submitted: TypeAlias = Callable[[Interaction, Mapping[str, str]], Awaitable[None]]

#: A form has five fields: those that people change have their own, the others share one.
_OWN_FIELD = ("temperature", "max_new_tokens")
_SHARED = tuple(name for name in SAMPLING_FIELDS if name not in _OWN_FIELD)
_SETTING = re.compile(r"([a-z_-]+)\s*[=: ]\s*(\S+)", re.IGNORECASE)


class Form(ui.Modal):
    """A form whose fields become a command's arguments; empty ones are left out."""

    def __init__(self, title: str, submitted: Submitted) -> None:
        super().__init__(title=title[:45], timeout=30 * 60)
        self._submitted = submitted
        self._fields: dict[str, ui.TextInput[Any]] = {}

    def add(
        self,
        name: str,
        label: str,
        *,
        about: str = "",
        value: str = "",
        long: bool = False,
        required: bool = False,
        limit: int = 100,
    ) -> None:
        """Add a text field; `limit` in characters, at most 4,000."""
        entry: ui.TextInput[Any] = ui.TextInput(
            style=discord.TextStyle.paragraph if long else discord.TextStyle.short,
            default=value[:limit] or None,
            required=required,
            max_length=limit,
            custom_id=name,
        )
        self._fields[name] = entry
        self.add_item(ui.Label(text=label[:45], description=about[:100] or None, component=entry))

    async def on_submit(self, interaction: Interaction) -> None:
        """Hand the filled fields over."""
        filled = {name: entry.value.strip() for name, entry in self._fields.items()}
        args = {name: value for name, value in filled.items() if value}
        args |= _settings(args.pop("more", ""))
        await self._submitted(interaction, args)

    async def on_error(  # type: ignore[override]  # a modal's has no item, so discord.py's own
        self, interaction: Interaction, error: Exception, /
    ) -> None:
        """Whatever goes wrong is told as it is for commands."""
        await interaction.client.on_interaction_error(interaction, error)


def persona_form(
    command: Command,
    submitted: Submitted,
    *,
    text: str = "",
    sampling: SamplingOverrides | None = None,
) -> Form:
    """The form of a command that takes a persona's text, filled with what counts now."""
    sampling = sampling or SamplingOverrides()
    form = Form(_title(command), submitted)
    names = {parameter.name: parameter for parameter in command.parameters}
    form.add(
        "text",
        "Persona",
        about=names["text"].help,
        value=text,
        long=True,
        required=names["text"].required,
        limit=MAX_TEXT,
    )
    if "question" in names:
        form.add("question", "A question to try it on", long=True, limit=1000)
    if "temperature" in names:
        for name in _OWN_FIELD:
            form.add(
                name, name.replace("_", " "), about=names[name].help, value=_shown(sampling, name)
            )
        more = ", ".join(f"{n}={v}" for n in _SHARED if (v := _shown(sampling, n)))
        form.add(
            "more",
            "More sampling settings",
            about=f"Of {', '.join(_SHARED)}: top_k=40, seed=1",
            value=more,
            limit=200,
        )
    return form


def question_form(title: str, submitted: Submitted, *, suggestion: str) -> Form:
    """Ask for a question."""
    form = Form(title, submitted)
    form.add("question", "Your question", value=suggestion, long=True, required=True, limit=2000)
    return form


def _title(command: Command) -> str:
    words = command.name.replace("-", " ")
    return words[:1].upper() + words[1:]


def _shown(sampling: SamplingOverrides, name: str) -> str:
    value = getattr(sampling, name)
    return "" if value is None else str(value)


def _settings(text: str) -> dict[str, str]:
    """`top_k=40, seed=1`, as people write such things. A name that is none is kept, so that the
    core refuses it aloud instead of it being dropped."""
    pairs = _SETTING.findall(text.replace(",", " "))
    return {name.lower().replace("-", "_"): value for name, value in pairs}
