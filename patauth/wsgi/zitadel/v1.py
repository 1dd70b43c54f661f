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

from ...model.filters import Sorter
from ...model.pat import PersonalAccessToken, check_id
from ...operations.listing import now, tenant_sequence
from ..answers import Answer, json_answer
from .call import Call, Operation, add, find, listed, remove
from .fields import Page, Timestamp, expiry, filled, instant, names_of, page_of, read

PATH = "/management/v1/users/"

# -- request bodies ------------------------------------------------------------------------------------------


class Add(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    expiration_date: Timestamp = None


class Search(msgspec.Struct, forbid_unknown_fields=True):
    query: Page | None = None


_CAMEL = names_of(Add, Search, Page)


# -- operations ----------------------------------------------------------------------------------------------


def _add(call: Call) -> Answer:
    issued = add(call, call.user_id, read(call.environ, Add, _CAMEL).expiration_date)
    content = {"tokenId": issued.pat.id, "token": issued.token, "details": _details(issued.pat)}
    return json_answer(200, content)


def _get(call: Call) -> Answer:
    return json_answer(200, {"token": _shown(find(call, call.user_id, call.token_id))})


def _search(call: Call) -> Answer:
    query = read(call.environ, Search, _CAMEL).query
    most = call.actor.settings.page_limit_zitadel
    offset, limit = page_of(query, "query", most, most)
    ascending = query is not None and bool(query.asc)
    user_id = check_id(call.user_id, "userId")
    # Read before the list, so that the list has every change that the sequence counts.
    sequence = tenant_sequence(call.actor)
    pats = listed(call, user_id, None, Sorter("created", not ascending), offset, limit)
    details = {
        "totalResult": str(pats.total),
        "processedSequence": str(sequence),
        "viewTimestamp": instant(pats[0].read_ms if pats else now(call.actor)),
    }
    return json_answer(200, filled({"details": filled(details), "result": [_shown(pat) for pat in pats]}))


def _remove(call: Call) -> Answer:
    pat = remove(call, call.user_id, call.token_id)
    details = {
        "sequence": str(pat.sequence + 1),  # the removal is the last change
        "changeDate": instant(pat.read_ms),
        "resourceOwner": pat.tenant,
    }
    return json_answer(200, {"details": details})


# Operations by method, in the order of Allow.
COLLECTION: dict[str, Operation] = {"POST": _add}
SEARCH: dict[str, Operation] = {"POST": _search}
ONE: dict[str, Operation] = {"GET": _get, "DELETE": _remove}


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
