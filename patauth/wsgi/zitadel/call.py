"""One request to ZITADEL's API: the organisation that it acts in, and what both versions do with PATs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ...errors import InvalidRequest, NotFound
from ...model import dates
from ...model.caller import Caller
from ...model.expiry import Expiry
from ...model.filters import Filter, Sorter
from ...model.pat import IssuedPat, PersonalAccessToken, check_id
from ...operations import lifecycle
from ...operations.create import NewPat, create
from ...operations.listing import Listing, list_pats
from ...operations.operations import Operations
from ...operations.permissions import Actor
from ..answers import Answer
from ..errors import UnsupportedMediaType

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_FRAMED = re.compile(r"\s*application/(grpc|connect\+|proto)", re.IGNORECASE)


class Call(NamedTuple):
    """Holds one admitted request. The ids are those of the path, empty where the path has none."""

    environ: WSGIEnvironment
    actor: Actor  # in the organisation that the request acts in
    user_id: str
    token_id: str

    def is_own(self, user_id: str) -> bool:
        """Return whether a user of the organisation is the caller. Equal ids elsewhere are other users."""
        owner = self.actor.owner
        return owner is not None and owner.id == user_id


Operation = Callable[[Call], Answer]


def admitted(
    environ: WSGIEnvironment, operations: Operations, caller: Caller, user_id: str, token_id: str
) -> Call:
    """Return the call of an admitted caller, in the organisation that `x-zitadel-orgid` names, or in theirs.

    Raise `InvalidRequest`, `Forbidden`, and `UnsupportedMediaType` for gRPC, which is not served.
    """
    if _FRAMED.match(environ.get("CONTENT_TYPE") or ""):
        raise UnsupportedMediaType(
            "gRPC, gRPC-web, Connect streams and protobuf are not served here; send application/json"
        )
    organisation = environ.get("HTTP_X_ZITADEL_ORGID")
    if organisation is None:
        return Call(environ, operations.actor(caller), user_id, token_id)
    # A server joins with commas what was sent in two fields of one name.
    if "," in organisation:
        raise InvalidRequest("name one organisation, once", field="tenant")
    return Call(environ, operations.actor_in(organisation, caller), user_id, token_id)


def add(call: Call, user_id: str, expires: str | None) -> IssuedPat:
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
    return create(call.actor, new)


def find(call: Call, user_id: str, token_id: str) -> PersonalAccessToken:
    """Return a PAT of this user. Raise `NotFound`, `Forbidden`."""
    check_id(user_id, "userId")
    pat = lifecycle.get(call.actor, token_id)
    if pat.owner.id != user_id:
        raise NotFound
    return pat


def remove(call: Call, user_id: str, token_id: str) -> PersonalAccessToken:
    """Delete a PAT of this user, and return it as it was before. Raise `NotFound`, `Forbidden`."""
    check_id(user_id, "userId")
    try:
        pat = lifecycle.get(call.actor, token_id)
    except NotFound:
        # The deletion finds nothing either, but returns only once an earlier deletion is durable.
        lifecycle.delete(call.actor, token_id)
        raise
    if pat.owner.id != user_id:
        raise NotFound
    lifecycle.delete(call.actor, token_id)
    return pat


def listed(
    call: Call, user_id: str | None, filters: Filter | None, sorter: Sorter, offset: int, limit: int
) -> Listing:
    """Return PATs of a user, or with None of the organisation, and how many there are in all."""
    return list_pats(
        call.actor,
        owner_id="me" if user_id is not None and call.is_own(user_id) else user_id,
        filters=filters,
        sort=[sorter],
        offset=offset,
        limit=limit,
        count=True,
    )
