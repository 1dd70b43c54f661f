"""The management API as ZITADEL has it: fields, statuses and errors, and no rule.

    management v1    POST         /management/v1/users/{userId}/pats
                     POST         /management/v1/users/{userId}/pats/_search
                     GET, DELETE  /management/v1/users/{userId}/pats/{tokenId}
    v2               zitadel_v2.py, over REST and over Connect

The v1 operations are here, and the routes of all. A user is the owner of PATs, an organisation a tenant; the
field `x-zitadel-orgid` names one. Who may do what is decided by the verbs of `Authority`.

Source: the vendor's published descriptions of its API.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from ...authority import Authority
from ...errors import PatAuthError
from ...model.caller import Caller
from ...model.filters import Sorter
from ...model.pat import PersonalAccessToken, check_id
from ...model.quota import Decision
from ..answers import Answer, json_answer, zitadel_error
from ..api.caller import Identify
from ..api.respond import Route, respond
from . import v2
from .fields import (
    Call,
    Operation,
    Page,
    Timestamp,
    add,
    admitted,
    expiry,
    filled,
    find,
    instant,
    listed,
    names_of,
    page_of,
    read,
    remove,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_V1, _V2 = "/management/v1/users/", "/v2/users/"


class Dialect:
    """The routes. `fixed`: by path; for a path with one of `beginnings`, `find` may know another."""

    def __init__(self, authority: Authority, identify: Identify | None) -> None:
        self._authority = authority
        self._identify = identify
        prefix = authority.settings.path_prefix
        self._v1, self._v2 = prefix + _V1, prefix + _V2
        self.beginnings: tuple[str, ...] = (self._v1, self._v2)
        self.fixed: dict[str, Route] = {
            prefix + v2.SERVICE + name: self._route({"POST": operation}, connect=True)
            for name, operation in v2.CONNECT.items()
        }
        self.fixed[f"{self._v2}pats/search"] = self._route(v2.SEARCH)

    def find(self, path: str) -> Route | None:
        """The route of a path with an id in it, or None."""
        for beginning, collection, one in (
            (self._v1, _COLLECTION, _ONE),
            (self._v2, v2.COLLECTION, v2.ONE),
        ):
            if not path.startswith(beginning):
                continue
            match path[len(beginning) :].split("/"):
                case [user_id, "pats"] if user_id:
                    return self._route(collection, user_id)
                case [user_id, "pats", "_search"] if user_id and beginning == self._v1:
                    return self._route(_SEARCH, user_id)
                case [user_id, "pats", token_id] if user_id and token_id:
                    return self._route(one, user_id, token_id)
        return None

    def _route(
        self,
        operations: Mapping[str, Operation],
        user_id: str = "",
        token_id: str = "",
        *,
        connect: bool = False,
    ) -> Route:
        return partial(self._answer, operations, (user_id, token_id), connect)

    def _answer(
        self,
        operations: Mapping[str, Operation],
        ids: tuple[str, str],
        connect: bool,
        environ: WSGIEnvironment,
    ) -> Answer:
        def call(caller: Caller) -> Call:
            return admitted(environ, self._authority, caller, ids)

        def render(error: PatAuthError, decision: Decision | None) -> Answer:
            return zitadel_error(error, environ, decision, connect)

        return respond(environ, self._authority, self._identify, operations, call, render)


# -- request bodies ------------------------------------------------------------------------------------------


class Add(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    expiration_date: Timestamp = None


class Search(msgspec.Struct, forbid_unknown_fields=True):
    query: Page | None = None


_CAMEL = names_of(Add, Search, Page)


# -- operations ----------------------------------------------------------------------------------------------


def _add(call: Call) -> Answer:
    issued = add(call, call.user_id, read(call, Add, _CAMEL).expiration_date)
    content = {"tokenId": issued.pat.id, "token": issued.token, "details": _details(issued.pat)}
    return json_answer(200, content)


def _get(call: Call) -> Answer:
    return json_answer(200, {"token": _shown(find(call, call.user_id, call.token_id))})


def _search(call: Call) -> Answer:
    query = read(call, Search, _CAMEL).query
    most = call.management.settings.page_limit_zitadel
    offset, limit = page_of(query, "query", most, most)
    ascending = query is not None and bool(query.asc)
    user_id = check_id(call.user_id, "userId")
    # Before the list is read, for it is to have all that this counts.
    sequence = call.management.tenant_sequence()
    pats = listed(call, user_id, None, Sorter("created", not ascending), offset, limit)
    details = {
        "totalResult": str(pats.total),
        "processedSequence": str(sequence),
        "viewTimestamp": instant(pats[0].read_ms if pats else call.management.now()),
    }
    return json_answer(200, filled({"details": filled(details), "result": [_shown(pat) for pat in pats]}))


def _remove(call: Call) -> Answer:
    pat = remove(call, call.user_id, call.token_id)
    details = {
        "sequence": str(pat.sequence + 1),  # the removal is its last change
        "changeDate": instant(pat.read_ms),
        "resourceOwner": pat.tenant,
    }
    return json_answer(200, {"details": details})


# By method, in the order of Allow.
_COLLECTION: dict[str, Operation] = {"POST": _add}
_SEARCH: dict[str, Operation] = {"POST": _search}
_ONE: dict[str, Operation] = {"GET": _get, "DELETE": _remove}


# -- answers -------------------------------------------------------------------------------------------------


def _shown(pat: PersonalAccessToken) -> dict[str, Any]:
    return {
        "id": pat.id,
        "details": _details(pat),
        "expirationDate": expiry(pat),
        "scopes": list(pat.scope),
    }


def _details(pat: PersonalAccessToken) -> dict[str, str]:
    """An object's details: `sequence` counts its changes."""
    return {
        "sequence": str(pat.sequence),
        "creationDate": instant(pat.created_ms),
        "changeDate": instant(pat.changed_ms),
        "resourceOwner": pat.tenant,
    }
