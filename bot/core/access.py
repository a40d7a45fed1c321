"""Permissions: admins set personas and settings, askers control their replies."""

from __future__ import annotations

from collections.abc import Iterable

from bot.core import texts
from bot.core.events import Author, ThreadKey
from bot.core.records import Turn


class NotAllowed(Exception):
    """The person may not do this; the text tells them who may."""


def askers(turns: Iterable[Turn]) -> frozenset[str]:
    """The ids of everybody with a message in these turns."""
    return frozenset(message.author_id for turn in turns for message in turn.messages)


def require_control(by: Author, turn: Turn) -> None:
    """Stop and Regenerate are for those who asked, and for admins.

    Raises:
        NotAllowed: for anybody else.
    """
    if not by.is_admin and by.id not in askers((turn,)):
        raise NotAllowed(texts.ONLY_ASKER)


def require_reset(by: Author, turns: Iterable[Turn]) -> None:
    """A participant or an admin may delete a conversation.

    Raises:
        NotAllowed: for anybody else.
    """
    people = askers(turns)
    if people and not by.is_admin and by.id not in people:
        raise NotAllowed(texts.ONLY_PARTICIPANTS)


def require_persona(by: Author, scope: ThreadKey, *, is_dm: bool) -> None:
    """Admins may set personas; in a DM also its person, except for the workspace.

    Raises:
        NotAllowed: for anybody else.
    """
    _require_here(by, scope, is_dm, texts.ONLY_ADMIN_PERSONA)


def require_settings(by: Author, scope: ThreadKey, *, is_dm: bool) -> None:
    """Whoever may set the persona of a scope may change its settings.

    Raises:
        NotAllowed: for anybody else.
    """
    _require_here(by, scope, is_dm, texts.ONLY_ADMIN_SETTINGS)


def require_forget(by: Author, scope: ThreadKey, *, is_dm: bool) -> None:
    """An admin may have a whole channel forgotten; in a DM also its person.

    Raises:
        NotAllowed: for anybody else.
    """
    _require_here(by, scope, is_dm, texts.ONLY_ADMIN_FORGET)


def require_admin(by: Author) -> None:
    """For what concerns the whole workspace.

    Raises:
        NotAllowed: `by` is no admin.
    """
    if not by.is_admin:
        raise NotAllowed(texts.ONLY_ADMIN)


def _require_here(by: Author, scope: ThreadKey, is_dm: bool, refusal: str) -> None:
    own_dm = is_dm and bool(scope.channel)
    if not by.is_admin and not own_dm:
        raise NotAllowed(refusal)
