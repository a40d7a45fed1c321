"""The queue of waiting requests, fair by owner; pure Python.

Start-time fair queueing (Goyal, Vin, Cheng 1996): an arriving request gets a start tag, the later
of the queue's virtual time and the finish tag of its owner's previous request; the smallest start
tag is served first. So an owner's fifty-first request waits for that owner's other fifty, while
the first request of another owner goes next, however long the queue is. No request starves: its
tag never changes, and virtual time keeps advancing past it.
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
    """A request's position in the queue."""

    start_tag: float
    arrival: int  # sequence number; breaks ties between equal start tags
    item: T
    owner: str
    finish_tag: float

    @property
    def queue_position(self) -> tuple[float, int]:
        return (self.start_tag, self.arrival)


class FairQueue(Generic[T]):
    """Requests in the order in which they will start."""

    def __init__(self) -> None:
        self._tickets: list[Ticket[T]] = []
        self._finish_tags: dict[str, float] = {}
        self._virtual_time = 0.0  # the largest start tag served so far
        self._num_arrivals = 0

    def __len__(self) -> int:
        return len(self._tickets)

    def __iter__(self) -> Iterator[Ticket[T]]:
        return iter(list(self._tickets))

    def enqueue(self, item: T, owner: str, cost: float, weight: float = 1.0) -> Ticket[T]:
        """Add a request of `cost` expected tokens; owners' shares are proportional to `weight`."""
        start = max(self._virtual_time, self._finish_tags.get(owner, 0.0))
        ticket = Ticket(start, self._num_arrivals, item, owner, start + cost / weight)
        self._num_arrivals += 1
        self._finish_tags[owner] = ticket.finish_tag
        insort(self._tickets, ticket, key=lambda t: t.queue_position)
        return ticket

    def requeue(self, ticket: Ticket[T]) -> None:
        """Return a preempted request to its old position."""
        insort(self._tickets, ticket, key=lambda t: t.queue_position)

    def start_service(self, ticket: Ticket[T]) -> None:
        """Remove a request that starts now and advance virtual time to its start tag."""
        self._tickets.remove(ticket)
        self._virtual_time = max(self._virtual_time, ticket.start_tag)
        if len(self._finish_tags) > _MAX_IDLE_OWNERS:  # a finish tag in the past no longer matters
            self._finish_tags = {
                owner: end for owner, end in self._finish_tags.items() if end > self._virtual_time
            }

    def cancel_ticket(self, ticket: Ticket[T]) -> None:
        """Remove a request that gave up; its owner isn't charged if nothing is queued behind it."""
        self._tickets.remove(ticket)
        if self._finish_tags.get(ticket.owner) == ticket.finish_tag:
            self._finish_tags[ticket.owner] = ticket.start_tag
