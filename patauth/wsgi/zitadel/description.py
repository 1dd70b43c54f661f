"""Describe ZITADEL's management API (v1.py, v2.py) for `/openapi.json`.

The schemas of requests are those of the types that read them, with the rules that the verbs add. Those of
answers come from answer_types.py.
"""

from __future__ import annotations

from typing import Any

from ...authority import Authority
from ...settings import Settings
from ..bodies import MAX_JSON
from ..openapi.parts import (
    CALLER_FIELDS,
    OWNER_ID,
    PAT_ID,
    Description,
    Schema,
    answer,
    body,
    operation,
    parameter,
    ref,
    responses,
    schemas,
    up_to,
    words,
)
from . import v1, v2
from .answer_types import RESPONSES, TYPES
from .fields import MAX_UINT64, Page

_TAG = "ZITADEL"
_ABOUT = words(f"""
    ZITADEL's management API, versions 1 and 2, over REST and Connect (unary, JSON). A user is the owner
    of PATs, an organisation the tenant; rights are as in the API of Identity Security Cloud. Requests and
    answers follow protobuf's JSON mapping: null means that a field is left out, numbers of 64 bits are
    texts in answers, zero values are left out, and requests may also spell names as the .proto file does
    (snake_case). Unknown fields are refused. A body is read up to {MAX_JSON} bytes. The paths of Connect
    also take its protobuf (application/proto) and gRPC-web, which this document does not describe. gRPC
    has a port of its own: 415 here.
""")

_ALWAYS = ("400", "401", "403", "415", "429", "500", "503")

# -- requests ----------------------------------------------------------------------------------------------

_EXPIRY: Schema = {"description": "In the future. Null or left out: never, where policy allows it."}
_USER: Schema = {"description": "The user's id.", **OWNER_ID}
_IDS = {"userId": _USER, "tokenId": PAT_ID}
# A request over REST -> the same one over Connect, which names the user itself.
_CONNECT = {"ZitadelAdd": "ConnectAddV1", "ZitadelSearch": "ConnectSearchV1", "ZitadelAddV2": "ConnectAdd"}


def _request_schemas(settings: Settings) -> dict[str, Schema]:
    most = settings.page_limit_zitadel
    most_v2 = min(v2.MAX_LIMIT, most)
    usual = min(v2.USUAL_LIMIT, most)
    found = schemas(
        {"ZitadelAdd": v1.Add, "ZitadelOne": v1.One, "ZitadelSearch": v1.Search, "ZitadelPage": Page},
        {
            "ZitadelAdd": {"userId": _USER, "expirationDate": _EXPIRY},
            "ZitadelOne": _IDS,
            "ZitadelSearch": {"userId": _USER},
        },
    )
    # Both versions have the same type, with other limits.
    page = found.pop("ZitadelPage")
    found["ZitadelPage"] = _page(page, most, most)
    found |= schemas(
        {
            "ZitadelAddV2": v2.Add,
            "ZitadelRemoveV2": v2.Remove,
            "ZitadelSearchV2": v2.Search,
            "ZitadelCriterion": v2.Criterion,
            "ZitadelByTime": v2.ByTime,
            "ZitadelById": v2.ById,
            "ZitadelPageV2": Page,
        },
        {
            "ZitadelAddV2": {"userId": _USER, "expirationDate": _EXPIRY},
            "ZitadelRemoveV2": _IDS,
            "ZitadelById": {"id": OWNER_ID},
            "ZitadelSearchV2": {"filters": {"description": "All have to match."}},
        },
    )
    found["ZitadelPageV2"] = _page(page, usual, most_v2)
    # To the type, null and a field that is left out are the same, so what must be given is said here.
    criterion = found["ZitadelCriterion"]
    criteria = {f"Zitadel{name[0].upper()}{name[1:]}": name for name in criterion["properties"]}
    found |= {title: _only(criterion, name) for title, name in criteria.items()}
    found["ZitadelCriterion"] = {"description": criterion["description"], "anyOf": list(map(ref, criteria))}
    for over_rest, over_connect in _CONNECT.items():
        found[over_connect] = found[over_rest]
        found[over_rest] = _below_a_user(found[over_rest])
    return found


def _only(schema: Schema, given: str) -> Schema:
    """Return the schema of an object with this member alone; the others may be null."""
    members = {
        name: member["anyOf"][0] if name == given else {"type": "null"}
        for name, member in schema["properties"].items()
    }
    return {"type": "object", "properties": members, "required": [given], "additionalProperties": False}


def _below_a_user(schema: Schema) -> Schema:
    """Return the schema of a body below a path with the user's id, which the body need not repeat."""
    text = {**schema["properties"]["userId"], "description": "As in the path."}
    user = {"anyOf": [text, {"type": "null"}]}
    kept = {name: value for name, value in schema.items() if name != "required"}
    return {**kept, "properties": {**schema["properties"], "userId": user}}


def _page(schema: Schema, usual: int, most: int) -> Schema:
    limits = {
        "offset": _uint64(MAX_UINT64, "How many to skip."),
        "limit": _uint64(most, f"How many to return at most. Null, 0 or left out: {usual}."),
    }
    return {**schema, "properties": {**schema["properties"], **limits}}


def _uint64(most: int, about: str) -> Schema:
    number = {"type": "integer", "minimum": 0, "maximum": most}
    text = {"type": "string", "pattern": f"^{up_to(most)}$"}
    return {"description": about, "anyOf": [number, text, {"type": "null"}]}


_ORGANISATION = parameter(
    "header",
    "x-zitadel-orgid",
    "The organisation to act in. Left out: the caller's own.",
    {"type": "string", **OWNER_ID, "pattern": OWNER_ID["pattern"].replace("!-.", "!-+\\-.")},  # no comma
)
_PATH = {
    "userId": parameter("path", "userId", "The user's id.", {"type": "string", **OWNER_ID}),
    "tokenId": parameter("path", "tokenId", "The PAT's id.", {"type": "string", **PAT_ID}),
}

# -- operations --------------------------------------------------------------------------------------------


def describe(authority: Authority) -> Description:
    """Return the description of this surface, in both versions."""
    settings = authority.settings
    found = {**_request_schemas(settings), **schemas({kind.__name__: kind for kind in TYPES})}
    users, users_v2 = settings.path_prefix + v1.PATH, settings.path_prefix + v2.PATH
    paths = {
        f"{users}{{userId}}/pats": _path("userId", post=_add("V1", "ZitadelAdd", "ZitadelAdded")),
        f"{users}{{userId}}/pats/_search": _path(
            "userId", post=_search("V1", "ZitadelSearch", "ZitadelFound", _NEWEST)
        ),
        f"{users}{{userId}}/pats/{{tokenId}}": _path(
            *("userId", "tokenId"),
            get=_get("V1"),
            delete=_remove("V1", "ZitadelRemoved"),
        ),
        f"{users_v2}{{userId}}/pats": _path("userId", post=_add("V2", "ZitadelAddV2", "ZitadelAddedV2")),
        f"{users_v2}{{userId}}/pats/{{tokenId}}": _path(
            "userId", "tokenId", delete=_remove("V2", "ZitadelRemovedV2")
        ),
        f"{users_v2}pats/search": _path(post=_search("V2", "ZitadelSearchV2", "ZitadelFoundV2", _ORDER)),
    }
    connect = {
        v1.SERVICE: {
            "AddPersonalAccessToken": _add("ConnectV1", "ConnectAddV1", "ZitadelAdded"),
            "GetPersonalAccessTokenByIDs": _get("ConnectV1", "ZitadelOne"),
            "ListPersonalAccessTokens": _search("ConnectV1", "ConnectSearchV1", "ZitadelFound", _NEWEST),
            "RemovePersonalAccessToken": _remove("ConnectV1", "ZitadelRemoved", "ZitadelOne"),
        },
        v2.SERVICE: {
            "AddPersonalAccessToken": _add("Connect", "ConnectAdd", "ZitadelAddedV2"),
            "RemovePersonalAccessToken": _remove("Connect", "ZitadelRemovedV2", "ZitadelRemoveV2"),
            "ListPersonalAccessTokens": _search("Connect", "ZitadelSearchV2", "ZitadelFoundV2", _ORDER),
        },
    }
    for service, methods in connect.items():
        for name, described in methods.items():
            paths[settings.path_prefix + service + name] = _path(post=described)
    return Description({"name": _TAG, "description": _ABOUT}, paths, found, RESPONSES)


_NEWEST = "Newest first unless `asc`."
_ORDER = "Sorted by `sortingColumn` or else by creation, descending unless `asc`."


def _path(*names: str, **operations: dict[str, Any]) -> dict[str, Any]:
    return {"parameters": [*(_PATH[name] for name in names), _ORGANISATION], **operations}


def _add(version: str, request: str, done: str) -> dict[str, Any]:
    return _operation(
        f"addUserPat{version}",
        "Create a PAT for a user",
        answer("The PAT, with its token.", ref(done), maybe=CALLER_FIELDS),
        ["409", "413"],
        about="Its name is made up, its scopes are the caller's own, its lifetime is at most the caller's.",
        request=request,
    )


def _get(version: str, request: str | None = None) -> dict[str, Any]:
    # What is sent by POST is no answer to a person's GET, and so brings no CSRF token.
    maybe = CALLER_FIELDS if request else ["X-CSRF-Token", *CALLER_FIELDS]
    return _operation(
        f"getUserPat{version}",
        "Get a user's PAT",
        answer("The PAT.", ref("ZitadelGot"), maybe=maybe),
        ["404", *(["413"] if request else [])],
        request=request,
    )


def _search(version: str, request: str, done: str, about: str) -> dict[str, Any]:
    found = answer("The PATs.", ref(done), maybe=CALLER_FIELDS)
    return _operation(f"searchUserPats{version}", "List PATs", found, ["413"], about=about, request=request)


def _remove(version: str, done: str, request: str | None = None) -> dict[str, Any]:
    return _operation(
        f"removeUserPat{version}",
        "Revoke a user's PAT",
        answer("The PAT and its access tokens are gone for good.", ref(done), maybe=CALLER_FIELDS),
        ["404", *(["413"] if request else [])],
        request=request,
    )


def _operation(
    name: str,
    summary: str,
    done: dict[str, Any],
    refusals: list[str],
    *,
    about: str | None = None,
    request: str | None = None,
) -> dict[str, Any]:
    family = "Connect" if "Connect" in name else "Zitadel"
    answers = {"200": done, **responses(*(family + status for status in {*_ALWAYS, *refusals}))}
    more = {"requestBody": body({"application/json": ref(request)})} if request else {}
    return operation(name, summary, _TAG, answers, about, **more)
