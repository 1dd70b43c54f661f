"""Version 2 of ZITADEL's API: three operations, each over REST and over Connect (unary, JSON).

    add      POST /v2/users/{userId}/pats                AddPersonalAccessToken
    remove   DELETE /v2/users/{userId}/pats/{tokenId}    RemovePersonalAccessToken
    list     POST /v2/users/pats/search                  ListPersonalAccessTokens

Over Connect they are POST /zitadel.user.v2.UserService/{name}, with the ids in the body. The vendor's SDK
calls these.

Source: the vendor's SDK, and https://connectrpc.com/docs/protocol/.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from ...errors import InvalidRequest
from ...model import dates, filters, instants
from ...model.filters import Filter
from ...model.pat import PersonalAccessToken, check_id
from ...model.sorters import Sorter
from ...operations.permissions import Actor
from .call import Content, Operation, add, is_own, listed, remove
from .fields import NEVER_MS, Page, Timestamp, expiry, filled, instant, page_of

PATH = "/v2/users/"
SERVICE = "/zitadel.user.v2.UserService/"
USUAL_LIMIT, MAX_LIMIT = 100, 1000  # PATs in a list; the setting `page_limit_zitadel` may lower both

_METHOD = "TIMESTAMP_FILTER_METHOD_"
_METHODS = ("EQUALS", "AFTER", "AFTER_OR_EQUALS", "BEFORE", "BEFORE_OR_EQUALS")
_COLUMN = "PERSONAL_ACCESS_TOKEN_FIELD_NAME_"
_COLUMNS = {
    "UNSPECIFIED": "created",
    "CREATED_DATE": "created",
    "ID": "id",
    "USER_ID": "owner",
    "ORGANIZATION_ID": "created",  # a list has the PATs of one organisation
    "EXPIRATION_DATE": "expirationDate",
}


def _enum(prefix: str, words: Sequence[str]) -> msgspec.Meta:
    # Only part of the schema: if msgspec checked it, its message would repeat any other value that is sent.
    return msgspec.Meta(extra_json_schema={"enum": [prefix + word for word in words]})


# -- requests ------------------------------------------------------------------------------------------------


class Add(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    user_id: str
    expiration_date: Timestamp = None


class Remove(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    user_id: str
    token_id: str


class ByTime(msgspec.Struct, forbid_unknown_fields=True):
    timestamp: Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
    method: Annotated[str | None, _enum(_METHOD, _METHODS)] = None


class ById(msgspec.Struct, forbid_unknown_fields=True):
    id: str


class Criterion(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Exactly one of these filters."""

    created_date_filter: ByTime | None = None
    expiration_date_filter: ByTime | None = None
    organization_id_filter: ById | None = None
    token_id_filter: ById | None = None
    user_id_filter: ById | None = None


class Search(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    pagination: Page | None = None
    sorting_column: Annotated[str | None, _enum(_COLUMN, tuple(_COLUMNS))] = None
    filters: list[Criterion] | None = None


# -- operations ----------------------------------------------------------------------------------------------


def _add(actor: Actor, request: Add) -> Content:
    issued = add(actor, request.user_id, request.expiration_date)
    return {"creationDate": instant(issued.pat.created_ms), "tokenId": issued.pat.id, "token": issued.token}


def _remove(actor: Actor, request: Remove) -> Content:
    return {"deletionDate": instant(remove(actor, request.user_id, request.token_id).read_ms)}


def _search(actor: Actor, request: Search) -> Content:
    page, setting = request.pagination, actor.settings.page_limit_zitadel
    offset, limit = page_of(page, "pagination", min(USUAL_LIMIT, setting), min(MAX_LIMIT, setting))
    column = _known(request.sorting_column, _COLUMN, tuple(_COLUMNS), "sortingColumn")
    user_id, parts = _criteria(actor, request.filters or [])
    sorter = Sorter(_COLUMNS[column], page is None or not page.asc)
    pats = listed(actor, user_id, filters.every(parts), sorter, offset, limit)
    pagination = {"totalResult": str(pats.total), "appliedLimit": str(limit)}
    return filled({"pagination": filled(pagination), "result": [_shown(pat) for pat in pats]})


ADD, SEARCH = Operation(Add, _add), Operation(Search, _search)
REMOVE = Operation(Remove, _remove, ending=True)
METHODS = {
    "AddPersonalAccessToken": ADD,
    "RemovePersonalAccessToken": REMOVE,
    "ListPersonalAccessTokens": SEARCH,
}


# -- filters: all of them have to match ----------------------------------------------------------------------

_NOTHING = filters.between("created", 1, 0)


def _criteria(actor: Actor, given: Sequence[Criterion]) -> tuple[str | None, list[Filter]]:
    """Return the id of the user whose PATs are asked for (None: all users), and the conditions on them."""
    users: list[str] = []
    parts: list[Filter] = []
    for place, one in enumerate(given):
        field = f"filters[{place}]"
        criteria = [(name, getattr(one, name)) for name in one.__struct_fields__]
        match [(name, value) for name, value in criteria if value is not None]:
            case [("created_date_filter", ByTime() as moment)]:
                parts.append(_range("created", moment, f"{field}.createdDateFilter"))
            case [("expiration_date_filter", ByTime() as moment)]:
                parts.append(_range("expirationDate", moment, f"{field}.expirationDateFilter"))
            case [("organization_id_filter", ById(wanted))]:
                if check_id(wanted, f"{field}.organizationIdFilter.id") != actor.settings.tenant:
                    parts.append(_NOTHING)
            case [("token_id_filter", ById(wanted))]:
                parts.append(filters.with_id(check_id(wanted, f"{field}.tokenIdFilter.id")))
            case [("user_id_filter", ById(wanted))]:
                users.append(check_id(wanted, f"{field}.userIdFilter.id"))
            case _:
                raise InvalidRequest("give exactly one filter in each element", field=field)
    if len(set(users)) > 1:  # no PAT has two users
        parts.append(_NOTHING)
    # The caller's own PATs need the smallest right, so their id comes first.
    users.sort(key=lambda user_id: not is_own(actor, user_id))
    return (users[0] if users else None), parts


def _range(name: str, moment: ByTime, field: str) -> Filter:
    """Return the condition that compares a field with an instant, to the millisecond.

    A PAT that never expires is shown as `NEVER_MS`, and has `instants.NEVER` in an index, which is later.
    """
    ms = min(dates.parse_ms(moment.timestamp, f"{field}.timestamp"), NEVER_MS)
    method = _known(moment.method, _METHOD, _METHODS, f"{field}.method")
    low, high = 0, instants.NEVER
    last = high if ms == NEVER_MS else ms
    if method == "AFTER":
        low = last + 1
    elif method == "BEFORE":
        high = ms - 1
    else:
        low = low if method == "BEFORE_OR_EQUALS" else max(low, ms)
        high = high if method == "AFTER_OR_EQUALS" else last
    return filters.between(name, low, high) if low <= high else _NOTHING


def _known(value: str | None, prefix: str, words: Sequence[str], field: str) -> str:
    """Return the word that a value of an enum ends in, or the first word for None."""
    if value is None:
        return words[0]
    word = value.removeprefix(prefix)
    if not value.startswith(prefix) or word not in words:
        raise InvalidRequest(f"give {prefix} followed by one of {', '.join(words)}", field=field)
    return word


# -- answers -------------------------------------------------------------------------------------------------


def _shown(pat: PersonalAccessToken) -> dict[str, Any]:
    return {
        "creationDate": instant(pat.created_ms),
        "changeDate": instant(pat.changed_ms),
        "id": pat.id,
        "userId": pat.owner.id,
        "organizationId": pat.tenant,
        "expirationDate": expiry(pat),
    }
