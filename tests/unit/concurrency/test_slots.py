"""Slots: never more than there are, and none is ever lost."""

from __future__ import annotations

import threading
import time

from patauth.concurrency.slots import Slot, Slots
from tests.support.servers import until


def test_no_more_are_taken_than_there_are_and_each_comes_back() -> None:
    slots = Slots(2)
    first, second = slots.take(0), slots.take(0)
    assert first is not None
    assert second is not None
    assert slots.take(0.01) is None
    slots.give_back(first)
    assert slots.take(0) is not None


def test_a_place_that_nobody_holds_any_more_is_free() -> None:
    slots = Slots(1)
    slot = slots.take(0)
    assert slot is not None
    del slot
    assert slots.held == 0
    assert slots.take(0) is not None


def test_who_waits_gets_the_place_that_comes_free() -> None:
    slots = Slots(1)
    slot = slots.take(0)
    got: list[Slot | None] = []
    thread = threading.Thread(target=lambda: got.append(slots.take(10)))
    thread.start()
    until(lambda: slots.waiting == 1)
    assert slot is not None
    slots.give_back(slot)
    thread.join()
    assert got[0] is not None
    assert slots.waiting == 0


def test_the_queue_is_bounded_and_who_finds_it_full_does_not_wait() -> None:
    slots = Slots(1, queue=1)
    held = slots.take(0)
    thread = threading.Thread(target=lambda: slots.take(10))
    thread.start()
    until(lambda: slots.waiting == 1)
    start = time.monotonic()
    assert slots.take(10) is None
    assert time.monotonic() - start < 1
    assert held is not None
    slots.give_back(held)
    thread.join()


def test_something_better_than_a_place_ends_the_wait() -> None:
    slots = Slots(1)
    held = slots.take(0)
    better: list[int] = []
    got: list[Slot | None] = []
    thread = threading.Thread(target=lambda: got.append(slots.take(10, unless=lambda: bool(better))))
    thread.start()
    until(lambda: slots.waiting == 1)
    better.append(1)
    slots.tell()
    thread.join()
    assert got == [None]
    assert held is not None


def test_many_threads_never_hold_more_than_there_are() -> None:
    slots, most, seen = Slots(3), 3, []

    def work() -> None:
        for _ in range(200):
            slot = slots.take(5)
            assert slot is not None
            seen.append(slots.held)
            slots.give_back(slot)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(seen) <= most
    assert len(seen) == 16 * 200
