"""Command names and descriptions in other languages, for those who set Discord to one."""

from __future__ import annotations

from collections.abc import Mapping

import discord
from discord import app_commands

from bot.core.commands.texts import COMMAND_HELP
from bot.platforms.discord import texts

#: By locale, then by the text in the code. Missing texts are shown as in the code.
TEXTS: Mapping[discord.Locale, Mapping[str, str]] = {
    # The menu is registered under a British name, which must not change: admins' permissions for
    # it are lost with the name.
    discord.Locale.american_english: {texts.SUMMARIZE_MENU: "Summarize from here"},
    discord.Locale.german: {
        texts.ASK_ABOUT_MENU: "Hierzu fragen",
        texts.SUMMARIZE_MENU: "Ab hier zusammenfassen",
        texts.ASK_COMMAND: "Frag mich etwas",
        texts.ASK_QUESTION: "Deine Frage",
        texts.ASK_PICTURE: "Ein Bild zum Ansehen",
        texts.ASK_PRIVATE: "Nur du siehst die Antwort",
        COMMAND_HELP["help"]: "Auflisten, was ich kann, oder einen Befehl erklären",
        COMMAND_HELP["stop"]: "Die Antwort anhalten, die ich hier schreibe",
        COMMAND_HELP["settings show"]: "Zeigen, wie ich mich hier verhalte",
    },
}


class Translations(app_commands.Translator):
    async def translate(
        self,
        string: app_commands.locale_str,
        locale: discord.Locale,
        context: app_commands.TranslationContextTypes,
    ) -> str | None:
        return TEXTS.get(locale, {}).get(string.message)
