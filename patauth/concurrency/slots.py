"""A bounded number of slots, in turn. No slot is ever lost, neither to a dead thread nor to an exception.

A signal handler or a worker's timeout may raise an exception between any two instructions. That can leave
`threading.Semaphore`, which is written in Python, locked or short of a slot. Here the only lock is a plain
one, which is held for a few instructions, and which the handler can take again. A slot is an object: it is
free again at the latest when nobody refers to it. So what is taken and who waits is counted from the objects
that are alive, and a waiting thread looks again now and then, in case nobody could wake it.
"""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Callable
from itertools import count
from time import monotonic

_LOOK_AGAIN = 0.1  # s after which a waiting thread looks for itself


class Slot:
    """One of a bounded number of slots. It is taken, or waited for, as long as this object is referred to."""

    __slots__ = ("__weakref__", "bell", "is_refused", "is_rung", "number", "tag")

    bell: threading.Lock  # the thread that waits for the slot waits until this is released

    def __init__(self, tag: str, number: int) -> None:
        self.tag = tag
        self.number = number  # in the order of arrival
        self.is_refused = False  # because the queue was full
        self.is_rung = False  # the thread is awake, or will be


class Slots:
    """Gives out at most `limit` slots, and at most `per_tag` of them to one tag (None: any number).

    At most `queue` threads wait for a slot (None: any number). Tags take turns: the next slot goes to the tag
    that has waited longest since it came or got one. So the many threads of one tag never stand before the
    first one of another. If the queue is full, the tag with the most threads in it loses its last one.
    """

    def __init__(self, limit: int, queue: int | None = None, per_tag: int | None = None) -> None:
        self._limit = limit
        self._queue = queue
        self._per_tag = per_tag
        self._lock = threading.RLock()  # a signal handler may come in while its own thread holds it
        self._held: weakref.WeakSet[Slot] = weakref.WeakSet()
        # Each thread waits for its own bell: `threading.Condition` takes its lock again after a wait, and a
        # gevent.Timeout at that moment makes it release the lock twice.
        self.waiters: dict[weakref.ref[Slot], None] = {}
        self._numbers = count()
        self._served: dict[str, int] = {}  # of tags that still wait: when they last got a slot

    def take(self, seconds: float, tag: str = "", unless: Callable[[], bool] | None = None) -> Slot | None:
        """Wait at most `seconds` for a slot. Return None if there is none, or once `unless` returns true."""
        slot = Slot(tag, next(self._numbers))
        end = monotonic() + seconds
        try:
            while unless is None or not unless():
                if self._enter(slot):
                    return slot
                left = end - monotonic()
                # Look again: what `unless` looks for may be there since this thread entered the queue.
                if left <= 0 or slot.is_refused or (unless is not None and unless()):
                    break
                slot.bell.acquire(timeout=min(left, _LOOK_AGAIN))
        except BaseException:
            self._leave(slot)
            raise
        self._leave(slot)
        return None

    def _enter(self, slot: Slot) -> bool:
        """Return whether the slot is taken. If it is not, it is in the queue, or refused."""
        with self._lock:
            self.waiters.pop(weakref.ref(slot), None)
            if slot not in self._held and not slot.is_refused:
                slot.bell = threading.Lock()
                slot.bell.acquire()
                slot.is_rung = False
                self.waiters[weakref.ref(slot, self._forget)] = None
                self._hand_out()
                if self._queue is not None and len(self.waiters) > self._queue:
                    self._refuse_one()
            return slot in self._held

    def _in_turn(self) -> list[Slot]:
        """Return the slots that are waited for. The next one to be given out is the first."""
        waiting = [slot for waiter in list(self.waiters) if (slot := waiter()) and slot not in self._held]
        tags = {slot.tag for slot in waiting}
        self._served = served = {tag: number for tag, number in self._served.items() if tag in tags}
        return sorted(waiting, key=lambda slot: (served.get(slot.tag, slot.number), slot.number))

    def _hand_out(self) -> None:
        """Give free slots to those whose turn it is."""
        while len(self._held) < self._limit:
            waiting = self._in_turn()
            held = Counter([slot.tag for slot in self._held])
            able = [slot for slot in waiting if self._per_tag is None or held[slot.tag] < self._per_tag]
            if not able:
                return
            slot = able[0]
            self._held.add(slot)
            if sum(other.tag == slot.tag for other in waiting) > 1:
                self._served[slot.tag] = next(self._numbers)
            self.waiters.pop(weakref.ref(slot), None)
            _ring(slot)

    def _refuse_one(self) -> None:
        waiting = self._in_turn()
        tags = Counter([slot.tag for slot in waiting])
        last = max(waiting, key=lambda slot: (tags[slot.tag], slot.number))
        last.is_refused = True
        self.waiters.pop(weakref.ref(last), None)
        _ring(last)

    def _forget(self, waiter: weakref.ref[Slot]) -> None:
        try:
            self.waiters.pop(waiter, None)
        except TypeError:  # the slot died before it entered the queue
            pass

    def _leave(self, slot: Slot) -> None:
        """Give up waiting. A bell may have rung for this thread, which no longer needs it: ring another."""
        self.give_back(slot)
        self.tell()

    def give_back(self, slot: Slot) -> None:
        """Free a slot now, for the next one that waits."""
        with self._lock:
            self.waiters.pop(weakref.ref(slot), None)
            self._held.discard(slot)
            self._hand_out()

    def tell(self) -> None:
        """Wake the next waiting thread, because `unless` may be true. It keeps its turn."""
        with self._lock:
            for slot in self._in_turn():
                if not slot.is_rung:
                    _ring(slot)
                    return

    @property
    def held(self) -> int:
        """The number of slots that are taken."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """The number of threads that wait for a slot."""
        return len(self.waiters)


def _ring(slot: Slot) -> None:
    if not slot.is_rung:
        slot.is_rung = True
        slot.bell.release()
