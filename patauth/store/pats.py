"""PATs in the store: this module creates, reads, changes and deletes single PATs.

A write may reach the store after its caller was told that it failed. So each write carries the latest
instant, by the store's clock, at which the store may do it. Deletions carry none, since the caller asked
for their result in any case.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

from ..errors import StoreUnavailable
from ..model import dates
from ..model.address import covers_networks
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
    id_in_entry,
    name_tag,
    not_understood,
    pack,
    pack_entry,
    pack_slot,
    unpack,
)
from .removed import REMOVED, Removal, Removed
from .scripts import OWNER_INDEX, PRELUDE, NotDurable, Script, Scripts, understood
from .tenant_index import TenantIndex
from .transport.protocol import MemoryFull

_CREATE = Script("create", PRELUDE, OWNER_INDEX)
_UPDATE = Script("update", PRELUDE, OWNER_INDEX)
_DELETE = Script("delete", PRELUDE, OWNER_INDEX, REMOVED)
_READ, _TOUCH, _REHASH = Script("read", PRELUDE), Script("touch", PRELUDE), Script("rehash", PRELUDE)

_CREATIONS: dict[int, Outcome] = {
    0: "made", 1: "disabled", 2: "taken", 3: "full", 4: "exists", 9: "busy", **REFUSALS
}  # fmt: skip
_UPDATES: dict[int, Outcome] = {
    0: "made", 1: "gone", 2: "changed", 3: "taken", 4: "disabled", **REFUSALS
}  # fmt: skip


Touched = Literal["written", "gone"]


class Room(NamedTuple):
    """How many PATs an owner may have: unexpired ones, and expired ones that are kept."""

    unexpired: int
    expired: int


class Prospect(NamedTuple):
    """How a creation would end now (ms, the store's clock), and which of the owner's PATs it has to remove.

    `removing` are the owner index entries of PATs that have expired long ago, or of which there are too many.
    """

    outcome: Outcome
    now: int
    removing: list[bytes]


class Change(NamedTuple):
    """A PAT's record as it was read, and the one to put in its place."""

    before: PatRecord
    after: PatRecord

    @property
    def ends_something(self) -> bool:
        """Whether a credential can do less afterwards.

        It has fewer scopes or networks, an earlier expiry or a later begin, another secret or another quota.
        """
        before, after = self.before.pat, self.after.pat
        return (
            not set(before.scope) <= set(after.scope)
            or (after.expires_ms or NEVER) < (before.expires_ms or NEVER)
            or (after.not_before_ms or 0) > (before.not_before_ms or 0)
            or not covers_networks(after.networks, before.networks)
            # The setting decides over that of a PAT without one, so any other may be lower.
            or after.request_quota != before.request_quota
            or bool(after.disabled & ~before.disabled)
            or self.before.secrets[0].generation != self.after.secrets[0].generation
        )


@dataclass(frozen=True, slots=True)
class Pats:
    """Creates, reads, changes and deletes single PATs of one tenant, and keeps `tenant_index` up to date."""

    scripts: Scripts
    keys: Keys
    tenant_index: TenantIndex
    removed: Removed

    # -- reading --------------------------------------------------------------------------------------

    def now(self, tag: str) -> int:
        """Return the time of the clock that the keys of an owner tag are judged by, ms since 1970."""
        now = int(self.scripts.run(_READ, [self.keys.barrier(tag)])[0])
        _check_clock(now)
        return now

    def read(self, pat_ids: Sequence[PatId]) -> list[PatRecord | None]:
        """Return the records of PATs in order, None for a missing one. All must have the same owner tag."""
        return self._records(pat_ids, self.scripts.run(_READ, [self.keys.pat(one) for one in pat_ids]))

    def confirmed(self, pat_ids: Sequence[PatId]) -> list[PatRecord | None]:
        """Return records as `read` does, once what they say is durable and holds in all slots.

        A call needs this if it finds its work done: the end by another caller may not be durable yet. Raise
        `NotDurable`.
        """
        names, tag = [self.keys.pat(pat_id) for pat_id in pat_ids], pat_ids[0].tag
        barrier, ends = self.keys.barrier(tag), self.keys.ends(tag)
        now, pause, found = self.scripts.confirmed(barrier, ends, names)
        records = self._records(pat_ids, [now, *found])
        Pause(pause).wait()
        return records

    def was_made(self, pat_id: PatId) -> bool:
        """Return whether there is a PAT of this id, or something is kept of one that was removed."""
        names = self.keys.pat(pat_id), self.keys.removed(pat_id)
        (count,) = understood(self.scripts.call([("EXISTS", *names)], retry=True), int)
        return bool(count > 0)

    def _records(self, pat_ids: Sequence[PatId], reply: list[Any]) -> list[PatRecord | None]:
        now, *found = reply
        if len(found) != len(pat_ids):
            raise not_understood("records", "of another form")
        for pat_id, record in zip(pat_ids, found, strict=True):
            check_id_of(record, pat_id)
        return [None if record is None else unpack(record).as_read_at(now) for record in found]

    # -- writing --------------------------------------------------------------------------------------

    def latest(self, now: int) -> int:
        """Return the deadline as an instant of the store's clock (ms), whose time is now `now`."""
        _check_clock(now)
        return now + math.ceil(1000 * self.scripts.deadline().left())

    def window(self, now: int, tag: str, by: Judged | None) -> Window:
        """Return when a change under an owner tag may be written, by a credential judged after `now`.

        `now` (ms) comes from a script in the slot of the change. What the credential was judged by is
        durable afterwards: a failover must not lose the mark for which its end waits. Raise `NotDurable`.
        """
        latest = self.latest(now)
        if by is None or by.pat_id.tag == tag:
            return Window(0, latest)
        self.scripts.confirm(self.keys.barrier(by.pat_id.tag))
        return Window(now, min(latest, now + IN_FLIGHT - 1))

    def would_create(self, pat_id: PatId, owner_id: str, name: str, room: Room) -> Prospect:
        """Return how `create` would end for any caller. Write nothing."""
        reply = self.scripts.run(_CREATE, *self._creation(pat_id, owner_id, name, room))
        _, now, *removing = understood(reply, int, int)
        return Prospect(outcome_of(_CREATIONS, reply), now, removing)

    def create(
        self,
        record: PatRecord,
        *,
        room: Room,
        window: Window,
        by: Judged | None,
        removing: Sequence[bytes] = (),
    ) -> Outcome:
        """Write a PAT durably: the tenant's index first, so that listings of the tenant never miss a PAT.

        `window` comes from `window()`. `by` is the credential that asks for this, if one does. `removing`
        comes from `would_create()`; these PATs are removed, if they still have to be. Raise `NotDurable`,
        `Unanswered` when the outcome is unknown, or `StoreUnavailable`.
        """
        keys, pat, pat_id, removed = self.keys, record.pat, record.pat_id, list[PatId]()
        names, arguments = self._creation(pat_id, pat.owner.id, pat.name, room)
        asking, who = asking_of(keys, by, pat_id)
        names += asking
        for entry in removing:
            names += keys.all_of(id_in_entry(entry, pat_id.tag))
        expiry = NEVER if pat.expires_ms is None else pat.expires_ms
        keep = self._keep(pat.expires_ms, pat.created_ms)
        arguments += [pack(record, _version()), *window, who, pack_entry(pat), expiry, keep, *removing]

        def outcome(reply: list[Any]) -> Outcome:
            removed.extend(id_in_entry(entry, pat_id.tag) for entry in reply[1:])
            return outcome_of(_CREATIONS, reply)

        self.tenant_index.enter(pat_id, pat.created_ms, pat.expires_ms)
        done = self.scripts.run_durably(_CREATE, names, arguments, outcome, by_digest=True)
        if done not in ("made", "exists"):
            removed.append(pat_id)
        if removed:
            self.tenant_index.forget(removed)
        return done

    def _creation(
        self, pat_id: PatId, owner_id: str, name: str, room: Room
    ) -> tuple[list[bytes], list[bytes | str | int]]:
        """Return the keys and arguments of lua/create.lua with which it writes nothing."""
        keys, owner = self.keys, self.keys.owner(pat_id.tag, owner_id)
        names = [keys.pat(pat_id), *owner.indexes, owner.record, owner.removing, keys.removed(pat_id)]
        return names, [name_tag(name), *room, self.tenant_index.retention_ms]

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
        moved = [one.after for one in changes if one.before.pat.expires_ms != one.after.pat.expires_ms]
        ending = [one for one in changes if one.ends_something]
        if moved:
            try:
                self.tenant_index.mark_expiry([one.pat_id for one in moved], first.read_ms)
            except MemoryFull:
                if not ending:
                    raise  # without the mark, a listing finds a wrong entry only when it meets it
        owner = keys.owner(pat_id.tag, first.owner.id)
        asking, who = asking_of(keys, by, pat_id)
        reaching = any(one.before.reached_others for one in ending)
        names = [*owner.indexes, owner.record, keys.ends(pat_id.tag), *asking]
        arguments: list[bytes | str | int] = [
            *window, who, b"1" if new_secret else b"0", self.tenant_index.retention_ms,
            b"1" if ending else b"0", b"1" if reaching else b"0",
        ]  # fmt: skip
        for before, after in changes:
            names.append(keys.pat(after.pat_id))
            packed = pack(replace(after, reached_others=before.reached_others), _version())
            arguments += (before.packed, packed, self._keep(after.pat.expires_ms, before.pat.read_ms))
        pause = Pause()
        outcome = self.scripts.run_durably(
            _UPDATE, names, arguments, partial(outcome_of, _UPDATES, pause=pause), by_digest=True
        )
        if outcome == "made":
            self.tenant_index.changed([(one.pat_id, one.pat.expires_ms) for one in moved])
        pause.wait()
        return outcome

    def touch(self, seen: PatRecord, pat: PersonalAccessToken) -> Touched | PatRecord:
        """Write the last use of a PAT to the record and the index, if the record is still `seen`.

        `pat` is the PAT with its last use (`patauth.model.pat.used`). Return "gone" when the PAT was deleted,
        and the new record when it has changed.
        """
        pat_id, before_ms = seen.pat_id, seen.pat.last_used_ms
        used_ms = None if pat.last_used_ms == before_ms else pat.last_used_ms
        if used_ms is not None:
            _check_clock(used_ms)
            self.tenant_index.mark_use(pat_id, used_ms)
        packed = pack(replace(seen, pat=pat), seen.version)
        reply = self.scripts.run(_TOUCH, [self.keys.pat(pat_id)], (seen.packed, packed))
        if reply[0] == 0:
            return "gone"
        if reply[0] != 1:
            _, now, changed = understood(reply, int, int, bytes)[:3]
            check_id_of(changed, pat_id)
            return unpack(changed).as_read_at(now)
        if used_ms is not None:
            self.tenant_index.used(pat_id, used_ms, is_back=(before_ms or 0) > used_ms)
        return "written"

    def rehash(self, pat_id: PatId, seen: SecretSlot, new: SecretSlot) -> bool:
        """Replace the slot `seen` by `new`, if the record still has it. Return whether it did."""
        slots = (pack_slot(seen), pack_slot(new), _version())
        return bool(self.scripts.run(_REHASH, [self.keys.pat(pat_id)], slots)[0] == 1)

    # -- deleting -------------------------------------------------------------------------------------

    def delete(
        self,
        pat: PersonalAccessToken,
        *,
        window: Window = ALWAYS,
        by: Judged | None = None,
        shown: int | None = None,
        removal: Removal | None = None,
    ) -> Outcome:
        """Delete a PAT durably, its record before its index entries. Keep what `removal` says of it.

        Return "made", "gone" if it was gone, or "rotated". `by` is the credential that asks for this, if one
        does. `window` comes from `window()`, if that is in another slot. `shown` is the generation of the
        PAT's own secret, if that was shown for this: it must still be valid. Raise `NotDurable` when the
        server does not confirm the write in time: the caller may repeat the call.
        """
        keys, pat_id = self.keys, PatId(pat.id)
        tag = pat_id.tag
        asking, who = asking_of(keys, by, pat_id)
        owner = keys.owner(tag, pat.owner.id)
        names = [*keys.all_of(pat_id), *owner.indexes, keys.ends(tag), keys.barrier(tag), *asking]
        names += [keys.removed(pat_id), owner.removed]
        generation = b"" if shown is None else shown.to_bytes(3)
        most, note = self.removed.asking(removal)
        others = b"0" if removal is not None and removal.by_owner else b"1"
        arguments = (*window, who, generation, self.tenant_index.retention_ms, most, note, others)
        pause, kept = Pause(), list[Any]()

        def read(reply: list[Any]) -> Outcome:
            kept.extend(reply[2:])
            return outcome_of(DELETIONS, reply, pause)

        def forget() -> None:
            removed_ms, *surplus = understood(kept, int) if kept else [0]
            entering = self.removed.entering([pat_id], removed_ms) if removed_ms else []
            self.tenant_index.forget([pat_id], entering)
            self.removed.trim(pat.owner.id, tag, surplus, most)

        try:
            outcome = self.scripts.run_durably(_DELETE, names, arguments, read)
        except NotDurable:
            forget()
            raise
        if outcome in ("made", "gone"):
            forget()
        pause.wait()
        return outcome


def _check_clock(now: int) -> None:
    """Raise `StoreUnavailable` for a time (ms) with which no record could be read."""
    if not 0 <= now <= dates.LATEST:
        raise StoreUnavailable(detail=f"the store's clock says {now} ms")


def _version() -> bytes:
    """Return a new version. A counter could reach the same number again after a failover."""
    return secrets.token_bytes(VERSION_BYTES)
