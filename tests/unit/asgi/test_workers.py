"""Threads and turns: how many ask at a time, for how long others wait, and that no turn is ever lost."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

import pytest

from patauth import Authority, StoreUnavailable
from patauth.asgi.workers import Workers
from patauth.store.deadline import TURN, Deadline
from tests.support.authorities import Make
from tests.support.servers import until

TURNS = 3


@pytest.fixture
def workers(make_at: Make) -> Workers:
    return of(make_at(max_connections=TURNS))


def of(authority: Authority) -> Workers:
    return Workers(authority.operations)


@contextmanager
def held(workers: Workers, count: int = TURNS) -> Iterator[Callable[[], None]]:
    """So many turns are taken, each by a function in a thread; what is yielded ends these."""
    started, go_on = threading.Semaphore(0), threading.Event()

    def hold() -> None:
        started.release()
        assert go_on.wait(30)

    async def hold_all() -> None:
        await asyncio.gather(*(workers.run(hold) for _ in range(count)))

    thread = threading.Thread(target=asyncio.run, args=(hold_all(),))
    thread.start()
    for _ in range(count):
        assert started.acquire(timeout=30)
    try:
        yield go_on.set
    finally:
        go_on.set()
        thread.join()


def all_turns_are_there(workers: Workers) -> None:
    """As many functions run at a time as there are turns, and not one more."""
    with held(workers):
        assert waits(workers)
    until(lambda: workers._free == TURNS and not workers._line)


def waits(workers: Workers) -> bool:
    """Whether a function that is run now does not begin."""

    async def wait() -> bool:
        ran: list[bool] = []
        task = asyncio.create_task(workers.run(ran.append, True))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled() and not ran

    return asyncio.run(wait())


def test_it_returns_and_raises_what_the_function_does_in_another_thread(workers: Workers) -> None:
    assert asyncio.run(workers.run(threading.current_thread)) is not threading.current_thread()
    for problem in (KeyError("x"), SystemExit(3)):

        def fail(problem: BaseException = problem) -> None:
            raise problem

        async def caught() -> BaseException | None:
            try:
                await workers.run(fail)
            except BaseException as found:
                return found
            return None

        assert asyncio.run(caught()) is problem
    all_turns_are_there(workers)


def test_who_waits_too_long_for_a_turn_is_unavailable_and_never_begins(make_at: Make) -> None:
    workers = of(make_at(max_connections=TURNS, request_seconds=0.1))
    ran: list[int] = []

    async def many() -> list[Any]:
        return await asyncio.gather(*(workers.run(ran.append, 1) for _ in range(50)), return_exceptions=True)

    with held(workers):
        began = time.monotonic()
        outcomes = asyncio.run(many())
        assert time.monotonic() - began >= 0.05
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    all_turns_are_there(workers)
    assert ran == []


def test_who_gives_up_leaves_the_line_although_no_turn_comes_free(make_at: Make) -> None:
    workers = of(make_at(max_connections=TURNS, request_seconds=0.5))

    async def many() -> None:
        tasks = [asyncio.create_task(workers.run(int)) for _ in range(50)]
        await asyncio.sleep(0.02)
        assert len(workers._line) == 50
        for task in tasks[10:40]:
            task.cancel()
        await asyncio.wait(tasks[10:40])
        assert len(workers._line) == 20
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not workers._line

    with held(workers):
        asyncio.run(many())


def test_work_that_outlives_its_request_keeps_no_turn(workers: Workers) -> None:
    """It has the context of the request, and pauses its deadline for a hash when the request is over."""
    over, outcomes = threading.Event(), []

    def outlive() -> None:
        assert over.wait(30)
        for _ in range(3):
            with Deadline(time.monotonic() + 1).paused():
                pass
        outcomes.append("asked")

    def begin() -> threading.Thread:
        thread = threading.Thread(target=copy_context().run, args=(outlive,))
        thread.start()
        return thread

    threads = [asyncio.run(workers.run(begin)) for _ in range(TURNS)]
    over.set()
    for thread in threads:
        thread.join()
    assert outcomes == ["asked"] * TURNS
    all_turns_are_there(workers)


def test_work_beside_its_request_gives_back_no_more_than_there_is(workers: Workers) -> None:
    def both() -> None:
        context = copy_context()
        pauses = [Deadline(time.monotonic() + 1).paused() for _ in range(2)]
        with pauses[0]:
            beside = threading.Thread(target=context.run, args=(pauses[1].__enter__,))
            beside.start()
            beside.join()

    for _ in range(TURNS + 1):
        asyncio.run(workers.run(both))
    all_turns_are_there(workers)


def test_waiting_needs_no_thread(workers: Workers) -> None:
    async def many() -> None:
        tasks = [asyncio.create_task(workers.run(int)) for _ in range(200)]
        await asyncio.sleep(0.02)
        assert threading.active_count() - before <= 1  # the loop's own
        end()
        assert await asyncio.gather(*tasks) == [0] * 200

    with held(workers) as end:
        before = threading.active_count()
        asyncio.run(many())
    all_turns_are_there(workers)


def test_the_wait_counts_for_the_deadline_and_a_paused_request_gives_its_turn_to_others(
    workers: Workers,
) -> None:
    def ask() -> float:
        turn = TURN.get()
        assert turn is not None
        with Deadline(time.monotonic()).paused():
            until(lambda: workers._free == TURNS)
            with held(workers) as end:
                threading.Timer(0.05, end).start()
        until(lambda: workers._free == TURNS - 1)
        return turn.waited

    async def wait_and_ask() -> float:
        task = asyncio.create_task(workers.run(ask))
        await asyncio.sleep(0.1)
        end()
        return await task

    with held(workers) as end:
        assert 0.1 <= asyncio.run(wait_and_ask()) < 5
    all_turns_are_there(workers)
    assert TURN.get() is None


def test_who_comes_back_from_a_hash_is_served_before_those_who_come(make_at: Make) -> None:
    workers = of(make_at(max_connections=1))
    order: list[str] = []
    paused, go_on = threading.Event(), threading.Event()

    def ask() -> None:
        with Deadline(time.monotonic()).paused():
            paused.set()
            assert go_on.wait(30)
        order.append("back")

    async def both() -> None:
        first = asyncio.create_task(workers.run(ask))
        await asyncio.to_thread(paused.wait)
        with held(workers, 1) as end:
            others = [asyncio.create_task(workers.run(order.append, "new")) for _ in range(9)]
            await asyncio.sleep(0.01)
            go_on.set()
            await asyncio.to_thread(until, lambda: len(workers._line) == 10)
            end()
        await asyncio.gather(first, *others)

    asyncio.run(both())
    assert order == ["back", *["new"] * 9]


def test_who_gets_no_turn_after_a_hash_is_unavailable(make_at: Make) -> None:
    workers = of(make_at(max_connections=TURNS, request_seconds=0.1))
    paused, go_on = threading.Event(), threading.Event()

    def ask() -> None:
        with Deadline(time.monotonic()).paused():
            paused.set()
            assert go_on.wait(30)

    async def run() -> None:
        task = asyncio.create_task(workers.run(ask))
        await asyncio.to_thread(paused.wait)
        with held(workers):
            go_on.set()
            with pytest.raises(StoreUnavailable):
                await task

    asyncio.run(run())
    all_turns_are_there(workers)


def test_cancelling_at_any_moment_loses_no_turn_and_mixes_up_nobody(workers: Workers) -> None:
    """Half of 3 000 callers give up, some before their turn, some in it; the others get what is theirs."""

    def work(number: int) -> int:
        if number % 5 == 0:
            with Deadline(time.monotonic()).paused():
                time.sleep(0.0005)
        return number

    async def call(number: int) -> int | None:
        if number % 2:
            return await workers.run(work, number)
        try:
            return await asyncio.wait_for(workers.run(work, number), (number % 40) / 1000)
        except TimeoutError:
            return None

    async def all_of_them() -> list[int | None]:
        found: list[int | None] = []
        for start in range(0, 3000, 300):
            found += await asyncio.gather(*map(call, range(start, start + 300)))
        return found

    found = asyncio.run(all_of_them())
    assert all(got == number or (got is None and number % 2 == 0) for number, got in enumerate(found))
    assert 0 < found.count(None) < 1500
    until(lambda: workers._free == TURNS)
    all_turns_are_there(workers)


def test_a_loop_that_ends_or_is_blocked_keeps_no_turn(workers: Workers) -> None:
    loop = asyncio.new_event_loop()
    with held(workers) as end:
        waiting = [loop.create_task(workers.run(int)) for _ in range(2 * TURNS)]
        loop.run_until_complete(asyncio.sleep(0.01))  # and it does not run again
        end()
        until(lambda: workers._free == TURNS)
    assert asyncio.run(workers.run(int)) == 0
    for task in waiting:
        task.cancel()
    loop.run_until_complete(asyncio.wait(waiting))
    loop.close()
    all_turns_are_there(workers)


def test_where_no_thread_can_start_it_is_unavailable_and_one_thread_is_enough(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def many() -> list[Any]:
        return await asyncio.gather(*(workers.run(int) for _ in range(9)), return_exceptions=True)

    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", start)
        assert {type(outcome) for outcome in asyncio.run(many())} == {StoreUnavailable}
    assert asyncio.run(workers.run(int)) == 0
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", start)
        assert asyncio.run(many()) == [0] * 9
    until(lambda: workers._free == TURNS and not workers._line)


def test_several_loops_share_the_turns(workers: Workers) -> None:
    most, now, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.0002)
        with lock:
            now -= 1

    async def many() -> None:
        await asyncio.gather(*(workers.run(work) for _ in range(100)))

    threads = [threading.Thread(target=asyncio.run, args=(many(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == TURNS
    all_turns_are_there(workers)


def test_a_forked_child_has_all_turns_and_threads_of_its_own(workers: Workers) -> None:
    with held(workers):
        child = os.fork()
        if child == 0:
            try:
                os._exit(asyncio.run(workers.run(int)))
            finally:
                os._exit(9)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    all_turns_are_there(workers)


def test_the_threads_of_what_is_dropped_end(make_at: Make) -> None:
    before = set(threading.enumerate())
    workers = of(make_at(max_connections=TURNS))
    all_turns_are_there(workers)
    ours = [thread for thread in threading.enumerate() if thread not in before]
    assert ours
    gone = weakref.ref(workers)
    del workers
    until(lambda: gc.collect() >= 0 and gone() is None)
    until(lambda: not any(thread.is_alive() for thread in ours))
