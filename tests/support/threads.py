"""Threads of tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any


def in_threads(work, count):
    """Start `count` threads; what each returned or raised is in the list once they are joined."""
    outcomes = []

    def run():
        try:
            outcomes.append(work())
        except Exception as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, outcomes


def hold(lock: Any) -> None:
    """Leave a lock in the hands of another thread, which is over."""
    thread = threading.Thread(target=lock.acquire)
    thread.start()
    thread.join()


def all_at_once(works: Sequence[Callable[..., Any]]) -> list[Any]:
    """What each returned or raised, all started together."""
    outcomes: list[Any] = [None] * len(works)
    start = threading.Barrier(len(works))

    def run(number: int) -> None:
        start.wait()
        try:
            outcomes[number] = works[number]()
        except Exception as error:
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(works))]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return outcomes
