"""Command names and descriptions in other languages, for those who set Discord to one."""

from __future__ import annotations

from collections.abc import Mapping

import discord
from discord import app_commands

#: By language, then by the English text. What is missing stays English.
TEXTS: Mapping[discord.Locale, Mapping[str, str]] = {
    discord.Locale.german: {
        "Ask about this": "Hierzu fragen",
        "Summarise from here": "Ab hier zusammenfassen",
        "Ask me something": "Frag mich etwas",
        "Your question": "Deine Frage",
        "A picture to look at": "Ein Bild zum Ansehen",
        "Only you see the answer": "Nur du siehst die Antwort",
        "Say what I can do": "Sagen, was ich kann",
        "Stop the reply that I am writing here": "Die Antwort anhalten, die ich hier schreibe",
        "Show how I behave here": "Zeigen, wie ich mich hier verhalte",
    },
}


class Translations(app_commands.Translator):
    """Looks texts up."""

    async def translate(
        self,
        string: app_commands.locale_str,
        locale: discord.Locale,
        context: app_commands.TranslationContextTypes,
    ) -> str | None:
        """The text in that language, or None."""
        return TEXTS.get(locale, {}).get(string.message)
