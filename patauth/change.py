"""Changes to PATs: patched, in bulk too, and rotated.

Each change is read, decided and written by compare-and-set: what another changed meanwhile is read and
decided anew, so concurrent changes lose nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from itertools import groupby

from . import audit, credentials, dates
from .amend import PatPatch
from .errors import Conflict, Forbidden, InvalidRequest, NotFound, StoreUnavailable
from .hashing import Hasher
from .pat import IssuedPat, PersonalAccessToken
from .settings import Settings
from .standing import Limit, Standing
from .store.record import PatRecord, SecretSlot, pack, unpack
from .store.redis import Change, RedisStore
from .store.scripts import NotDurable

IN_BULK = ("expirationDate", "userAwareTokenNeverExpires")
MAX_BULK = 25
MAX_OVERLAP = timedelta(days=7)

_TRIES = 100  # the deadline comes first
_LAST_GENERATION = 2**24 - 1

Decide = Callable[[int, PatRecord], PatRecord]  # from now and a record; the same record: nothing to change


class Changer:
    """The verbs of change; safe for many threads."""

    def __init__(self, settings: Settings, store: RedisStore, hasher: Hasher) -> None:
        self._settings = settings
        self._store = store
        self._hasher = hasher
        self._format = settings.format
        self._retention_ms = settings.retention * 1000

    def patch(
        self, standing: Standing, pat_id: str, operations: object, fields: Collection[str]
    ) -> PersonalAccessToken:
        """Apply a JSON Patch (RFC 6902) to a PAT, all of it or nothing; the PAT as it is then.

        Raises `InvalidRequest`, `InvalidScope`, `Forbidden`, `NotFound`, `Conflict` (the name).
        """
        standing.require_own("manage")
        decide = self._patching(standing, PatPatch(operations, fields))
        pat = standing.find("manage", pat_id, self._store.deadline())
        return self._patch(standing, [pat], decide)[0]

    def patch_many(
        self, standing: Standing, pat_ids: Sequence[str], operations: object
    ) -> list[PersonalAccessToken]:
        """Apply one JSON Patch of the expiry to several PATs: 1-25 ids, none twice, all there.

        All are checked first. Then those of one owner change together or not at all, one owner after the
        other; after a failure it is safe to repeat. Raises as `patch`; an id that is not there is
        `InvalidRequest`.
        """
        standing.require_all("manage")
        decide = self._patching(standing, PatPatch(operations, IN_BULK))
        found = []
        for pat_id in _bulk_ids(pat_ids):
            try:
                found.append(standing.find("manage", pat_id, self._store.deadline()))
            except NotFound:
                raise InvalidRequest("one of them is not there, or not a PAT id", field="ids") from None
        for pat in found:
            decide(pat.read_ms, PatRecord(pat, ()))
        by_owner = sorted(found, key=_slot_and_owner)
        done: dict[str, PersonalAccessToken] = {}
        for _, pats in groupby(by_owner, key=_slot_and_owner):
            done.update((pat.id, pat) for pat in self._patch(standing, list(pats), decide))
        return [done[pat_id] for pat_id in pat_ids]

    def rotate(self, standing: Standing, pat_id: str, overlap: timedelta) -> IssuedPat:
        """Give a PAT a new secret; the one until now passes for the overlap too, the one before it no more.

        `overlap`: 0 to 7 days, cut to the PAT's expiry. Access tokens end with the secret that they came
        from. Raises `InvalidRequest`, `Forbidden` (also when the PAT can do more than its caller),
        `NotFound`, `Overloaded`.
        """
        if not isinstance(overlap, timedelta) or not timedelta(0) <= overlap <= MAX_OVERLAP:
            raise InvalidRequest("give 0 seconds to 7 days", field="overlap")
        standing.require_own("manage")
        store = self._store
        pat = standing.find("manage", pat_id, store.deadline())
        most = standing.limit(store.deadline())
        _check_rotation(pat, pat.read_ms, most)  # a refusal costs no hash
        secret = credentials.mint_secret()
        tag = store.settle_key(store.deadline()).secret_tag(pat.id, secret)
        digest = self._hasher.hash(secret)

        def decide(now: int, record: PatRecord) -> PatRecord:
            pat, current = record.pat, record.secrets[0]
            _check_rotation(pat, now, most)
            if current.generation == _LAST_GENERATION:
                raise Conflict("this PAT was rotated as often as it can be; make a new one")
            end = now + overlap // timedelta(milliseconds=1)
            return PatRecord(
                replace(pat, changed_ms=max(now, pat.changed_ms), sequence=pat.sequence + 1),
                (SecretSlot(current.generation + 1, tag, digest), current),
                end if pat.expires_ms is None else min(end, pat.expires_ms),
            )

        def report(change: Change) -> None:
            asked, ends = overlap // timedelta(seconds=1), change.after.expires_ms
            seconds = asked if ends is None else min(asked, (ends - change.after.changed_ms) // 1000)
            facts = {"patId": pat.id, "ownerId": pat.owner.id, **standing.facts}
            audit.record("pat.rotate", overlapSeconds=seconds, **facts)

        (after,) = self._change([pat], decide, report, new_secret=True)
        return IssuedPat(after, self._format.secret_text(secret), self._format.token_text(pat.id, secret))

    def _patching(self, standing: Standing, patch: PatPatch) -> Decide:
        limit = cache(lambda: standing.limit(self._store.deadline()))

        def decide(now: int, record: PatRecord) -> PatRecord:
            pat = patch.apply(record.pat, now, limit, self._settings)
            if pat is record.pat:
                return record
            end = record.overlap_end_ms
            return replace(
                record, pat=pat, overlap_end_ms=end if pat.expires_ms is None else min(end, pat.expires_ms)
            )

        return decide

    def _patch(
        self, standing: Standing, pats: list[PersonalAccessToken], decide: Decide
    ) -> list[PersonalAccessToken]:
        def report(change: Change) -> None:
            before, after = change.before, change.after
            changed = {
                "name": after.name if after.name != before.name else None,
                "scope": list(after.scope) if after.scope != before.scope else None,
                "expires": None if after.expires_ms == before.expires_ms else _written(after.expires_ms),
            }
            audit.record("pat.patch", patId=after.id, ownerId=after.owner.id, **changed, **standing.facts)

        return self._change(pats, decide, report)

    def _change(
        self,
        pats: list[PersonalAccessToken],
        decide: Decide,
        report: Callable[[Change], None],
        *,
        new_secret: bool = False,
    ) -> list[PersonalAccessToken]:
        """Change PATs of one owner, together; each as it is then. `report` is told of each one written."""
        store = self._store
        deadline = store.deadline()
        store.settle_key(deadline)
        for _ in range(_TRIES):
            now, records = store.records([pat.id for pat in pats], deadline=deadline)
            if not 0 <= now <= dates.LATEST:  # it would go into the record, and nothing could read that
                raise StoreUnavailable(detail=f"the store's clock says {now} ms")
            after, changes = [], []
            for seen in records:
                if seen is None:
                    raise NotFound
                record = _as_read(seen, now)
                changed = decide(now, record)
                after.append(changed.pat)
                if changed is not record:
                    changes.append(Change(seen, pack(changed), record.pat, changed.pat))
            if not changes:
                return after
            outcome = self._write(changes, report, new_secret, deadline)
            if outcome == "made":
                return after
            if outcome == "taken":
                raise Conflict("this owner has a PAT of that name already; choose another", field="name")
            if outcome == "disabled":
                raise Forbidden("this owner is disabled; enable the owner first")
        raise StoreUnavailable(detail=f"PAT {pats[0].id} kept changing")

    def _write(
        self, changes: list[Change], report: Callable[[Change], None], new_secret: bool, deadline: float
    ) -> str:
        try:
            outcome = self._store.update(
                changes, new_secret=new_secret, retention_ms=self._retention_ms, deadline=deadline
            )
        except StoreUnavailable as problem:
            if new_secret:
                # It may have been written all the same, and nobody will ever be shown that secret.
                self._take_back(changes[0])
            elif isinstance(problem, NotDurable) and problem.answer[0] == 0:
                _report_all(changes, report)
            raise
        if outcome == "made":
            _report_all(changes, report)
        return outcome

    def _take_back(self, change: Change) -> None:
        """Put the secrets that are known in place of one that nobody knows; all else stays as it is now."""
        store, known, unknown = self._store, unpack(change.seen), unpack(change.new)
        try:
            for _ in range(_TRIES):
                now, (data,) = store.records([known.pat.id], deadline=store.deadline())
                record = None if data is None else _as_read(data, now)
                if data is None or record is None or record.secrets[0].tag != unknown.secrets[0].tag:
                    return
                back = replace(known, pat=known.pat if record.pat == unknown.pat else record.pat)
                again = [Change(data, pack(back), record.pat, back.pat)]
                if store.update(again, retention_ms=self._retention_ms, deadline=store.deadline()) == "made":
                    return
        except StoreUnavailable:
            pass
        audit.record("pat.rotate", patId=known.pat.id, ownerId=known.pat.owner.id, outcome="unknown")


def _check_rotation(pat: PersonalAccessToken, now: int, most: Limit) -> None:
    if pat.state_at(now) == "expired":
        raise InvalidRequest("this PAT has expired; it can only be read or deleted")
    if not most.covers(pat.scope) or not most.allows(pat.expires_ms):
        raise Forbidden("this PAT has more scopes or a later expiry than the caller's credentials")


def _report_all(changes: list[Change], report: Callable[[Change], None]) -> None:
    for change in changes:
        report(change)


def _as_read(data: bytes, now: int) -> PatRecord:
    record = unpack(data)
    return replace(record, pat=replace(record.pat, read_ms=now))


def _written(expires_ms: int | None) -> str:
    return "never" if expires_ms is None else dates.format_ms(expires_ms)


def _slot_and_owner(pat: PersonalAccessToken) -> tuple[str, str]:
    return pat.id[:8], pat.owner.id


def _bulk_ids(pat_ids: Sequence[str]) -> list[str]:
    if isinstance(pat_ids, str) or not isinstance(pat_ids, Sequence) or not 1 <= len(pat_ids) <= MAX_BULK:
        raise InvalidRequest(f"give a list of 1 to {MAX_BULK} PAT ids", field="ids")
    if not all(isinstance(one, str) for one in pat_ids) or len(set(pat_ids)) != len(pat_ids):
        raise InvalidRequest("give each PAT id once", field="ids")
    return list(pat_ids)
