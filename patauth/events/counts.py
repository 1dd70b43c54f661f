"""Count events instead of keeping them, so that a flood of events becomes a few events.

The first event of its kind stands for all that follow, with `count` (all of them) and `until` (the time of
the last one). The number of kinds is bounded: events without room are counted together, without the PAT or
client. So only details are lost.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from ..model.address import client_network
from .events import Event

REFUSALS = frozenset({"credentials.refused", "quota.exceeded", "scope.refused"})  # types of `by_client`

_DETAILS = ("patId", "ownerId", "address", "requestId", "scope")
_REST = "rest"  # the key of events without room, by their type


def by_client(event: Event) -> Hashable:
    """Return the kind of a refusal: what was refused, and the client's network.

    That is an IPv4 address or the /64 of an IPv6 address, as for the failure quota.
    """
    address = event.get("address")
    client = client_network(address) if isinstance(address, str) else None
    return event["type"], event.get("reason"), event.get("quota"), client


def by_pat(event: Event) -> Hashable:
    """Return the kind of a use of a rotated secret: its PAT."""
    return event["type"], event.get("patId")


class _Count:
    """The first of some events, how many there are, and the time of the last one."""

    def __init__(self, event: Event) -> None:
        self.event = event
        self.count = 0
        self.until = event["time"]


class Counts:
    """Counts events by their `kind`, for at most `most` kinds and one more for each type. Not thread-safe.

    `first_apart`: the first event of its kind is not counted but delivered.
    """

    def __init__(self, most: int, kind: Callable[[Event], Hashable], *, first_apart: bool = False) -> None:
        self._most = most
        self._kind = kind
        self._first_apart = first_apart
        self._counts: dict[Hashable, _Count | None] = {}  # None: there was one, and it was delivered

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, event: Event) -> bool:
        """Count an event. Return True, and do not count it, if it is to be delivered."""
        key = self._kind(event)
        if key not in self._counts:
            if len(self._counts) >= self._most:
                key = _REST, event["type"]
                event = {name: fact for name, fact in event.items() if name not in _DETAILS}
            elif self._first_apart:
                self._counts[key] = None
                return True
        found = self._counts.get(key)
        if found is None:
            found = self._counts[key] = _Count(event)
        found.count += 1
        found.until = event["time"]
        return False

    def take(self) -> list[Event]:
        """Return what was counted, and begin again."""
        found = [one for one in self._counts.values() if one is not None]
        self._counts.clear()
        return [{**one.event, "count": one.count, "until": one.until} for one in found]
