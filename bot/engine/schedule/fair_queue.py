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
_MAX_IDLE_OWNERS = 1024


@dataclass(frozen=True, slots=True)
class Ticket(Generic[T]):
    """A place in the line."""

    start_tag: float
    arrival: int  # order of arrival
    item: T
    owner: str
    finish_tag: float

    @property
    def queue_position(self) -> tuple[float, int]:
        """What the line is sorted by."""
        return (self.start_tag, self.arrival)


class FairQueue(Generic[T]):
    """Requests in the order in which they shall start."""

    def __init__(self) -> None:
        self._tickets: list[Ticket[T]] = []
        self._finish_tags: dict[str, float] = {}
        self._virtual_time = 0.0  # virtual time: the start tag of whoever was served last
        self._num_arrivals = 0

    def __len__(self) -> int:
        return len(self._tickets)

    def __iter__(self) -> Iterator[Ticket[T]]:
        return iter(list(self._tickets))

    def enqueue(self, item: T, owner: str, cost: float, weight: float = 1.0) -> Ticket[T]:
        """Queue up. `cost` is the work expected (tokens); twice the weight, twice the share."""
        start = max(self._virtual_time, self._finish_tags.get(owner, 0.0))
        ticket = Ticket(start, self._num_arrivals, item, owner, start + cost / weight)
        self._num_arrivals += 1
        self._finish_tags[owner] = ticket.finish_tag
        insort(self._tickets, ticket, key=lambda t: t.queue_position)
        return ticket

    def requeue(self, ticket: Ticket[T]) -> None:
        """Back to the old place (after a preemption)."""
        insort(self._tickets, ticket, key=lambda t: t.queue_position)

    def start_service(self, ticket: Ticket[T]) -> None:
        """It starts now."""
        self._tickets.remove(ticket)
        self._virtual_time = max(self._virtual_time, ticket.start_tag)
        if (
            len(self._finish_tags) > _MAX_IDLE_OWNERS
        ):  # whoever's work lies in the past needs no memory
            self._finish_tags = {
                owner: end for owner, end in self._finish_tags.items() if end > self._virtual_time
            }

    def cancel_ticket(self, ticket: Ticket[T]) -> None:
        """It gives up; its owner isn't charged if nothing was queued behind it."""
        self._tickets.remove(ticket)
        if self._finish_tags.get(ticket.owner) == ticket.finish_tag:
            self._finish_tags[ticket.owner] = ticket.start_tag
