"""Who may do what: personas are the admins', a reply belongs to those who asked."""

from __future__ import annotations

from collections.abc import Iterable

from bot.core.events import Author, ThreadKey
from bot.core.records import Turn


class NotAllowed(Exception):
    """The person may not do this; the text says who may."""


def askers(turns: Iterable[Turn]) -> frozenset[str]:
    """The ids of the people whose messages are in these turns."""
    return frozenset(message.author_id for turn in turns for message in turn.messages)


def require_control(by: Author, turn: Turn) -> None:
    """Stop and Regenerate are for those who asked, and for admins.

    Raises:
        NotAllowed: for anybody else.
    """
    if not by.is_admin and by.id not in askers((turn,)):
        raise NotAllowed("Only the person who asked, or an admin, can do that.")


def require_reset(by: Author, turns: Iterable[Turn]) -> None:
    """A conversation is deleted by somebody who takes part in it, or by an admin.

    Raises:
        NotAllowed: for anybody else.
    """
    people = askers(turns)
    if people and not by.is_admin and by.id not in people:
        raise NotAllowed("Only somebody who takes part in this conversation, or an admin, can.")


def require_persona(by: Author, scope: ThreadKey, *, is_dm: bool) -> None:
    """Personas are set by admins; in a DM also by its person, but never for the workspace.

    Raises:
        NotAllowed: for anybody else.
    """
    _require_here(by, scope, is_dm, "Only an admin can change the persona here.")


def require_settings(by: Author, scope: ThreadKey, *, is_dm: bool) -> None:
    """Settings are changed by the same people as personas.

    Raises:
        NotAllowed: for anybody else.
    """
    _require_here(by, scope, is_dm, "Only an admin can change the settings here.")


def require_forget(by: Author, scope: ThreadKey, *, is_dm: bool) -> None:
    """A whole channel is forgotten by an admin; a DM also by its person.

    Raises:
        NotAllowed: for anybody else.
    """
    _require_here(by, scope, is_dm, "Only an admin can have a whole channel forgotten.")


def require_admin(by: Author) -> None:
    """For what concerns the whole workspace.

    Raises:
        NotAllowed: `by` is no admin.
    """
    if not by.is_admin:
        raise NotAllowed("Only an admin can do that.")


def _require_here(by: Author, scope: ThreadKey, is_dm: bool, refusal: str) -> None:
    own_dm = is_dm and bool(scope.channel)
    if not by.is_admin and not own_dm:
        raise NotAllowed(refusal)
