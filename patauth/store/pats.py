"""PATs in the store: this module creates, reads, changes and deletes single PATs, and all PATs of an owner.

A write may reach the store after its caller was told that it failed. So each write carries the latest
instant, by the store's clock, at which the store may do it. Deletions carry none, since the caller asked
for their result in any case.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, TypeVar

from ..errors import StoreUnavailable
from ..model import dates
from ..model.pat import PersonalAccessToken
from ..model.pat_id import PatId
from .asking import (
    ALWAYS,
    DELETIONS,
    IN_FLIGHT,
    REFUSALS,
    Judged,
    Outcome,
    Pause,
    Window,
    asking_of,
    outcome_of,
)
from .keys import Keys
from .record import (
    NEVER,
    VERSION_BYTES,
    PatRecord,
    SecretSlot,
    check_id_of,
    not_understood,
    pack,
    pack_expiry,
    pack_slot,
    unpack,
)
from .scripts import NotDurable, Script, Scripts, understood
from .tenant_index import TenantIndex

_CREATE, _UPDATE, _DELETE, _READ = Script("create"), Script("update"), Script("delete"), Script("read")
_OWNER_STATE, _REVOKE_OWNER = Script("owner_state"), Script("revoke_owner")
_TOUCH, _REHASH = Script("touch"), Script("rehash")

_TRIES = 50  # to see all PATs of an owner unchanged; the deadline usually comes first

T = TypeVar("T")
_CREATIONS: dict[int, Outcome] = {
    0: "made", 1: "disabled", 2: "taken", 3: "full", 4: "exists", **REFUSALS
}  # fmt: skip
_UPDATES: dict[int, Outcome] = {
    0: "made", 1: "gone", 2: "changed", 3: "taken", 4: "disabled", **REFUSALS
}  # fmt: skip


class Change(NamedTuple):
    """A PAT's record as it was read, and the one to put in its place."""

    before: PatRecord
    after: PatRecord

    @property
    def ends_something(self) -> bool:
        """Whether a credential can do less afterwards: fewer scopes, an earlier expiry, another secret."""
        before, after = self.before.pat, self.after.pat
        return (
            not set(before.scope) <= set(after.scope)
            or (after.expires_ms or NEVER) < (before.expires_ms or NEVER)
            or self.before.secrets[0].generation != self.after.secrets[0].generation
        )


@dataclass(frozen=True, slots=True)
class Pats:
    """Creates, reads, changes and deletes the PATs of one tenant, and keeps `tenant_index` up to date."""

    scripts: Scripts
    keys: Keys
    tenant_index: TenantIndex

    # -- reading --------------------------------------------------------------------------------------

    def now(self) -> int:
        """Return the time of the store's clock, ms since 1970."""
        return int(self.scripts.run(_READ, [])[0])

    def read(self, pat_ids: Sequence[PatId]) -> list[PatRecord | None]:
        """Return the records of PATs in order, None for a missing one. All must have the same owner tag."""
        names = [self.keys.pat(pat_id) for pat_id in pat_ids]
        now, *found = self.scripts.run(_READ, names)
        if len(found) != len(names):
            raise not_understood("records", "of another form")
        for pat_id, record in zip(pat_ids, found, strict=True):
            check_id_of(record, pat_id)
        return [None if record is None else unpack(record).as_read_at(now) for record in found]

    def ids_of(self, owner_id: str, tag: str) -> list[PatId]:
        """Return the ids of an owner's PATs, in no particular order. `tag` is the owner tag."""
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
        """Return the deadline as an instant of the store's clock (ms), whose time is now `now`."""
        _check_clock(now)
        return now + math.ceil(1000 * self.scripts.deadline().left())

    def window(self, now: int, tag: str, by: Judged | None) -> Window:
        """Return when a change under an owner tag may be written, by a credential judged after `now`.

        `now` (ms) comes from a script in the slot of the change.
        """
        latest = self.latest(now)
        if by is None or by.pat_id.tag == tag:
            return Window(0, latest)
        return Window(now, min(latest, now + IN_FLIGHT - 1))

    def would_create(
        self, pat: PersonalAccessToken, *, most: int, window: Window, by: Judged | None
    ) -> Outcome:
        """Return the outcome that `create` would have, and write nothing."""
        names, arguments = self._creation(pat, b"", most, window, by)
        return outcome_of(_CREATIONS, self.scripts.run(_CREATE, names, arguments))

    def create(self, record: PatRecord, *, most: int, window: Window, by: Judged | None) -> Outcome:
        """Write a PAT durably: the tenant's index first, so that listings of the tenant never miss a PAT.

        `most` is how many unexpired PATs an owner may have. `window` comes from `window()`. `by` is the
        credential that asks for this, if one does.

        Raise `NotDurable`, `Unanswered` when the outcome is unknown, or `StoreUnavailable`.
        """
        pat = record.pat
        names, arguments = self._creation(pat, pack(record, _version()), most, window, by)
        self.tenant_index.enter(record.pat_id, pat.created_ms, pat.expires_ms)
        outcome = self.scripts.run_durably(_CREATE, names, arguments, partial(outcome_of, _CREATIONS))
        if outcome not in ("made", "exists"):
            self.tenant_index.forget([record.pat_id])
        return outcome

    def _creation(
        self, pat: PersonalAccessToken, record: bytes, most: int, window: Window, by: Judged | None
    ) -> tuple[list[bytes], tuple[bytes | str | int, ...]]:
        """Return the keys and arguments of lua/create.lua. An empty `record` writes nothing."""
        keys, pat_id, owner_id = self.keys, PatId(pat.id), pat.owner.id
        tag = pat_id.tag
        asking, who = asking_of(keys, by, pat_id)
        names = [keys.pat(pat_id), keys.owner(tag, owner_id), keys.owner_index(tag, owner_id), *asking]
        entry, keep = pat_id.raw + pack_expiry(pat.expires_ms), self._keep(pat.expires_ms, pat.created_ms)
        return names, (*window, who, record, pat.name, entry, keep, most, self.tenant_index.retention_ms)

    def _keep(self, expires_ms: int | None, now: int) -> bytes | int:
        """Return how many ms from `now` on a record is kept; empty for one that does not expire."""
        return b"" if expires_ms is None else expires_ms + self.tenant_index.retention_ms - now

    def update(
        self,
        changes: Sequence[Change],
        *,
        window: Window,
        new_secret: bool = False,
        by: Judged | None = None,
    ) -> Outcome:
        """Replace records of one owner durably, all of them or none, if they are still as they were read.

        `window` comes from `window()`. `new_secret`: refuse while the owner is disabled. `by` is the
        credential that asks for this, if one does. Raise `NotDurable`, `Unanswered` when the outcome is
        unknown, or `StoreUnavailable`.
        """
        keys, first, pat_id = self.keys, changes[0].before.pat, changes[0].before.pat_id
        tag = pat_id.tag
        moved = [one.after for one in changes if one.before.pat.expires_ms != one.after.pat.expires_ms]
        if moved:
            self.tenant_index.mark_expiry([one.pat_id for one in moved], first.read_ms)
        asking, who = asking_of(keys, by, pat_id)
        ends = any(one.before.reached_others and one.ends_something for one in changes)
        of_owner = [keys.owner(tag, first.owner.id), keys.owner_index(tag, first.owner.id)]
        names = [*of_owner, keys.ends(tag), *asking]
        arguments: list[bytes | str | int] = [
            *window, who, b"1" if new_secret else b"0", self.tenant_index.retention_ms, b"1" if ends else b"0"
        ]  # fmt: skip
        for before, after in changes:
            pat = after.pat
            names.append(keys.pat(after.pat_id))
            entry = after.pat_id.raw + pack_expiry(pat.expires_ms)
            keep = self._keep(pat.expires_ms, before.pat.read_ms)
            packed = pack(replace(after, reached_others=before.reached_others), _version())
            arguments += (before.packed, packed, before.pat.name, pat.name, entry, keep)
        pause = Pause()
        outcome = self.scripts.run_durably(
            _UPDATE, names, arguments, partial(outcome_of, _UPDATES, pause=pause)
        )
        if outcome == "made":
            self.tenant_index.changed([(one.pat_id, one.pat.expires_ms) for one in moved])
        pause.wait()
        return outcome

    def touch(self, pat_id: PatId, used_ms: int) -> bool:
        """Write a last use (ms) to the record and the index, unless that UTC day has one.

        Return whether it did.
        """
        _check_clock(used_ms)
        self.tenant_index.mark_use(pat_id, used_ms)
        names, arguments = [self.keys.pat(pat_id)], (used_ms.to_bytes(6),)
        written = self.scripts.run(_TOUCH, names, arguments, now=used_ms)[0]
        if written:
            self.tenant_index.used(pat_id, used_ms, is_back=written == 2)
        return bool(written)

    def rehash(self, pat_id: PatId, seen: SecretSlot, new: SecretSlot) -> bool:
        """Replace the slot `seen` by `new`, if the record still has it. Return whether it did."""
        slots = (pack_slot(seen), pack_slot(new), _version())
        return bool(self.scripts.run(_REHASH, [self.keys.pat(pat_id)], slots)[0] == 1)

    # -- deleting -------------------------------------------------------------------------------------

    def delete(
        self, pat: PersonalAccessToken, *, window: Window = ALWAYS, by: Judged | None = None
    ) -> Outcome:
        """Delete a PAT durably, its record before its index entries. Return "made", or "gone" if it was gone.

        `by` is the credential that asks for this, if one does. `window` comes from `window()`, if that is in
        another slot. Raise `NotDurable` when the server does not confirm the write in time: the caller may
        repeat the call.
        """
        keys, pat_id, owner_id = self.keys, PatId(pat.id), pat.owner.id
        tag = pat_id.tag
        names = [
            keys.pat(pat_id),
            keys.requests(pat_id),
            keys.exchanges(pat_id),
            keys.owner(tag, owner_id),
            keys.owner_index(tag, owner_id),
            keys.ends(tag),
        ]
        asking, who = asking_of(keys, by, pat_id)
        pause = Pause()
        read = partial(outcome_of, DELETIONS, pause=pause)
        try:
            outcome = self.scripts.run_durably(_DELETE, [*names, *asking], (*window, who, pat_id.raw), read)
        except NotDurable:
            self.tenant_index.forget([pat_id])
            raise
        if outcome in ("made", "gone"):
            self.tenant_index.forget([pat_id])
        if outcome == "gone":
            self.scripts.confirm(self.keys.barrier(tag))  # another caller's deletion may not be durable yet
        pause.wait()
        return outcome

    def confirm_ends(self, tag: str) -> None:
        """Wait until earlier ends under an owner tag, by all callers, are durable and hold in all slots.

        Raise `NotDurable`.
        """
        self.scripts.confirm(self.keys.barrier(tag))
        (left,) = self.scripts.call([("PTTL", self.keys.ends(tag))], retry=True)
        Pause(understood([left], int)[0]).wait()

    # -- all PATs of an owner -------------------------------------------------------------------------

    def set_owner_state(self, owner_id: str, tag: str, *, disabled: bool) -> int:
        """Disable or enable an owner durably. Return the number of PATs whose record says so now."""
        owner, state = self.keys.owner(tag, owner_id), b"1" if disabled else b"0"

        def names(pat_ids: list[PatId]) -> list[bytes]:
            return [owner, self.keys.ends(tag), *map(self.keys.pat, pat_ids)]

        def arguments(pat_ids: list[PatId]) -> tuple[bytes, ...]:
            return state, secrets.token_bytes(VERSION_BYTES * len(pat_ids))

        def written(reply: list[Any], _: list[PatId]) -> int:
            count: int = understood(reply, int, int, int)[2]
            return count

        return self._on_all_of(owner_id, tag, _OWNER_STATE, names, arguments, written)

    def revoke_owner(self, owner_id: str, tag: str) -> list[PatId]:
        """Delete all PATs of an owner durably. Return their ids."""
        keys = self.keys

        def names(pat_ids: list[PatId]) -> list[bytes]:
            of_pats = ((keys.pat(one), keys.requests(one), keys.exchanges(one)) for one in pat_ids)
            of_owner = [keys.owner(tag, owner_id), keys.owner_index(tag, owner_id)]
            return [*of_owner, keys.ends(tag), *chain.from_iterable(of_pats)]

        def removed(reply: list[Any], pat_ids: list[PatId]) -> list[PatId]:
            if pat_ids:
                self.tenant_index.forget(pat_ids)
            removals = understood(reply, int, int, *[int] * len(pat_ids))[2:]
            return [pat_id for pat_id, one in zip(pat_ids, removals, strict=False) if one == 1]

        found = self._on_all_of(owner_id, tag, _REVOKE_OWNER, names, lambda _: (), removed)
        if not found:
            self.confirm_ends(tag)  # this call deleted nothing; wait for the deletions of others
        return found

    def _on_all_of(
        self,
        owner_id: str,
        tag: str,
        script: Script,
        names: Callable[[list[PatId]], list[bytes]],
        arguments: Callable[[list[PatId]], tuple[bytes, ...]],
        read: Callable[[list[Any], list[PatId]], T],
    ) -> T:
        """Run a script over all PATs of an owner. Repeat it if they changed after they were read.

        `names` and `arguments` give the script's keys and arguments, and `read` turns its answer into the
        result.
        """
        pause = Pause()
        sequence_of = [("HGET", self.keys.owner(tag, owner_id), "sequence")]
        for _ in range(_TRIES):
            (found,) = self.scripts.call(sequence_of, retry=True)
            (sequence,) = understood([found or b"0"], bytes)
            pat_ids = self.ids_of(owner_id, tag)
            latest = self.latest(self.now())

            def outcome(reply: list[Any], pat_ids: list[PatId] = pat_ids) -> T:
                if reply[0] == 0:
                    raise _Changed  # nothing was written, so there is nothing to wait for
                if reply[0] != 1:
                    raise not_understood("PAT record", "unknown schema")
                pause.note(reply)
                return read(reply, pat_ids)

            given = (sequence, latest, *arguments(pat_ids))
            with suppress(_Changed):
                done = self.scripts.run_durably(script, names(pat_ids), given, outcome)
                pause.wait()
                return done
        raise StoreUnavailable(detail=f"the PATs of owner {owner_id} kept changing")


class _Changed(Exception):
    """An owner's PATs have changed after they were read."""


def _check_clock(now: int) -> None:
    """Raise `StoreUnavailable` for a time (ms) with which no record could be read."""
    if not 0 <= now <= dates.LATEST:
        raise StoreUnavailable(detail=f"the store's clock says {now} ms")


def _version() -> bytes:
    """Return a new version. It is no counter: after a failover, a counter would meet itself again."""
    return secrets.token_bytes(VERSION_BYTES)
