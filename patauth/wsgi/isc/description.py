"""Describe the management API of Identity Security Cloud (routes.py) for `/openapi.json`.

The schemas of requests are those of the types that read them, with the rules that the verbs add. Those of
answers come from answer_types.py.
"""

from __future__ import annotations

from typing import Any

from ...authority import Authority
from ...model.address import MAX_NETWORKS
from ...model.filters import MAX_BYTES
from ...model.owner_types import DEFAULT_OWNER_TYPE
from ...model.pat import MAX_DESCRIPTION
from ...model.rights import ROTATE_SELF
from ...model.sorters import MAX_SORTERS, SORTABLE
from ...operations.json_patch import MAX_OPERATIONS, MAX_POINTER, MAX_TOKENS, NEEDS
from ...operations.listing import MOST
from ...operations.pat_patch import IN_BULK, PATAUTH_PATCHABLE
from ...operations.rotate import MAX_OVERLAP, MIN_OWN_OVERLAP
from ...operations.update import MAX_BULK
from ...settings import MAX_ACCESS_TOKEN_TTL, Settings
from ..bodies import MAX_JSON
from ..openapi.parts import (
    CALLER_FIELDS,
    DATE,
    NAME,
    OWNER_ID,
    OWNER_TYPE,
    PAT_ID,
    SCOPES,
    SECONDS,
    Description,
    Schema,
    answer,
    body,
    operation,
    parameter,
    ref,
    responses,
    schemas,
    words,
)
from . import routes
from .answer_types import RESPONSES, TYPES
from .routes import JSON, JSON_PATCH, MAX_LIMIT, MAX_OFFSET, VERSIONS, Version

_TAG = "Personal access tokens"
_ABOUT = words(f"""
    The management API of Identity Security Cloud. An operation needs a right, which is a scope that the
    caller holds: `my:read` is short for `idn:my-personal-access-tokens:read`, and so on. `manage` includes
    `read`; `all` includes `managed`, which includes `my`; `sp:scopes:all` lets its holder read and revoke
    their own PATs. To a caller without the right to it, a PAT of another owner does not exist. JSON is read
    strictly (RFC 8259), up to {MAX_JSON} bytes, and unknown fields are refused. What the vendor's own
    description of these calls does not have begins with "patauth's own".
""")
_OURS = "patauth's own. "

_REFUSALS = ("Isc400", "Isc401", "Isc403", "Limited429", "Isc500", "Isc503")
_OF_BODY = ("Isc413", "Isc415")

# -- requests ----------------------------------------------------------------------------------------------

_CREATE: dict[str, Schema] = {
    "name": NAME,
    "scope": {**SCOPES, "description": "Null or left out: `sp:scopes:all`. At most what the caller holds."},
    "accessTokenValiditySeconds": {**SECONDS, "description": f"Null or left out: {MAX_ACCESS_TOKEN_TTL}."},
    "owner": {
        "description": f"{_OURS}Null or left out: the caller. To give it takes the right `all:manage`."
    },
}
_SHORT = {
    **DATE,
    "description": "In the future, at most 6 months from creation. Null or left out: 6 months.",
}
_LONG = {
    **DATE,
    "description": "In the future. Null or left out: never, where policy allows it and it is acknowledged.",
}
_PATAUTH_MEMBERS: dict[str, Schema] = {
    "description": {
        **NAME,
        "description": f"{_OURS}What people should know of it. Read in Unicode's form NFC.",
        "maxLength": MAX_DESCRIPTION,
    },
    "networks": {
        "description": f"{_OURS}Where it may be used, such as `203.0.113.0/24`; an empty list: everywhere."
        " Within those of the PAT that calls. Null or left out: the same as those.",
        "items": {"type": "string", "format": "cidr"},
        "maxItems": MAX_NETWORKS,
    },
    "notBefore": {
        **DATE,
        "description": f"{_OURS}From when on it may be used. Null or left out: at once.",
    },
    "requestQuota": {
        "description": f"{_OURS}Requests per seconds, such as `100/10`. Null or left out: as the PAT that"
        " calls, or the setting, which are also the most.",
        "pattern": "^[1-9][0-9]{0,6}/[1-9][0-9]{0,4}$",
    },
}
_OVERLAP: Schema = {
    "description": "Seconds for which the previous secret stays good. Null or left out: an hour.",
    "maximum": int(MAX_OVERLAP.total_seconds()),
}
_AWARE = {"description": "Acknowledges that the PAT never expires; changes nothing by itself."}


def _request_schemas(settings: Settings) -> dict[str, Schema]:
    types = {
        "CreatePat": routes.Create,
        "CreatePatOrNever": routes.CreateOrNever,
        "CreatePatV1": routes.CreateV1,
        "OwnerToBe": routes.OwnerToBe,
        "BulkUpdate": routes.Bulk,
        "Rotation": routes.Rotation,
    }
    owner_types = settings.owner_types or OWNER_TYPE["enum"]
    or_never = {**_CREATE, "expirationDate": _LONG, "userAwareTokenNeverExpires": _AWARE}
    rules: dict[str, dict[str, Schema]] = {
        "CreatePat": {**_CREATE, "expirationDate": _SHORT},
        "CreatePatOrNever": or_never,
        "CreatePatV1": {**or_never, **_PATAUTH_MEMBERS},
        "OwnerToBe": {
            "id": OWNER_ID,
            "name": {**NAME, "description": "Null or left out: the id."},
            "type": {
                "enum": list(owner_types),
                "description": f"Null or left out: {DEFAULT_OWNER_TYPE}, if that is allowed.",
            },
        },
        "BulkUpdate": {
            "ids": {
                "items": {"type": "string", **PAT_ID},
                "minItems": 1,
                "maxItems": MAX_BULK,
                "uniqueItems": True,
            },
            "patch": patch_schema("BulkUpdate", IN_BULK),
        },
        "Rotation": {"overlapSeconds": {**_OVERLAP, "minimum": 0}},
    }
    own_rotation = {"overlapSeconds": {**_OVERLAP, "minimum": int(MIN_OWN_OVERLAP.total_seconds())}}
    found = schemas(types, rules)
    found |= schemas({"SelfRotation": routes.Rotation}, {"SelfRotation": own_rotation})
    # A type cannot say that a client must acknowledge a PAT that never expires. Generators of clients take
    # `anyOf` for other types, and pass over `if`.
    for name in ("CreatePatOrNever", "CreatePatV1"):
        found[name] |= {
            "if": {"properties": {"expirationDate": {"type": "null"}}},
            "then": {
                "properties": {"userAwareTokenNeverExpires": {"const": True}},
                "required": ["userAwareTokenNeverExpires"],
            },
        }
    return found


def patch_schema(name: str, fields: tuple[str, ...]) -> Schema:
    """Return the schema of a JSON Patch (RFC 6902) of these members, as it is read.

    Generators of clients name the types of its operations by their titles, which begin with `name`.
    """
    below = f"(?:/(?:[^~/]|~[01])*){{0,{MAX_TOKENS - 1}}}"
    pointer: Schema = {
        "type": "string",
        "description": f"A JSON Pointer to, or into, one of: {', '.join(fields)}.",
        "pattern": f"^/(?:{'|'.join(fields)}){below}$",
        "maxLength": MAX_POINTER,
    }
    kinds = []
    for need, title in (("value", "Set"), ("from", "Move"), (None, "Remove")):
        operations = [op for op, needed in NEEDS.items() if needed == need]
        members: Schema = {"op": {"enum": operations}, "path": pointer}
        if need == "from":
            members["from"] = pointer
        elif need:
            members["value"] = {
                "description": "The new value; for a `test`, the value that the member must have."
            }
        kinds.append(_object(name + title, members, [member for member in ("op", "path", need) if member]))
        if need == "value" and "expirationDate" in fields:
            date = {"const": "/expirationDate", "description": "A missing value means null: never."}
            kinds.append(_object(f"{name}NeverExpire", {**members, "path": date}, ["op", "path"]))
        if need == "value" and set(PATAUTH_PATCHABLE) <= set(fields):
            empty = {
                "enum": [f"/{one}" for one in PATAUTH_PATCHABLE],
                "description": "A missing value means null: none.",
            }
            kinds.append(_object(f"{name}Empty", {**members, "path": empty}, ["op", "path"]))
    return {"type": "array", "items": {"anyOf": kinds}, "minItems": 1, "maxItems": MAX_OPERATIONS}


def _object(title: str, members: Schema, required: list[str]) -> Schema:
    return {"title": title, "type": "object", "properties": members, "required": required}


_FILTERS = words(f"""
    Comparisons joined by `and`, `or` and `not`, with parentheses; `not` binds closest, then `and`. All
    words are in lower case as here, separated by blanks. `lastUsed` and `expirationDate`: `lt`, `le`, `gt`,
    `ge` and an RFC 3339 date-time without quotes, or `isnull`; `created`: the same without `isnull`.
    `name`: `eq`, `sw` (starts with) or `co` (contains) and a text in double quotes; `description`: `co` and
    a text. `id` and `state`: `eq`
    and a text, or `in ("…", "…")`; a state is `active`, `not_yet`, `expired`, `disabled` or `revoked`.
    `revokedAt`: `lt`, `le`, `gt`, `ge` and a date-time. Removed PATs are listed alone, and only if a filter
    asks for them: by `state eq "revoked"` or `revokedAt`, not negated. In a text, write `\\` before `"` and
    `\\`. A comparison with a value that a PAT does not have is false. At most {MAX_BYTES} bytes of UTF-8.
    Everything outside of this grammar is refused. `lastUsed le` and `lastUsed isnull` are the vendor's, the
    rest is patauth's own.
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
        f"{_OURS}Fields to sort by, the most important first, each once; `-` before a field descends. A PAT"
        " that was never used comes before all dates, one that never expires or was not removed after all.",
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
        f"{_OURS}How many to return at most. Left out: all; if there are more than {MOST}, 400 asks for a"
        " limit.",
        {"type": "integer", "minimum": 0, "maximum": MAX_LIMIT},
    ),
    parameter(
        "query",
        "offset",
        _OURS + "How many to skip.",
        {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0},
    ),
    parameter(
        "query",
        "count",
        _OURS + "Whether to send `X-Total-Count`, the number of all PATs that match.",
        {"type": "boolean", "default": False},
    ),
]
_REASON = parameter(
    "query",
    "reason",
    f"{_OURS}Why, for people: shown with the PAT until its retention is over.",
    {"type": "string", "minLength": 1, "maxLength": MAX_DESCRIPTION, "pattern": NAME["pattern"]},
)
_PAT_ID = parameter("path", "id", "The PAT's id.", {"type": "string", **PAT_ID})

_MANAGES = "One's own PAT needs `my:manage`, another's `all:manage`."
_ACKNOWLEDGED = " To remove the expiry, set `userAwareTokenNeverExpires` to true in the same patch."

# -- operations --------------------------------------------------------------------------------------------


def describe(authority: Authority) -> Description:
    """Return the description of this surface, in all versions."""
    settings = authority.settings
    found = {**_request_schemas(settings), **schemas({kind.__name__: kind for kind in TYPES})}
    paths: dict[str, dict[str, Any]] = {}
    for name, version in VERSIONS.items():
        schema = _named("PatPatch", version)
        found[schema] = patch_schema(schema, version.patchable)
        _describe_version(paths, settings.path_prefix + version.path, name.capitalize(), version)
    return Description({"name": _TAG, "description": _ABOUT}, paths, found, RESPONSES)


def _named(schema: str, version: Version) -> str:
    if version.full:
        return schema + "V1"
    return schema + ("OrNever" if version.knows_never else "")


def _describe_version(paths: dict[str, dict[str, Any]], base: str, name: str, version: Version) -> None:
    shown = ref("ShownPatV1" if version.full else _named("ShownPat", version))
    some = {"type": "array", "items": shown}
    kind = "IssuedPatV1" if version.full else "IssuedPat"
    issued = answer("The PAT, with its secret.", ref(kind), maybe=CALLER_FIELDS)
    removed = answer("The PAT and its access tokens are gone for good.", maybe=CALLER_FIELDS)

    paths[base] = {
        "get": _operation(
            f"listPats{name}",
            "List PATs",
            {"200": answer("The PATs.", some, maybe=["X-Total-Count", "X-CSRF-Token", *CALLER_FIELDS])},
            "An expired PAT is listed until its retention is over, and so is a removed one if the filter asks"
            " for these. `me` needs `my:read`, an owner whom the"
            " caller manages `managed:read`, everything else `all:read`.",
            parameters=_LIST,
        ),
        "post": _operation(
            f"createPat{name}",
            "Create a PAT",
            {"200": issued, **responses(*_OF_BODY)},
            f"Its scopes and lifetime are at most those of the caller. {_MANAGES}",
            requestBody=body({JSON: ref(_named("CreatePat", version))}),
        ),
    }
    one: dict[str, Any] = {
        "parameters": [_PAT_ID],
        "patch": _operation(
            f"patchPat{name}",
            "Change a PAT",
            {
                "200": answer("The changed PAT.", shown, maybe=CALLER_FIELDS),
                **responses("Isc404", "Isc413", "IscPatch415"),
            },
            "All operations are applied, or none. Access tokens that were issued before keep their scopes."
            f"{_ACKNOWLEDGED if version.knows_never else ''} {_MANAGES}",
            requestBody=body({JSON_PATCH: ref(_named("PatPatch", version))}),
        ),
        "delete": _operation(
            f"deletePat{name}",
            "Revoke a PAT",
            {"204": removed, **responses("Isc404")},
            f"The answer comes once the end is durable. It is safe to repeat. {_MANAGES}",
            **({"parameters": [_REASON]} if version.full else {}),
        ),
    }
    paths[base + "/{id}"] = one
    if not version.full:
        return

    read = {"200": answer("The PAT.", shown, maybe=["X-CSRF-Token", *CALLER_FIELDS]), **responses("Isc404")}
    rights = _OURS + (
        "One's own PAT needs `my:read`, that of an owner whom the caller manages `managed:read`, and all"
        " others `all:read`."
    )
    one["get"] = _operation(f"getPat{name}", "Get a PAT", read, f"{rights} A removed one is shown, too.")
    paths[base + "/{id}/rotate"] = {
        "parameters": [_PAT_ID],
        "post": _operation(
            f"rotatePat{name}",
            "Give a PAT a new secret",
            {"200": issued, **responses("Isc404", *_OF_BODY)},
            f"{_OURS}Id, name, scopes and expiry stay. A secret's access tokens end with the secret."
            f" {_MANAGES}",
            requestBody=body({JSON: ref("Rotation")}, required=False),
        ),
    }
    paths[base + "/{id}/disable"] = {
        "parameters": [_PAT_ID],
        "post": _operation(
            f"disablePat{name}",
            "Disable a PAT",
            {"200": answer("The disabled PAT.", shown, maybe=CALLER_FIELDS), **responses("Isc404")},
            f"{_OURS}It and its access tokens are refused until it is enabled. The answer comes once that is"
            f" durable. {_MANAGES}",
        ),
    }
    paths[base + "/{id}/enable"] = {
        "parameters": [_PAT_ID],
        "post": _operation(
            f"enablePat{name}",
            "Enable a PAT",
            {
                "200": answer("The PAT, which stays disabled if its owner is.", shown, maybe=CALLER_FIELDS),
                **responses("Isc404"),
            },
            f"{_OURS}What the application or a holder of `all:manage` has disabled, only such enable."
            f" {_MANAGES}",
        ),
    }
    paths[base + "/self/rotate"] = {
        "post": _operation(
            f"rotatePresentedPat{name}",
            "Give the PAT that calls a new secret",
            {"200": issued, **responses("Isc404", *_OF_BODY)},
            f"{_OURS}This needs the scope `{ROTATE_SELF}` and the current secret; an access token will not"
            f" do.",
            requestBody=body({JSON: ref("SelfRotation")}, required=False),
        ),
    }
    paths[base + "/self"] = {
        "get": _operation(
            f"getPresentedPat{name}", "Get the PAT that calls", read, f"{_OURS}This needs no right."
        ),
        "delete": _operation(
            f"deletePresentedPat{name}",
            "Revoke the PAT that calls",
            {"204": removed, **responses("Isc404")},
            f"{_OURS}This needs no right: anybody who finds a secret can end it. An access token cannot: it"
            " can end only itself.",
            parameters=[_REASON],
        ),
    }
    bulk = {"200": answer("The PATs, in the order of their ids.", some, maybe=CALLER_FIELDS)}
    for method, refusals in (("patch", ("Isc413", "IscPatch415")), ("post", _OF_BODY)):
        paths.setdefault(base + "/bulk-update", {})[method] = _operation(
            f"{'patchPats' if method == 'patch' else 'updatePats'}{name}",
            "Change the expiry of several PATs",
            {**bulk, **responses(*refusals)},
            "All PATs are checked first. Those of one owner then change together or not at all."
            f"{_ACKNOWLEDGED} This needs `all:manage`.",
            requestBody=body({JSON: ref("BulkUpdate")}),
        )


def _operation(name: str, summary: str, answers: dict[str, Any], about: str, **more: Any) -> dict[str, Any]:
    return operation(name, summary, _TAG, {**answers, **responses(*_REFUSALS)}, about, **more)
