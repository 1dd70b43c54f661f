"""How many PATs of the tenant expire soon: a look into the index, which reads no record."""

from __future__ import annotations

from collections.abc import Sequence

from .permissions import Actor


def count_expiring(actor: Actor, within: Sequence[int]) -> list[int]:
    """Return how many PATs expire from now on within each of these times (s).

    The index may still have one whose record is gone, until a listing or a sweep repairs it. Raise
    `StoreUnavailable`.
    """
    store = actor.store.for_request()
    store.settle_key()
    now = store.pats.now("store")
    return store.tenant_index.counts(
        [("expirationDate", now + 1, now + 1000 * seconds) for seconds in within]
    )
