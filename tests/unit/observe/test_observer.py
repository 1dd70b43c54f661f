"""Several observers hear the same, and none of them fails what it hears."""

from __future__ import annotations

import inspect
import logging
from typing import Any

import pytest

from patauth.observe import observer
from patauth.observe.observer import Observer, Observers, ignore

# What each method is told.
SAID: dict[str, tuple[Any, ...]] = {
    "authentication": (), "store_operation": ("EVALSHA", "authenticate"), "hash": (), "hash_waiters": (1,),
    "hash_rejected": (), "connections": (lambda: (0, 0),), "event": ("pat.created", "done", {}),
    "event_dropped": ("log", 2), "proof_lookup": ("hit",),
}  # fmt: skip
ENDS: dict[str, tuple[Any, ...]] = {
    "authentication": ("basic", "", "p"), "store_operation": (None,), "hash": (None,),
}  # fmt: skip


class Recorder(Observer):
    """Notes what it hears in a list that it shares, and raises afterwards if it shall."""

    def __init__(self, name: str, heard: list[Any], problem: Exception | None = None) -> None:
        self.name = name
        self._heard = heard
        self._problem = problem

    def __getattribute__(self, method: str) -> Any:
        if method.startswith("_") or method in ("name", "is_on"):
            return super().__getattribute__(method)

        def hear(*said: Any) -> Any:
            self._heard.append((self.name, method, *said))
            if self._problem is not None:
                raise self._problem
            return lambda *end: self._heard.append((self.name, f"end of {method}", *end))

        return hear


def test_each_hears_all_and_what_began_last_ends_first() -> None:
    heard: list[Any] = []
    both = Observers(Recorder("a", heard), Recorder("b", heard))
    methods = {name for name, _ in inspect.getmembers(Observer, inspect.isfunction)}
    assert methods == set(SAID)
    for method, arguments in SAID.items():
        getattr(both, method)(*arguments)
        assert heard == [(name, method, *arguments) for name in "ab"]
        heard.clear()
    for method, arguments in ENDS.items():
        end = getattr(both, method)(*SAID[method])
        heard.clear()
        end(*arguments)
        assert heard == [(name, f"end of {method}", *arguments) for name in "ba"]


def test_one_that_raises_is_said_once_a_minute_and_the_others_hear_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it did not begin has no end for it. The text of what it raises is not told: it may be a secret."""
    heard: list[Any] = []
    now = 1000.0
    monkeypatch.setattr(observer, "monotonic", lambda: now)
    both = Observers(Recorder("bad", heard, OSError("hush")), Recorder("good", heard))
    with caplog.at_level(logging.WARNING, "patauth"):
        for method, arguments in SAID.items():
            getattr(both, method)(*arguments)
            assert [name for name, *_ in heard] == ["bad", "good"]
            heard.clear()
        for method, arguments in ENDS.items():
            end = getattr(both, method)(*SAID[method])
            heard.clear()
            end(*arguments)
            assert [name for name, *_ in heard] == ["good"]
        assert caplog.messages == ["bad: something was not recorded: OSError"]
        now += 60
        both.hash_rejected()
    assert len(caplog.messages) == 2


def test_an_end_that_raises_fails_nothing_and_the_others_hear_it(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Any] = []

    class Bad(Observer):
        name = "bad"

        def hash(self) -> Any:
            return "not a function"

    Observers(Recorder("good", heard), Bad()).hash()(None)
    assert heard == [("good", "hash"), ("good", "end of hash", None)]
    assert caplog.messages == ["bad: something was not recorded: TypeError"]


def test_one_that_is_off_hears_nothing_not_even_the_end_of_what_it_has_heard_begin() -> None:
    """As in a fork that finds no room for its counts: a write there could end the process."""
    heard: list[Any] = []
    off, on = Recorder("off", heard), Recorder("on", heard)
    both = Observers(off, on)
    ends = {method: getattr(both, method)(*SAID[method]) for method in ENDS}
    heard.clear()
    off.is_on = False
    for method, arguments in ENDS.items():
        ends[method](*arguments)
    for method, arguments in SAID.items():
        getattr(both, method)(*arguments)
    assert {name for name, *_ in heard} == {"on"}


def test_an_observer_that_wants_nothing_hears_nothing() -> None:
    one = Observer()
    assert [one.authentication(), one.store_operation("PING", ""), one.hash()] == [ignore] * 3
