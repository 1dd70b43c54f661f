"""No reply ever reaches the wrong caller: threads, processes and stopped requests over a network in trouble.

By default a few seconds each. A long run: MIXUP_SECONDS=240 pytest -s tests/system/test_no_mixups.py
"""

from __future__ import annotations

import ctypes
import gc
import logging
import multiprocessing
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.authorities import Make
from tests.support.callers import SETTINGS, SINGLE, Crowd, Tally, gather
from tests.support.mixups import LIMIT, SECONDS, TIMEOUT, Proxy, proxying, waiting_at_once
from tests.support.servers import Server, shared_engines, until

THREADS, PROCESSES = 64, 8


_context = multiprocessing.get_context("fork")


@pytest.fixture
def proxy(tmp_path: Path, engine: str, servers: dict[str, Server]) -> Iterator[Proxy]:
    with proxying(tmp_path, servers[engine]) as running:
        yield running


class Stop(BaseException):
    """From outside, as a worker's timeout is: at any moment."""


class Threads:
    """Threads that ask until they are told to end, and that can be stopped at any moment; they go on then."""

    def __init__(self, crowd: Crowd, number: int, seed: int, ways: tuple[str, ...] | None = None) -> None:
        self._crowd = crowd
        self._done = False
        self._asking: set[int] = set()
        self.tallies = [Tally() for _ in range(number)]
        self._threads = [
            threading.Thread(
                target=self._live,
                args=(tally, f"{seed} {index}", ways or (None if index % 4 else ("look",))),
                daemon=True,
            )
            for index, tally in enumerate(self.tallies)
        ]
        for thread in self._threads:
            thread.start()

    def _live(self, tally: Tally, seed: str, ways: tuple[str, ...] | None) -> None:
        chance = random.Random(seed)
        while not self._done:
            with suppress(Stop):  # one that comes as the inner one ends
                try:
                    self._ask(chance, tally, ways)
                except Stop:
                    tally.stopped += 1

    def _ask(self, chance: random.Random, tally: Tally, ways: tuple[str, ...] | None) -> None:
        mine = threading.get_ident()
        while not self._done:
            self._asking.add(mine)
            status = self._crowd.step(chance, tally, ways)
            self._asking.discard(mine)
            if status == 503:
                time.sleep(0.005)  # or nothing but refusals would be counted while a breaker is open

    def stop_some(self, chance: random.Random, seconds: float) -> None:
        """Stop one that is asking, at random moments."""
        raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(chance.uniform(0.0005, 0.005))
            asking = list(self._asking)
            if asking:
                raise_in(ctypes.c_ulong(chance.choice(asking)), ctypes.py_object(Stop))

    def end(self) -> Tally:
        """All that came back. None of them hangs."""
        self._done = True
        for thread in self._threads:
            thread.join(20)
        assert not [thread for thread in self._threads if thread.is_alive()]
        sum_of_all = Tally()
        for tally in self.tallies:
            sum_of_all.add(tally)
        return sum_of_all


def all_are_well(crowd: Crowd) -> None:
    """Each caller gets what is theirs again: at first perhaps a 503, while the breaker waits for a moment."""
    tally, chance = Tally(), random.Random(0)
    for caller in crowd.callers:
        alone = Crowd.__new__(Crowd)
        alone.authority, alone.app, alone.callers = crowd.authority, crowd.app, [caller]
        until(lambda alone=alone: alone.step(chance, tally) == 200)
    assert tally.wrong == []


def all_connections_are_there(crowd: Crowd, proxy: Proxy, limit: int) -> None:
    """As many callers as there are connections are on their way at once, none refused; and never more."""

    def at_once() -> bool:
        gc.collect()
        tally = Tally()
        threads = [
            threading.Thread(target=crowd.step, args=(random.Random(number), tally, ("bearer",)))
            for number in range(limit + 4)
        ]
        seen = waiting_at_once(proxy, limit, lambda: [thread.start() for thread in threads])
        for thread in threads:
            thread.join()
        if seen == limit and tally.statuses["bearer 200"] >= limit:
            return True
        time.sleep(0.3)  # a busy machine; longer than the breaker's pause
        return False

    until(at_once, 15)


def told(name: str, tally: Tally, figures: dict[str, int]) -> None:
    print(f"\n{name}: {tally}; {figures}")


@contextmanager
def silence(stopping: bool) -> Iterator[None]:
    """logging's own locks, and pytest's hook, do not survive what comes from outside: they stay out of it."""
    loggers = [logging.getLogger(name) for name in ("patauth", "patauth.audit", "patauth.store")]
    for logger in loggers:
        logger.disabled = True
    hook = sys.unraisablehook
    if stopping:
        sys.unraisablehook = id  # of the collector's, in which a second one may arrive; no Python code
    try:
        yield
        gc.collect()
    finally:
        sys.unraisablehook = hook
        for logger in loggers:
            logger.disabled = False


# What is stopped while it closes is closed by the collector, which says so.
left_to_the_collector = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@shared_engines
@pytest.mark.parametrize("stopping", [False, pytest.param(True, marks=left_to_the_collector)])
def test_64_threads_get_their_own_replies_however_late_cut_or_stopped(
    make: Make, proxy: Proxy, engine: str, stopping: bool
) -> None:
    """Every 200 is of whom it was asked for, nothing but 200, 429 and 503 comes, and no connection is lost
    (REQUIREMENTS F3, F4, F17)."""
    authority = make(url=proxy.url, max_connections=LIMIT, command_timeout=TIMEOUT, **SETTINGS)
    crowd = Crowd(authority, gather(authority, 24))
    with silence(stopping):
        threads = Threads(crowd, THREADS, seed=1)
        proxy.say("storm")
        if stopping:
            threads.stop_some(random.Random(2), SECONDS)
        else:
            time.sleep(SECONDS)
        figures = proxy.say("calm")
        time.sleep(0.1)
        tally = threads.end()
    told(f"{engine}, {'stopped' if stopping else 'left alone'}", tally, figures)
    assert tally.wrong == []
    assert tally.good > 20 * SECONDS
    assert figures["late"] > 0
    assert (tally.stopped > 10 * SECONDS) == stopping
    all_are_well(crowd)
    all_connections_are_there(crowd, proxy, LIMIT)


@shared_engines
def test_a_reply_that_went_astray_on_the_way_is_nobodys(make: Make, proxy: Proxy, engine: str) -> None:
    """The server itself sends what another connection asked for: the record's own id says whose it is."""
    authority = make(url=proxy.url, max_connections=LIMIT, **SETTINGS)
    crowd = Crowd(authority, gather(authority, 24))
    threads = Threads(crowd, LIMIT, seed=3, ways=SINGLE)
    proxy.say("swap")
    time.sleep(SECONDS)
    figures = proxy.say("calm")
    tally = threads.end()
    told(f"{engine}, swapped", tally, figures)
    assert tally.wrong == []
    assert tally.good > 20
    assert figures["swapped"] > 20
    all_are_well(crowd)


@shared_engines
def test_8_processes_of_8_threads_get_their_own_replies_after_a_fork(
    make: Make, proxy: Proxy, engine: str
) -> None:
    """The parent has used all of its connections when it forks, and goes on with them (REQUIREMENTS F16)."""
    authority = make(url=proxy.url, max_connections=LIMIT, command_timeout=TIMEOUT, **SETTINGS)
    crowd = Crowd(authority, gather(authority, 24))
    all_connections_are_there(crowd, proxy, LIMIT)
    results = _context.SimpleQueue()

    def work(seed: int) -> None:
        threads = Threads(crowd, 8, seed)
        time.sleep(SECONDS)
        results.put(threads.end())

    children = [_context.Process(target=work, args=(number,)) for number in range(PROCESSES)]
    for child in children:
        child.start()
    proxy.say("storm")
    threads = Threads(crowd, 8, PROCESSES)
    tallies = [results.get() for _ in children]
    figures = proxy.say("calm")
    time.sleep(0.1)
    tallies.append(threads.end())
    for child in children:
        child.join()
    sum_of_all = Tally()
    for tally in tallies:
        sum_of_all.add(tally)
    told(f"{engine}, forked", sum_of_all, figures)
    assert [child.exitcode for child in children] == [0] * PROCESSES
    assert sum_of_all.wrong == []
    assert min(tally.good for tally in tallies) > 0
    all_are_well(crowd)
    all_connections_are_there(crowd, proxy, LIMIT)


def test_a_child_that_no_hook_was_told_of_has_connections_of_its_own(make_at: Make) -> None:
    """fork(2) itself, as a server written in C calls it: the process id says that this is another process."""
    authority = make_at(**SETTINGS)
    crowd = Crowd(authority, gather(authority, 8))

    def good(seed: int) -> bool:
        tally, chance = Tally(), random.Random(seed)
        statuses = {crowd.step(chance, tally) for _ in range(300)}
        return statuses == {200} and tally.wrong == []

    assert good(0)
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        try:
            os._exit(0 if good(1) else 1)
        finally:
            os._exit(2)
    assert good(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
