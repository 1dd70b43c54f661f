"""What runs in a forked child, and what does not."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading

import pytest

from patauth.concurrency import forks
from tests.support.authorities import basic_of, issue, maker


class Part:
    """Something that is made again in a child."""

    def __init__(self, ran: list[str], name: str, failing: bool = False) -> None:
        self.ran, self.name, self.failing = ran, name, failing
        forks.after_fork_in_child(self.after_fork)

    def after_fork(self) -> None:
        self.ran.append(self.name)
        if self.failing:
            raise OSError(self.name)


@pytest.fixture(autouse=True)
def no_other_hooks(monkeypatch):
    monkeypatch.setattr(forks, "_hooks", {})


def in_child(check) -> int:
    """The exit code of a forked child: 0 if `check()` was true there."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = 0 if check() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_hooks_run_in_the_child_in_order_and_not_in_the_parent():
    ran: list[str] = []
    parts = [Part(ran, "a"), Part(ran, "b")]
    assert in_child(lambda: ran == ["a", "b"]) == 0
    assert ran == []
    assert len(parts) == 2


def test_a_grandchild_runs_them_again():
    ran: list[str] = []
    part = Part(ran, "a")
    assert in_child(lambda: in_child(lambda: ran == ["a", "a"]) == 0) == 0
    assert part.ran is ran


def test_an_object_that_is_gone_is_neither_called_nor_kept():
    ran: list[str] = []
    kept, gone = Part(ran, "kept"), Part(ran, "gone")
    del gone
    gc.collect()
    forks._run()
    assert ran == ["kept"]
    assert len(forks._hooks) == 1
    assert kept.ran is ran


def test_a_hook_that_fails_keeps_no_other_from_running_and_is_not_silent():
    """The others' sockets are shared with the parent: a reply could reach the wrong process."""
    ran: list[str] = []
    parts = [Part(ran, "a"), Part(ran, "b", failing=True), Part(ran, "c")]
    with pytest.raises(OSError, match="b"):
        forks._run()
    assert ran == ["a", "b", "c"]
    assert len(parts) == 3


def test_what_threads_register_at_the_same_time_is_not_lost():
    """With a list that was pruned and then assigned, a hook could be lost; it would be one that matters."""
    ran: list[str] = []
    parts: list[Part] = []
    start = threading.Barrier(8)

    def register() -> None:
        start.wait()
        for _ in range(200):
            Part(ran, "short-lived")
            parts.append(Part(ran, "kept"))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=register) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    gc.collect()
    forks._run()
    assert ran.count("kept") == len(parts) == 1600
    assert "short-lived" not in ran


def test_an_object_that_dies_while_hooks_run_does_no_harm():
    ran: list[str] = []
    victims = [Part(ran, "victim")]

    class Killer(Part):
        def after_fork(self) -> None:
            victims.clear()
            gc.collect()
            super().after_fork()

    victim = victims.pop()
    forks._hooks.clear()
    killer = Killer(ran, "killer")
    victims.append(victim)
    forks.after_fork_in_child(victim.after_fork)
    del victim
    last = Part(ran, "last")
    forks._run()
    assert ran == ["killer", "last"]
    assert (killer.name, last.name) == ("killer", "last")


def test_a_fork_waits_for_who_holds_a_lock_and_finds_it_free() -> None:
    """A memory: store whose other threads are in the middle of a call (fakeredis has locks of its own)."""
    with maker("memory:", "fork") as make_one:
        authority = make_one(request_quota="1000000/1")
        issued = issue(authority)
        done = threading.Event()

        def call() -> None:
            while not done.is_set():
                authority.authenticate(basic_of(issued))

        threads = [threading.Thread(target=call) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(5):
                child = os.fork()
                if child == 0:
                    signal.alarm(10)
                    good = authority.authenticate(basic_of(issued)).pat_id == issued.pat.id
                    os._exit(0 if good else 1)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        finally:
            done.set()
            for thread in threads:
                thread.join()
