"""Give out a bounded number of slots, in turn. No slot is lost to a dead thread or an exception.

A signal handler or a worker's timeout may raise an exception between any two instructions. That can leave
`threading.Semaphore`, which is written in Python, locked or short of a slot. Here the only lock is a plain
one. It is held for a few instructions, and the handler can take it again. A slot is an object, which is free
again at the latest when nothing refers to it. So the objects that are alive are the taken and waiting slots.
A waiting thread looks again now and then, in case nobody could wake it.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic

_LOOK_AGAIN = 0.5  # s after which a waiting thread looks for itself


class Slot:
    """One of a bounded number of slots: taken, or waited for, as long as something refers to this object."""

    __slots__ = ("__weakref__", "bell", "is_refused", "is_rung", "tag")

    bell: threading.Lock  # the thread that waits for the slot waits until this is released

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.is_refused = False  # because the queue was full
        self.is_rung = False  # its thread is awake, or will be


_Line = dict[weakref.ref[Slot], None]  # slots that are waited for with one tag, the first one first


class Slots:
    """Gives out at most `limit` slots, and at most `per_tag` of them to one tag (None: any number).

    At most `queue` threads wait for a slot (None: any number). Tags take turns: the next slot goes to the tag
    whose arrival or last slot was the longest ago. So the many threads of one tag never delay the first
    thread of another. If the queue is full, the tag with the most threads in it loses its last one.
    """

    def __init__(self, limit: int, queue: int | None = None, per_tag: int | None = None) -> None:
        self._limit = limit
        self._queue = queue
        self._per_tag = per_tag
        self._lock = threading.RLock()  # a signal handler may come in while its own thread holds it
        # Not a WeakSet: it forgets a dead slot in Python, and an exception from outside may come in there.
        self._held: set[weakref.ref[Slot]] = set()
        # The line of each tag that waits; the tag whose turn it is comes first. Each thread waits for its own
        # bell: `threading.Condition` takes its lock again after a wait, and a gevent.Timeout at that moment
        # makes it release the lock twice.
        self.lines: OrderedDict[str, _Line] = OrderedDict()

    def take(self, seconds: float, tag: str = "", unless: Callable[[], bool] | None = None) -> Slot | None:
        """Wait at most `seconds` for a slot. Return None if there is none, or once `unless` returns true."""
        slot = Slot(tag)
        end = monotonic() + seconds
        try:
            while True:
                if unless is not None and unless():
                    slot.is_rung = False  # it rang for this
                    break
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
            if not self._has(slot) and not slot.is_refused:
                bell = threading.Lock()
                bell.acquire()
                slot.bell, slot.is_rung = bell, False
                line = self.lines.setdefault(slot.tag, {})
                line.setdefault(weakref.ref(slot, partial(self._forget, slot.tag)))
                self._hand_out()
                if self._queue is not None and self.waiting > self._queue:
                    self._refuse_one()
            return self._has(slot)

    def _has(self, slot: Slot) -> bool:
        return weakref.ref(slot) in self._held

    def _taken_by(self, tag: str) -> int:
        slots = [held() for held in list(self._held)]
        return sum(slot is not None and slot.tag == tag for slot in slots)

    def _hand_out(self) -> None:
        """Give free slots to the threads whose turn it is."""
        while len(self._held) < self._limit:
            slot = next(filter(None, map(self._first, list(self.lines))), None)
            if slot is None:
                return
            self._held.add(weakref.ref(slot, self._held.discard))
            self._strike(slot)
            with suppress(KeyError):  # it was the last one with its tag
                self.lines.move_to_end(slot.tag)
            _ring(slot)

    def _first(self, tag: str) -> Slot | None:
        """Return the first slot in the line of a tag; None if the tag already has its share."""
        if self._per_tag is not None and self._taken_by(tag) >= self._per_tag:
            return None
        line = self.lines.get(tag, {})
        for waiter in list(line):
            slot = waiter()
            if slot is not None and not self._has(slot):
                return slot
            line.pop(waiter, None)
        self.lines.pop(tag, None)
        return None

    def _refuse_one(self) -> None:
        most = max(map(len, self.lines.values()))
        line = next(line for line in reversed(self.lines.values()) if len(line) == most)
        last = next(reversed(line))()
        if last is not None:
            last.is_refused = True
            self._strike(last)
            _ring(last)

    def _strike(self, slot: Slot) -> None:
        """Take a slot off the queue."""
        line = self.lines.get(slot.tag)
        if line is not None:
            line.pop(weakref.ref(slot), None)
            if not line:
                self.lines.pop(slot.tag, None)

    def _forget(self, tag: str, waiter: weakref.ref[Slot]) -> None:
        try:
            self.lines.get(tag, {}).pop(waiter, None)
        except TypeError:  # the slot died before it entered the queue
            pass

    def _leave(self, slot: Slot) -> None:
        """Stop waiting. If the bell has rung for this thread, ring it for the next one."""
        self.give_back(slot)
        if slot.is_rung:
            self.tell()

    def give_back(self, slot: Slot) -> None:
        """Free a slot now, for the next one that waits."""
        with self._lock:
            self._strike(slot)
            self._held.discard(weakref.ref(slot))
            self._hand_out()

    def free(self, slot: Slot) -> None:
        """Free a slot now, but wake nobody, since this thread must not. The next one at work here does."""
        self._held.discard(weakref.ref(slot))

    def tell(self) -> None:
        """Wake the next waiting thread, because `unless` may be true. It keeps its turn."""
        with self._lock:
            for line in list(self.lines.values()):
                for waiter in list(line):
                    slot = waiter()
                    if slot is not None and not slot.is_rung:
                        _ring(slot)
                        return

    @property
    def held(self) -> int:
        """The number of slots that are taken."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """The number of threads that wait for a slot."""
        return sum(map(len, list(self.lines.values())))


def _ring(slot: Slot) -> None:
    slot.is_rung = True
    with suppress(RuntimeError):  # it has rung already
        slot.bell.release()
