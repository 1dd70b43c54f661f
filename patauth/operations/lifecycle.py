"""Reading and removing one PAT: by its id, or as the PAT that calls."""

from __future__ import annotations

from ..errors import Forbidden, NotFound
from ..events import Facts
from ..model.caller import Principal
from ..model.pat import PersonalAccessToken
from ..model.pat_id import PatId
from .permissions import Actor
from .writes import recorded


def get(actor: Actor, pat_id: str) -> PersonalAccessToken:
    """Return one PAT; an expired one too, within its retention. Raise `NotFound`, `Forbidden`."""
    actor.require_own("read")
    return actor.find("read", pat_id).pat


def get_self(actor: Actor) -> PersonalAccessToken:
    """Return the PAT that calls; this needs no right. Raise `NotFound` if no PAT calls."""
    return actor.as_host().find("read", _own_id(actor)).pat


def delete(actor: Actor, pat_id: str) -> None:
    """Remove a PAT, and its access tokens with it. Raise `NotFound`, `Forbidden`.

    Returns only when that is durable, else raises `StoreUnavailable`; it is safe to repeat.
    """
    actor.require_own("delete")
    _delete(actor, actor, pat_id)


def delete_self(actor: Actor) -> None:
    """Remove the PAT that calls; this needs no right. Durable and repeatable like `delete`.

    Raise `NotFound`, and `Forbidden` for an access token, which ends itself alone.
    """
    pat_id = _own_id(actor)
    if actor.calls_by_access_token:
        raise Forbidden("an access token does not end its PAT; send the PAT's own secret or token")
    _delete(actor.as_host(), actor, pat_id)


def delete_shown(actor: Actor, pat_id: PatId) -> None:
    """Remove a PAT whose secret the caller has shown. Durable and repeatable like `delete`.

    Raise `NotFound`.
    """
    _delete(actor.as_host(), actor, pat_id)


def _delete(allowed: Actor, caller: Actor, pat_id: str) -> None:
    """Remove a PAT by the rights of `allowed`; the event names `caller`."""
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
        return [] if removed is False else [facts]  # False: another call removed it in the meantime

    recorded(caller, "pat.delete", lambda: store.pats.delete(pat), facts_of)


def _own_id(actor: Actor) -> PatId:
    if not isinstance(actor.by, Principal):
        raise NotFound("no personal access token was presented")
    return PatId(actor.by.pat_id)
