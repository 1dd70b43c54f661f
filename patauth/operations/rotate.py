"""Rotation: a PAT gets a new secret. The current secret may remain valid for a while, the overlap."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from ..errors import Conflict, Forbidden, InvalidRequest, StoreUnavailable
from ..events.events import Facts
from ..model.pat import IssuedPat, PersonalAccessToken
from ..model.rights import ROTATE_SELF
from ..store.asking import Outcome, Window
from ..store.pats import Change
from ..store.record import PatRecord
from ..store.store import Store
from .conditions import require_changeable
from .lifecycle import own_id
from .new_secret import issued, mint
from .permissions import Actor
from .writes import Check, compare_and_set, ending, managed_as_seen, recorded

DEFAULT_OVERLAP, MAX_OVERLAP = timedelta(hours=1), timedelta(days=7)
MIN_OWN_OVERLAP = timedelta(minutes=10)  # of a PAT that rotates itself

_TRIES = 100  # to take a secret back; the deadline ends them earlier
_LAST_GENERATION = 2**24 - 1


def rotate(actor: Actor, pat_id: str, overlap: timedelta, *, sequence: int | None = None) -> IssuedPat:
    """Give a PAT a new secret. The current one remains valid for the overlap; an older one ends at once.

    `overlap`: 0 to 7 days, cut to the PAT's expiry. Access tokens end with the secret that they came from.
    `sequence`: that of the PAT as the caller has seen it; None: whatever it is.
    Raise `InvalidRequest`, `Forbidden` (also if the PAT can do more than the caller), `NotFound`, `Changed`,
    `Overloaded`.
    """
    _require_between(overlap, timedelta(0), "0 seconds")
    actor.require_own("manage")
    return _rotate(actor, actor.find("manage", pat_id), overlap, managed_as_seen(sequence))


def rotate_self(actor: Actor, overlap: timedelta) -> IssuedPat:
    """Give the PAT that calls a new secret, as `rotate` does. This needs the scope `self:rotate` alone.

    `overlap`: 10 minutes to 7 days: a client that does not get the answer can still call. Raise
    `InvalidRequest`, `NotFound` if no PAT calls, `Forbidden` without the scope, for an access token and for a
    previous secret, `Overloaded`.
    """
    _require_between(overlap, MIN_OWN_OVERLAP, "10 minutes")
    pat_id = own_id(actor)
    if actor.calls_by_access_token:
        raise Forbidden("an access token does not rotate its PAT; send the PAT's own secret or token")
    _require_scope(actor.holds(ROTATE_SELF))
    return _rotate(actor, actor.as_host().find("read", pat_id), overlap, _rotates_itself)


def _rotates_itself(judged: Actor, record: PatRecord | None) -> PatRecord:
    _require_scope(judged.limit.covers((ROTATE_SELF,)))
    return judged.as_host().visible("read", record)


def _require_scope(held: bool) -> None:
    if not held:
        raise Forbidden(f"this needs the scope {ROTATE_SELF}")


def _require_between(overlap: object, least: timedelta, words: str) -> None:
    if not isinstance(overlap, timedelta) or not least <= overlap <= MAX_OVERLAP:
        raise InvalidRequest(f"give {words} to 7 days", field="overlap")


def _rotate(actor: Actor, found: PatRecord, overlap: timedelta, check: Check) -> IssuedPat:
    judged = actor.judged()
    _check(judged, check(judged, found).pat)  # a refusal costs no hash
    actor.require_confirmed()
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

    (after,) = compare_and_set(actor, [found.pat_id], decide, write, check)
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
