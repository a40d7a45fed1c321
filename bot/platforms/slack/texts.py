"""What the Slack adapter says, to people in Slack and to the operator."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

# Replies

STOP_BUTTON = "Stop"
REGENERATE_BUTTON = "Regenerate"
RETRY_BUTTON = "Try again"
GOOD = "Good"
BAD = "Bad"
WRITING = "Writing…"
EMPTY_REPLY = "…"
FULL_REPLY = "Full reply"
STATUS_THINKING = "is thinking…"  # after the app's name


def status_ahead(count: int) -> str:
    return f"is busy: {count} ahead of you"


def ahead(count: int) -> str:
    return f"_I'm busy right now: {count} ahead of you._"


def rate_reply(rating: str) -> str:
    """The feedback buttons, for screen readers."""
    return f"{rating} reply"


# Commands and questions that only their asker sees

DONE = "Done."
THINKING = "Thinking…"
ASK_USAGE = "Ask me something: `/parley ask <question>`."
TRIGGER_EXPIRED = "That took too long for Slack. Please try again."
THREAD_UNREADABLE = "I can't read that thread. Please invite me to the channel first."
MESSAGE_GONE = "I can't see that message anymore. Please try again."


def command_in_thread(name: str) -> str:
    return f"For a thread, type `!{name}` in it: Slack has no slash commands there."


def failed(ref: str) -> str:
    return f"Something went wrong. Please try again (reference {ref})."


# Places

WORKSPACE = "the workspace"
THIS_DM = "this direct message"
DM = "a direct message"


def group_dm(people: Sequence[str]) -> str:
    return f"a group message ({', '.join(people)})"


def one_thread_in(place: str) -> str:
    return f"one thread in {place}"


# The forms

SAVE = "Save"
CANCEL = "Cancel"
NOT_A_NUMBER = "Enter a number."

PERSONA_TITLE = "Persona"
PERSONA_FIELD = "Persona"
PERSONA_CONTINUED_FIELD = "Persona, continued"
PERSONA_MISSING = "Describe who I should be."
BUILT_IN_APPLIES = "The built-in persona applies now."
SCOPE_FIELD = "Applies to"
SCOPES = {
    "channel": "This channel",
    "thread": "This thread only",
    "workspace": "All channels without a persona of their own",
}
SAMPLING_FIELDS = {  # label and hint
    "temperature": ("Temperature", "0 always picks the most likely word; 0.7 is typical"),
    "top_p": ("Top p", "Only the most likely words, up to this total probability; 1 is off"),
    "top_k": ("Top k", "Only the k most likely words; 0 is off"),
    "max_new_tokens": ("Longest reply in tokens", "Never more than the operator allows"),
}

ASK_TITLE = "Ask about this"
ASK_BUTTON = "Ask"
QUESTION_FIELD = "Your question"
QUESTION_EXAMPLE = "What is this?"
QUESTION_MISSING = "Enter a question."
ONLY_YOU = "Only you will see the answer."
A_PICTURE = "a picture"

SETTINGS_TITLE = "Settings"
INHERITED = "Same as elsewhere"
MODE_FIELD = "What Parley answers"
MODES = {
    "mention": "Mentions, and messages in its threads",
    "always": "Every message",
    "strict": "Only mentions, in threads too",
    "never": "Nothing",
}
INLINE_FIELD = "Answer in the channel instead of a thread"
ANSWER_BOTS_FIELD = "Answer other bots"
YES = "Yes"
NO = "No"
NUMBER_SETTINGS = {  # label and hint
    "retention_days": ("Days until conversations are deleted", "0 keeps them"),
    "max_images": ("Pictures in one prompt", "Never more than the operator allows"),
}


def persona_intro(place: str, *, is_built_in: bool) -> str:
    intro = f"Who Parley is in *{place}*, from the next message on."
    return f"{intro} {BUILT_IN_APPLIES}" if is_built_in else intro


def settings_intro(place: str) -> str:
    return f"How Parley behaves in *{place}*. An empty field is the same as elsewhere."


# App Home

HOME_TITLE = "Parley"
CHANNELS_HEADING = "Channels"
USAGE_HEADING = "Last 30 days"
CHANGES_HEADING = "Latest changes"
EDIT_PERSONA_BUTTON = "Edit persona"
SETTINGS_BUTTON = "Settings"
PICK_FOR_PERSONA = "Set a channel's persona…"
PICK_FOR_SETTINGS = "Change a channel's settings…"
BUILT_IN_PERSONA = "built-in persona"
SOMEBODY = "somebody"
FORGOTTEN_USERS = "users whose data was deleted"
NO_REPLIES = "No replies yet."


def welcome(bot_user_id: str) -> str:
    return (
        f"Mention <@{bot_user_id}> in a channel, or write to me under _Messages_. I can look at "
        "pictures too, if my model can. `/parley help` lists what I can do."
    )


def set_by(name: str) -> str:
    return f"set by {name}"


def scope_heading(place: str, *, is_thread: bool) -> str:
    return f"*{place}*, in one thread" if is_thread else f"*{place}*"


def everywhere_else(origin: str) -> str:
    return f"*Everywhere else* ({origin})"


def settings_line(settings: str) -> str:
    return f"Settings: {settings}"


def more_channels(count: int) -> str:
    return f"… and {count} more."


def reply_count(replies: int) -> str:
    return "1 reply" if replies == 1 else f"{replies:,} replies"


def usage(replies: int, generated: int, prompt: int, cached: int) -> str:
    return (
        f"{reply_count(replies)}, {generated:,} tokens written, {prompt:,} read "
        f"({cached:,} of them from the cache)."
    )


def usage_of(name: str, replies: int, tokens: int) -> str:
    return f"• {name}: {reply_count(replies)}, {tokens:,} tokens"


def change(at: datetime, name: str, action: str, place: str) -> str:
    return f"• {at:%Y-%m-%d %H:%M} {name}: {action} in {place}"


# The assistant's prompts: what the button says, and the message that it sends

PROMPTS_TITLE = "How can I help you?"
WHO_PROMPT = ("Who are you?", "Who are you, and what can you help me with?")
EXPLAIN_PROMPT = ("Explain something", "Explain what a qubit is in two sentences.")
IDEAS_PROMPT = ("Give me ideas", "Give me three ideas for a good team lunch.")
YOUR_PERSONA = "your persona"


def persona_prompt(name: str, excerpt: str) -> tuple[str, str]:
    return f"Speak as {name or YOUR_PERSONA}", f"Introduce yourself. ({excerpt})"


def draft_prompt(channel: str) -> tuple[str, str]:
    return f"Help me write in #{channel}", f"Draft a short message for #{channel}."


# What messages that aren't plain text become in a prompt

UNNAMED_BOT = "a bot"
UNNAMED_FILE = "file"
NO_FILE_ACCESS = (
    "I can't open files here: the app needs the scope files:read, and to be in this channel"
)
FILE_GONE = "Slack no longer has it for me"


def forwarded(author: str) -> str:
    return f"From {author}:"


# The app's manifest

APP_NAME = "Parley"
DESCRIPTION = "Answers with Gemma 3, with a persona for every channel."
LONG_DESCRIPTION = (
    "Parley answers in channels, threads and direct messages with Google's Gemma 3, which runs on "
    "your own machine, so what you write stays with you. Mention it in a channel, give the channel "
    "a persona with /parley persona set, or show it pictures. Type /parley help for more."
)
COMMAND_DESCRIPTION = "Ask questions, set personas, change settings"
COMMAND_HINT = "help | persona set | ask <question> | reset | stop"
ASK_SHORTCUT = ("Ask about this", "Ask Parley about this message")
SUMMARIZE_SHORTCUT = ("Summarize thread", "Have Parley summarize this thread")

# To the operator: one line that names the setting and the fix

COPY_BOT_TOKEN = "copy it (xoxb-…) from the app's OAuth & Permissions page"
MAKE_APP_TOKEN = (
    "make an app-level token (xapp-…) with the scope connections:write, and turn on Socket Mode"
)
SET_ENCRYPTION_KEY = "set PARLEY_ENCRYPTION_KEY to a secret of at least 32 characters"
BOT_TOKEN_MISSING = f"SLACK_BOT_TOKEN is not set: install the app, then {COPY_BOT_TOKEN}"
APP_TOKEN_MISSING = (
    "neither SLACK_APP_TOKEN (for Socket Mode) nor SLACK_SIGNING_SECRET (for HTTP mode) is set: "
    "copy one from the app's Basic Information page"
)
ENCRYPTION_KEY_MISSING = (
    f"PARLEY_ENCRYPTION_KEY is not set, but OAuth needs it to store tokens: {SET_ENCRYPTION_KEY}"
)
HTTPS_URL_MISSING = (
    "HTTP mode needs the https address where Slack reaches Parley: --url https://parley.example.com"
)
SINGLE_WORKSPACES = "Parley can be installed in single workspaces, not in a whole organization"


def bot_token_rejected(code: str) -> str:
    return f"Slack rejected SLACK_BOT_TOKEN ({code}): {COPY_BOT_TOKEN}"


def app_token_rejected(code: str) -> str:
    return f"Slack rejected SLACK_APP_TOKEN ({code}): {MAKE_APP_TOKEN}"


# `parley doctor`

CHECK_NETWORK = "check the network and SLACK_API_URL"
INSTALLED_BY_OAUTH = "not set: workspaces install the app by OAuth"
NOT_SET = "SLACK_BOT_TOKEN is not set"
ALL_SCOPES = "the bot token has all of them"
UPDATE_MANIFEST = "give the app the manifest of `parley slack manifest` and install it again"
SOCKET_OPENS = "it opens"
NO_MODE = "neither SLACK_APP_TOKEN nor SLACK_SIGNING_SECRET is set"
SET_A_MODE = "set the first for Socket Mode, or the second for HTTP mode"
OAUTH_NEEDS_KEY = "OAuth needs a key to encrypt the tokens with"
#: An app's event subscriptions are in its manifest, which neither a bot's nor an app's token reads.
EVENTS_UNCHECKED = (
    "not checked, since no token can read them; `parley slack manifest` has the ones needed"
)


def unreachable(error: str) -> str:
    return f"can't be reached ({error})"


def belongs_to(workspace: str) -> str:
    return f"belongs to {workspace}"


def rejected(code: str) -> str:
    return f"Slack rejected it ({code})"


def missing_scopes(scopes: Sequence[str]) -> str:
    return f"missing: {', '.join(scopes)}"


def no_greeting(kind: str) -> str:
    return f"Slack answered with {kind!r} instead of a greeting"


def needs_requests_at(path: str) -> str:
    return f"HTTP mode: Slack must reach {path}"
