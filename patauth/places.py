"""A bounded number of places, which are never lost: not to a thread, and not to an exception from outside.

A signal's handler or a worker's timeout may raise between any two instructions. `threading.Semaphore` is
written in Python and can be left locked, or short of a place, by that. Here the only lock is a plain one,
held for a few instructions, and a place is an object: at the latest, it is free again when nobody holds it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable


class Place:
    """One of a bounded number; whoever holds it has it."""

    __slots__ = ("__weakref__",)


class Places:
    """At most `limit` places, and at most `queue` threads that wait for one (None: any number)."""

    def __init__(self, limit: int, queue: int | None = None) -> None:
        self._limit = limit
        self._queue = queue
        self._lock = threading.Lock()
        self._freed = threading.Condition(self._lock)
        self._held: weakref.WeakSet[Place] = weakref.WeakSet()
        self._waiting: weakref.WeakSet[Place] = weakref.WeakSet()

    def take(self, seconds: float, unless: Callable[[], bool] | None = None) -> Place | None:
        """A place, waited for at most so long; None if there is none, or `unless` came true meanwhile.

        A newcomer may overtake those who wait, as with any semaphore; `seconds` bounds what that can cost.
        """
        place = Place()
        with self._lock:
            if len(self._held) >= self._limit:
                if self._queue is not None and len(self._waiting) >= self._queue:
                    return None
                self._waiting.add(place)
                self._freed.wait_for(
                    lambda: len(self._held) < self._limit or (unless is not None and unless()), seconds
                )
                self._waiting.discard(place)
            if (unless is not None and unless()) or len(self._held) >= self._limit:
                return None
            self._held.add(place)
        return place

    def give_back(self, place: Place) -> None:
        """End a place now."""
        self._held.discard(place)
        self.tell()

    def tell(self) -> None:
        """Wake one who waits: a place has come free, or `unless` may have come true."""
        if self._waiting:
            with self._lock:
                self._freed.notify()

    @property
    def held(self) -> int:
        """How many are taken."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return len(self._waiting)
