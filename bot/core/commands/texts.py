"""What the commands say: their help, what is wrong with a typed one, and their answers.

A text that names a command takes the `prefix` that commands have where its reader is: "/", "!" or
"/parley ". All other texts of the core are in `bot.core.texts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from bot.core import personas, scoped_settings
from bot.core.events import ThreadKey
from bot.core.limits import USAGE_DAYS
from bot.core.records import (
    AuditEntry,
    LibraryPersona,
    PersonaVersion,
    ResolvedPersona,
    UsageSummary,
)
from bot.core.safe_names import one_line

_MAX_LINE = 160  # characters of a persona in a list
_MAX_USERS = 10

# --- Help

COMMAND_HELP: Mapping[str, str] = {
    "persona set": "Set my persona in this channel, starting with the next message",
    "persona show": "Show my persona here, and who set it and when",
    "persona clear": "Clear the persona here, so that the inherited one applies",
    "persona list": "List the personas you can choose from: the built-in ones and your own",
    "persona use": "Use a persona from the list",
    "persona history": "List earlier personas here, and who set them",
    "persona undo": "Restore the previous persona; run it again to switch back",
    "persona preview": "Try a persona on a question; only you see the answer, and nothing is saved",
    "persona default": "Set my persona for every channel that has none of its own",
    "persona-library add": "Add a persona to your library",
    "persona-library edit": "Change a persona in your library; what you leave out stays the same",
    "persona-library remove": "Remove a persona from your library",
    "persona-library list": "List the personas you can choose from: the built-in ones and your own",
    "reset": "Stop the reply here and forget this conversation",
    "stop": "Stop the reply that I'm writing here",
    "forget": "Delete what I remember: about you in this workspace, or about this place",
    "settings show": "Show how I behave here",
    "settings set": "Change how I behave here",
    "usage": "Show how much you have used me; admins see everyone's usage",
    "audit": "Show the latest changes to personas and settings",
    "help": "List what I can do, or explain one command",
}
PARAMETER_HELP: Mapping[str, str] = {
    "scope": "Where it applies: the whole channel (the default), only this thread, or every "
    "channel of the workspace that has none of its own",
    "temperature": "How varied the wording is, from 0 (always the most likely word) to 5",
    "top_k": "Choose from the k most likely tokens only; 0 turns it off",
    "top_p": "Choose from the most likely tokens that add up to this probability; 1 turns it off",
    "min_p": "Ignore tokens less likely than this share of the most likely one; 0 turns it off",
    "repetition_penalty": "Values above 1 reduce repetition; 1 turns it off",
    "seed": "The same seed gives the same reply to the same conversation",
    "max_new_tokens": "The maximum length of a reply in tokens, within the operator's limit",
    "text": "The persona's instructions, for example: You are a pirate",
    "new_text": "The new instructions",
    "name": "The persona's name",
    "question": "The question to try it on",
    "mode": "When I answer: if mentioned (or in my threads), always, only if mentioned, or never",
    "inline": "Answer in the channel instead of opening a thread",
    "answer_bots": "Answer other bots that mention me",
    "retention_days": "Delete what I remember after this many days; 0 keeps it",
    "max_images": "The maximum number of pictures I look at at once",
    "what": "me: everything you wrote to me, and my replies to it; here: this thread, or this "
    "channel and its threads",
    "days": f"The number of days to include, {USAGE_DAYS} by default",
    "command": "The command to explain",
}
#: What a required parameter is called where it is missing.
PARAMETER_LABELS: Mapping[str, str] = {
    "text": "the persona's instructions",
    "name": "the persona's name",
    "what": "`me` or `here`",
}
ADMINS_ONLY = "Admins only."


def more_help(prefix: str) -> str:
    return f"`{prefix}help persona set` explains one command."


# --- What is wrong with a typed command


def no_command(prefix: str) -> str:
    return f"A command starts with a slash, for example {prefix}help."


def unknown_command(prefix: str, name: str, suggestion: str | None) -> str:
    hint = f"Did you mean {prefix}{suggestion}?" if suggestion else f"{prefix}help lists them all."
    return f"There's no command {prefix}{name}. {hint}"


def unknown_subcommand(prefix: str, root: str, names: Sequence[str]) -> str:
    return f"{prefix}{root} must be followed by one of: {', '.join(names)}."


def no_options(prefix: str, command: str) -> str:
    return f"{prefix}{command} takes no options."


def unknown_option(
    prefix: str, command: str, flag: str, suggestion: str | None, flags: Sequence[str]
) -> str:
    hint = f"Did you mean {suggestion}?" if suggestion else f"Its options are: {', '.join(flags)}."
    return f"{prefix}{command} has no option {flag}. {hint}"


def no_value(flag: str, *, number: bool) -> str:
    return f"{flag} needs a {'number' if number else 'value'}."


def no_arguments(prefix: str, command: str, usage: str) -> str:
    return f"{prefix}{command} takes nothing after it. Usage: {usage}"


def missing_argument(prefix: str, command: str, parameter: str, usage: str) -> str:
    label = PARAMETER_LABELS.get(parameter, f"a {parameter}")
    return f"{prefix}{command} needs {label}. Usage: {usage}"


def not_a_scope(scopes: Sequence[str]) -> str:
    return f"The scope must be one of: {', '.join(scopes)}."


ONLY_IN_THREADS = "That only works in a thread."

# --- Places

_PLACES = {"thread": "this thread", "channel": "this channel", "workspace": "the workspace"}


def scope_name(scope: ThreadKey) -> str:
    """A scope as seen from inside it: "this channel"."""
    if scope.thread:
        return _PLACES["thread"]
    return _PLACES["channel" if scope.channel else "workspace"]


# --- Personas


def persona_saved(scope: ThreadKey, sampling: str) -> str:
    extra = f" ({sampling})" if sampling else ""
    return f"Saved. My persona for {scope_name(scope)}{extra} starts with the next message."


def persona_taken(scope: ThreadKey, name: str) -> str:
    return f"Saved. In {scope_name(scope)} I'm now {name}, starting with the next message."


def persona_cleared(scope: ThreadKey, source: PersonaVersion | None) -> str:
    return f"Cleared the persona for {scope_name(scope)}. {_in_effect(source)}"


def persona_restored(
    scope: ThreadKey, restored: PersonaVersion, source: PersonaVersion | None
) -> str:
    """After an undo, which may have brought back that there was none."""
    if restored.text is None:
        return persona_cleared(scope, source)
    return f"Restored the previous persona for {scope_name(scope)}. {_in_effect(source)}"


def _in_effect(source: PersonaVersion | None) -> str:
    return f"In effect here now: {persona_origin(source)}."


def persona_origin(source: PersonaVersion | None) -> str:
    """Whose persona it is: "this channel's persona (pirate)"."""
    if source is None:
        return "the built-in persona"
    name = f" ({source.name})" if source.name else ""
    return f"{scope_name(source.scope)}'s persona{name}"


def persona_here(resolved: ResolvedPersona, key: ThreadKey) -> str:
    """The persona in effect at `key`, where it comes from, and who set it."""
    source = resolved.source
    lines = [quote(resolved.text), f"This is {persona_origin(source)}."]
    if source is not None:
        if source.scope != key:
            lines.append(f"It applies here because {_inheritance(key, source)}.")
        lines.append(f"Set by {_person(source.set_by_name)} on {moment(source.at)}.")
    if sampling := personas.describe_sampling(resolved.sampling):
        lines.append(f"Sampling: {sampling}.")
    return "\n".join(lines)


def _inheritance(key: ThreadKey, source: PersonaVersion) -> str:
    if not key.thread:
        return "the channel has none of its own"
    if source.scope.channel:
        return "the thread has none of its own"
    return "neither the thread nor the channel has one of its own"


def persona_history(scope: ThreadKey, versions: Sequence[PersonaVersion], most: int) -> str:
    """The newest versions of one scope, one per line."""
    if not versions:
        return f"No persona has been set for {scope_name(scope)}."
    lines = [
        f"- {moment(version.at)}, {_person(version.set_by_name)}: "
        + one_line(personas.described(version.text, version.sampling), _MAX_LINE)
        for version in versions[:most]
    ]
    if len(versions) > most:
        lines.append(f"- and {len(versions) - most} earlier")
    return "\n".join(lines)


def persona_list(library: Sequence[LibraryPersona], prefix: str) -> str:
    """The personas to choose from, one per line."""
    lines = []
    for persona in library:
        own = "" if persona.built_in else " (yours)"
        text = one_line(personas.described(persona.text, persona.sampling), _MAX_LINE)
        lines.append(f"- {persona.name}{own}: {text}")
    return "\n".join([*lines, f"To use one, type `{prefix}persona use <name>`."])


def library_added(name: str) -> str:
    return f"Added {name} to your library."


def library_edited(name: str) -> str:
    return f"Changed {name} in your library. Where it's already in use, the old version stays."


def library_removed(name: str) -> str:
    return f"Removed {name} from your library. Where it's already in use, it stays."


# --- Deleting

NOTHING_TO_FORGET = "There's nothing to forget here."
NOTHING_OF_YOURS = "I don't remember anything of yours here."


def forget_usage(prefix: str) -> str:
    return f"Type `{prefix}forget me` or `{prefix}forget here`."


def forgotten_conversation(turns: int) -> str:
    return f"I've forgotten this conversation ({_exchanges(turns)} deleted)."


def forgotten_channel(turns: int) -> str:
    return f"I've forgotten this channel and its threads ({_exchanges(turns)} deleted)."


def forgotten_person(turns: int) -> str:
    return (
        "I've forgotten what you wrote to me here, and my replies to it "
        f"({_exchanges(turns)} changed or deleted). The messages in the channels are still there; "
        "you can delete yours."
    )


def _exchanges(turns: int) -> str:
    return "1 exchange" if turns == 1 else f"{turns:,} exchanges"


# --- Stopping

NOT_WRITING = "I'm not writing anything here."
JUST_ENDED = "That reply has just ended."

# --- Settings, usage, changes


def settings_here(resolved: scoped_settings.ResolvedSettings, prefix: str) -> str:
    """The settings in effect at a place, and where each comes from."""
    lines = []
    for name in scoped_settings.NAMES:
        source = resolved.sources.get(name)
        origin = f"set for {scope_name(source)}" if source else "the operator's default"
        lines.append(f"- {name}: {_setting(name, getattr(resolved, name))} ({origin})")
    return "\n".join(
        [*lines, f"To change one, type for example `{prefix}settings set mode=always`."]
    )


def _setting(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if name == "retention_days":
        days = "1 day" if value == 1 else f"{value} days"
        return "forever" if value == 0 else days
    return str(value)


def settings_saved(scope: ThreadKey, described: str) -> str:
    return f"Saved. Settings for {scope_name(scope)}: {described}."


def bad_days(greatest: int) -> str:
    return f"days must be a whole number from 1 to {greatest:,}."


def usage(summary: UsageSummary, *, everybody: bool) -> str:
    """What replies took."""
    days = "the last day" if summary.days == 1 else f"the last {summary.days} days"
    whose = "All usage" if everybody else "Your usage"
    lines = [
        f"{whose} in {days}: {_replies(summary.replies)}, {summary.prompt_tokens:,} tokens read "
        f"({summary.cached_tokens:,} of them from the cache), "
        f"{summary.generated_tokens:,} written."
    ]
    if everybody:
        lines += [
            f"- {_user(user_id, summary)}: {_replies(count)}, {tokens:,} tokens"
            for user_id, count, tokens in summary.by_user[:_MAX_USERS]
        ]
        if len(summary.by_user) > _MAX_USERS:
            lines.append(f"- and {len(summary.by_user) - _MAX_USERS} more people")
        if summary.good or summary.bad:
            lines.append(f"Feedback: {summary.good} good, {summary.bad} bad.")
    return "\n".join(lines)


def _replies(count: int) -> str:
    return "1 reply" if count == 1 else f"{count:,} replies"


def _user(user_id: str, summary: UsageSummary) -> str:
    if not user_id:
        return "people I was asked to forget"
    return one_line(summary.names.get(user_id, ""), 80) or user_id


def audit(entries: Sequence[AuditEntry]) -> str:
    """Changes, one per line."""
    if not entries:
        return "There are no changes yet."
    return "\n".join(
        f"- {moment(entry.at)}, {_person(entry.by_name)}, {_place(entry.scope)}: {entry.action}: "
        f"{one_line(entry.before, 80) or personas.NONE} → "
        f"{one_line(entry.after, 80) or personas.NONE}"
        for entry in entries
    )


def _place(scope: ThreadKey) -> str:
    if not scope.channel:
        return "workspace"
    thread = f", thread {scope.thread}" if scope.thread else ""
    return f"channel {scope.channel}{thread}"


def moment(at: datetime) -> str:
    """A point in time for people in any time zone."""
    return f"{at.astimezone(UTC):%Y-%m-%d at %H:%M} UTC"


def quote(text: str) -> str:
    """A text as a Markdown quotation."""
    return "\n".join(f"> {line}" for line in text.splitlines())


def _person(name: str) -> str:
    return one_line(name, 80) or "somebody"
