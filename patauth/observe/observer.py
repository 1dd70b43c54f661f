"""What an observer hears: metrics and traces are observers.

An Authority without one is built of the plain parts, and pays nothing. With one, its parts are replaced by
those of this folder, which tell the observer (`parts.py`). No observer hears a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..events.events import Facts, Outcome, Type

# Called at the end of an authentication, with the way of sending the credentials and with why they were
# refused; empty: they were accepted.
AuthenticationEnd = Callable[[str, str], object]
# Called at the end of a step, with the exception that ended it.
End = Callable[[BaseException | None], object]
# Returns how many connections to the store are in use, and how many are idle.
Connections = Callable[[], tuple[int, int]]


def ignore(*_: object) -> None:
    """Do nothing."""


class Observer:
    """Hears what an Authority does, in the thread that does it, and never raises.

    A step that begins returns what is called at its end, in the same thread. Here everything does nothing; an
    observer has the methods for what it wants to hear.
    """

    def authentication(self) -> AuthenticationEnd:
        """Begin an authentication: credentials for a request or an exchange are checked."""
        return ignore

    def admitted(self, pat_id: str) -> None:
        """Hear of which PAT the credentials are, before an authentication ends that accepts them."""

    def store_operation(self, name: str) -> End:
        """Begin a call of the store. `name` is the script's, or that of a plain command: a bounded set."""
        return ignore

    def hash(self) -> End:
        """Begin the computation of a hash, with the wait for a slot."""
        return ignore

    def hash_waiters(self, change: int) -> None:
        """Hear that one thread more (1) or less (-1) waits for a slot."""

    def hash_rejected(self) -> None:
        """Hear that a request fails for want of a hash, because too many wait already."""

    def proof_lookup(self, *, found: bool) -> None:
        """Hear that somebody asked whether a secret was proven right or wrong already."""

    def connections(self, count: Connections) -> None:
        """Hear that the number of connections to the store may have changed."""

    def event(self, kind: Type, outcome: Outcome, facts: Facts) -> None:
        """Hear of an event, before the sinks do."""

    def event_dropped(self, sink: str, count: int) -> None:
        """Hear how many events a sink has dropped. `sink` is its name: none of the setting's secrets."""


class Observers(Observer):
    """Lets several observers hear the same, each for itself."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._all = observers

    def authentication(self) -> AuthenticationEnd:
        """Begin an authentication."""
        ends = [one.authentication() for one in self._all]
        return lambda method, reason: [end(method, reason) for end in reversed(ends)]

    def admitted(self, pat_id: str) -> None:
        """Pass on of which PAT the credentials are."""
        for one in self._all:
            one.admitted(pat_id)

    def store_operation(self, name: str) -> End:
        """Begin a call of the store."""
        return _together([one.store_operation(name) for one in self._all])

    def hash(self) -> End:
        """Begin the computation of a hash."""
        return _together([one.hash() for one in self._all])

    def hash_waiters(self, change: int) -> None:
        """Pass on that a thread waits, or waits no more."""
        for one in self._all:
            one.hash_waiters(change)

    def hash_rejected(self) -> None:
        """Pass on that somebody got no hash."""
        for one in self._all:
            one.hash_rejected()

    def proof_lookup(self, *, found: bool) -> None:
        """Pass on that somebody asked for a proof."""
        for one in self._all:
            one.proof_lookup(found=found)

    def connections(self, count: Connections) -> None:
        """Pass on that connections may have changed."""
        for one in self._all:
            one.connections(count)

    def event(self, kind: Type, outcome: Outcome, facts: Facts) -> None:
        """Pass on an event."""
        for one in self._all:
            one.event(kind, outcome, facts)

    def event_dropped(self, sink: str, count: int) -> None:
        """Pass on that events were dropped."""
        for one in self._all:
            one.event_dropped(sink, count)


def _together(ends: Sequence[End]) -> End:
    return lambda problem: [end(problem) for end in reversed(ends)]
