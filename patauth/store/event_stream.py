"""A stream of events, and a second one for refusals, so that a flood of these evicts nothing else.

Both are capped. Each event has a number in its stream, so a group of workers that delivers them to a receiver
knows how many the stream has dropped before it could read them. All keys of a stream are in one slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from .keys import EventKeys, Keys
from .record import not_understood
from .scripts import PRELUDE, Script, Scripts, understood

Part = Literal["changes", "refusals"]
PARTS: tuple[Part, Part] = ("changes", "refusals")

MOST = 100_000  # entries of each stream, about
LONGEST = 3_600_000  # ms that a refused event waits for its next turn, at most

_ADD, _BEGIN, _TAKE, _DONE, _REFUSED, _LEAVE, _COUNTS = (
    Script(f"event_{name}", PRELUDE)
    for name in ("add", "begin", "take", "done", "refused", "leave", "counts")
)
START = b"0-0"  # before all entries
_DAY = 86_400_000  # ms


class Entry(NamedTuple):
    """An event that a worker has taken, and the place that it has in the stream."""

    part: Part
    place: bytes
    line: str  # empty: it was not written by patauth


class Taken(NamedTuple):
    """What a worker has taken, and how many events the stream has lost before anybody took them."""

    entries: list[Entry]
    lost: int
    next: bytes  # where to look next for what was left; `START` if all was looked at


class Waiting(NamedTuple):
    """How many events wait, and for how long the oldest of them has (s); 0 if there is none."""

    events: int
    age: float


class StreamCounts(NamedTuple):
    """What a stream holds and has lost."""

    changes: int
    refusals: int
    dropped: int  # by processes, whose queues were full
    lost: int  # trimmed before they were delivered, or given up
    waiting: dict[str, Waiting]  # for a group, by its name: not delivered yet, whether taken or not
    there: Waiting  # all of them: what waits for a receiver that has no group yet


class EventStream:
    """The streams of a name. Each call has a deadline of its own, and raises `StoreUnavailable`."""

    def __init__(self, scripts: Scripts, keys: Keys, name: str, most: int = MOST) -> None:
        self._scripts = scripts
        self._keys: EventKeys = keys.events(name)
        self._most = most

    def add(self, part: Part, lines: Sequence[str], dropped: int = 0) -> None:
        """Add events. `dropped`: how many were dropped since the last call, to be shown by `counts`.

        An event may be there twice if the call fails and is repeated.
        """
        arguments = (part, self._most, dropped, *lines)
        self._scripts.run(_ADD, self._of(part), arguments, retry=False)

    def begin(self, group: str) -> None:
        """Make a group, unless it is there. It begins with the oldest event."""
        for part in PARTS:
            self._scripts.run(_BEGIN, self._of(part), (group, f"{part}:{group}"))

    def take(
        self, part: Part, group: str, worker: str, *, count: int, left_ms: int, start: bytes = START
    ) -> Taken:
        """Return events to deliver, at most `count`: the next ones, and what was left, at most half of them.

        `left_ms`: what was taken so long ago and is not done counts as left. Each refusal doubles that, up to
        `LONGEST`. `start`: where to look for it, from the last call.
        """
        arguments = (group, worker, f"{part}:{group}", count, left_ms, LONGEST, start)
        lost, place, *words = understood(
            self._scripts.run(_TAKE, self._of(part), arguments, retry=False), int, bytes
        )
        if len(words) % 2 or not all(isinstance(word, bytes) for word in words):
            raise not_understood("answer", "no list of events")
        entries = [
            Entry(part, at, line.decode("ascii", "replace"))
            for at, line in zip(words[::2], words[1::2], strict=True)
        ]
        return Taken(entries, lost, place)

    def done(self, group: str, entry: Entry) -> None:
        """Note that an event was delivered: nobody takes it any more."""
        self._scripts.run(_DONE, self._of(entry.part)[:1], (group, entry.place))

    def refused(self, group: str, worker: str, entry: Entry, most: int) -> bool:
        """Note that the receiver has refused an event. Return whether it is given up, after `most` times."""
        arguments = (group, worker, most, entry.place)
        reply = self._scripts.run(_REFUSED, self._of(entry.part), arguments, retry=False)
        return bool(understood(reply, int)[0])

    def leave(self, group: str, worker: str) -> None:
        """Forget a worker that ends, and those that were killed long ago."""
        for part in PARTS:
            self._scripts.run(_LEAVE, self._of(part)[:1], (group, worker, _DAY))

    def counts(self) -> StreamCounts:
        """Return what the streams hold and have lost."""
        reply = self._scripts.run(_COUNTS, list(self._keys), PARTS)
        changes, refusals, age, words, groups = understood(reply, int, int, int, list, list)
        try:
            known = {name: int(number) for name, number in zip(words[::2], words[1::2], strict=True)}
            waiting: dict[str, Waiting] = {}
            for name, events, ms in zip(groups[::3], groups[1::3], groups[2::3], strict=True):
                other = waiting.get(name.decode(), Waiting(0, 0))
                waiting[name.decode()] = Waiting(other.events + events, max(other.age, ms / 1000))
        except (AttributeError, ValueError, TypeError) as problem:
            raise not_understood("counts of events", problem) from None
        there = Waiting(changes + refusals, age / 1000)
        return StreamCounts(
            changes, refusals, known.get(b"dropped", 0), known.get(b"lost", 0), waiting, there
        )

    def _of(self, part: Part) -> list[bytes]:
        keys = self._keys
        return [keys.changes if part == "changes" else keys.refusals, keys.counts]
