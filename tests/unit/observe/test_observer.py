"""Several observers hear the same."""

from __future__ import annotations

import inspect
from typing import Any

from patauth.observe.observer import Observer, Observers, ignore


class Recorder(Observer):
    """Notes what it hears in a list that it shares."""

    def __init__(self, name: str, heard: list[Any]) -> None:
        self._name = name
        self._heard = heard

    def __getattribute__(self, method: str) -> Any:
        if method.startswith("_"):
            return super().__getattribute__(method)

        def hear(*said: Any, **named: Any) -> Any:
            self._heard.append((self._name, method, *said, *named.values()))
            return lambda *end: self._heard.append((self._name, f"end of {method}", *end))

        return hear


def test_each_hears_all_and_what_began_last_ends_first() -> None:
    heard: list[Any] = []
    both = Observers([Recorder("a", heard), Recorder("b", heard)])
    said: dict[str, tuple[Any, ...]] = {
        "authentication": (), "admitted": ("p",), "store_operation": ("authenticate",), "hash": (),
        "hash_waiters": (1,), "hash_rejected": (), "connections": (lambda: (0, 0),),
        "event": ("pat.created", "done", {}), "event_dropped": ("log", 2),
    }  # fmt: skip
    methods = {name for name, _ in inspect.getmembers(Observer, inspect.isfunction) if name[0] != "_"}
    assert methods == {*said, "proof_lookup"}
    for method, arguments in said.items():
        getattr(both, method)(*arguments)
        assert heard == [(name, method, *arguments) for name in "ab"]
        heard.clear()
    both.proof_lookup(found=True)
    assert heard == [(name, "proof_lookup", True) for name in "ab"]
    for end, arguments in (
        (both.authentication(), ("basic", "")),
        (both.store_operation("x"), (None,)),
        (both.hash(), (None,)),
    ):
        heard.clear()
        end(*arguments)
        assert [(name, *rest) for name, _, *rest in heard] == [(name, *arguments) for name in "ba"]


def test_an_observer_that_wants_nothing_hears_nothing() -> None:
    one = Observer()
    assert [one.authentication(), one.store_operation("x"), one.hash()] == [ignore] * 3
