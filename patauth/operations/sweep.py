"""Remove what nothing else removes: index entries of PATs that are gone, and old marks.

A PAT whose TTL ends leaves its index entries behind. They stay until a listing meets them, or its owner makes
a PAT. The same holds for what is kept of a removed PAT.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from .permissions import Actor


class Sweep(NamedTuple):
    """Parts of the work. Iterating over one does it piece by piece, and yields how much each piece removed.

    No part removes an entry of a PAT that lives or is being made. You may stop and repeat each at any moment.
    """

    tenant_entries: Iterator[int]  # three for each PAT
    marks: Iterator[int]
    owner_entries: Iterator[int]  # one for each PAT
    removed_entries: Iterator[int]  # of removed PATs, of which nothing is kept any more


def sweep(actor: Actor) -> Sweep:
    """Return the work on the indexes of the tenant and of all its owners. Raise `StoreUnavailable`."""
    store = actor.store.without_deadline()
    store.settle_key()
    now, index = store.pats.now("store"), store.tenant_index
    removed = chain(store.removed.sweep_owners(), store.removed.sweep())
    return Sweep(index.sweep(now), index.sweep_marks(now), store.owners.sweep(), removed)
