"""A sink with a thread of its own: a bounded queue that a daemon thread empties.

A request only puts its event into the queue. The thread begins with the first event, and each process has its
own: a forked child starts with an empty queue. While the receiver is away everything waits, with growing
pauses between the tries. If the order is free, an event that the receiver refuses has its own pauses, and the
others go on. Events without room are dropped and counted.

Refusals do not go through the queue. They are counted for each client and go once a minute (counts.py), so
that a flood of them neither fills the queue nor reaches the receiver. Uses of one PAT's rotated secret are
counted in the same way, after the first one in a minute.
"""

from __future__ import annotations

import heapq
import queue
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from os import getpid
from typing import NamedTuple, Protocol

from ..concurrency.forks import after_fork_in_child
from ..model.words import counted
from .counts import REFUSALS, Counts, by_client, by_pat
from .events import Event, line_of, warn

ROOM = 8 * 1024 * 1024  # characters of events that may wait; an event has some 300
CLIENTS = 1000  # whose refusals are counted apart, and as many PATs
MINUTE = 60.0  # s in which refusals are counted
LONGEST = 3600.0  # s that a refused event waits for its next turn, at most
KEEP = 86_400.0  # s after which an event that nobody takes is dropped
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0  # s between tries

Chance = Callable[[], float]  # returns 0 to 1


def chance() -> float:
    """Return a random number from 0 to 1."""
    return secrets.randbelow(1001) / 1000


def pause_after(failures: int, by: Chance, most: float = LONGEST_PAUSE) -> float:
    """Return how long to wait (s, at most `most`) after so many failures in a row, at least 1.

    Pauses double, and each is a little shorter at random, so that many processes do not try at once.
    """
    longest: float = min(most, FIRST_PAUSE * 2 ** min(failures - 1, 16))
    return longest * (0.5 + 0.5 * by())


class Letter(NamedTuple):
    """An event on its way: its id, its line of JSON, until when to try (s, of the timer), its refusals."""

    id: str
    line: str
    until: float
    refusals: int = 0


class Undelivered(Exception):
    """The receiver has not taken the letter; a later try may succeed. The text says why, without secrets."""


class Refused(Undelivered):
    """The receiver has refused this letter; it may take others."""


class Gone(Undelivered):
    """The receiver wants no events any more."""


class Courier(Protocol):
    """Delivers letters."""

    name: str  # of the sink, for people
    most: int  # letters at a time
    in_order: bool  # whether a letter that is not delivered holds up those behind it

    def deliver(self, letters: Sequence[Letter], *, are_refusals: bool, dropped: int) -> None:
        """Deliver all letters, within a limited time. Raise `Undelivered`, for all of them.

        `dropped` is how many events the sink had to drop since the last delivery.
        """


class Outbox:
    """Takes events for a courier; safe for many threads and after a fork.

    `room` and `clients` limit what waits. `timer` returns seconds that never step back, `by` random
    numbers from 0 to 1.
    """

    def __init__(
        self,
        courier: Courier,
        *,
        room: int = ROOM,
        clients: int = CLIENTS,
        timer: Callable[[], float] = time.monotonic,
        by: Chance = chance,
    ) -> None:
        self.name = courier.name
        self.is_on = True
        self.on_drop: Callable[[int], object] = _ignore
        self._courier = courier
        self._room = room
        self._clients = clients
        self._timer = timer
        self._by = by
        self._after_fork()
        after_fork_in_child(self._after_fork)

    def _after_fork(self) -> None:
        self._pid = getpid()
        self._lock = threading.RLock()  # a signal handler may come in while its own thread holds it
        self._waiting: deque[Letter] = deque()
        # What failed while the receiver was away, if the order is free. When it takes another event, these
        # were the reason.
        self._suspects: deque[Letter] = deque()
        self._refused: list[tuple[float, Letter]] = []  # a heap: when the turn of each comes again
        self._size = 0  # characters in these three
        self._refusals = Counts(self._clients, by_client)
        self._repeats = Counts(self._clients, by_pat, first_apart=True)
        self._counted: deque[Letter] = deque()  # what was taken of these two
        self._count_until: float | None = None  # when to take it; None: nothing is counted
        self._failures = 0  # in a row
        self._not_before = 0.0  # the next try
        self._is_gone = False
        self._told = -MINUTE  # when the log was told of a failure last, and
        self._told_dropped = -MINUTE  # of events that were dropped
        self._thread: threading.Thread | None = None
        self._is_starting = False
        # For the thread: None, look again; a number, end by then (s, of the timer).
        self._orders: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        self.dropped = 0
        self._reported = 0  # of these, how many the courier knows of

    # -- for those who report events --------------------------------------------------------------------

    def take(self, event: Event) -> None:
        """Take an event. It is dropped and counted if there is no room, or no receiver any more."""
        if self._pid != getpid():  # a fork without os.fork runs no hook
            self._after_fork()
        with self._lock:
            is_dropped = not self._put(event)
            if not is_dropped and not self._is_starting:
                self._start()
        if is_dropped:
            self._drop(1)

    def _put(self, event: Event) -> bool:
        if self._is_gone:
            return False
        now = self._timer()
        is_refusal = event["type"] in REFUSALS
        counts = self._refusals if is_refusal else self._repeats
        if (is_refusal or event["type"] == "secret.reused") and not counts.add(event):
            if self._count_until is None:
                self._count_until = now + MINUTE
                self._orders.put(None)
            return True
        letter = _letter(event, now)
        if self._size + len(letter.line) > self._room:
            return False
        self._size += len(letter.line)
        self._waiting.append(letter)
        if len(self._waiting) == 1:  # the thread may be waiting for it
            self._orders.put(None)
        return True

    def _start(self) -> None:
        """Begin the thread, unless it runs."""
        if self._thread is not None and self._thread.is_alive():
            return
        # Looked up now: gevent may have replaced it, and Thread, since this was imported.
        orders: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        thread = threading.Thread(target=self._run, args=(orders,), name=f"patauth {self.name}", daemon=True)
        self._is_starting = True  # for a signal handler that comes in now
        try:
            thread.start()
            self._thread, self._orders = thread, orders
            orders.put(None)  # that handler has told the thread before
        except RuntimeError:  # there are too many threads, or the process ends; the next event tries again
            pass
        finally:
            self._is_starting = False

    def end(self, seconds: float) -> None:
        """Tell the thread to deliver what waits within this number of seconds, and to end. Return at once.

        The thread makes a try at once, and after a failure as many more as the pauses allow.
        """
        self._orders.put(self._timer() + seconds)

    def close(self, seconds: float) -> list[str]:
        """Call `end`, and wait until the thread is done. Drop what is left, and return the ids of these."""
        thread = self._thread
        if self._pid != getpid() or thread is None or thread is threading.current_thread():
            return []
        self.end(seconds)
        thread.join(seconds)
        with self._lock:
            self._thread = None  # one that is still delivering ends by itself
            left = self._cleared()
        if left:
            self._drop(len(left))
        return [letter.id for letter in left]

    def _cleared(self) -> list[Letter]:
        """Return what waits, and remove it from the queue."""
        left = [*self._waiting, *self._suspects, *(letter for _, letter in self._refused), *self._counted]
        for some in (self._waiting, self._suspects, self._refused, self._counted):
            some.clear()
        self._size = 0
        return left

    # -- the thread -------------------------------------------------------------------------------------

    def _run(self, orders: queue.SimpleQueue[float | None]) -> None:
        until: float | None = None
        while until is None:
            pause = self.step()
            try:
                until = orders.get(timeout=pause)
            except queue.Empty:
                pass
        with self._lock:
            self._not_before = 0.0
            self._waiting.extend(letter for _, letter in self._refused)
            self._refused.clear()
        self._finish(until)

    def _finish(self, until: float) -> None:
        """Deliver what waits, counts too, and try again after each pause that ends before `until`."""
        while (now := self._timer()) < until:
            with self._lock:
                self._count_until = 0.0
            pause = self.step()
            if pause is None or now + pause >= until:
                return
            time.sleep(pause)

    def step(self) -> float | None:
        """Deliver what is due. Return the seconds until the next step; None: it waits for another event."""
        with self._lock:
            letters, are_refusals, pause = self._next(self._timer())
            dropped = self.dropped - self._reported
        if not letters:
            return pause
        try:
            self._courier.deliver(letters, are_refusals=are_refusals, dropped=dropped)
        except Exception as problem:
            return self._failed(letters, are_refusals, problem)
        with self._lock:
            self._failures = 0
            self._reported += dropped
            while self._suspects:
                self._postpone(self._suspects.popleft())
        return 0

    def _postpone(self, letter: Letter) -> None:
        letter = Letter(letter.id, letter.line, letter.until, letter.refusals + 1)
        pause = pause_after(letter.refusals, self._by, LONGEST)
        heapq.heappush(self._refused, (self._timer() + pause, letter))

    def _next(self, now: float) -> tuple[list[Letter], bool, float | None]:
        """Return the letters that are due, whether they are refusals, and the pause if none are due."""
        if now < self._not_before:
            return [], False, self._not_before - now
        pause = None
        if self._count_until is not None:
            pause = self._count_until - now
            # As long as the last counts wait, the next ones grow. So what waits has a limit.
            if pause <= 0 and not self._counted:
                counted = [*self._refusals.take(), *self._repeats.take()]
                self._counted.extend(_letter(event, now) for event in counted)
                self._count_until = pause = None
        if self._refused and not self._waiting:  # new events go first
            if self._refused[0][0] <= now:
                self._waiting.append(heapq.heappop(self._refused)[1])
            else:
                again = self._refused[0][0] - now
                pause = again if pause is None else min(pause, again)
        due = self._waiting or self._suspects or self._counted
        letters = [due.popleft() for _ in range(min(self._courier.most, len(due)))]
        if due is not self._counted:
            self._size -= sum(len(letter.line) for letter in letters)
        return letters, due is self._counted, pause

    def _failed(self, letters: list[Letter], are_refusals: bool, problem: Exception) -> float:
        is_gone, now = isinstance(problem, Gone), self._timer()
        is_refused = isinstance(problem, Refused) and not self._courier.in_order
        with self._lock:
            late = [letter for letter in letters if is_gone or now >= letter.until]
            left = [letter for letter in letters if letter not in late]
            size = sum(len(letter.line) for letter in left)
            if is_refused and are_refusals and self._size + size > self._room:
                late, left = letters, []
            elif is_refused or not are_refusals:
                self._size += size
            if is_refused:
                for letter in left:
                    self._postpone(letter)
            elif self._courier.in_order:
                (self._counted if are_refusals else self._waiting).extendleft(reversed(left))
            else:
                (self._counted if are_refusals else self._suspects).extend(left)
            if is_gone:
                late += self._cleared()
                self._is_gone = True
            self._failures = 0 if is_refused else self._failures + 1
            pause = pause_after(max(self._failures, 1), self._by)
            self._not_before = now + pause
            is_told = now < self._told + MINUTE
            if not is_told:
                self._told = now
        if not is_told:
            # The text of an exception of other code may contain anything.
            why = problem if isinstance(problem, Undelivered) else type(problem).__name__
            warn(f"{self.name}: {why}")
        if late:
            self._drop(len(late))
        return pause

    def _drop(self, count: int) -> None:
        """Count dropped events, and log the number once a minute. Do not hold the lock."""
        now = self._timer()
        with self._lock:
            self.dropped += count
            is_told = now < self._told_dropped + MINUTE
            if not is_told:
                self._told_dropped = now
            total = self.dropped
        self.on_drop(count)
        if not is_told:
            warn(
                f"{self.name}: {counted(total, 'event was', 'events were')} dropped since this process began"
            )


def _ignore(_: int) -> None:
    """Do nothing."""


def _letter(event: Event, now: float) -> Letter:
    return Letter(str(event["id"]), line_of(event), now + KEEP)
