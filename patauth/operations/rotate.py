"""Rotation: a PAT gets a new secret. The current secret may remain valid for a while, the overlap."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from ..errors import Conflict, InvalidRequest, StoreUnavailable
from ..events import Facts
from ..model.pat import IssuedPat, PersonalAccessToken
from ..store.asking import Outcome, Window
from ..store.pats import Change
from ..store.record import PatRecord
from ..store.store import Store
from .conditions import require_changeable
from .new_secret import issued, mint
from .permissions import Actor
from .writes import compare_and_set, ending, recorded

DEFAULT_OVERLAP, MAX_OVERLAP = timedelta(hours=1), timedelta(days=7)

_TRIES = 100  # to take a secret back; the deadline ends them earlier
_LAST_GENERATION = 2**24 - 1


def rotate(actor: Actor, pat_id: str, overlap: timedelta) -> IssuedPat:
    """Give a PAT a new secret. The current one remains valid for the overlap; an older one ends at once.

    `overlap`: 0 to 7 days, cut to the PAT's expiry. Access tokens end with the secret that they came from.
    Raise `InvalidRequest`, `Forbidden` (also if the PAT can do more than the caller), `NotFound`,
    `Overloaded`.
    """
    if not isinstance(overlap, timedelta) or not timedelta(0) <= overlap <= MAX_OVERLAP:
        raise InvalidRequest("give 0 seconds to 7 days", field="overlap")
    actor.require_own("manage")
    found = actor.find("manage", pat_id)
    _check(actor.judged(), found.pat)  # a refusal costs no hash
    actor.store.settle_key()
    secret, slot = mint(actor, found.pat_id)

    def decide(judged: Actor, record: PatRecord) -> PatRecord:
        pat, current = record.pat, record.secrets[0]
        _check(judged, pat)
        if current.generation == _LAST_GENERATION:
            raise Conflict("this PAT was rotated as often as it can be; make a new one")
        now = pat.read_ms
        after = replace(pat, changed_ms=max(now, pat.changed_ms), sequence=pat.sequence + 1)
        new = replace(slot, generation=current.generation + 1)
        return ending(after, (new, current), now + overlap // timedelta(milliseconds=1))

    ended: list[int] = []  # generations of which no secret is left

    def write(judged: Actor, changes: list[Change], window: Window) -> Outcome:
        (change,) = changes
        now = change.before.pat.read_ms
        before = [secret.generation for secret in change.before.secrets]
        ended[:] = [generation for generation in before if not change.after.passes(generation, now)]

        def put() -> Outcome:
            by = judged.credential
            return actor.store.pats.update(changes, window=window, new_secret=True, by=by)

        def facts_of(outcome: Outcome | None) -> list[Facts]:
            return [_facts(actor, change.after.pat, overlap)] if outcome in ("made", None) else []

        return recorded(actor, "pat.rotated", put, facts_of, undo=lambda store: _take_back(store, change))

    (after,) = compare_and_set(actor, [found.pat_id], decide, write)
    actor.store.tokens.forget(found.pat_id, ended)
    return issued(actor, after, secret)


def _check(judged: Actor, pat: PersonalAccessToken) -> None:
    require_changeable(pat, pat.read_ms)
    judged.require_no_more(pat)


def _facts(actor: Actor, after: PersonalAccessToken, overlap: timedelta) -> Facts:
    seconds = overlap // timedelta(seconds=1)
    if after.expires_ms is not None:
        seconds = min(seconds, (after.expires_ms - after.changed_ms) // 1000)
    return {"overlapSeconds": seconds, "patId": after.id, "ownerId": after.owner.id, **actor.facts}


def _take_back(store: Store, change: Change) -> None:
    """Replace a secret that nobody knows by those before; everything else stays as it is now.

    A secret that is not written by now never will be. Raise `StoreUnavailable` if it is not known which
    secrets are there.
    """
    known, unknown = change
    for _ in range(_TRIES):
        (record,) = store.pats.read([known.pat_id])
        if record is None or record.secrets[0].tag != unknown.secrets[0].tag:
            return
        pat = known.pat if record.pat == unknown.pat else record.pat
        window = store.pats.window(record.pat.read_ms, known.pat_id.tag, None)
        back = Change(record, replace(known, pat=pat))
        if store.pats.update([back], window=window) == "made":
            return
    raise StoreUnavailable(detail=f"PAT {known.pat_id} kept changing")
