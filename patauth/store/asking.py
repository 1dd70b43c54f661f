"""The credential that asks for a change, and how to judge it when no script can.

The store makes no change for a credential that has ended. If its PAT is in the slot of the change, the script
that writes judges it (lua/prelude.lua). Else no script can, so the write is bounded: it happens within
`IN_FLIGHT` after an instant before the judgement, or never. A call that ends such a credential waits as long
before it returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import sleep
from typing import Any, Literal, NamedTuple

from ..errors import StoreUnavailable
from ..model.pat_id import PatId
from .keys import Keys
from .record import NEVER, OF_ANOTHER_VERSION, not_understood
from .scripts import understood

Outcome = Literal[
    "made", "gone", "changed", "disabled", "taken", "full", "exists", "busy", "rotated",
    "ended", "judge again",
]  # fmt: skip
REFUSALS: dict[int, Outcome] = {6: "ended", 7: "judge again"}  # of the credential
DELETIONS: dict[int, Outcome] = {0: "gone", 1: "made", 8: "rotated", **REFUSALS}
_LATE, _UNKNOWN_SCHEMA = 5, -1  # answers of all scripts that write
IN_FLIGHT = 500  # ms; lua/prelude.lua has it, too


@dataclass(frozen=True, slots=True)
class Judged:
    """A credential that asks for a change, and the version of its PAT's record by which it was judged."""

    pat_id: PatId
    generation: int
    token: bytes | None  # the digest of the access token, if it is one
    version: bytes


class Window(NamedTuple):
    """The earliest and the latest instant (ms, the store's clock) at which a change may be written."""

    earliest: int
    latest: int


ALWAYS = Window(0, NEVER)


def asking_of(keys: Keys, by: Judged | None, pat_id: PatId) -> tuple[list[bytes], bytes]:
    """Return the keys and the argument by which a script judges who asks for a change of `pat_id`.

    The argument is empty if nobody asks, or if the script cannot reach the slot of who asks.
    """
    if by is None or by.pat_id.tag != pat_id.tag:
        return [keys.pat(pat_id)] * 2, b""
    key = keys.pat(by.pat_id)
    token = key if by.token is None else keys.access_token(by.pat_id, by.token)
    kind = b"" if by.token is None else b"t"
    return [key, token], by.version + by.generation.to_bytes(3) + kind


class Pause:
    """How long to wait until an end holds in all slots: the longest time that a script has said (ms)."""

    def __init__(self, ms: int = 0) -> None:
        self._ms = ms

    def note(self, reply: list[Any]) -> None:
        """Read the second value of a script's answer, if it has one."""
        if len(reply) > 1:
            self._ms = max(self._ms, understood(reply, int, int)[1])

    def wait(self) -> None:
        """Wait. No request can be in flight for longer, whatever the clocks say."""
        if self._ms > 0:
            sleep(min(self._ms, IN_FLIGHT) / 1000)


def refuse_undone(reply: list[Any]) -> None:
    """Raise `StoreUnavailable` for the answer of a script that came too late, or met an unknown schema."""
    if reply[0] == _UNKNOWN_SCHEMA:
        raise not_understood("record", OF_ANOTHER_VERSION)
    if reply[0] == _LATE:
        raise StoreUnavailable(detail="the command reached the store too late, so the store did not run it")


def outcome_of(known: Mapping[int, Outcome], reply: list[Any], pause: Pause | None = None) -> Outcome:
    """Return the outcome in a script's answer. Raise `StoreUnavailable` if it is unknown or too late."""
    if pause is not None:
        pause.note(reply)
    refuse_undone(reply)
    outcome = known.get(reply[0])
    if outcome is None:
        raise not_understood("answer to a change", repr(reply))
    return outcome
