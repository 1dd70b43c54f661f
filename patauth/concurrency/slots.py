"""A bounded number of slots. No slot is ever lost, neither to a dead thread nor to an exception from outside.

A signal handler or a worker's timeout may raise an exception between any two instructions. That can leave
`threading.Semaphore`, which is written in Python, locked or short of a slot. Here the only lock is a plain
one, which is held for a few instructions. A slot is an object: it is free again at the latest when nobody
refers to it.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic


class Slot:
    """One of a bounded number of slots. It is taken as long as this object is referred to."""

    __slots__ = ("__weakref__",)


class Slots:
    """Gives out at most `limit` slots. At most `queue` threads wait for one (None: any number)."""

    def __init__(self, limit: int, queue: int | None = None) -> None:
        self._limit = limit
        self._queue = queue
        self._lock = threading.Lock()
        self._held: weakref.WeakSet[Slot] = weakref.WeakSet()
        # The threads that wait, the first one first. Each waits for its own bell: `threading.Condition` takes
        # its lock again after a wait, and a gevent.Timeout at that moment makes it release the lock twice.
        self.waiters: OrderedDict[weakref.ref[Slot], threading.Lock] = OrderedDict()

    def take(self, seconds: float, unless: Callable[[], bool] | None = None) -> Slot | None:
        """Wait at most `seconds` for a slot. Return None if there is none, or once `unless` returns true.

        A new thread may overtake those that wait, as with any semaphore. `seconds` bounds what that can cost.
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
            settled = True  # until it really waits
            try:
                # Look again: a slot may have come free before this thread entered the queue.
                if unless is not None and unless():
                    return None
                if self._enter(slot):
                    return slot
                bell.acquire(timeout=left)
                settled = False
            finally:
                # A bell has rung for this thread, which no longer needs it, so ring the next one.
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
        except TypeError:  # the slot died before it entered the queue
            pass

    def give_back(self, slot: Slot) -> None:
        """Free a slot now."""
        self._held.discard(slot)
        self.tell()

    def tell(self) -> None:
        """Wake one waiting thread: a slot is free, or `unless` may be true."""
        try:
            _, bell = self.waiters.popitem(last=False)
        except KeyError:
            return
        bell.release()

    @property
    def held(self) -> int:
        """The number of slots that are taken."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """The number of threads that wait for a slot."""
        return len(self.waiters)
