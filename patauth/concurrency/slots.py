"""A bounded number of slots, which are never lost: not to a thread, and not to an exception from outside.

A signal's handler or a worker's timeout may raise between any two instructions. `threading.Semaphore` is
written in Python and can be left locked, or short of a slot, by that. Here the only lock is a plain one,
held for a few instructions, and a slot is an object: at the latest, it is free again when nobody holds it.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic


class Slot:
    """One of a bounded number; whoever holds it has it."""

    __slots__ = ("__weakref__",)


class Slots:
    """At most `limit` slots, and at most `queue` threads that wait for one (None: any number)."""

    def __init__(self, limit: int, queue: int | None = None) -> None:
        self._limit = limit
        self._queue = queue
        self._lock = threading.Lock()
        self._held: weakref.WeakSet[Slot] = weakref.WeakSet()
        # Who waits, first come first, each for a bell of its own: `threading.Condition` takes its lock back
        # after a wait, and a gevent.Timeout that comes just then leaves it released twice.
        self.waiters: OrderedDict[weakref.ref[Slot], threading.Lock] = OrderedDict()

    def take(self, seconds: float, unless: Callable[[], bool] | None = None) -> Slot | None:
        """A slot, waited for at most so long; None if there is none, or `unless` came true meanwhile.

        A newcomer may overtake those who wait, as with any semaphore; `seconds` bounds what that can cost.
        """
        slot = Slot()
        if unless is not None and unless():
            return None
        if self._enter(slot):
            return slot
        end = monotonic() + seconds
        queued = False
        while (left := end - monotonic()) > 0:
            bell = threading.Lock()
            bell.acquire()
            waiter = weakref.ref(slot, self._forget)
            with self._lock:
                if self._queue is not None and len(self.waiters) >= self._queue and not queued:
                    return None
                self.waiters[waiter] = bell
            queued = True
            settled = True  # unless it comes to waiting
            try:
                # Looked once more: what came free before this one could be told of it.
                if unless is not None and unless():
                    return None
                if self._enter(slot):
                    return slot
                bell.acquire(timeout=left)
                settled = False
            finally:
                # The bell that rang for this one, which needs it no more, is the next one's.
                if self.waiters.pop(waiter, None) is None and settled:
                    self.tell()
        if (unless is not None and unless()) or not self._enter(slot):
            return None
        return slot

    def _enter(self, slot: Slot) -> bool:
        with self._lock:
            if len(self._held) >= self._limit:
                return False
            self._held.add(slot)
            return True

    def _forget(self, waiter: weakref.ref[Slot]) -> None:
        try:
            self.waiters.pop(waiter, None)
        except TypeError:  # it died before it was entered
            pass

    def give_back(self, slot: Slot) -> None:
        """End a slot now."""
        self._held.discard(slot)
        self.tell()

    def tell(self) -> None:
        """Wake one who waits: a slot has come free, or `unless` may have come true."""
        try:
            _, bell = self.waiters.popitem(last=False)
        except KeyError:
            return
        bell.release()

    @property
    def held(self) -> int:
        """How many are taken."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return len(self.waiters)
