"""The threads in which the guard asks the store, so that no event loop waits for it.

As many requests have a turn as the store has connections. The others wait in a line, without a thread, and
this wait counts for their deadline. While a request waits for a hash or computes one, it keeps its thread and
gives its turn to another request.
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
    """Runs functions that ask the store, in threads. Any number of event loops may share one object."""

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
        # What waits for a turn, and what then begins. It gives the turn back, even if its task has gone.
        self._line: deque[_Place] = deque()

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Run a function in a thread, with the context variables of this task, and return what it returns.

        Raise what it raises, and `StoreUnavailable` if its turn does not come in time. If this task is
        cancelled, the function does not begin; if it has begun, it ends by itself, and its result is dropped.
        Its turn depends on no event loop, so a blocked or closed loop keeps no turn.
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
        """Remove from the line a request that no longer waits."""
        with self._lock, suppress(ValueError):  # it has got its turn
            self._line.remove(place)  # the first ones give up first, so this looks at few

    def _next(self) -> Callable[[], object] | None:
        """Give a turn to the first in the line that still waits, and return what to start."""
        with self._lock:
            while self._free and self._line:
                waiting, begin = self._line.popleft()
                if not waiting.cancelled():
                    self._free -= 1
                    return begin
        return None


class Turn:
    """The turn of one request (`store.deadline.Turn`), and how long the request waited for it (s)."""

    def __init__(self, workers: Workers, waited: float) -> None:
        self.waited = waited
        self._workers = workers
        # Work that the host has begun may run at the same time, with the same turn. Only pop is atomic.
        self._held = [True]
        self._is_over = False

    def enter(self) -> None:
        """Wait for a turn again. Raise `StoreUnavailable` if there is none in time.

        Work that outlives the request asks without a turn, because nobody would give it back.
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
