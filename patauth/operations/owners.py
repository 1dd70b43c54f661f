"""Change all PATs of an owner at once, and remove all access tokens of the store."""

from __future__ import annotations

from collections.abc import Iterator

from ..events.events import Facts
from ..model.pat import check_id
from ..model.pat_id import PatId
from ..store.owner_changes import OwnerChanges
from ..store.removed import Removal
from .lifecycle import checked_reason
from .permissions import Actor
from .writes import recorded


def set_owner_state(actor: Actor, owner_id: str, *, disabled: bool) -> list[PatId]:
    """Disable or enable all PATs of an owner, and with them all access tokens; return the ids of the PATs.

    Returns only when that is durable, else raises `StoreUnavailable`; it is safe to repeat. Raise
    `InvalidRequest` for a wrong owner id, and `Conflict` when a call that began later does the opposite.
    """
    tag = _tag(actor, owner_id)

    def facts_of(pat_ids: list[PatId] | None) -> list[Facts]:
        return [{"ownerId": owner_id, "pats": None if pat_ids is None else len(pat_ids)}]

    return recorded(
        actor,
        "owner.disabled" if disabled else "owner.enabled",
        lambda: _patient(actor).set_state(owner_id, tag, disabled=disabled),
        facts_of,
    )


def revoke_owner(actor: Actor, owner_id: str, reason: str | None = None) -> list[PatId]:
    """Remove all PATs of an owner, and return their ids. Durable and repeatable like `set_owner_state`.

    What is known of them is kept as `lifecycle.delete` keeps it. Raise `InvalidRequest` for a wrong owner id
    or reason.
    """
    tag = _tag(actor, owner_id)
    why = checked_reason(actor, reason)
    removal = Removal(actor.requester, why, actor.settings.max_kept_per_owner)

    def facts_of(pat_ids: list[PatId] | None) -> list[Facts]:
        pats = None if pat_ids is None else len(pat_ids)
        return [{"ownerId": owner_id, "pats": pats, "reason": why}] if pats != 0 else []

    return recorded(actor, "owner.revoked", lambda: _patient(actor).revoke(owner_id, tag, removal), facts_of)


def purge_access_tokens(actor: Actor) -> Iterator[int]:
    """Remove every access token under `key_prefix`, in pieces; yield the number of tokens of each piece."""
    store = actor.store.without_deadline()  # this reads the whole key space
    store.settle_key()
    total = 0
    for count in store.tokens.delete_all():
        total += count
        yield count
    actor.events.emit("token.purged", tokens=total)


def _patient(actor: Actor) -> OwnerChanges:
    """Return the changes of owners, with a deadline for each piece: an owner may have many PATs."""
    return actor.store.without_deadline().owner_changes


def _tag(actor: Actor, owner_id: str) -> str:
    check_id(owner_id, "owner_id")
    return actor.store.settle_known_key().owner_tag(actor.settings.tenant, owner_id)
