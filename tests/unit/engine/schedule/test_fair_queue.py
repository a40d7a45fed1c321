"""The fair queue: arrival order per owner, fair shares between owners, no starvation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bot.engine.schedule.fair_queue import FairQueue


def drain(queue: FairQueue[str]) -> list[str]:
    out = []
    while len(queue):
        ticket = next(iter(queue))
        queue.start_service(ticket)
        out.append(ticket.item)
    return out


def test_one_request_passes_a_flood() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(50):
        queue.enqueue(f"flood {number}", "flood", 100)
    for _ in range(3):
        queue.start_service(next(iter(queue)))
    queue.enqueue("mine", "me", 100)
    assert drain(queue).index("mine") <= 1


def test_weight() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(20):
        queue.enqueue("light", "a", 10, weight=1)
        queue.enqueue("heavy", "b", 10, weight=3)
        del number
    first = drain(queue)[:16]
    assert 11 <= first.count("heavy") <= 13


def test_a_cancelled_request_is_not_charged() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.cancel_ticket(queue.enqueue("cancelled", "a", 1000))
    queue.enqueue("a", "a", 10)
    queue.enqueue("b", "b", 10)
    assert drain(queue) == ["a", "b"]


def test_requeueing_keeps_the_position() -> None:
    queue: FairQueue[str] = FairQueue()
    first = queue.enqueue("1", "a", 10)
    queue.enqueue("2", "a", 10)
    queue.start_service(first)
    queue.requeue(first)
    assert drain(queue) == ["1", "2"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 50), st.booleans()), max_size=60))
def test_no_starvation(events: list[tuple[str, int, bool]]) -> None:
    """However requests arrive, whoever waits is overtaken only by a bounded amount of work:
    what other owners may do until their tags pass it."""
    queue: FairQueue[int] = FairQueue()
    overtaken: dict[int, dict[str, int]] = {}
    owners: dict[int, str] = {}
    costs: dict[int, int] = {}
    for number, (owner, cost, serve) in enumerate(events):
        ticket = queue.enqueue(number, owner, cost)
        owners[number], costs[number] = owner, cost
        overtaken[number] = {}
        if serve:
            first = next(iter(queue))
            queue.start_service(first)
            del overtaken[first.item]
            for waiting in overtaken:
                if first.arrival > waiting and owners[waiting] != owners[first.item]:
                    done = overtaken[waiting]
                    done[owners[first.item]] = done.get(owners[first.item], 0) + costs[first.item]
        owned = sum(costs[n] for n in costs if owners[n] == owner)
        assert ticket.start_tag <= queue._virtual_time + owned
    for waiting, by in overtaken.items():
        # An owner that came later has passed it by no more than what this owner has queued before
        # it, plus one request.
        queued = sum(costs[n] for n in costs if owners[n] == owners[waiting] and n < waiting)
        for done in by.values():
            assert done <= queued + max(costs.values())
