"""Changes to PATs: patched, in bulk too, and rotated.

Each change is read, decided and written by compare-and-set: what another changed meanwhile is read and
decided anew, so concurrent changes lose nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from itertools import groupby

from .. import events
from ..crypto.hashing import Hasher
from ..errors import Conflict, Forbidden, InvalidRequest, NotFound, StoreUnavailable
from ..model import credentials, dates
from ..model.pat import IssuedPat, PersonalAccessToken
from ..settings import Settings
from ..store.pats import Change, Outcome
from ..store.record import PatRecord, SecretSlot, pack, unpack
from ..store.scripts import NotDurable
from ..store.store import RedisStore
from ..store.transport.pool import Unanswered
from .lifecycle import refuse
from .pat_patch import PatPatch
from .permissions import Limit, Standing

IN_BULK = ("expirationDate", "userAwareTokenNeverExpires")
MAX_BULK = 25
MAX_OVERLAP = timedelta(days=7)

_TRIES = 100  # the deadline comes first
_LAST_GENERATION = 2**24 - 1

Report = Callable[..., None]  # of a change, and what else there is to say of it
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
        self, standing: Standing, pat_id: str, operations: object, fields: Collection[str] | None
    ) -> PersonalAccessToken:
        """Apply a JSON Patch (RFC 6902) to a PAT, all of it or nothing; the PAT as it is then.

        Raises `InvalidRequest`, `InvalidScope`, `Forbidden`, `NotFound`, `Conflict` (the name).
        """
        standing.require_own("manage")
        decide = self._patching(standing, PatPatch(operations, fields))
        pat = standing.find("manage", pat_id, standing.store.deadline())
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
        try:
            found = standing.find_all("manage", _bulk_ids(pat_ids), standing.store.deadline())
        except NotFound as missing:
            raise InvalidRequest("there is no such personal access token", field=missing.field) from None
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
        store = standing.store
        pat = standing.find("manage", pat_id, store.deadline())
        _check_rotation(pat, pat.read_ms, standing.limit(store.deadline()))  # a refusal costs no hash
        secret = credentials.mint_secret()
        tag = store.settle_key(store.deadline()).secret_tag(pat.id, secret)
        started = time.monotonic()
        digest = self._hasher.hash(secret)
        store.pause(time.monotonic() - started)

        def decide(now: int, record: PatRecord) -> PatRecord:
            pat, current = record.pat, record.secrets[0]
            # Anew: whoever asks may have been revoked while the hash was computed.
            _check_rotation(pat, now, standing.limit(store.deadline()))
            if current.generation == _LAST_GENERATION:
                raise Conflict("this PAT was rotated as often as it can be; make a new one")
            after = replace(pat, changed_ms=max(now, pat.changed_ms), sequence=pat.sequence + 1)
            slots = (SecretSlot(current.generation + 1, tag, digest), current)
            return _ending(after, slots, now + overlap // timedelta(milliseconds=1))

        def report(change: Change, **more: str) -> None:
            asked, ends = overlap // timedelta(seconds=1), change.after.expires_ms
            seconds = asked if ends is None else min(asked, (ends - change.after.changed_ms) // 1000)
            facts = {"patId": pat.id, "ownerId": pat.owner.id, **standing.facts, **more}
            events.record("pat.rotate", overlapSeconds=seconds, **facts)

        (after,) = self._change(standing, [pat], decide, report, new_secret=True)
        return IssuedPat(after, self._format.secret_text(secret), self._format.token_text(pat.id, secret))

    def _patching(self, standing: Standing, patch: PatPatch) -> Decide:
        limit = cache(lambda: standing.limit(standing.store.deadline()))

        def decide(now: int, record: PatRecord) -> PatRecord:
            pat = patch.apply(record.pat, now, limit, self._settings)
            return record if pat is record.pat else _ending(pat, record.secrets, record.overlap_end_ms)

        return decide

    def _patch(
        self, standing: Standing, pats: list[PersonalAccessToken], decide: Decide
    ) -> list[PersonalAccessToken]:
        def report(change: Change, **more: str) -> None:
            before, after = change.before, change.after
            changed = {
                "name": after.name if after.name != before.name else None,
                "scope": list(after.scope) if after.scope != before.scope else None,
                "expires": None if after.expires_ms == before.expires_ms else _written(after.expires_ms),
            }
            facts = {"patId": after.id, "ownerId": after.owner.id, **standing.facts, **more}
            events.record("pat.patch", **changed, **facts)

        return self._change(standing, pats, decide, report)

    def _change(
        self,
        standing: Standing,
        pats: list[PersonalAccessToken],
        decide: Decide,
        report: Report,
        *,
        new_secret: bool = False,
    ) -> list[PersonalAccessToken]:
        """Change PATs of one owner, together; each as it is then. `report` is told of each one written."""
        store = standing.store
        deadline = store.deadline()
        store.settle_key(deadline)
        for _ in range(_TRIES):
            now, records = store.records([pat.id for pat in pats], deadline=deadline)
            if not 0 <= now <= dates.LATEST:  # it would go into the record, and nothing could read that
                raise StoreUnavailable(detail=f"the store's clock says {now} ms")
            latest = store.latest(now, deadline)
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
            outcome = self._write(standing, changes, report, new_secret, latest)
            if outcome == "made":
                return after
            refuse(outcome)
        raise StoreUnavailable(detail=f"PAT {pats[0].id} kept changing")

    def _write(
        self, standing: Standing, changes: list[Change], report: Report, new_secret: bool, latest: int
    ) -> Outcome:
        store = standing.store
        try:
            outcome = store.update(
                changes,
                new_secret=new_secret,
                maker=standing.pat_id if new_secret else None,
                retention_ms=self._retention_ms,
                latest=latest,
                deadline=store.deadline(),
            )
        except (NotDurable, Unanswered) as problem:
            done = isinstance(problem, NotDurable)
            if isinstance(problem, NotDurable) and problem.answer[0] != 0:
                raise
            # Nobody will ever be shown a new secret that was written all the same.
            if not new_secret:
                _report_all(changes, report, **({} if done else {"outcome": "unknown"}))
            elif not self._take_back(changes[0]):
                _report_all(changes, report, outcome="unknown")
            raise
        if outcome == "made":
            _report_all(changes, report)
        return outcome

    def _take_back(self, change: Change) -> bool:
        """Put the secrets that are known in place of one that nobody knows; all else stays as it is now.

        False: it is not known which stand. One that was not written by now never will be.
        """
        store, known, unknown = self._store, unpack(change.seen), unpack(change.new)
        try:
            for _ in range(_TRIES):
                deadline = store.deadline()
                now, (data,) = store.records([known.pat.id], deadline=deadline)
                record = None if data is None else _as_read(data, now)
                if data is None or record is None or record.secrets[0].tag != unknown.secrets[0].tag:
                    return True
                back = replace(known, pat=known.pat if record.pat == unknown.pat else record.pat)
                outcome = store.update(
                    [Change(data, pack(back), record.pat, back.pat)],
                    retention_ms=self._retention_ms,
                    latest=store.latest(now, deadline),
                    deadline=deadline,
                )
                if outcome == "made":
                    return True
        except StoreUnavailable:
            pass
        return False


def _ending(pat: PersonalAccessToken, secrets: tuple[SecretSlot, ...], end: int) -> PatRecord:
    """A record whose overlap ends no later than its PAT."""
    return PatRecord(pat, secrets, end if pat.expires_ms is None else min(end, pat.expires_ms))


def _check_rotation(pat: PersonalAccessToken, now: int, most: Limit) -> None:
    if pat.state_at(now) == "expired":
        raise InvalidRequest("this PAT has expired; it can only be read or deleted")
    if not most.covers(pat.scope) or not most.allows(pat.expires_ms):
        raise Forbidden("this PAT has more scopes or a later expiry than the caller's credentials")


def _report_all(changes: list[Change], report: Report, **more: str) -> None:
    for change in changes:
        report(change, **more)


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
