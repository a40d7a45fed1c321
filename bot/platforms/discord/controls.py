"""The buttons under a reply. All they need is in their ids, so they outlive a restart."""

from __future__ import annotations

import re
from typing import Any, Literal, Protocol, Self, TypeAlias, cast

import discord

Action: TypeAlias = Literal["stop", "regenerate", "good", "bad"]

_LABELS: dict[Action, tuple[str | None, str]] = {
    "stop": ("Stop", "⏹️"),
    "regenerate": ("Regenerate", "🔄"),
    "good": (None, "👍"),
    "bad": (None, "👎"),
}
_ROWS: dict[str, tuple[Action, ...]] = {
    "running": ("stop",),
    "ended": ("regenerate", "good", "bad"),
}


class Presses(Protocol):
    """Who is told of a press: the client."""

    async def pressed(
        self, interaction: discord.Interaction[Any], action: Action, turn_id: int
    ) -> None:
        """A button under the reply to this turn was pressed."""
        ...


class Control(
    discord.ui.DynamicItem[discord.ui.Button[discord.ui.View]],
    template=r"parley:(?P<action>stop|regenerate|good|bad):(?P<turn>\d{1,18})",
):
    """One button."""

    def __init__(self, action: Action, turn_id: int) -> None:
        label, emoji = _LABELS[action]
        super().__init__(
            discord.ui.Button(
                label=label,
                emoji=emoji,
                style=discord.ButtonStyle.secondary,
                custom_id=f"parley:{action}:{turn_id}",
            )
        )
        self.action: Action = action
        self.turn_id = turn_id

    @classmethod
    async def from_custom_id(
        cls,
        interaction: discord.Interaction[Any],
        item: discord.ui.Item[Any],
        match: re.Match[str],
        /,
    ) -> Self:
        """A button of some message, perhaps of an earlier run."""
        return cls(cast(Action, match["action"]), int(match["turn"]))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Pressed."""
        presses = cast(Presses, interaction.client)
        await presses.pressed(interaction, self.action, self.turn_id)


def buttons(controls: str, turn_id: int) -> discord.ui.View | None:
    """The buttons that a draft names."""
    row = _ROWS.get(controls)
    if row is None:
        return None
    view = discord.ui.View(timeout=None)
    for action in row:
        view.add_item(Control(action, turn_id))
    return view
