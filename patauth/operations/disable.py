"""Disable and enable one PAT. Disabling an owner (owners.py) sets another mark, which this leaves alone."""

from __future__ import annotations

from dataclasses import replace

from ..errors import Forbidden
from ..events.events import Facts
from ..model.pat import Disabled, PersonalAccessToken
from ..store.asking import Outcome, Window
from ..store.pats import Change
from ..store.record import PatRecord
from .conditions import require_changeable
from .permissions import Actor
from .writes import compare_and_set, ending, recorded, rehearse


def set_disabled(actor: Actor, pat_id: str, *, disabled: bool) -> PersonalAccessToken:
    """Disable or enable a PAT, and with it its access tokens; return the PAT as it is then.

    If an operator has disabled a PAT, only an operator can enable it: the application, or a caller who may
    change all PATs. Return only when the change is durable. Raise `NotFound`, `Forbidden` (also to enable a
    PAT that can do more than the caller), `InvalidRequest` for one that has expired.
    """
    actor.require_own("manage")
    found = actor.find("manage", pat_id)

    def decide(judged: Actor, record: PatRecord) -> PatRecord:
        pat, now = record.pat, record.pat.read_ms
        require_changeable(pat, now)
        marks = _disabling(judged, pat) if disabled else _enabling(judged, pat)
        if marks == pat.disabled:
            return record
        if not disabled:
            judged.require_confirmed()
        changed_ms, sequence = max(now, pat.changed_ms), pat.sequence + 1
        after = replace(pat, disabled=marks, changed_ms=changed_ms, sequence=sequence)
        return ending(after, record.secrets, record.overlap_end_ms)

    def write(judged: Actor, changes: list[Change], window: Window) -> Outcome:
        def put() -> Outcome:
            return judged.store.pats.update(changes, window=window, by=judged.credential)

        def facts_of(outcome: Outcome | None) -> list[Facts]:
            facts = {"patId": found.pat.id, "ownerId": found.pat.owner.id, **judged.facts}
            return [facts] if outcome in ("made", None) else []

        return recorded(judged, "pat.disabled" if disabled else "pat.enabled", put, facts_of)

    rehearse(actor, found, decide)
    return compare_and_set(actor, [found.pat_id], decide, write)[0]


def can_enable(actor: Actor, pat: PersonalAccessToken) -> bool:
    """Return whether a PAT is disabled by a mark of its own that the caller may take away."""
    marks = pat.disabled & ~Disabled.OWNER
    return bool(marks) and (actor.is_operator or not marks & Disabled.BY_OPERATOR)


def _disabling(judged: Actor, pat: PersonalAccessToken) -> Disabled:
    return pat.disabled | (Disabled.BY_OPERATOR if judged.is_operator else Disabled.BY_OWNER)


def _enabling(judged: Actor, pat: PersonalAccessToken) -> Disabled:
    judged.require_no_more(pat)
    if judged.is_operator:
        return pat.disabled & Disabled.OWNER
    if pat.disabled & Disabled.BY_OPERATOR:
        raise Forbidden("an operator has disabled this PAT, so only an operator can enable it")
    return pat.disabled & ~Disabled.BY_OWNER
