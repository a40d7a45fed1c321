"""The line: order of arrival within an owner, shares between owners, nobody starves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bot.engine.schedule.fair_queue import FairQueue


def drain(line: FairQueue[str]) -> list[str]:
    out = []
    while len(line):
        ticket = next(iter(line))
        line.start_service(ticket)
        out.append(ticket.item)
    return out


def test_one_request_passes_a_flood() -> None:
    line: FairQueue[str] = FairQueue()
    for number in range(50):
        line.enqueue(f"flood {number}", "flood", 100)
    for _ in range(3):
        line.start_service(next(iter(line)))
    line.enqueue("mine", "me", 100)
    assert drain(line).index("mine") <= 1


def test_weight() -> None:
    line: FairQueue[str] = FairQueue()
    for number in range(20):
        line.enqueue("light", "a", 10, weight=1)
        line.enqueue("heavy", "b", 10, weight=3)
        del number
    first = drain(line)[:16]
    assert 11 <= first.count("heavy") <= 13


def test_who_gives_up_is_not_charged() -> None:
    line: FairQueue[str] = FairQueue()
    line.cancel_ticket(line.enqueue("gone", "a", 1000))
    line.enqueue("a", "a", 10)
    line.enqueue("b", "b", 10)
    assert drain(line) == ["a", "b"]


def test_rejoining_keeps_the_place() -> None:
    line: FairQueue[str] = FairQueue()
    first = line.enqueue("1", "a", 10)
    line.enqueue("2", "a", 10)
    line.start_service(first)
    line.requeue(first)
    assert drain(line) == ["1", "2"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 50), st.booleans()), max_size=60))
def test_no_starvation(events: list[tuple[str, int, bool]]) -> None:
    """However requests arrive, whoever waits is overtaken only by a bounded amount of work:
    what other owners may do until their tags pass it."""
    line: FairQueue[int] = FairQueue()
    overtaken: dict[int, dict[str, int]] = {}
    owners: dict[int, str] = {}
    costs: dict[int, int] = {}
    for number, (owner, cost, serve) in enumerate(events):
        ticket = line.enqueue(number, owner, cost)
        owners[number], costs[number] = owner, cost
        overtaken[number] = {}
        if serve:
            first = next(iter(line))
            line.start_service(first)
            del overtaken[first.item]
            for waiting in overtaken:
                if first.arrival > waiting and owners[waiting] != owners[first.item]:
                    done = overtaken[waiting]
                    done[owners[first.item]] = done.get(owners[first.item], 0) + costs[first.item]
        mine = sum(costs[n] for n in costs if owners[n] == owner)
        assert ticket.start_tag <= line._virtual_time + mine
    for waiting, by in overtaken.items():
        # An owner that came later has passed it by no more than what this owner has queued before
        # it, plus one request.
        queued = sum(costs[n] for n in costs if owners[n] == owners[waiting] and n < waiting)
        for done in by.values():
            assert done <= queued + max(costs.values())
