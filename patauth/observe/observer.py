"""What an observer hears: metrics and traces are observers.

An Authority without one is built of the plain parts, and pays nothing. With one, its parts are replaced by
those of this folder, which tell the observers (`observed_parts.py`). No observer hears a secret.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from ..events.events import Facts, Outcome, Type

_log = logging.getLogger("patauth")

P = ParamSpec("P")
T = TypeVar("T")

# Called at the end of an authentication, with the way of sending the credentials, with why they were refused
# (empty: they were accepted), and with the PAT id that they name (empty: they could not be read).
AuthenticationEnd = Callable[[str, str, str], object]
# Called at the end of a step, with the exception that ended it.
End = Callable[[BaseException | None], object]
# Returns how many connections to the store are in use, and how many are idle.
Connections = Callable[[], tuple[int, int]]

_REPEATED = 60.0  # s between two warnings of an observer that fails


def ignore(*_: object) -> None:
    """Do nothing."""


class Observer:
    """Hears what an Authority does, in the thread that does it. It may raise: `Observers` bears that.

    A step that begins returns what is called at its end, in the same thread. Here everything does nothing; an
    observer has the methods for what it wants to hear.
    """

    name = ""  # for people
    is_on = True  # one that is off hears nothing, not even the end of a step that it has heard begin

    def authentication(self) -> AuthenticationEnd:
        """Begin an authentication: credentials for a request or an exchange are checked."""
        return ignore

    def store_operation(self, command: str, script: str) -> End:
        """Begin a call of the store: a command, and the script that it runs, or "". Both are bounded sets."""
        return ignore

    def hash(self) -> End:
        """Begin the computation of a hash, with the wait for a slot."""
        return ignore

    def hash_waiters(self, change: int) -> None:
        """Hear that one thread more (1) or less (-1) waits for a slot."""

    def hash_rejected(self) -> None:
        """Hear that a request fails because it gets no hash: too many wait already."""

    def proof_lookup(self, result: Literal["hit", "miss"]) -> None:
        """Hear that somebody asked whether a secret was proven right or wrong already: "hit", it was."""

    def connections(self, count: Connections) -> None:
        """Hear that the number of connections to the store may have changed."""

    def event(self, kind: Type, outcome: Outcome, facts: Facts) -> None:
        """Hear of an event, before the sinks do."""

    def event_dropped(self, sink: str, count: int) -> None:
        """Hear how many events a sink has dropped. `sink` is its name: none of the setting's secrets."""


_Hears = list[tuple[Observer, Callable[..., Any]]]  # methods of observers, or their ends of a step


class Observers:
    """Tells observers what happens. One that raises fails nothing: the log says so, once a minute at most."""

    def __init__(self, *observers: Observer) -> None:
        self.all = observers
        self._warn_at = dict.fromkeys(observers, 0.0)
        self.authentication = self._passed_on(Observer.authentication, self._begin)
        self.store_operation = self._passed_on(Observer.store_operation, self._begin)
        self.hash = self._passed_on(Observer.hash, self._begin)
        self.hash_waiters = self._passed_on(Observer.hash_waiters, self._tell)
        self.hash_rejected = self._passed_on(Observer.hash_rejected, self._tell)
        self.proof_lookup = self._passed_on(Observer.proof_lookup, self._tell)
        self.connections = self._passed_on(Observer.connections, self._tell)
        self.event = self._passed_on(Observer.event, self._tell)
        self.event_dropped = self._passed_on(Observer.event_dropped, self._tell)

    def _passed_on(
        self, method: Callable[Concatenate[Observer, P], T], tell: Callable[..., Any]
    ) -> Callable[P, T]:
        return partial(tell, [(one, getattr(one, method.__name__)) for one in self.all])

    def _begin(self, hears: _Hears, *said: object) -> Callable[..., None]:
        """Tell observers that a step begins. Return what tells them its end; what began last ends first."""
        ends: _Hears = []
        for one, begin in hears:
            if one.is_on:
                try:
                    ends.insert(0, (one, begin(*said)))
                except Exception as problem:  # such as a provider of the application's
                    self._note(one, problem)
        return partial(self._tell, ends)

    def _tell(self, hears: _Hears, *said: object) -> None:
        for one, hear in hears:
            if one.is_on:
                try:
                    hear(*said)
                except Exception as problem:  # such as a full disk
                    self._note(one, problem)

    def _note(self, observer: Observer, problem: Exception) -> None:
        now = monotonic()
        if now >= self._warn_at[observer]:
            self._warn_at[observer] = now + _REPEATED
            # The text of the problem may have anything in it.
            _log.warning("%s: something was not recorded: %s", observer.name, type(problem).__name__)
