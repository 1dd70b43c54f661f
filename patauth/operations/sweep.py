"""Remove what nothing else ends: index entries of PATs that are gone, and old marks.

A PAT goes by its TTL without a word. Its entries stay until a listing meets them, or its owner makes a PAT.
What is kept of a removed PAT goes in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from .permissions import Actor


class Sweep(NamedTuple):
    """Parts of the work. Who iterates over one does it piece by piece, and gets how much each piece removed.

    No part removes anything from what lives or is being made. Each may be ended at any moment and repeated.
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
