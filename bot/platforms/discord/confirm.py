"""The question before something is deleted for good: two buttons, for the one who asked alone."""

from __future__ import annotations

import re
from typing import Any, Literal, Protocol, Self, TypeAlias, cast

import discord

What: TypeAlias = Literal["me", "here", "nothing"]

KEPT = "Nothing was deleted."
_QUESTIONS: dict[str, str] = {
    "me": "Shall I delete all that you wrote to me in this server, and my replies to it?",
    "here": "Shall I delete all that I remember of this channel and its threads, everybody's?",
    "thread": "Shall I delete all that I remember of this thread, everybody's?",
    "dm": "Shall I delete all that we wrote to each other here?",
}
_FOR_GOOD = "It is deleted for good."
_LABELS: dict[What, tuple[str, discord.ButtonStyle]] = {
    "me": ("Delete it", discord.ButtonStyle.danger),
    "here": ("Delete it", discord.ButtonStyle.danger),
    "nothing": ("Keep it", discord.ButtonStyle.secondary),
}


class Confirms(Protocol):
    """Who is told of the answer: the client."""

    async def confirmed(self, interaction: discord.Interaction[Any], what: What) -> None:
        """Delete this."""
        ...


class Confirm(
    discord.ui.DynamicItem[discord.ui.Button[discord.ui.View]],
    template=r"parley:forget:(?P<what>me|here|nothing)",
):
    """One answer. It works after a restart, too."""

    def __init__(self, what: What) -> None:
        label, style = _LABELS[what]
        super().__init__(
            discord.ui.Button(label=label, style=style, custom_id=f"parley:forget:{what}")
        )
        self.what: What = what

    @classmethod
    async def from_custom_id(
        cls,
        interaction: discord.Interaction[Any],
        item: discord.ui.Item[Any],
        match: re.Match[str],
        /,
    ) -> Self:
        """A button of some message, perhaps of an earlier run."""
        return cls(cast(What, match["what"]))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Pressed."""
        await cast(Confirms, interaction.client).confirmed(interaction, self.what)


def question(what: str, *, in_thread: bool, is_dm: bool) -> str:
    """What is asked before `/forget me` or `/forget here`."""
    if is_dm:
        what = "dm"
    elif what == "here" and in_thread:
        what = "thread"
    return f"{_QUESTIONS[what]} {_FOR_GOOD}"


def answers(what: What) -> discord.ui.View:
    """The two buttons."""
    view = discord.ui.View(timeout=None)
    view.add_item(Confirm(what))
    view.add_item(Confirm("nothing"))
    return view
