"""Slots: never more than there are, and none is ever lost."""

from __future__ import annotations

import gc
import random
import signal
import sys
import threading
import time

import pytest

from patauth.concurrency.slots import Slot, Slots
from tests.support.servers import until
from tests.support.tables import each
from tests.support.threads import in_threads


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


def queue_up(slots: Slots, tags: str, order: list[str]) -> list[threading.Thread]:
    """Threads that come one after the other. Each notes its tag when it has a slot; without one, in small."""

    def wait(tag: str) -> None:
        slot = slots.take(10, tag)
        order.append(tag if slot else tag.lower())
        if slot:
            slots.give_back(slot)

    threads = []
    for tag in tags:
        before = slots.waiting
        threads.append(threading.Thread(target=wait, args=(tag,)))
        threads[-1].start()
        until(lambda before=before: slots.waiting == before + 1)
    return threads


@each(
    ("came", "served"),
    [
        ("AAAAAB", "ABAAAA"),
        ("AAABBBCCC", "ABCABCABC"),
        ("AAAABABC", "ABCABAAA"),
        ("ABCD", "ABCD"),
        ("AAAA", "AAAA"),
    ],
)
def test_tags_take_turns(came: str, served: str) -> None:
    slots, order = Slots(1), list[str]()
    held = slots.take(0, "A")
    threads = queue_up(slots, came, order)
    assert held is not None
    slots.give_back(held)
    for thread in threads:
        thread.join()
    assert "".join(order) == served


def test_a_tag_that_was_served_and_comes_back_has_no_better_place_than_who_came_meanwhile() -> None:
    slots, order = Slots(1), list[str]()
    for tags in ("AA", "BA"):
        held = slots.take(0, "X")
        threads = queue_up(slots, tags, order)
        assert held is not None
        slots.give_back(held)
        for thread in threads:
            thread.join()
    assert order == ["A", "A", "B", "A"]
    assert not slots.lines


def test_a_free_slot_goes_to_those_who_wait_before_one_who_comes() -> None:
    slots, order = Slots(1), list[str]()
    held = slots.take(0)
    threads = queue_up(slots, "AB", order)
    assert held is not None
    with slots._lock:  # nobody who waits has had time to wake up
        slots.give_back(held)
        assert slots.take(0, "C") is None
    for thread in threads:
        thread.join()
    assert order == ["A", "B"]


def test_one_tag_holds_no_more_than_its_share_and_others_pass() -> None:
    slots = Slots(3, per_tag=1)
    first, second = slots.take(0, "A"), slots.take(0, "B")
    assert first is not None
    assert second is not None
    order: list[str] = []
    threads = queue_up(slots, "AA", order)
    third = slots.take(0, "C")
    assert third is not None
    slots.give_back(third)
    assert slots.waiting == 2
    slots.give_back(first)
    for thread in threads:
        thread.join()
    assert order == ["A", "A"]


def test_of_a_full_queue_the_tag_with_the_most_threads_loses_its_last_one() -> None:
    slots, order = Slots(1, queue=4), list[str]()
    held = slots.take(0, "A")
    threads = queue_up(slots, "AAAB", order)
    assert slots.take(10, "A") is None, "its own"
    late = threading.Thread(target=lambda: order.append("C" if slots.take(10, "C") else "c"))
    late.start()
    until(lambda: order == ["a"])
    assert slots.waiting == 4
    assert held is not None
    slots.give_back(held)
    for thread in [*threads, late]:
        thread.join()
    assert "".join(order) == "aABCA"


def test_a_slot_that_nobody_gave_back_reaches_those_who_wait() -> None:
    slots = Slots(1)
    held = [slots.take(0)]
    got: list[Slot | None] = []
    thread = threading.Thread(target=lambda: got.append(slots.take(10)))
    thread.start()
    until(lambda: slots.waiting == 1)
    held.clear()  # as with a thread that was ended from outside
    thread.join()
    assert got[0] is not None


def test_a_slot_that_another_thread_frees_goes_to_who_waits_as_soon_as_anybody_comes() -> None:
    slots, order = Slots(1), list[str]()
    held = slots.take(0, "X")
    assert held is not None
    threads = queue_up(slots, "A", order)
    slots.free(held)
    assert slots.waiting == 1
    assert slots.take(10, "B") is not None
    threads[0].join()
    assert order == ["A"]


def test_a_bell_that_rings_twice_is_no_error() -> None:
    """An exception from outside may come between its ringing and the note of that."""
    slots, order = Slots(1), list[str]()
    held = slots.take(0, "X")
    assert held is not None
    threads = queue_up(slots, "AB", order)
    with slots._lock:
        for line in slots.lines.values():
            for waiter in line:
                slot = waiter()
                assert slot is not None
                slot.bell.release()
        slots.give_back(held)
    for thread in threads:
        thread.join()
    assert order == ["A", "B"]


def test_a_signal_handler_that_comes_in_at_any_moment_waits_for_nothing_that_its_own_thread_holds() -> None:
    slots = Slots(1)
    with slots._lock:
        slot = slots.take(0)
        assert slot is not None
        slots.give_back(slot)
    assert slots.held == 0


def test_a_slot_that_is_dropped_is_free_without_an_instruction_in_python() -> None:
    """Between two of them, an exception from outside could come in, and the slot would stay taken."""
    slots, frames = Slots(1), []
    slot = slots.take(0)
    sys.settrace(lambda frame, _, __: frames.append(frame.f_code.co_name))
    del slot
    sys.settrace(None)
    assert (frames, slots.held) == ([], 0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # one that came in a callback
def test_exceptions_from_outside_lose_no_slot_and_no_place() -> None:
    """A handler that raises at any instruction, while other threads want slots, too."""

    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    slots, done = Slots(2, queue=8), threading.Event()

    def others() -> None:
        while not done.is_set():
            slot = slots.take(1, "others")
            assert slots.held <= 2
            if slot is not None:
                slots.give_back(slot)

    threads, outcomes = in_threads(others, 3)
    before = signal.signal(signal.SIGALRM, stop)
    chance, stopped = random.Random(5), 0
    gc.disable()  # what is raised in a callback of gc, such as hypothesis has, is lost
    try:
        while stopped < 500:
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00001, 0.0005))
                for _ in range(10_000):  # not for ever, should a signal get lost
                    slot = slots.take(1, "mine")
                    if slot is not None:
                        slots.give_back(slot)
            except Stop:
                stopped += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
        done.set()
    for thread in threads:
        thread.join()
    assert outcomes == [None] * 3
    slot = None
    gc.collect()
    assert (slots.held, slots.waiting) == (0, 0)
    assert [slots.take(0), slots.take(0)].count(None) == 0


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
