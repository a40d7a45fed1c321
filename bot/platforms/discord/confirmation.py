"""The question before `/forget` deletes something: two buttons, shown to the asker alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, cast

import discord

from bot.platforms.discord import texts

if TYPE_CHECKING:
    from bot.platforms.discord.client import Client

ForgetChoice: TypeAlias = Literal["me", "here", "nothing"]

_LABELS: dict[ForgetChoice, tuple[str, discord.ButtonStyle]] = {
    "me": (texts.DELETE_BUTTON, discord.ButtonStyle.danger),
    "here": (texts.DELETE_BUTTON, discord.ButtonStyle.danger),
    "nothing": (texts.KEEP_BUTTON, discord.ButtonStyle.secondary),
}


class ConfirmationButton(
    discord.ui.DynamicItem[discord.ui.Button[discord.ui.View]],
    template=r"parley:forget:(?P<what>me|here|nothing)",
):
    """One answer. It works after a restart, too."""

    def __init__(self, choice: ForgetChoice) -> None:
        label, style = _LABELS[choice]
        super().__init__(
            discord.ui.Button(label=label, style=style, custom_id=f"parley:forget:{choice}")
        )
        self.choice: ForgetChoice = choice

    @classmethod
    async def from_custom_id(
        cls,
        interaction: discord.Interaction[Any],
        item: discord.ui.Item[Any],
        match: re.Match[str],
        /,
    ) -> Self:
        return cls(cast(ForgetChoice, match["what"]))

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        client: Client = interaction.client
        await client.interactions.confirm_forget(interaction, self.choice)


def confirmation_question(choice: ForgetChoice, *, in_thread: bool, is_dm: bool) -> str:
    if is_dm:
        return texts.FORGET_DM
    if choice == "me":
        return texts.FORGET_ME
    return texts.FORGET_THREAD if in_thread else texts.FORGET_CHANNEL


def confirmation_buttons(choice: ForgetChoice) -> discord.ui.View:
    view = discord.ui.View(timeout=None)
    view.add_item(ConfirmationButton(choice))
    view.add_item(ConfirmationButton("nothing"))
    return view
