"""The life of one PAT: looked at and removed, by id, or by the PAT itself."""

from __future__ import annotations

from ..errors import NotFound
from ..events import Facts
from ..model.caller import Principal
from ..model.pat import PersonalAccessToken
from ..model.pat_id import PatId
from .permissions import Actor
from .recording import recorded


def get(actor: Actor, pat_id: str) -> PersonalAccessToken:
    """Return one PAT, expired or not, until its retention is over. Raises `NotFound`, `Forbidden`."""
    actor.require_own("read")
    return actor.find("read", pat_id).pat


def get_self(actor: Actor) -> PersonalAccessToken:
    """Return the PAT that calls. It needs no right for that. Raises `NotFound` where no PAT calls."""
    return actor.as_host().find("read", _own_id(actor)).pat


def delete(actor: Actor, pat_id: str) -> None:
    """Remove a PAT; its access tokens end with it. Raises `NotFound`, `Forbidden`.

    Returns only once that is durable; else raises `StoreUnavailable`, and it is safe to repeat.
    """
    actor.require_own("delete")
    _delete(actor, actor, pat_id)


def delete_self(actor: Actor) -> None:
    """Remove the PAT that calls: its holder can end it without any right. As `delete`."""
    _delete(actor.as_host(), actor, _own_id(actor))


def delete_shown(actor: Actor, pat_id: PatId) -> None:
    """Remove a PAT whose secret the caller has shown. As `delete`."""
    _delete(actor.as_host(), actor, pat_id)


def _delete(allowed: Actor, caller: Actor, pat_id: str) -> None:
    """Remove a PAT by the rights of `allowed`, in the name of `caller`."""
    store = allowed.store
    try:
        pat = allowed.find("delete", pat_id).pat
    except NotFound:
        known = PatId.read(pat_id)
        if known is not None:
            store.pats.confirm_removals(known.tag)
        raise
    store.settle_key()
    facts = {"patId": pat.id, "ownerId": pat.owner.id, **caller.facts}

    def facts_of(removed: bool | None) -> list[Facts]:
        return [] if removed is False else [facts]  # False: another call has removed it at the same moment

    recorded(caller.events, "pat.delete", lambda: store.pats.delete(pat), facts_of)


def _own_id(actor: Actor) -> PatId:
    if not isinstance(actor.by, Principal):
        raise NotFound("no personal access token was presented")
    return PatId(actor.by.pat_id)
