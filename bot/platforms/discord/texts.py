"""What the Discord adapter says, to people in chat and to the operator."""

# Buttons and the question before something is deleted

STOP_BUTTON = "Stop"
REGENERATE_BUTTON = "Regenerate"
DELETE_BUTTON = "Delete"
KEEP_BUTTON = "Keep"

FORGET_ME = (
    "Delete everything you wrote to me in this server, and my replies to it? This can't be undone."
)
FORGET_CHANNEL = (
    "Delete everything I remember of this channel and its threads, for everyone? "
    "This can't be undone."
)
FORGET_THREAD = "Delete everything I remember of this thread, for everyone? This can't be undone."
FORGET_DM = "Delete everything we wrote to each other here? This can't be undone."
NOTHING_DELETED = "Nothing was deleted."
DELETING = "Deleting…"

# Commands, menus and forms; Discord shows at most 100 characters of a description

ASK_COMMAND = "Ask me something"
ASK_QUESTION = "Your question"
ASK_PICTURE = "A picture to look at"
ASK_PRIVATE = "Only you see the answer"
ASK_ABOUT_MENU = "Ask about this"
SUMMARIZE_MENU = "Summarise from here"  # Discord knows the menu by this name; see locales.py

COMMAND_GROUPS = {
    "persona": "Who I am here",
    "persona-library": "The personas of this server",
    "settings": "How I behave here",
}
SCOPES = {
    "channel": "this channel",
    "thread": "this thread only",
    "workspace": "the whole server",
}

PERSONA_FIELD = "Persona"
TRY_QUESTION_FIELD = "A question to try it with"
MORE_SETTINGS_FIELD = "More sampling settings"
QUESTION_FIELD = "Your question"
SUGGESTED_ABOUT_PICTURE = "What is in this picture?"
SUGGESTED_ABOUT_TEXT = "What does this mean?"


def more_settings_help(names: tuple[str, ...]) -> str:
    return f"{', '.join(names)}: for example top_k=40, seed=1"


def about_message(question: str, author: str, quoted: str) -> str:
    """The question that the model gets; `quoted` has a ">" before each line."""
    return f"{question}\n\nAbout this message from {author}:\n{quoted}"


# Answers and notes

DONE = "Done."
NOT_ALLOWED = "You can't use that here."
NO_HISTORY = "I can't see earlier messages here: I need the Read Message History permission."
NO_THREAD = (
    "I'm answering here because I can't open a thread: I need the Create Public Threads and "
    "Send Messages in Threads permissions."
)
NO_MESSAGE_CONTENT = (
    "\n-# The Message Content intent is off, so I only see messages that mention me or reply to "
    "me, DMs, commands and menus. Mention me again for each follow-up in a thread. Whoever runs "
    "me can turn the intent on in Discord's developer portal."
)
TOO_LATE = (
    "This is taking longer than the 15 minutes that Discord gives me to answer here. "
    "Please ask again."
)


def failed(ref: str) -> str:
    return f"Something went wrong. Please try again (reference {ref})."


def answered_late(user_id: int | None) -> str:
    return (
        f"<@{user_id}>, this took longer than the 15 minutes that Discord gives me to answer "
        "a command in place."
    )


def no_send_permission(channel_mention: str) -> str:
    return (
        f"I can't answer you in {channel_mention} because I don't have permission to send "
        "messages there. An admin can allow it."
    )


def ahead(count: int) -> str:
    return f"⏳ {count} ahead of you"


EMPTY_REPLY = "…"


def question_by(author: str) -> str:
    """The name of a thread whose question has no text."""
    return f"Question from {author}"


# What messages that aren't plain text become in a prompt

FORWARDED = "Forwarded message:"
UNKNOWN_USER = "somebody"
UNKNOWN_ROLE = "some role"
UNKNOWN_CHANNEL = "some-channel"
UNKNOWN_TIME = "some time"
UNNAMED_PICTURE = "picture"
NO_PREVIEW = "Discord shows no preview of it"


def sticker(name: str) -> str:
    return f"[sticker: {name}]"


def poll(question: object, answers: str) -> str:
    return f"Poll: {question}\n{answers}"


# To the operator: one line that names the setting and the fix

TOKEN_REJECTED = "Discord rejected DISCORD_TOKEN"  # noqa: S105  (a sentence)
TOKEN_FIX = "copy the bot's token again from the developer portal (Bot, Reset Token)"  # noqa: S105
TOKEN_REJECTED_LINE = f"{TOKEN_REJECTED}: {TOKEN_FIX}"
SHARDS_REJECTED = "Discord rejected PARLEY_DISCORD_SHARDS: leave it unset"
SHARDS_TOO_FEW = "PARLEY_DISCORD_SHARDS is too low for Discord: leave it unset"
GATEWAY_VERSION = "Discord no longer supports this version of discord.py: update Parley"
UNKNOWN_INTENT = "Discord no longer knows an intent that Parley uses: update Parley"
NO_CONTENT_INTENT = (
    "the Message Content intent is off: Parley sees only messages that mention it, replies to it, "
    "DMs, commands and menus, not follow-ups in threads; turn it on in the developer portal "
    "(Bot, Privileged Gateway Intents)"
)


NO_ANSWER_FIX = "check that this machine is online and the address is right"
TRY_LATER = "try again later"


def no_answer(error: str) -> str:
    return f"DISCORD_API_URL: no answer from Discord ({error})"


def bad_status(status: int) -> str:
    return f"Discord answered with status {status}"
