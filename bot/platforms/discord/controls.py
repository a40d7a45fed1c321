"""The buttons below a reply. Their ids hold all that they need, so they work after a restart."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, cast

import discord

from bot.platforms.discord import texts
from bot.platforms.discord.layout import Controls

if TYPE_CHECKING:
    from bot.platforms.discord.client import Client

Action: TypeAlias = Literal["stop", "regenerate", "good", "bad"]

_LABELS: dict[Action, tuple[str | None, str]] = {
    "stop": (texts.STOP_BUTTON, "⏹️"),
    "regenerate": (texts.REGENERATE_BUTTON, "🔄"),
    "good": (None, "👍"),
    "bad": (None, "👎"),
}
_ROWS: dict[Controls, tuple[Action, ...]] = {
    "running": ("stop",),
    "ended": ("regenerate", "good", "bad"),
}


class ControlButton(
    discord.ui.DynamicItem[discord.ui.Button[discord.ui.View]],
    template=r"parley:(?P<action>stop|regenerate|good|bad):(?P<turn>[0-9]{1,18})",
):
    """Stop, Regenerate, thumbs up or thumbs down, for one turn."""

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
        return cls(cast(Action, match["action"]), int(match["turn"]))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        client: Client = interaction.client
        await client.interactions.press(interaction, self.action, self.turn_id)


def control_buttons(controls: Controls, turn_id: int) -> discord.ui.View | None:
    """The row of buttons that a draft names; None for none."""
    row = _ROWS.get(controls)
    if row is None:
        return None
    view = discord.ui.View(timeout=None)
    for action in row:
        view.add_item(ControlButton(action, turn_id))
    return view
