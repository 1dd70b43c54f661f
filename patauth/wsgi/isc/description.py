"""What `/openapi.json` says of the management API of Identity Security Cloud (dialects/isc.py).

Schemas of requests are those of the types that read them, with the rules of the verbs beside them; those of
answers are types of isc_answers.py.
"""

from __future__ import annotations

from typing import Any

from ...model.filters import MAX_BYTES, MAX_SORTERS, SORTABLE
from ...operations.json_patch import MAX_OPERATIONS, MAX_POINTER, MAX_TOKENS, NEEDS
from ...operations.listing import MOST
from ...operations.rotate import MAX_OVERLAP
from ...operations.update import IN_BULK, MAX_BULK
from ...settings import MAX_ACCESS_TOKEN_TTL, Settings
from ..bodies import MAX_JSON
from ..openapi.parts import (
    DATE,
    NAME,
    OWNER_ID,
    OWNER_TYPE,
    PAT_ID,
    QUOTA,
    SCOPES,
    SECONDS,
    Description,
    Schema,
    answer,
    body,
    parameter,
    ref,
    responses,
    schemas,
    words,
)
from . import routes
from .description_answers import RESPONSES, TYPES
from .routes import JSON, JSON_PATCH, MAX_LIMIT, MAX_OFFSET, VERSIONS, Version

_TAG = "Personal access tokens"
_ABOUT = words(f"""
    The management API of Identity Security Cloud. What an operation takes is a right, a scope that the
    caller holds: `my:read` is short for `idn:my-personal-access-tokens:read`, and so on. `manage` includes
    `read`, and `all` includes `managed` includes `my`; `sp:scopes:all` lets its holder read and revoke
    their own. Without the right to it, another's PAT is not there. JSON is read strictly (RFC 8259), up to
    {MAX_JSON} bytes, and unknown fields are refused.
""")

_REFUSALS = ("Isc400", "Isc401", "Isc403", "Limited429", "Isc500", "Isc503")
_OF_BODY = ("Isc413", "Isc415")

# -- requests ----------------------------------------------------------------------------------------------

_CREATE: dict[str, Schema] = {
    "name": NAME,
    "scope": {**SCOPES, "description": "Null or left out: `sp:scopes:all`. At most what the caller holds."},
    "accessTokenValiditySeconds": {**SECONDS, "description": f"Null or left out: {MAX_ACCESS_TOKEN_TTL}."},
    "owner": {
        "description": "Null or left out: the caller. Another takes `idn:all-personal-access-tokens:manage`."
    },
}
_SHORT = {**DATE, "description": "In the future. Null or left out, and at most: 6 months from creation."}
_LONG = {
    **DATE,
    "description": "In the future. Null or left out: never, where policy allows it; the next has to be true.",
}
_AWARE = {"description": "Acknowledges that it never expires; changes nothing by itself."}


def _request_schemas(settings: Settings) -> dict[str, Schema]:
    types = {
        "CreatePat": routes.Create,
        "CreatePatOrNever": routes.CreateOrNever,
        "OwnerToBe": routes.OwnerToBe,
        "BulkUpdate": routes.Bulk,
        "Rotation": routes.Rotation,
    }
    owner_types = settings.owner_types or OWNER_TYPE["enum"]
    rules: dict[str, dict[str, Schema]] = {
        "CreatePat": {**_CREATE, "expirationDate": _SHORT},
        "CreatePatOrNever": {**_CREATE, "expirationDate": _LONG, "userAwareTokenNeverExpires": _AWARE},
        "OwnerToBe": {
            "id": OWNER_ID,
            "name": {**NAME, "description": "Null or left out: the id."},
            "type": {"enum": list(owner_types), "description": "Null or left out: IDENTITY, if that may be."},
        },
        "BulkUpdate": {
            "ids": {
                "items": {"type": "string", **PAT_ID},
                "minItems": 1,
                "maxItems": MAX_BULK,
                "uniqueItems": True,
            },
            "patch": patch_schema(IN_BULK),
        },
        "Rotation": {
            "overlapSeconds": {
                "description": "How long the secret until now passes too. Null or left out: an hour.",
                "minimum": 0,
                "maximum": int(MAX_OVERLAP.total_seconds()),
            }
        },
    }
    found = schemas(types, rules)
    # What a type cannot say: no expiry has to be acknowledged.
    found["CreatePatOrNever"]["anyOf"] = [
        {"properties": {"expirationDate": {"type": "string"}}, "required": ["expirationDate"]},
        {
            "properties": {"userAwareTokenNeverExpires": {"const": True}},
            "required": ["userAwareTokenNeverExpires"],
        },
    ]
    return found


def patch_schema(fields: tuple[str, ...]) -> Schema:
    """A JSON Patch (RFC 6902) of these members: to the letter what is read, before it is applied."""
    below = f"(?:/(?:[^~/]|~[01])*){{0,{MAX_TOKENS - 1}}}"
    pointer: Schema = {
        "type": "string",
        "description": f"A JSON Pointer to, or into, one of: {', '.join(fields)}.",
        "pattern": f"^/(?:{'|'.join(fields)}){below}$",
        "maxLength": MAX_POINTER,
    }
    kinds = []
    for need in ("value", "from", None):
        operations = [op for op, needed in NEEDS.items() if needed == need]
        members: Schema = {"op": {"enum": operations}, "path": pointer}
        if need == "from":
            members["from"] = pointer
        elif need:
            members["value"] = {"description": "What the member is to be; for a `test`, what it has to be."}
        kinds.append(_object(members, [name for name in ("op", "path", need) if name]))
        if need == "value" and "expirationDate" in fields:
            date = {"const": "/expirationDate", "description": "A missing value means null: never."}
            kinds.append(_object({**members, "path": date}, ["op", "path"]))
    return {"type": "array", "items": {"anyOf": kinds}, "minItems": 1, "maxItems": MAX_OPERATIONS}


def _object(members: Schema, required: list[str]) -> Schema:
    return {"type": "object", "properties": members, "required": required}


_FILTERS = words(f"""
    Comparisons joined by `and`, `or` and `not`, with parentheses; `not` binds closest, then `and`. All
    words in lower case as here, with blanks between. `lastUsed` and `expirationDate`: `lt`, `le`, `gt`,
    `ge` and an RFC 3339 date-time without quotes, or `isnull`; `created`: the same without `isnull`.
    `name`: `eq`, `sw` (starts with) or `co` (contains) and a text in double quotes. `id`: `eq` and a text,
    or `in ("…", "…")`. In a text, `\\` stands before `"` and `\\`. A comparison with what is not there is
    false. At most {MAX_BYTES} bytes of UTF-8. What is not in this grammar is refused.
""")
_SORTER = f"-?(?:{'|'.join(SORTABLE)})"

_LIST = [
    parameter(
        "query",
        "owner-id",
        "Whose PATs: an owner's id, or `me` for the caller's own. Left out: those of the whole tenant.",
        {"type": "string", "pattern": OWNER_ID["pattern"]},
    ),
    parameter(
        "query",
        "filters",
        _FILTERS,
        {"type": "string", "format": "pat-filter", "minLength": 1, "maxLength": MAX_BYTES},
        example='lastUsed le 2030-01-31T12:00:00Z or (lastUsed isnull and name sw "ci")',
    ),
    parameter(
        "query",
        "sorters",
        "Fields to sort by, the most important first, each once; `-` before one descends. Never used is"
        " earliest, never expires latest.",
        {
            "type": "string",
            "format": "pat-sorters",
            "pattern": f"^{_SORTER}(?:,{_SORTER}){{0,{MAX_SORTERS - 1}}}$",
        },
        example="name,-created",
    ),
    parameter(
        "query",
        "limit",
        f"How many at most. Left out: all, up to {MOST}; where there are more, 400 asks for it.",
        {"type": "integer", "minimum": 0, "maximum": MAX_LIMIT},
    ),
    parameter(
        "query",
        "offset",
        "How many to leave out before the first.",
        {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0},
    ),
    parameter(
        "query",
        "count",
        "Whether `X-Total-Count` is to say how many there are in all.",
        {"type": "boolean", "default": False},
    ),
]
_PAT_ID = parameter("path", "id", "The PAT's id.", {"type": "string", **PAT_ID})

_MANAGES = "One's own takes `my:manage`, another's `all:manage`."
_ACKNOWLEDGED = " No expiry takes `userAwareTokenNeverExpires: true` in the same patch."

# -- operations --------------------------------------------------------------------------------------------


def describe(settings: Settings) -> Description:
    """The surface under these settings, in each version."""
    found = {**_request_schemas(settings), **schemas({kind.__name__: kind for kind in TYPES})}
    paths: dict[str, dict[str, Any]] = {}
    for name, version in VERSIONS.items():
        found[_named("PatPatch", version)] = patch_schema(version.patchable)
        _describe_version(paths, settings.path_prefix + version.path, name.capitalize(), version)
    return Description({"name": _TAG, "description": _ABOUT}, paths, found, RESPONSES)


def _named(schema: str, version: Version) -> str:
    return schema + ("OrNever" if version.knows_never else "")


def _describe_version(paths: dict[str, dict[str, Any]], base: str, name: str, version: Version) -> None:
    shown = ref(_named("ShownPat", version))
    some = {"type": "array", "items": shown}
    issued = answer("The PAT, with its secret.", ref("IssuedPat"), maybe=QUOTA)
    removed = answer("It is gone for good, and its access tokens with it.", maybe=QUOTA)

    paths[base] = {
        "get": _operation(
            f"listPats{name}",
            "List PATs",
            {"200": answer("The PATs.", some, maybe=["X-Total-Count", "X-CSRF-Token", *QUOTA])},
            "An expired one is listed until its retention is over. `me` takes `my:read`, somebody whom one"
            " manages `managed:read`, all else `all:read`.",
            parameters=_LIST,
        ),
        "post": _operation(
            f"createPat{name}",
            "Make a PAT",
            {"200": issued, **responses(*_OF_BODY)},
            f"With at most the scopes and the lifetime of the caller's own. {_MANAGES}",
            requestBody=body({JSON: ref(_named("CreatePat", version))}),
        ),
    }
    one: dict[str, Any] = {
        "parameters": [_PAT_ID],
        "patch": _operation(
            f"patchPat{name}",
            "Change a PAT",
            {
                "200": answer("The PAT as it is then.", shown, maybe=QUOTA),
                **responses("Isc404", "Isc413", "IscPatch415"),
            },
            "All operations, or none. Access tokens that are out keep their scopes."
            f"{_ACKNOWLEDGED if version.knows_never else ''} {_MANAGES}",
            requestBody=body({JSON_PATCH: ref(_named("PatPatch", version))}),
        ),
        "delete": _operation(
            f"deletePat{name}",
            "Revoke a PAT",
            {"204": removed, **responses("Isc404")},
            f"Answered once that is durable; safe to repeat. {_MANAGES}",
        ),
    }
    paths[base + "/{id}"] = one
    if not version.full:
        return

    read = {"200": answer("The PAT.", shown, maybe=["X-CSRF-Token", *QUOTA]), **responses("Isc404")}
    rights = "One's own takes `my:read`, another's `all:read`, or `managed:read` of people one manages."
    one["get"] = _operation(f"getPat{name}", "Look at a PAT", read, rights)
    paths[base + "/{id}/rotate"] = {
        "parameters": [_PAT_ID],
        "post": _operation(
            f"rotatePat{name}",
            "Give a PAT a new secret",
            {"200": issued, **responses("Isc404", *_OF_BODY)},
            f"Id, name, scopes and expiry stay. The access tokens of a secret end with it. {_MANAGES}",
            requestBody=body({JSON: ref("Rotation")}, required=False),
        ),
    }
    paths[base + "/self"] = {
        "get": _operation(f"getPresentedPat{name}", "Look at the PAT that calls", read, "It takes no right."),
        "delete": _operation(
            f"deletePresentedPat{name}",
            "Revoke the PAT that calls",
            {"204": removed, **responses("Isc404")},
            "Whoever finds a secret can end it: it takes no right.",
        ),
    }
    bulk = {"200": answer("The PATs, in the order of their ids.", some, maybe=QUOTA)}
    for method, refusals in (("patch", ("Isc413", "IscPatch415")), ("post", _OF_BODY)):
        paths.setdefault(base + "/bulk-update", {})[method] = _operation(
            f"{'patchPats' if method == 'patch' else 'updatePats'}{name}",
            "Change the expiry of several PATs",
            {**bulk, **responses(*refusals)},
            "All are checked first; those of one owner then change together or not at all."
            f"{_ACKNOWLEDGED} It takes `all:manage`.",
            requestBody=body({JSON: ref("BulkUpdate")}),
        )


def _operation(
    operation: str, summary: str, answers: dict[str, Any], about: str, **more: Any
) -> dict[str, Any]:
    answers = {**answers, **responses(*_REFUSALS)}
    return {
        "operationId": operation,
        "summary": summary,
        "description": about,
        "tags": [_TAG],
        **more,
        "responses": dict(sorted(answers.items())),
    }
