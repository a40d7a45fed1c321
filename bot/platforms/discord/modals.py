"""The forms: a persona with its sampling settings, a question about a message."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import discord
from discord import ui

from bot.core.commands.parsing import Command
from bot.core.limits import MAX_PERSONA_LENGTH
from bot.core.personas import SAMPLING_FIELDS
from bot.core.records import SamplingOverrides
from bot.platforms.discord import texts
from bot.platforms.discord.pending_interactions import Interaction

if TYPE_CHECKING:
    from bot.platforms.discord.client import Client

OnSubmit: TypeAlias = Callable[[Interaction, Mapping[str, str]], Awaitable[None]]

#: A form has at most five fields: the most used settings have their own, the others share one.
_OWN_FIELD = ("temperature", "max_new_tokens")
_SHARED_FIELD = tuple(name for name in SAMPLING_FIELDS if name not in _OWN_FIELD)
_SETTING = re.compile(r"([a-z_-]+)\s*[=: ]\s*(\S+)", re.IGNORECASE)


class Form(ui.Modal):
    """A form whose fields become a command's arguments; empty ones are left out."""

    def __init__(self, title: str, on_submit: OnSubmit) -> None:
        super().__init__(title=title[:45], timeout=30 * 60)
        self._on_submit = on_submit
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
        values = {name: entry.value.strip() for name, entry in self._fields.items()}
        args = {name: value for name, value in values.items() if value}
        args |= _parse_settings(args.pop("more", ""))
        await self._on_submit(interaction, args)

    async def on_error(  # type: ignore[override]  # discord.py's modals pass no item
        self, interaction: Interaction, error: Exception, /
    ) -> None:
        client: Client = interaction.client
        await client.interactions.fail(interaction, error)


def takes_form(command: Command) -> bool:
    """Whether a command's text is written in a form, together with the sampling settings."""
    return any(parameter.name == "text" for parameter in command.parameters)


def persona_form(
    command: Command,
    on_submit: OnSubmit,
    *,
    text: str = "",
    sampling: SamplingOverrides | None = None,
) -> Form:
    """The form of a command that takes a persona's text, filled with the current values."""
    sampling = sampling or SamplingOverrides()
    form = Form(_title(command), on_submit)
    parameters = {parameter.name: parameter for parameter in command.parameters}
    form.add(
        "text",
        texts.PERSONA_FIELD,
        about=parameters["text"].help,
        value=text,
        long=True,
        required=parameters["text"].required,
        limit=MAX_PERSONA_LENGTH,
    )
    if "question" in parameters:
        form.add("question", texts.TRY_QUESTION_FIELD, long=True, limit=1000)
    if "temperature" in parameters:
        for name in _OWN_FIELD:
            form.add(
                name,
                name.replace("_", " "),
                about=parameters[name].help,
                value=_setting_text(sampling, name),
            )
        more = ", ".join(f"{n}={v}" for n in _SHARED_FIELD if (v := _setting_text(sampling, n)))
        form.add(
            "more",
            texts.MORE_SETTINGS_FIELD,
            about=texts.more_settings_help(_SHARED_FIELD),
            value=more,
            limit=200,
        )
    return form


def question_form(on_submit: OnSubmit, *, suggestion: str) -> Form:
    """Ask for a question about a message."""
    form = Form(texts.ASK_ABOUT_MENU, on_submit)
    form.add(
        "question", texts.QUESTION_FIELD, value=suggestion, long=True, required=True, limit=2000
    )
    return form


def _title(command: Command) -> str:
    words = command.name.replace("-", " ")
    return words[:1].upper() + words[1:]


def _setting_text(sampling: SamplingOverrides, name: str) -> str:
    value = getattr(sampling, name)
    return "" if value is None else str(value)


def _parse_settings(text: str) -> dict[str, str]:
    """`top_k=40, seed=1`, as people write it. Unknown names are kept, so that the core refuses
    them aloud."""
    pairs = _SETTING.findall(text.replace(",", " "))
    return {name.lower().replace("-", "_"): value for name, value in pairs}
