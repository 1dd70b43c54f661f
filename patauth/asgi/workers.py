"""The threads in which the guard asks the store, so that no event loop waits for it.

As many requests ask at a time as the store has connections. The others wait in a line, without a thread, and
their waiting counts for the deadline. While a request waits for a hash or computes one, it has a thread and
no turn, so another one asks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any, TypeVar

from ..concurrency.forks import after_fork_in_child
from ..errors import StoreUnavailable
from ..operations.operations import Operations
from ..store.deadline import TURN

T = TypeVar("T")
_Place = tuple[Future[Any], Callable[[], object]]  # in the line

_WAIT = 0.75  # of the deadline, for a turn; the rest is for asking


class Workers:
    """Runs functions that ask the store in threads. Any number of event loops may share one."""

    def __init__(self, operations: Operations) -> None:
        settings = operations.settings
        self._wait = _WAIT * operations.request_seconds  # s
        self._turns = settings.max_connections
        # A thread starts when all others are busy. Two queues wait for hashes: of checks, and of new digests.
        self._threads = self._turns + settings.hash_slots + 2 * settings.hash_queue
        self._reset()
        after_fork_in_child(self._reset)

    def _reset(self) -> None:
        self._pool = ThreadPoolExecutor(self._threads, "patauth")
        self._has_thread = False
        self._lock = Lock()
        self._free = self._turns
        # What waits for a turn, and what then begins. That gives the turn back, even if nobody waits now.
        self._line: deque[_Place] = deque()

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Return what a function returns in a thread, with the context variables of this task.

        Raise what it raises, and `StoreUnavailable` if its turn does not come in time. If this task is
        cancelled, the function does not begin; if it has begun, it ends by itself, and nobody gets what it
        returns. Its turn depends on no event loop, so a loop that is blocked or closed keeps none.
        """
        self._start()
        result: Future[T] = Future()
        work = partial(copy_context().run, self._work, result, monotonic(), function, *args)
        place = result, partial(self._pool.submit, work)
        self._line.append(place)
        self._hand_out()
        returned = asyncio.wrap_future(result)
        try:
            await asyncio.wait([returned], timeout=self._wait)
            if result.cancel():
                raise _no_turn()
            return await returned
        except asyncio.CancelledError:
            result.cancel()
            returned.cancel()  # if it has begun, nobody asks for its outcome
            raise
        finally:
            if result.cancelled():
                self._forget(place)

    def _start(self) -> None:
        if not self._has_thread:
            try:
                self._pool.submit(int)
            except RuntimeError as problem:
                raise StoreUnavailable(detail=str(problem)) from None
            self._has_thread = True

    def _work(self, result: Future[T], arrived: float, function: Callable[..., T], *args: Any) -> None:
        turn = Turn(self, monotonic() - arrived)
        try:
            if result.set_running_or_notify_cancel():
                TURN.set(turn)
                result.set_result(function(*args))
        except BaseException as problem:
            result.set_exception(problem)
        finally:
            turn.end()

    def take(self) -> None:
        """Wait in this thread for a turn, before those that have had none. Raise `StoreUnavailable`."""
        granted: Future[None] = Future()
        place = granted, partial(self._grant, granted)
        self._line.appendleft(place)
        self._hand_out()
        try:
            granted.result(self._wait)
        except TimeoutError:
            if granted.cancel():
                self._forget(place)
                raise _no_turn() from None

    def _grant(self, granted: Future[None]) -> None:
        if granted.set_running_or_notify_cancel():
            granted.set_result(None)
        else:
            self.give_back()

    def give_back(self) -> None:
        """Give a turn to the first in the line."""
        with self._lock:
            self._free += 1
        self._hand_out()

    def _hand_out(self) -> None:
        while (begin := self._next()) is not None:
            with suppress(RuntimeError):  # where no further thread can start, one that is there does the work
                begin()

    def _forget(self, place: _Place) -> None:
        """Take out of the line who waits no longer, so that it holds those alone who do."""
        with self._lock, suppress(ValueError):  # it was its turn
            self._line.remove(place)  # the first ones give up first, so this looks at few

    def _next(self) -> Callable[[], object] | None:
        """Take a turn for the first in the line that still wants it, and return what begins."""
        with self._lock:
            while self._free and self._line:
                waiting, begin = self._line.popleft()
                if not waiting.cancelled():
                    self._free -= 1
                    return begin
        return None


class Turn:
    """The turn of one request (`store.deadline.Turn`), which waited for it that long (s)."""

    def __init__(self, workers: Workers, waited: float) -> None:
        self.waited = waited
        self._workers = workers
        # Work that the host has begun may run at the same time, with the same turn. Only pop is atomic.
        self._held = [True]
        self._is_over = False

    def enter(self) -> None:
        """Wait for a turn again. Raise `StoreUnavailable` if there is none in time.

        What outlives the request asks without a turn, because nobody would give that back.
        """
        if self._held or self._is_over:
            return
        self._workers.take()
        self._held.append(True)
        if self._is_over:
            self.leave()

    def leave(self) -> None:
        """Let another request ask."""
        with suppress(IndexError):
            self._held.pop()
            self._workers.give_back()

    def end(self) -> None:
        """Leave for good: the request is over."""
        self._is_over = True
        while self._held:
            self.leave()


def _no_turn() -> StoreUnavailable:
    return StoreUnavailable(detail="too many requests wait for the store")
