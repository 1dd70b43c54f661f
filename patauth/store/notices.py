"""Mark the expiries of PATs that were announced, so that nobody sends the same event again.

The process that sets the mark sends the event. The mark lasts until that expiry can no longer be announced. A
PAT with another expiry has other marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..model.pat_id import PatId
from .keys import Keys
from .scripts import Scripts


class Notice(NamedTuple):
    """An expiry to announce. `within`: seconds before the expiry; 0: it has come."""

    pat_id: PatId
    expires_ms: int
    within: int


@dataclass(frozen=True, slots=True)
class Notices:
    """Marks notices of one tenant's PATs."""

    scripts: Scripts
    keys: Keys

    def claim(self, notices: Sequence[Notice], who: bytes, last_ms: Sequence[int]) -> list[bool]:
        """Mark notices, and return for each whether `who` has marked it: it is theirs to announce.

        `who`: random bytes of the one who asks. `last_ms`: how long from now each mark lasts. Two never get
        the same notice, and it is safe to repeat the call. Raise `StoreUnavailable`.
        """
        commands: list[tuple[bytes | str | int, ...]] = []
        for notice, ms in zip(notices, last_ms, strict=True):
            name = self.keys.notice(*notice)
            # GET lets a caller who repeats the call recognise their own mark.
            commands += (("SET", name, who, "NX", "PX", ms), ("GET", name))
        replies = self.scripts.call(commands, retry=True)
        return [found == who for found in replies[1::2]]

    def give_back(self, notices: Sequence[Notice]) -> None:
        """Remove marks that this caller has set, so that they can be announced. Raise `StoreUnavailable`."""
        self.scripts.call([("DEL", self.keys.notice(*notice)) for notice in notices], retry=True)
