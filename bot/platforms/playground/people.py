"""The people that a tab can act as, and Parley."""

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
        return Author(id=self.id, name=self.name, is_admin=self.is_admin)


PEOPLE = (
    Person("ana", "Ana", is_admin=True),
    Person("ben", "Ben"),
    Person("chloe", "Chloe"),
    Person("dev", "Dev"),
)
BOT = Person("parley", "Parley")

_BY_ID = {person.id: person for person in PEOPLE}


def find_person(person_id: str) -> Person | None:
    """The person with that id; None for the bot, as which nobody can act."""
    return _BY_ID.get(person_id)


def display_name(person_id: str) -> str:
    """A name for any author; the id for one who is not in `PEOPLE` any more."""
    if person_id == BOT.id:
        return BOT.name
    person = _BY_ID.get(person_id)
    return person.name if person else person_id
