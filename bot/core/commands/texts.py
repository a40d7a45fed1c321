"""What commands say: scopes, personas, settings, usage and changes in words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from bot.core import personas, scoped_settings
from bot.core.commands.registry import SCOPES
from bot.core.events import CommandInvoked, ThreadKey
from bot.core.records import (
    AuditEntry,
    LibraryPersona,
    PersonaVersion,
    ResolvedPersona,
    UsageSummary,
)
from bot.core.safe_names import one_line

_WORDS = {"thread": "this thread", "channel": "this channel", "workspace": "the workspace"}
_MAX_LINE = 160  # characters of a persona in a list
_MAX_USERS = 10


class BadScope(ValueError):
    """The command names a scope that there isn't; the text says which there are."""


def scope_of(event: CommandInvoked) -> tuple[ThreadKey, str]:
    """The scope that a command names, the channel unless it says otherwise; and its words.

    Raises:
        BadScope: there is none of this name here.
    """
    name = event.args.get("scope", "").strip().lower() or "channel"
    if name not in SCOPES:
        raise BadScope(f"The scope is one of: {', '.join(SCOPES)}.")
    if name == "thread" and not event.key.thread:
        raise BadScope("That works inside a thread only.")
    scope = {
        "thread": event.key,
        "channel": event.key.channel_key,
        "workspace": event.key.workspace_key,
    }[name]
    return scope, _WORDS[name]


def scope_words(scope: ThreadKey) -> str:
    """A scope as seen from inside it."""
    if scope.thread:
        return _WORDS["thread"]
    return _WORDS["channel" if scope.channel else "workspace"]


def origin(source: PersonaVersion | None) -> str:
    """Whose persona it is."""
    if source is None:
        return "the built-in persona"
    named = f" ({source.name})" if source.name else ""
    return f"the persona of {scope_words(source.scope)}{named}"


def persona_here(resolved: ResolvedPersona, key: ThreadKey) -> str:
    """The persona that counts at `key`, where it comes from, who set it."""
    lines = [quote(resolved.text), f"This is {origin(resolved.source)}."]
    if resolved.source is not None:
        if resolved.source.scope != key:
            lines.append(f"It counts here because {_inheritance(key, resolved.source)}.")
        lines.append(
            f"Set by {_person(resolved.source.set_by_name)} on {moment(resolved.source.at)}."
        )
    if sampling := personas.describe_sampling(resolved.sampling):
        lines.append(f"Sampling: {sampling}.")
    return "\n".join(lines)


def _inheritance(key: ThreadKey, source: PersonaVersion) -> str:
    if not key.thread:
        return "the channel has none of its own"
    if source.scope.channel:
        return "the thread has none of its own"
    return "neither the thread nor the channel has one of its own"


def persona_versions(versions: Sequence[PersonaVersion]) -> str:
    """Versions of one scope, one a line."""
    return "\n".join(
        f"- {moment(version.at)}, {_person(version.set_by_name)}: "
        + one_line(personas.described(version.text, version.sampling), _MAX_LINE)
        for version in versions
    )


def persona_list(known: Sequence[LibraryPersona]) -> str:
    """The personas to take, one a line."""
    lines = []
    for persona in known:
        own = "" if persona.built_in else " (yours)"
        text = one_line(personas.described(persona.text, persona.sampling), _MAX_LINE)
        lines.append(f"- {persona.name}{own}: {text}")
    return "\n".join([*lines, "Take one with `/persona use <name>`."])


def settings_here(resolved: scoped_settings.ResolvedSettings) -> str:
    """The settings that count at a place and where each comes from."""
    lines = []
    for name in scoped_settings.NAMES:
        source = resolved.sources.get(name)
        whose = f"set for {scope_words(source)}" if source else "the operator's"
        lines.append(f"- {name}: {scoped_settings.shown(name, getattr(resolved, name))} ({whose})")
    return "\n".join([*lines, "Change one with `/settings set mode=always` and the like."])


def usage(summary: UsageSummary, *, everybody: bool) -> str:
    """What replies took."""
    days = "the last day" if summary.days == 1 else f"the last {summary.days} days"
    whose = "All" if everybody else "Your"
    replies = "1 reply" if summary.replies == 1 else f"{summary.replies:,} replies"
    lines = [
        f"{whose} use of {days}: {replies}, {summary.prompt_tokens:,} tokens read "
        f"({summary.cached_tokens:,} of them remembered), {summary.generated_tokens:,} written."
    ]
    if everybody:
        lines += [
            f"- {_user(user_id, summary)}: {count:,}, {tokens:,} tokens"
            for user_id, count, tokens in summary.by_user[:_MAX_USERS]
        ]
        if len(summary.by_user) > _MAX_USERS:
            lines.append(f"- and {len(summary.by_user) - _MAX_USERS} more")
        if summary.good or summary.bad:
            lines.append(f"Feedback: {summary.good} good, {summary.bad} bad.")
    return "\n".join(lines)


def _user(user_id: str, summary: UsageSummary) -> str:
    if not user_id:
        return "people who were forgotten"
    return one_line(summary.names.get(user_id, ""), 80) or user_id


def audit(entries: Sequence[AuditEntry]) -> str:
    """Changes, one a line."""
    if not entries:
        return "Nothing was changed yet."
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
    """A point in time for people everywhere."""
    return f"{at.astimezone(UTC):%Y-%m-%d at %H:%M} UTC"


def quote(text: str) -> str:
    """A text as a Markdown quotation."""
    return "\n".join(f"> {line}" for line in text.splitlines())


def _person(name: str) -> str:
    return one_line(name, 80) or "somebody"
