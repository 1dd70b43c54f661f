"""PATs in the store: made, changed, removed, read; all of an owner's at once, too.

A write that may arrive after its caller was told that it failed does not happen then: it carries the latest
instant, by the store's clock, at which it may. Removals carry none; what they do was asked for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ..errors import StoreUnavailable
from ..model.pat import PersonalAccessToken
from .keys import Keys
from .record import check_id_of, not_understood, pack_expiry
from .scripts import Call, NotDurable, Script, Scripts, understood
from .transport.pool import REQUEST_DEADLINE, Unanswered

if TYPE_CHECKING:
    from .tenant_index import TenantIndex

_TRIES = 50  # for what must see all PATs of an owner at once; the deadline comes first

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

    seen: bytes
    new: bytes
    before: PersonalAccessToken
    after: PersonalAccessToken


class Pats:
    """What of the store has to do with the life of PATs; `RedisStore` has the rest."""

    def __init__(self, scripts: Scripts, keys: Keys) -> None:
        self._scripts = scripts
        self._keys = keys
        self._create = Script("create")
        self._update = Script("update")
        self._delete = Script("delete")
        self._read = Script("read")
        self._owner_state = Script("owner_state")
        self._revoke_owner = Script("revoke_owner")
        self._barrier = Script("barrier")

    @cached_property
    def tenant(self) -> TenantIndex:
        """The tenant's indexes; a request that only verifies does without them."""
        from .tenant_index import TenantIndex

        return TenantIndex(self._scripts, self._keys)

    def left(self, deadline: float) -> float:
        """How many seconds of a deadline are left."""
        return max(0.0, deadline - time.monotonic())

    def latest(self, now: int, deadline: float) -> int:
        """A deadline by the store's clock, which says `now` at this moment: a later write is none."""
        return now + math.ceil(1000 * self.left(deadline))

    def now(self, deadline: float) -> int:
        """The store's clock, ms."""
        now: int = self._scripts.run(self._read, [], (), deadline)[0]
        return now

    def create(
        self,
        pat_id: str,
        owner_id: str,
        name: str,
        record: bytes,
        *,
        created_ms: int,
        expires_ms: int | None,
        keep_ms: int | None,
        most: int,
        retention_ms: int,
        latest: int,
        maker: str | None = None,
        deadline: float,
    ) -> Outcome:
        """Write a PAT: index before record, so that none is ever missing from a listing of the tenant.

        With an empty `record`, nothing is written, and the answer is what would come of it. `maker`: the id
        of a PAT that asks; where its record is in reach (it has the same owner tag), it must be active.
        """
        keys = self._keys
        tag = pat_id[:8]
        near = maker is not None and maker[:8] == tag
        names = [
            keys.pat(pat_id),
            keys.owner(tag, owner_id),
            keys.owner_index(tag, owner_id),
            keys.pat(maker if maker is not None and near else pat_id),
        ]
        entry = bytes.fromhex(pat_id) + pack_expiry(expires_ms)
        keep = b"" if keep_ms is None else keep_ms
        arguments = (record, name, entry, keep, most, retention_ms, latest, b"1" if near else b"0")
        if not record:
            return _outcome(_CREATIONS, self._scripts.run(self._create, names, arguments, deadline))
        self.tenant.enter(pat_id, created_ms, expires_ms, deadline)
        try:
            reply = self._scripts.run_durably(self._create, names, arguments, deadline)
        except (NotDurable, Unanswered) as problem:
            # It may have been written all the same, and nobody will ever be shown its secret.
            try:
                self.delete(pat_id, owner_id, deadline=time.monotonic() + REQUEST_DEADLINE)
            except StoreUnavailable:
                raise Unanswered(detail=problem.detail) from None
            raise StoreUnavailable(detail=problem.detail) from None
        outcome = _outcome(_CREATIONS, reply)
        if outcome not in ("made", "exists"):
            self.tenant.forget([pat_id], deadline)
        return outcome

    def update(
        self,
        changes: Sequence[Change],
        *,
        new_secret: bool = False,
        maker: str | None = None,
        retention_ms: int,
        latest: int,
        deadline: float,
    ) -> Outcome:
        """Put changed records of one owner in place of those that were read: all, durably, or none.

        `new_secret`: not while the owner is disabled; `maker` as for `create`.
        """
        keys = self._keys
        first = changes[0].before
        tag = first.id[:8]
        near = maker is not None and maker[:8] == tag
        moved = [one for one in changes if one.before.expires_ms != one.after.expires_ms]
        if moved:
            self.tenant.mark_expiry([one.after.id for one in moved], first.read_ms, deadline)
        names = [
            keys.owner(tag, first.owner.id),
            keys.owner_index(tag, first.owner.id),
            keys.pat(maker if maker is not None and near else first.id),
        ]
        arguments: list[bytes | str | int] = [
            b"1" if new_secret else b"0", retention_ms, latest, b"1" if near else b"0"
        ]  # fmt: skip
        for seen, new, before, after in changes:
            names.append(keys.pat(after.id))
            entry = bytes.fromhex(after.id) + pack_expiry(after.expires_ms)
            keep = b"" if after.expires_ms is None else after.expires_ms + retention_ms - before.read_ms
            arguments += (seen, new, before.name, after.name, entry, keep)
        reply = self._scripts.run_durably(self._update, names, arguments, deadline)
        outcome = _outcome(_UPDATES, reply)
        if outcome == "made":
            self.tenant.changed([(one.after.id, one.after.expires_ms) for one in moved], deadline)
        return outcome

    def delete(self, pat_id: str, owner_id: str, *, deadline: float) -> bool:
        """Remove a PAT, durably: record before index. Whether it was there.

        Raises `NotDurable` when it is not known to be durable in time: repeat it.
        """
        keys = self._keys
        tag = pat_id[:8]
        names = [
            keys.pat(pat_id),
            keys.requests(pat_id),
            keys.exchanges(pat_id),
            keys.owner(tag, owner_id),
            keys.owner_index(tag, owner_id),
        ]
        try:
            reply = self._scripts.run_durably(self._delete, names, (bytes.fromhex(pat_id),), deadline)
        except NotDurable:
            self.tenant.forget([pat_id], deadline)
            raise
        self.tenant.forget([pat_id], deadline)
        if reply[0] != 1:
            self.confirm_removals(tag, deadline)  # another has removed it, and may still be waiting
        return bool(reply[0] == 1)

    def confirm_removals(self, tag: str, deadline: float) -> None:
        """Wait until earlier removals are durable, whoever made them: WAIT alone sees one's own writes."""
        self._confirm(tag, partial(self._scripts.call, deadline=deadline))

    def set_owner_state(self, owner_id: str, tag: str, *, disabled: bool, deadline: float) -> int:
        """Disable or enable an owner, durably; how many PATs that was written into."""
        state = b"1" if disabled else b"0"
        owner = self._keys.owner(tag, owner_id)

        def names(pat_ids: list[str]) -> list[bytes]:
            return [owner, *map(self._keys.pat, pat_ids)]

        reply, _ = self._on_all_of(owner_id, tag, self._owner_state, names, (state,), deadline)
        written: int = understood(reply, int, int)[1]
        return written

    def revoke_owner(self, owner_id: str, tag: str, *, deadline: float) -> list[str]:
        """Remove all PATs of an owner, durably; their ids."""
        keys = self._keys

        def names(pat_ids: list[str]) -> list[bytes]:
            of_pats = ((keys.pat(one), keys.requests(one), keys.exchanges(one)) for one in pat_ids)
            return [keys.owner(tag, owner_id), keys.owner_index(tag, owner_id), *chain.from_iterable(of_pats)]

        reply, pat_ids = self._on_all_of(owner_id, tag, self._revoke_owner, names, (), deadline)
        if pat_ids:
            self.tenant.forget(pat_ids, deadline)
        if 1 not in reply[1:]:
            self.confirm_removals(tag, deadline)  # nothing of its own to wait for
        return [pat_id for pat_id, removed in zip(pat_ids, reply[1:], strict=True) if removed == 1]

    def _on_all_of(
        self,
        owner_id: str,
        tag: str,
        script: Script,
        names: Callable[[list[str]], list[bytes]],
        arguments: tuple[bytes, ...],
        deadline: float,
    ) -> tuple[list[Any], list[str]]:
        """Run a script over all of an owner's PATs as they were at one sequence; again if they changed."""
        read = [("HGET", self._keys.owner(tag, owner_id), "sequence")]
        for _ in range(_TRIES):
            (sequence,) = self._scripts.call(read, deadline, retry=True)
            pat_ids = self.pat_ids_of(owner_id, tag, deadline=deadline)
            latest = self.latest(self.now(deadline), deadline)
            reply = self._scripts.run_durably(
                script, names(pat_ids), (sequence or b"0", latest, *arguments), deadline
            )
            if reply[0] == 1:
                return reply, pat_ids
            if reply[0] != 0:
                raise not_understood("a PAT record", "unknown schema")
        raise StoreUnavailable(detail=f"the PATs of owner {owner_id} kept changing")

    def records(self, pat_ids: Sequence[str], *, deadline: float) -> tuple[int, list[bytes | None]]:
        """The clock (ms) and PAT records of one owner tag, None where there is none."""
        names = [self._keys.pat(pat_id) for pat_id in pat_ids]
        now, *found = self._scripts.run(self._read, names, (), deadline)
        if len(found) != len(names):
            raise not_understood("records", "of another form")
        for pat_id, record in zip(pat_ids, found, strict=True):
            check_id_of(record, pat_id)
        return now, found

    def pat_ids_of(self, owner_id: str, tag: str, *, deadline: float) -> list[str]:
        """The ids of an owner's PATs, in no order."""
        index = self._keys.owner_index(tag, owner_id)
        (entries,) = self._scripts.call([("HVALS", index)], deadline, retry=True)
        near = bytes.fromhex(tag)
        if not isinstance(entries, list) or not all(
            isinstance(entry, bytes) and entry[:4] == near for entry in entries
        ):
            raise not_understood("owner index", "of another form, or another owner's")
        return [entry[:16].hex() for entry in entries]

    def _confirm(self, tag: str, call: Call) -> None:
        if self._scripts.waits:
            self._scripts.durably(self._barrier, [self._keys.barrier(tag)], (), call)


def _outcome(known: Mapping[int, Outcome], reply: list[Any]) -> Outcome:
    if reply[0] == _LATE:
        raise StoreUnavailable(detail="the store came to it too late, and has not done it")
    outcome = known.get(reply[0])
    if outcome is None:
        raise not_understood("a change", repr(reply))
    return outcome
