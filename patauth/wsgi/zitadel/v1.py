"""Version 1 of ZITADEL's management API.

    add       POST    /management/v1/users/{userId}/pats
    search    POST    /management/v1/users/{userId}/pats/_search
    get       GET     /management/v1/users/{userId}/pats/{tokenId}
    remove    DELETE  /management/v1/users/{userId}/pats/{tokenId}

Source: the vendor's published descriptions of its API.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ...model.pat import PersonalAccessToken, check_id
from ...model.sorters import Sorter
from ...operations.listing import now, tenant_sequence
from ...operations.permissions import Actor
from .call import Content, Operation, add, find, listed, remove
from .fields import Page, Timestamp, expiry, filled, instant, page_of

PATH = "/management/v1/users/"
SERVICE = "/zitadel.management.v1.ManagementService/"

# -- requests ------------------------------------------------------------------------------------------------


class Add(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    user_id: str
    expiration_date: Timestamp = None


class One(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    user_id: str
    token_id: str


class Search(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    user_id: str
    query: Page | None = None


# -- operations ----------------------------------------------------------------------------------------------


def _add(actor: Actor, request: Add) -> Content:
    issued = add(actor, request.user_id, request.expiration_date)
    return {"tokenId": issued.pat.id, "token": issued.token, "details": _details(issued.pat)}


def _get(actor: Actor, request: One) -> Content:
    return {"token": _shown(find(actor, request.user_id, request.token_id))}


def _search(actor: Actor, request: Search) -> Content:
    query = request.query
    most = actor.settings.page_limit_zitadel
    offset, limit = page_of(query, "query", most, most)
    ascending = query is not None and bool(query.asc)
    user_id = check_id(request.user_id, "userId")
    # Read before the list, so that the list has every change that the sequence counts.
    sequence = tenant_sequence(actor)
    pats = listed(actor, user_id, None, Sorter("created", not ascending), offset, limit)
    details = {
        "totalResult": str(pats.total),
        "processedSequence": str(sequence),
        "viewTimestamp": instant(pats[0].read_ms if pats else now(actor)),
    }
    return filled({"details": filled(details), "result": [_shown(pat) for pat in pats]})


def _remove(actor: Actor, request: One) -> Content:
    pat = remove(actor, request.user_id, request.token_id)
    details = {
        "sequence": str(pat.sequence + 1),  # the removal is the last change
        "changeDate": instant(pat.read_ms),
        "resourceOwner": pat.tenant,
    }
    return {"details": details}


ADD, GET = Operation(Add, _add), Operation(One, _get)
SEARCH, REMOVE = Operation(Search, _search), Operation(One, _remove, ending=True)
METHODS = {
    "AddPersonalAccessToken": ADD,
    "GetPersonalAccessTokenByIDs": GET,
    "ListPersonalAccessTokens": SEARCH,
    "RemovePersonalAccessToken": REMOVE,
}


# -- answers -------------------------------------------------------------------------------------------------


def _shown(pat: PersonalAccessToken) -> dict[str, Any]:
    return {
        "id": pat.id,
        "details": _details(pat),
        "expirationDate": expiry(pat),
        "scopes": list(pat.scope),
    }


def _details(pat: PersonalAccessToken) -> dict[str, str]:
    """Return the details of a PAT; `sequence` counts its changes."""
    return {
        "sequence": str(pat.sequence),
        "creationDate": instant(pat.created_ms),
        "changeDate": instant(pat.changed_ms),
        "resourceOwner": pat.tenant,
    }
