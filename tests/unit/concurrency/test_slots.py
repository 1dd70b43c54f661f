"""Places: never more than there are, and none is ever lost."""

from __future__ import annotations

import threading
import time

from patauth.concurrency.slots import Place, Places
from tests.support.servers import until


def test_no_more_are_taken_than_there_are_and_each_comes_back() -> None:
    places = Places(2)
    first, second = places.take(0), places.take(0)
    assert first is not None
    assert second is not None
    assert places.take(0.01) is None
    places.give_back(first)
    assert places.take(0) is not None


def test_a_place_that_nobody_holds_any_more_is_free() -> None:
    places = Places(1)
    place = places.take(0)
    assert place is not None
    del place
    assert places.held == 0
    assert places.take(0) is not None


def test_who_waits_gets_the_place_that_comes_free() -> None:
    places = Places(1)
    place = places.take(0)
    got: list[Place | None] = []
    thread = threading.Thread(target=lambda: got.append(places.take(10)))
    thread.start()
    until(lambda: places.waiting == 1)
    assert place is not None
    places.give_back(place)
    thread.join()
    assert got[0] is not None
    assert places.waiting == 0


def test_the_queue_is_bounded_and_who_finds_it_full_does_not_wait() -> None:
    places = Places(1, queue=1)
    held = places.take(0)
    thread = threading.Thread(target=lambda: places.take(10))
    thread.start()
    until(lambda: places.waiting == 1)
    start = time.monotonic()
    assert places.take(10) is None
    assert time.monotonic() - start < 1
    assert held is not None
    places.give_back(held)
    thread.join()


def test_something_better_than_a_place_ends_the_wait() -> None:
    places = Places(1)
    held = places.take(0)
    better: list[int] = []
    got: list[Place | None] = []
    thread = threading.Thread(target=lambda: got.append(places.take(10, unless=lambda: bool(better))))
    thread.start()
    until(lambda: places.waiting == 1)
    better.append(1)
    places.tell()
    thread.join()
    assert got == [None]
    assert held is not None


def test_many_threads_never_hold_more_than_there_are() -> None:
    places, most, seen = Places(3), 3, []

    def work() -> None:
        for _ in range(200):
            place = places.take(5)
            assert place is not None
            seen.append(places.held)
            places.give_back(place)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(seen) <= most
    assert len(seen) == 16 * 200
