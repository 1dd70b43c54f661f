"""Count a tenant's PATs by its indexes, however many there are."""

from __future__ import annotations

from typing import NamedTuple

from ..model.instants import NEVER
from .permissions import Actor


class PatCounts(NamedTuple):
    """How many PATs a tenant has.

    A count may differ by PATs that are being made, changed or removed at that moment, and by those whose
    change was interrupted and which no listing has met yet. Only the record says whether a PAT is disabled,
    so that is not counted.
    """

    total: int  # all that are listed: within their retention, revoked ones left out
    expiring: int  # of these, what expires within the setting `expiry_warning`
    expired: int  # of these, what has expired
    never_used: int  # of these; one whose entries no sweep has removed counts until then
    revoked: int  # what is kept of revoked ones


def count_pats(actor: Actor) -> PatCounts:
    """Return how many PATs the tenant of the actor has. Raise `StoreUnavailable`, `Forbidden`.

    It costs as much as a few reads: a sorted set counts a range without visiting what is in it.
    """
    actor.require_all("read")
    store, settings = actor.store, actor.settings
    index, now = store.tenant_index, store.pats.now("store")
    kept_since = now - index.retention_ms + 1
    soon = now + 1000 * settings.expiry_warning
    total, expired, expiring, never_used = index.counts(
        [
            ("expirationDate", kept_since, NEVER),
            ("expirationDate", kept_since, now),
            ("expirationDate", now + 1, soon),
            ("lastUsed", 0, 0),
        ]
    )
    (revoked,) = store.removed.counts([("revokedAt", kept_since, now)])
    return PatCounts(total, expiring, expired, never_used, revoked)
