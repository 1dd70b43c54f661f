"""Access tokens in the store: written, read, removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ..model.pat_id import PatId
from .keys import Keys
from .record import (
    TOKEN_ID_AT,
    PatRecord,
    TokenRecord,
    check_id_of,
    not_understood,
    pack_token,
    unpack,
    unpack_token,
)
from .scripts import Script, Scripts, understood

_ISSUE, _READ, _DELETE = Script("issue"), Script("read"), Script("delete_token")

Issued = Literal["issued", "gone"]
_ISSUED, _CHANGED = 1, 2  # answers of lua/issue.lua


@dataclass(frozen=True, slots=True)
class Tokens:
    """The access tokens of one tenant's PATs."""

    scripts: Scripts
    keys: Keys

    def issue(self, seen: PatRecord, digest: bytes, token: TokenRecord) -> Issued | PatRecord:
        """Write an access token, by the SHA-256 of its text, if its PAT is still what was seen.

        Returns "issued"; "gone" when the PAT is gone or its time is over; or else the record as it is now.
        """
        pat_id = seen.pat_id
        names = [self.keys.pat(pat_id), self.keys.access_token(pat_id, digest)]
        reply = self.scripts.run(_ISSUE, names, (seen.packed, pack_token(token)))
        if reply[0] != _CHANGED:
            return "issued" if reply[0] == _ISSUED else "gone"
        _, now, changed = understood(reply, int, int, bytes)[:3]
        check_id_of(changed, pat_id)
        return unpack(changed).as_read_at(now)

    def read(self, pat_id: PatId, digest: bytes) -> tuple[PatRecord, TokenRecord] | None:
        """Return an access token with its PAT, by the SHA-256 of its text; None if either is not there."""
        names = [self.keys.pat(pat_id), self.keys.access_token(pat_id, digest)]
        now, *found = self.scripts.run(_READ, names)
        if len(found) != len(names):
            raise not_understood("records", "of another form")
        pat, token = found
        check_id_of(pat, pat_id)
        check_id_of(token, pat_id, TOKEN_ID_AT)
        if pat is None or token is None:
            return None
        return unpack(pat).as_read_at(now), unpack_token(token)

    def delete(self, pat_id: PatId, digest: bytes) -> bool:
        """Remove an access token, durably. Return whether it was there. Raises `NotDurable`: repeat it."""
        names = [self.keys.access_token(pat_id, digest)]
        removed = self.scripts.run_durably(_DELETE, names, (), lambda reply: bool(reply[0] == 1))
        if not removed:
            # Another caller has removed it, and may still be waiting.
            self.scripts.confirm(self.keys.barrier(pat_id.tag))
        return removed

    def delete_all(self) -> Iterator[int]:
        """Remove every access token under the key prefix, of all tenants; durable at the end.

        Yields how many were removed with each piece. Reads the whole key space, a piece at a time.
        """
        cursor: Any = 0
        while True:
            scan = ("SCAN", cursor, "MATCH", self.keys.access_tokens, "COUNT", 1000)
            ((cursor, found),) = self.scripts.call([scan], retry=True)
            # One by one: keys of several slots in one command would not do on a cluster.
            yield sum(self.scripts.call([("DEL", key) for key in found])) if found else 0
            if int(cursor) == 0:
                break
        self.scripts.confirm(self.keys.barrier("store"))
