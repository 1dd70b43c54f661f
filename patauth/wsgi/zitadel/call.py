"""What both versions of ZITADEL's API do with PATs, and the organisation that a request acts in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from ...errors import InvalidRequest, NotFound
from ...model import dates
from ...model.caller import Caller
from ...model.expiry import Expiry
from ...model.filters import Filter
from ...model.pat import IssuedPat, PersonalAccessToken, check_id
from ...model.sorters import Sorter
from ...operations import lifecycle
from ...operations.create import NewPat, create
from ...operations.listing import Listing, list_pats
from ...operations.operations import Operations
from ...operations.permissions import Actor

Content = dict[str, Any]  # a message as it is in JSON, by protobuf's mapping


class Operation(NamedTuple):
    """Names the type of a request, and what answers one.

    The actor is in the organisation that the request acts in. `ending`: the operation ends something.
    """

    request: type[msgspec.Struct]
    run: Callable[[Actor, Any], Content]
    ending: bool = False


def acting(
    operations: Operations, caller: Caller, organisation: str | None, confirm: Callable[[], None] | None
) -> Actor:
    """Return a caller in the organisation that `x-zitadel-orgid` names, or with None in their own.

    `confirm` is that of `Operations.actor`. Raise `InvalidRequest`, `Forbidden`.
    """
    if organisation is None:
        return operations.actor(caller, confirm)
    # A server joins with commas what was sent in two fields of one name.
    if "," in organisation:
        raise InvalidRequest("name one organisation, once", field="tenant")
    return operations.actor_in(organisation, caller, confirm)


def is_own(actor: Actor, user_id: str) -> bool:
    """Return whether a user of the organisation is the caller. Equal ids elsewhere are other users."""
    owner = actor.owner
    return owner is not None and owner.id == user_id


def add(actor: Actor, user_id: str, expires: str | None) -> IssuedPat:
    """Create a PAT. A request has no name and no scopes: the name is made up, the scopes are the caller's."""
    check_id(user_id, "userId")
    expires_ms = None if expires is None else dates.parse_ms(expires, "expirationDate")
    new = NewPat(
        owner=user_id,
        name=lambda pat_id: f"zitadel-{pat_id[-8:]}",
        scope=None,
        expiry=Expiry(at_ms=expires_ms),
        never_acknowledged=expires_ms is None,  # in this API, a request without a date asks for it
    )
    return create(actor, new)


def find(actor: Actor, user_id: str, token_id: str) -> PersonalAccessToken:
    """Return a PAT of this user. Raise `NotFound`, `Forbidden`."""
    check_id(user_id, "userId")
    pat = lifecycle.get(actor, token_id)
    if pat.owner.id != user_id:
        raise NotFound
    return pat


def remove(actor: Actor, user_id: str, token_id: str) -> PersonalAccessToken:
    """Delete a PAT of this user, and return it as it was before. Raise `NotFound`, `Forbidden`."""
    check_id(user_id, "userId")
    try:
        pat = lifecycle.get(actor, token_id)
    except NotFound:
        # The deletion finds nothing either, but returns only once an earlier deletion is durable.
        lifecycle.delete(actor, token_id)
        raise
    if pat.owner.id != user_id:
        raise NotFound
    lifecycle.delete(actor, token_id)
    return pat


def listed(
    actor: Actor, user_id: str | None, filters: Filter | None, sorter: Sorter, offset: int, limit: int
) -> Listing:
    """Return PATs of a user, or with None of the organisation, and how many there are in all."""
    return list_pats(
        actor,
        owner_id="me" if user_id is not None and is_own(actor, user_id) else user_id,
        filters=filters,
        sort=[sorter],
        offset=offset,
        limit=limit,
        count=True,
    )
