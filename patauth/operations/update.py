"""Changes of PATs, also of many at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import groupby
from typing import TypeVar

from ..errors import InvalidRequest, NotFound
from ..events.events import Facts
from ..model import dates
from ..model.pat import PersonalAccessToken
from ..store.asking import Outcome, Window
from ..store.pats import Change
from ..store.record import PatRecord
from .conditions import require_changeable
from .pat_change import PatChange, grows
from .pat_patch import IN_BULK, PatPatch
from .permissions import Actor
from .writes import Check, Decide, compare_and_set, ending, managed, managed_as_seen, recorded, rehearse

MAX_BULK = 25

T = TypeVar("T")

Read = Callable[[PersonalAccessToken], PatChange]  # from a PAT as it is now to the change of it


def update(
    actor: Actor, pat_id: str, change: PatChange, *, sequence: int | None = None
) -> PersonalAccessToken:
    """Change a PAT, all or nothing; return the changed PAT.

    `sequence`: that of the PAT as the caller has seen it; None: whatever it is. Raise `InvalidRequest`,
    `InvalidScope`, `Forbidden`, `NotFound`, `Conflict` (the name), `Changed`.
    """
    actor.require_own("manage")
    return _update(actor, pat_id, lambda _: change, managed_as_seen(sequence))


def patch(
    actor: Actor, pat_id: str, operations: object, fields: Collection[str] | None = None
) -> PersonalAccessToken:
    """Change a PAT by a JSON Patch of its members `fields` (None: all); return the changed PAT.

    Raise `InvalidRequest`, `InvalidScope`, `Forbidden`, `NotFound`, `Conflict` (the name).
    """
    actor.require_own("manage")
    return _update(actor, pat_id, PatPatch(operations, fields).change_of)


def _update(actor: Actor, pat_id: str, read: Read, check: Check = managed) -> PersonalAccessToken:
    found, decide = actor.find("manage", pat_id), _deciding(read)
    rehearse(actor, found, decide)
    (after,) = compare_and_set(actor, [found.pat_id], decide, _write, check)
    return after


def patch_many(actor: Actor, pat_ids: Sequence[str], operations: object) -> list[PersonalAccessToken]:
    """Change the expiry of several PATs by one JSON Patch; return the changed PATs in the order of the ids.

    `pat_ids`: 1-25 ids, each one once. All PATs are checked first. Then the PATs of each owner change
    together or not at all, one owner after the other. After a failure it is safe to repeat. Raise
    `InvalidRequest` (also for an id that does not exist), `InvalidScope`, `Forbidden`.
    """
    actor.require_all("manage")
    decide_one = _deciding(PatPatch(operations, IN_BULK).change_of)

    def decide(judged: Actor, record: PatRecord) -> PatRecord:
        judged.require_all("manage")
        return decide_one(judged, record)

    try:
        found = actor.find_all("manage", _bulk_ids(pat_ids))
    except NotFound as missing:
        raise InvalidRequest("there is no such personal access token", field=missing.field) from None
    judged = actor.judged()
    for record in found:
        decide(judged, record)
    done: dict[str, PersonalAccessToken] = {}
    for _, records in groupby(sorted(found, key=_slot_and_owner), key=_slot_and_owner):
        ids = [record.pat_id for record in records]
        done.update((pat.id, pat) for pat in compare_and_set(actor, ids, decide, _write))
    return [done[pat_id] for pat_id in pat_ids]


def _deciding(read: Read) -> Decide:
    def decide(judged: Actor, record: PatRecord) -> PatRecord:
        pat, now = record.pat, record.pat.read_ms
        require_changeable(pat, now)
        after = read(pat).apply(pat, now, judged.limit, judged.settings)
        if after is pat:
            return record
        if grows(pat, after, now, judged.settings):
            judged.require_confirmed()
        return ending(after, record.secrets, record.overlap_end_ms)

    return decide


def _write(judged: Actor, changes: list[Change], window: Window) -> Outcome:
    def put() -> Outcome:
        return judged.store.pats.update(changes, window=window, by=judged.credential)

    def facts_of(outcome: Outcome | None) -> list[Facts]:
        return [_facts(judged, change) for change in changes] if outcome in ("made", None) else []

    return recorded(judged, "pat.updated", put, facts_of)


def _facts(actor: Actor, change: Change) -> Facts:
    before, after = change.before.pat, change.after.pat
    expires = "never" if after.expires_ms is None else dates.format_ms(after.expires_ms)
    return {
        "name": after.name if after.name != before.name else None,
        "description": (after.description or "") if after.description != before.description else None,
        "scope": list(after.scope) if after.scope != before.scope else None,
        "expires": None if after.expires_ms == before.expires_ms else expires,
        "networks": list(after.networks) if after.networks != before.networks else None,
        "notBefore": _told(before.not_before_ms, after.not_before_ms, dates.format_ms),
        "requestQuota": _told(before.request_quota, after.request_quota, str),
        "patId": after.id,
        "ownerId": after.owner.id,
        **actor.facts,
    }


def _told(before: T | None, after: T | None, text: Callable[[T], str]) -> str | None:
    """Return the new value, or None if it is the same as before."""
    if after == before:
        return None
    return "none" if after is None else text(after)


def _slot_and_owner(record: PatRecord) -> tuple[str, str]:
    return record.pat_id.tag, record.pat.owner.id


def _bulk_ids(pat_ids: Sequence[str]) -> list[str]:
    if isinstance(pat_ids, str) or not isinstance(pat_ids, Sequence) or not 1 <= len(pat_ids) <= MAX_BULK:
        raise InvalidRequest(f"give a list of 1 to {MAX_BULK} PAT ids", field="ids")
    if not all(isinstance(one, str) for one in pat_ids) or len(set(pat_ids)) != len(pat_ids):
        raise InvalidRequest("give each PAT id once", field="ids")
    return list(pat_ids)
