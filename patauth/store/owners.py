"""Owners in the store: their PATs in order, and the quotas that belong to no PAT.

An owner may have thousands of PATs, so no script reads all of them. `owner_changes.py` changes all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..model.pat_id import PatId
from ..model.quota import Quota
from .keys import Keys
from .record import id_in_entry, last_entry_of_pat, not_understood
from .scripts import OWNER_INDEX, PRELUDE, QUOTA, Script, Scripts, understood
from .tenant_index import TenantIndex

_PAGE, _MEND = Script("owner_page", PRELUDE, OWNER_INDEX), Script("owner_mend", PRELUDE, OWNER_INDEX)
_CHARGE = Script("charge", PRELUDE, QUOTA)

_PIECE = 100  # entries that one call reads or repairs


class Page(NamedTuple):
    """Some of the PATs of an owner in order of creation, with their entries, and facts about all of them."""

    now: int  # ms, the store's clock
    total: int  # of all PATs of the owner
    unexpired: int  # of these
    is_disabled: bool  # the owner is
    entries: dict[PatId, bytes]
    soon: dict[PatId, bytes]  # those that expire within the time that was given, the first to expire first


class Charge(NamedTuple):
    """The answer of a quota: `micros` is the backlog if it allows the request, else the wait (µs)."""

    allowed: bool
    micros: int


@dataclass(frozen=True, slots=True)
class Owners:
    """Lists the PATs of one tenant's owners, and charges their quotas."""

    scripts: Scripts
    keys: Keys
    tenant_index: TenantIndex

    # -- quotas ---------------------------------------------------------------------------------------

    def charge_creation(self, owner_id: str, tag: str, quota: Quota) -> Charge:
        """Charge an owner for a PAT that they make."""
        return self._charge(self.keys.owner(tag, owner_id).creations, quota)

    def charge_request(self, owner_id: str, tag: str, quota: Quota) -> Charge:
        """Charge an owner for a request that they make as a signed-in person."""
        return self._charge(self.keys.owner(tag, owner_id).requests, quota)

    def _charge(self, name: bytes, quota: Quota) -> Charge:
        reply = self.scripts.run(_CHARGE, [name], (quota.emission_us, quota.tolerance_us))
        allowed, micros = understood(reply, int, int)
        return Charge(allowed == 1, micros)

    # -- listing --------------------------------------------------------------------------------------

    def page(
        self,
        owner_id: str,
        tag: str,
        offset: int,
        count: int,
        *,
        newest_first: bool = False,
        soon: tuple[int, int] = (0, 0),
    ) -> Page:
        """Return at most `count` PATs of an owner in order of creation. Skip the first `offset`.

        `soon`: a time (ms), and how many of those to return that expire within it. PATs that are past their
        retention are not among them; their entries are removed first.
        """
        keys = self.keys.owner(tag, owner_id)
        order = b"1" if newest_first else b"0"
        arguments = (self.tenant_index.retention_ms, _PIECE, offset, count, order, *soon)
        left = 1
        while left:
            reply = self.scripts.run(_PAGE, [*keys.indexes, keys.record], arguments)
            now, left, total, unexpired, disabled, entries, ending = understood(
                reply, int, int, int, int, int, list, list
            )
        part, next_to_end = ({id_in_entry(entry, tag): entry for entry in some} for some in (entries, ending))
        return Page(now, total, unexpired, disabled == 1, part, next_to_end)

    def mend(self, owner_id: str, tag: str, entries: Sequence[bytes]) -> int:
        """Remove those of these entries that have no record. Return how many it removed."""
        records = [self.keys.pat(id_in_entry(entry, tag)) for entry in entries]
        names = [*self.keys.owner(tag, owner_id).indexes, *records]
        return int(self.scripts.run(_MEND, names, (self.tenant_index.retention_ms, *entries))[0])

    def sweep(self) -> Iterator[int]:
        """Remove the entries without a record of all owners, in pieces. Yield how many each piece removed.

        An owner's entries and records are written in one step, so an entry never waits for its record. Reads
        the whole key space with SCAN.
        """
        for found in self._index_keys():
            yield 0
            for tag, owner_id in map(self.keys.owner_in, found):
                for entries in self._entries(owner_id, tag, _PIECE):
                    yield self.mend(owner_id, tag, entries)

    def _index_keys(self) -> Iterator[list[Any]]:
        for server, _ in self.scripts.parts():
            yield from server.scan("SCAN", match=self.keys.owner_indexes, count=1000)

    def walk(self, owner_id: str, tag: str, size: int) -> Iterator[tuple[list[bytes], list[PatId]]]:
        """Yield the entries and ids of all PATs of an owner, in order of creation and in pieces of `size`.

        None is missing that is there from begin to end, and none comes twice.
        """
        for entries in self._entries(owner_id, tag, size):
            yield entries, [id_in_entry(entry, tag) for entry in entries]

    def _entries(self, owner_id: str, tag: str, size: int) -> Iterator[list[bytes]]:
        name, after = self.keys.owner(tag, owner_id).created, b"-"
        while True:
            command = ("ZRANGEBYLEX", name, after, "+", "LIMIT", 0, size)
            (entries,) = self.scripts.call([command], retry=True)
            if not isinstance(entries, list):
                raise not_understood("owner index", "of another form")
            if entries:
                yield entries
            if len(entries) < size:
                return
            after = b"(" + last_entry_of_pat(entries[-1])  # it may have a new name by now
