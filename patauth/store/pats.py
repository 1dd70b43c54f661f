"""PATs in the store: made, changed, removed, read; all PATs of an owner at once, too.

A write that may arrive after its caller was told that it failed does not happen then: it carries the latest
instant, by the store's clock, at which it may. Removals carry none; what they do was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, NamedTuple, TypeVar

from ..errors import StoreUnavailable
from ..model import dates
from ..model.pat import PersonalAccessToken
from ..model.pat_id import PatId
from .keys import Keys
from .record import PatRecord, SecretSlot, check_id_of, not_understood, pack, pack_expiry, pack_slot, unpack
from .scripts import NotDurable, Script, Scripts, understood
from .tenant_index import TenantIndex
from .transport.pool import Unanswered

_CREATE, _UPDATE, _DELETE, _READ = Script("create"), Script("update"), Script("delete"), Script("read")
_OWNER_STATE, _REVOKE_OWNER = Script("owner_state"), Script("revoke_owner")
_TOUCH, _REHASH = Script("touch"), Script("rehash")

_TRIES = 50  # for what must see all PATs of an owner at once; the deadline comes first

T = TypeVar("T")
Outcome = Literal["made", "gone", "changed", "disabled", "taken", "full", "exists", "maker gone"]
_CREATIONS: dict[int, Outcome] = {
    0: "made", 1: "disabled", 2: "taken", 3: "full", 4: "exists", 6: "maker gone",
}  # fmt: skip
_UPDATES: dict[int, Outcome] = {
    0: "made", 1: "gone", 2: "changed", 3: "taken", 4: "disabled", 6: "maker gone",
}  # fmt: skip
_LATE = 5  # of lua/create.lua and lua/update.lua


class Change(NamedTuple):
    """A PAT's record as it was read, and the one to put in its place."""

    before: PatRecord
    after: PatRecord


@dataclass(frozen=True, slots=True)
class Pats:
    """The PATs of one tenant. `tenant_index` is kept in step with them."""

    scripts: Scripts
    keys: Keys
    tenant_index: TenantIndex
    retention_ms: int

    # -- reading --------------------------------------------------------------------------------------

    def now(self) -> int:
        """Return the store's clock, ms since 1970."""
        now: int = self.scripts.run(_READ, [])[0]
        return now

    def read(self, pat_ids: Sequence[PatId]) -> list[PatRecord | None]:
        """Return the records of PATs with one owner tag, in order; None where there is none."""
        names = [self.keys.pat(pat_id) for pat_id in pat_ids]
        now, *found = self.scripts.run(_READ, names)
        if len(found) != len(names):
            raise not_understood("records", "of another form")
        for pat_id, record in zip(pat_ids, found, strict=True):
            check_id_of(record, pat_id)
        return [None if record is None else unpack(record).as_read_at(now) for record in found]

    def ids_of(self, owner_id: str, tag: str) -> list[PatId]:
        """Return the ids of an owner's PATs, in no order."""
        index = self.keys.owner_index(tag, owner_id)
        (entries,) = self.scripts.call([("HVALS", index)], retry=True)
        near = bytes.fromhex(tag)
        if not isinstance(entries, list) or not all(
            isinstance(entry, bytes) and entry[:4] == near for entry in entries
        ):
            raise not_understood("owner index", "of another form, or another owner's")
        return [PatId(entry[:16].hex()) for entry in entries]

    # -- writing --------------------------------------------------------------------------------------

    def latest(self, now: int) -> int:
        """Return the deadline by the store's clock, which says `now` at this moment (ms)."""
        if not 0 <= now <= dates.LATEST:  # it would go into records, and nothing could read those
            raise StoreUnavailable(detail=f"the store's clock says {now} ms")
        return now + math.ceil(1000 * self.scripts.deadline().left())

    def would_create(
        self, pat: PersonalAccessToken, *, most: int, latest: int, maker: PatId | None
    ) -> Outcome:
        """Return what would come of `create`, and write nothing."""
        names, arguments = self._creation(pat, b"", most, latest, maker)
        return _outcome(_CREATIONS, self.scripts.run(_CREATE, names, arguments))

    def create(self, record: PatRecord, *, most: int, latest: int, maker: PatId | None) -> Outcome:
        """Write a PAT: index before record, so that none is ever missing from a listing of the tenant.

        `most`: how many unexpired PATs an owner may have. `maker`: the id of a PAT that asks; where its
        record is in reach (it has the same owner tag), it must be active. Raises `Unanswered` when the PAT
        may be there all the same, though nobody will ever be shown its secret.
        """
        pat = record.pat
        names, arguments = self._creation(pat, pack(record), most, latest, maker)
        self.tenant_index.enter(record.pat_id, pat.created_ms, pat.expires_ms)
        try:
            outcome = self.scripts.run_durably(_CREATE, names, arguments, _creation_outcome)
        except (NotDurable, Unanswered) as problem:
            try:  # it may have been written all the same; a new deadline, as the request's may be over
                self._afresh().delete(pat)
            except StoreUnavailable:
                raise Unanswered(detail=problem.detail) from None
            raise StoreUnavailable(detail=problem.detail) from None
        if outcome not in ("made", "exists"):
            self.tenant_index.forget([record.pat_id])
        return outcome

    def _creation(
        self, pat: PersonalAccessToken, record: bytes, most: int, latest: int, maker: PatId | None
    ) -> tuple[list[bytes], tuple[bytes | str | int, ...]]:
        """Return the keys and arguments of lua/create.lua."""
        keys, pat_id, owner_id = self.keys, PatId(pat.id), pat.owner.id
        tag = pat_id.tag
        near = maker is not None and maker.tag == tag
        names = [
            keys.pat(pat_id),
            keys.owner(tag, owner_id),
            keys.owner_index(tag, owner_id),
            keys.pat(maker if maker is not None and near else pat_id),
        ]
        entry, keep = pat_id.raw + pack_expiry(pat.expires_ms), self._keep(pat.expires_ms, pat.created_ms)
        return names, (
            *(record, pat.name, entry, keep, most, self.retention_ms, latest, b"1" if near else b"0"),
        )

    def _keep(self, expires_ms: int | None, now: int) -> bytes | int:
        """Return how long a record is kept from now on (ms); empty: for good."""
        return b"" if expires_ms is None else expires_ms + self.retention_ms - now

    def update(
        self,
        changes: Sequence[Change],
        *,
        latest: int,
        new_secret: bool = False,
        maker: PatId | None = None,
    ) -> Outcome:
        """Put changed records of one owner in place of those that were read: all, durably, or none.

        `new_secret`: not while the owner is disabled; `maker` as for `create`.
        """
        keys, first = self.keys, changes[0].before.pat
        tag = changes[0].before.pat_id.tag
        near = maker is not None and maker.tag == tag
        moved = [one.after for one in changes if one.before.pat.expires_ms != one.after.pat.expires_ms]
        if moved:
            self.tenant_index.mark_expiry([one.pat_id for one in moved], first.read_ms)
        names = [
            keys.owner(tag, first.owner.id),
            keys.owner_index(tag, first.owner.id),
            keys.pat(maker if maker is not None and near else changes[0].before.pat_id),
        ]
        arguments: list[bytes | str | int] = [
            b"1" if new_secret else b"0", self.retention_ms, latest, b"1" if near else b"0"
        ]  # fmt: skip
        for before, after in changes:
            pat = after.pat
            names.append(keys.pat(after.pat_id))
            entry = after.pat_id.raw + pack_expiry(pat.expires_ms)
            keep = self._keep(pat.expires_ms, before.pat.read_ms)
            arguments += (before.packed, pack(after), before.pat.name, pat.name, entry, keep)
        outcome = self.scripts.run_durably(_UPDATE, names, arguments, _update_outcome)
        if outcome == "made":
            self.tenant_index.changed([(one.pat_id, one.pat.expires_ms) for one in moved])
        return outcome

    def touch(self, pat_id: PatId, used_ms: int) -> bool:
        """Write a use, unless that UTC day has one; then the tenant's index. Return whether it did."""
        self.tenant_index.mark_use(pat_id, used_ms)
        names, arguments = [self.keys.pat(pat_id)], (used_ms.to_bytes(6),)
        written = bool(self.scripts.run(_TOUCH, names, arguments, now=used_ms)[0] == 1)
        if written:
            self.tenant_index.used(pat_id, used_ms)
        return written

    def rehash(self, pat_id: PatId, seen: SecretSlot, new: SecretSlot) -> bool:
        """Put a slot with another digest in place of `seen`, if that still stands; return whether it did."""
        slots = (pack_slot(seen), pack_slot(new))
        return bool(self.scripts.run(_REHASH, [self.keys.pat(pat_id)], slots)[0] == 1)

    # -- removing -------------------------------------------------------------------------------------

    def delete(self, pat: PersonalAccessToken) -> bool:
        """Remove a PAT, durably: record before index. Return whether it was there.

        Raises `NotDurable` when it is not known to be durable in time: repeat it.
        """
        keys, pat_id, owner_id = self.keys, PatId(pat.id), pat.owner.id
        tag = pat_id.tag
        names = [
            keys.pat(pat_id),
            keys.requests(pat_id),
            keys.exchanges(pat_id),
            keys.owner(tag, owner_id),
            keys.owner_index(tag, owner_id),
        ]
        try:
            removed = self.scripts.run_durably(_DELETE, names, (pat_id.raw,), lambda reply: reply[0] == 1)
        except NotDurable:
            self.tenant_index.forget([pat_id])
            raise
        self.tenant_index.forget([pat_id])
        if not removed:
            self.confirm_removals(tag)  # another caller has removed it, and may still be waiting
        return bool(removed)

    def confirm_removals(self, tag: str) -> None:
        """Wait until earlier removals under an owner tag are durable, whoever made them."""
        self.scripts.confirm(self.keys.barrier(tag))

    # -- all PATs of an owner -------------------------------------------------------------------------

    def set_owner_state(self, owner_id: str, tag: str, *, disabled: bool) -> int:
        """Disable or enable an owner, durably; return into how many PATs that was written."""
        owner, state = self.keys.owner(tag, owner_id), b"1" if disabled else b"0"

        def names(pat_ids: list[PatId]) -> list[bytes]:
            return [owner, *map(self.keys.pat, pat_ids)]

        def written(reply: list[Any], _: list[PatId]) -> int:
            count: int = understood(reply, int, int)[1]
            return count

        return self._on_all_of(owner_id, tag, _OWNER_STATE, names, (state,), written)

    def revoke_owner(self, owner_id: str, tag: str) -> list[PatId]:
        """Remove all PATs of an owner, durably; return their ids."""
        keys = self.keys

        def names(pat_ids: list[PatId]) -> list[bytes]:
            of_pats = ((keys.pat(one), keys.requests(one), keys.exchanges(one)) for one in pat_ids)
            return [keys.owner(tag, owner_id), keys.owner_index(tag, owner_id), *chain.from_iterable(of_pats)]

        def removed(reply: list[Any], pat_ids: list[PatId]) -> list[PatId]:
            if pat_ids:
                self.tenant_index.forget(pat_ids)
            return [pat_id for pat_id, one in zip(pat_ids, reply[1:], strict=True) if one == 1]

        found = self._on_all_of(owner_id, tag, _REVOKE_OWNER, names, (), removed)
        if not found:
            self.confirm_removals(tag)  # this call has nothing of its own to wait for
        return found

    def _on_all_of(
        self,
        owner_id: str,
        tag: str,
        script: Script,
        names: Callable[[list[PatId]], list[bytes]],
        arguments: tuple[bytes, ...],
        read: Callable[[list[Any], list[PatId]], T],
    ) -> T:
        """Run a script over all PATs of an owner as they were at one sequence; again if they have changed."""
        sequence_of = [("HGET", self.keys.owner(tag, owner_id), "sequence")]
        for _ in range(_TRIES):
            (sequence,) = self.scripts.call(sequence_of, retry=True)
            pat_ids = self.ids_of(owner_id, tag)
            latest = self.latest(self.now())

            def outcome(reply: list[Any], pat_ids: list[PatId] = pat_ids) -> T | None:
                if reply[0] == 0:
                    return None
                if reply[0] != 1:
                    raise not_understood("a PAT record", "unknown schema")
                return read(reply, pat_ids)

            given = (sequence or b"0", latest, *arguments)
            found = self.scripts.run_durably(script, names(pat_ids), given, outcome)
            if found is not None:
                return found
        raise StoreUnavailable(detail=f"the PATs of owner {owner_id} kept changing")

    def _afresh(self) -> Pats:
        """Return the same with a new deadline, for what must be tried when the request's is over."""
        scripts = self.scripts.afresh()
        return Pats(scripts, self.keys, TenantIndex(scripts, self.keys), self.retention_ms)


def _creation_outcome(reply: list[Any]) -> Outcome:
    return _outcome(_CREATIONS, reply)


def _update_outcome(reply: list[Any]) -> Outcome:
    return _outcome(_UPDATES, reply)


def _outcome(known: Mapping[int, Outcome], reply: list[Any]) -> Outcome:
    if reply[0] == _LATE:
        raise StoreUnavailable(detail="the store came to it too late, and has not done it")
    outcome = known.get(reply[0])
    if outcome is None:
        raise not_understood("a change", repr(reply))
    return outcome
