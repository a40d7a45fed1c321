"""The waiting line, fair by owner; pure Python.

Start-time fair queueing (Goyal, Vin, Cheng 1996): a request gets a start tag when it arrives, the
later of the line's virtual time and the end of its owner's previous request, and those with the
smallest tags go first. So the fifty-first request of a busy owner waits for that owner's other
fifty, and the first one of somebody else goes next, whatever the line's length. Nobody starves: a
tag never changes and virtual time only grows past it.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
_KEPT_OWNERS = 1024


@dataclass(frozen=True, slots=True)
class Ticket(Generic[T]):
    """A place in the line."""

    start: float
    number: int  # order of arrival
    item: T
    owner: str
    end: float

    @property
    def place(self) -> tuple[float, int]:
        """What the line is sorted by."""
        return (self.start, self.number)


class FairLine(Generic[T]):
    """Requests in the order in which they shall start."""

    def __init__(self) -> None:
        self._line: list[Ticket[T]] = []
        self._ends: dict[str, float] = {}
        self._now = 0.0  # virtual time: the start tag of whoever was served last
        self._count = 0

    def __len__(self) -> int:
        return len(self._line)

    def __iter__(self) -> Iterator[Ticket[T]]:
        return iter(list(self._line))

    def join(self, item: T, owner: str, cost: float, weight: float = 1.0) -> Ticket[T]:
        """Queue up. `cost` is the work expected (tokens); twice the weight, twice the share."""
        start = max(self._now, self._ends.get(owner, 0.0))
        ticket = Ticket(start, self._count, item, owner, start + cost / weight)
        self._count += 1
        self._ends[owner] = ticket.end
        insort(self._line, ticket, key=lambda t: t.place)
        return ticket

    def rejoin(self, ticket: Ticket[T]) -> None:
        """Back to the old place (after a preemption)."""
        insort(self._line, ticket, key=lambda t: t.place)

    def serve(self, ticket: Ticket[T]) -> None:
        """It starts now."""
        self._line.remove(ticket)
        self._now = max(self._now, ticket.start)
        if len(self._ends) > _KEPT_OWNERS:  # whoever's work lies in the past needs no memory
            self._ends = {owner: end for owner, end in self._ends.items() if end > self._now}

    def leave(self, ticket: Ticket[T]) -> None:
        """It gives up; its owner isn't charged if nothing was queued behind it."""
        self._line.remove(ticket)
        if self._ends.get(ticket.owner) == ticket.end:
            self._ends[ticket.owner] = ticket.start
