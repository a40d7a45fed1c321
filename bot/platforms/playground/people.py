"""Who is in the playground: the people one can act as, and Parley."""

from __future__ import annotations

from dataclasses import dataclass

from bot.core.events import Author


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody a tab can act as. `is_admin`: may change personas."""

    id: str
    name: str
    is_admin: bool = False

    def author(self) -> Author:
        """This person, as the core knows people."""
        return Author(id=self.id, name=self.name, is_admin=self.is_admin)


PEOPLE = (
    Person("ana", "Ana", is_admin=True),
    Person("ben", "Ben"),
    Person("chloe", "Chloe"),
    Person("dev", "Dev"),
)
BOT = Person("parley", "Parley")

_BY_ID = {person.id: person for person in PEOPLE}


def person(person_id: str) -> Person | None:
    """The person of that id, or None; the bot is nobody one can act as."""
    return _BY_ID.get(person_id)


def display_name(person_id: str) -> str:
    """A name to show for any author, also one who is no longer here."""
    if person_id == BOT.id:
        return BOT.name
    known = _BY_ID.get(person_id)
    return known.name if known else person_id
