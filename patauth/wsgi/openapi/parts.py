"""The parts that the descriptions of all surfaces share: schemas from types, parameters, headers, answers.

A description is data in the terms of OpenAPI 3.1. Its schemas come from the types that read requests. Rules
that a type cannot express are added as JSON Schema, with numbers from the modules that decide them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from ...errors import InvalidRequest
from ...model.owner_types import OWNER_TYPES
from ...model.pat import ID, MAX_NAME, NOT_IN_NAME
from ...model.scopes import MAX_LENGTH, MAX_SCOPES, SCOPE_TOKEN
from ...settings import MAX_ACCESS_TOKEN_TTL, MIN_ACCESS_TOKEN_TTL
from ..answers import LIMITED

Schema = dict[str, Any]

_SCHEMAS = "#/components/schemas/"


class Description(NamedTuple):
    """Describes one surface: its path items by path, and the components that they refer to."""

    tag: dict[str, str]
    paths: dict[str, dict[str, Any]]
    schemas: Mapping[str, Schema]
    responses: Mapping[str, dict[str, Any]]


# -- rules of single values --------------------------------------------------------------------------------

# Blanks that are no controls. A name must have at least one other character.
_BLANKS = r"\x20\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
# Lone surrogates are refused where JSON is read, and some regular-expression engines reject such a pattern.
_NO_NAME = NOT_IN_NAME.pattern[1:-1].replace(r"\ud800-\udfff", "")

DATE: Schema = {"format": "date-time"}
PAT_ID: Schema = {"pattern": "^[0-9a-f]{32}$"}
OWNER_ID: Schema = {"pattern": f"^{ID.pattern}$", "not": {"const": "me"}}
OWNER_TYPE: Schema = {"enum": sorted(OWNER_TYPES)}
NAME: Schema = {
    "description": "Read in Unicode's form NFC, in which its length counts. Unique per owner.",
    "minLength": 1,
    "maxLength": MAX_NAME,
    "pattern": f"^[^{_NO_NAME}]*[^{_NO_NAME}{_BLANKS}][^{_NO_NAME}]*$",
}
SCOPE: Schema = {"format": "scope-token", "pattern": f"^{SCOPE_TOKEN.pattern}$", "maxLength": MAX_LENGTH}
SCOPES: Schema = {"items": {"type": "string", **SCOPE}, "minItems": 1, "maxItems": MAX_SCOPES}
SECONDS: Schema = {
    "description": "Lifetime of the access tokens that the PAT is exchanged for, in seconds.",
    "minimum": MIN_ACCESS_TOKEN_TTL,
    "maximum": MAX_ACCESS_TOKEN_TTL,
}


def up_to(most: int) -> str:
    """Return a pattern of the decimal texts of 0 to `most`, which is at least 10."""
    digits = str(most)
    found = ["0", f"[1-9][0-9]{{0,{len(digits) - 2}}}"]
    for place, digit in enumerate(digits):  # texts as long as `most` that first differ, and are less, here
        low, high = int(place == 0), int(digit) - 1
        if low <= high:
            found.append(f"{digits[:place]}[{low}-{high}][0-9]{{{len(digits) - place - 1}}}")
    return f"(?:{'|'.join([*found, digits])})"


# -- schemas -----------------------------------------------------------------------------------------------


def ref(name: str) -> Schema:
    """Return a reference to a schema of the components."""
    return {"$ref": _SCHEMAS + name}


def schemas(
    types: Mapping[str, Any], rules: Mapping[str, Mapping[str, Schema]] | None = None
) -> dict[str, Schema]:
    """Return the schemas of types by their public names, and those of the types that they contain.

    `rules` has, by public name and member, what holds of the member where it is not null.
    """
    _, found = msgspec.json.schema_components(types.values(), ref_template=_SCHEMAS + "{name}")
    names = {kind.__name__: name for name, kind in types.items()}
    named = {names.get(name, name.lstrip("_")): _renamed(schema, names) for name, schema in found.items()}
    for name, members in (rules or {}).items():
        for member, rule in members.items():
            _not_null(named[name]["properties"][member]).update(rule)
    return named


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    """Return a schema with references by public names.

    Leave out titles, which only repeat the names, and defaults of null, which say nothing. Generators of
    clients demand a member that has a default.
    """
    if isinstance(schema, list):
        return [_renamed(item, names) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _renamed(value, names) for key, value in schema.items() if not _says_nothing(key, value)}
    if "$ref" in found:
        name = found["$ref"].removeprefix(_SCHEMAS)
        found["$ref"] = _SCHEMAS + names.get(name, name.lstrip("_"))
    if "enum" in found and {"type": "null"} in found.get("anyOf", ()):
        found["enum"] = [*found["enum"], None]  # the enum of a `... | None` is not meant to exclude None
    return found


def _says_nothing(key: str, value: Any) -> bool:
    # A member that is called title is an object.
    return (key == "title" and isinstance(value, str)) or (key == "default" and value is None)


def _not_null(schema: Schema) -> Schema:
    for branch in schema.get("anyOf", ()):
        if branch.get("type") != "null":
            return branch  # type: ignore[no-any-return]
    return schema


# -- headers and answers -----------------------------------------------------------------------------------


def _header(description: str, **schema: Any) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string", **schema}}


HEADERS: Mapping[str, dict[str, Any]] = {
    "Accept-Encoding": _header("The content codings that are read, if that of the body is not one of them."),
    "Accept-Patch": _header("The media types that a PATCH takes (RFC 5789 §3.1)."),
    "Allow": _header("The methods of this path (RFC 9110 §10.2.1)."),
    "Content-Language": _header("The language of `messages` (RFC 9110 §8.5)."),
    "PatAuth-Expires": _header(
        "When the PAT expires, or in the overlap of a rotation the secret, if that is near.",
        examples=["Sun, 06 Nov 1994 08:49:37 GMT"],
    ),
    "RateLimit": _header(
        "What is left of the quota, and in how many seconds more is available"
        " (draft-ietf-httpapi-ratelimit-headers-10 §4.1).",
        pattern='^"[a-z]+";r=[0-9]+;t=[0-9]+$',
        examples=['"requests";r=99;t=1'],
    ),
    "RateLimit-Policy": _header(
        "The quota: requests and seconds (draft-ietf-httpapi-ratelimit-headers-10 §3.1).",
        pattern='^"[a-z]+";q=[0-9]+;w=[0-9]+$',
        examples=['"requests";q=100;w=10'],
    ),
    "Retry-After": _header("Whole seconds to wait.", type="integer", minimum=1),
    "WWW-Authenticate": _header("The challenges (RFC 9110 §11.6.1), in one line or several."),
    "X-CSRF-Token": _header("For a signed-in person: to be sent with every request that changes something."),
    "X-Total-Count": _header("The number of all PATs that match.", type="integer", minimum=0),
}


def answer(
    about: str,
    content: Schema | None = None,
    *,
    always: Iterable[str] = (),
    maybe: Iterable[str] = (),
    cached: str = "no-store",
) -> dict[str, Any]:
    """Return a response with JSON of a schema, or without content; `always` and `maybe` name its headers."""
    found: dict[str, Any] = {"description": about, "headers": {}}
    for name in always:
        found["headers"][name] = {**HEADERS[name], "required": True}
    found["headers"]["Cache-Control"] = {**_header("What caches may do.", const=cached), "required": True}
    for name in maybe:
        found["headers"][name] = {"$ref": f"#/components/headers/{name}"}
    if content is not None:
        found["content"] = {"application/json": {"schema": content}}
    return found


# What a refusal of a management dialect means, by its status.
REFUSALS: Mapping[str, str] = {
    "400": "The request is malformed, or what it asks for is against a rule.",
    "401": "The credentials are missing or refused.",
    "403": "The caller has no right to this.",
    "404": "There is no such PAT for the caller.",
    "409": "The owner has a PAT of that name already.",
    "413": "The body is too large.",
    "415": "The body is of another media type.",
    "429": "A quota is used up.",
    "500": "A fault of this server.",
    "503": "The store did not answer in time, or no hash slot was free.",
}
_CHALLENGE = ("WWW-Authenticate",)
_WAIT = ("Retry-After",)
_CODINGS = ("Accept-Encoding",)


def refusal(status: str, content: Schema, *always: str) -> dict[str, Any]:
    """Return the response of a refusal with the headers that every dialect sends; `always` adds to them."""
    required = {"401": _CHALLENGE, "429": _WAIT, "503": _WAIT}.get(status, ())
    maybe = {"403": _CHALLENGE, "415": _CODINGS}.get(status, ())
    return answer(REFUSALS[status], content, always=[*always, *required], maybe=[*maybe, *CALLER_FIELDS])


def responses(*names: str) -> dict[str, Any]:
    """Return responses of the components by status, in which their names end: `Isc404`."""
    return {name[-3:]: {"$ref": f"#/components/responses/{name}"} for name in names}


QUOTA = ("RateLimit", "RateLimit-Policy")
EXPIRY = ("PatAuth-Expires",)
CALLER_FIELDS = (*QUOTA, *EXPIRY)
# Headers that an answer may have. They are references, which cannot say that a header is required.
SHARED = (*CALLER_FIELDS, *_CODINGS, "WWW-Authenticate", "X-CSRF-Token", "X-Total-Count")

SCHEMAS: Mapping[str, Schema] = {
    "RateLimited": {
        "type": "object",
        "properties": {"message": {"const": LIMITED}},
        "required": ["message"],
        "additionalProperties": False,
    },
    "NotAllowed": {
        "type": "object",
        "properties": {"error": {"const": InvalidRequest.code}, "error_description": {"type": "string"}},
        "required": ["error", "error_description"],
        "additionalProperties": False,
    },
}
RESPONSES: Mapping[str, dict[str, Any]] = {
    "Limited429": refusal("429", ref("RateLimited")),
    "Get405": answer("The method is neither GET nor HEAD.", ref("NotAllowed"), always=["Allow"]),
}


# -- operations --------------------------------------------------------------------------------------------


def operation(
    name: str, summary: str, tag: str, answers: Mapping[str, Any], about: str | None = None, **more: Any
) -> dict[str, Any]:
    """Return an operation. `answers` are by status, and `about` describes what the summary does not say."""
    found = {"operationId": name, "summary": summary, "tags": [tag], **more}
    if about:
        found["description"] = about
    return {**found, "responses": dict(sorted(answers.items()))}


def body(media_types: Mapping[str, Schema], *, required: bool = True) -> dict[str, Any]:
    """Return a request body with a schema for each media type."""
    content = {media_type: {"schema": schema} for media_type, schema in media_types.items()}
    return {"required": required, "content": content}


def parameter(where: str, name: str, about: str, schema: Schema, **more: Any) -> dict[str, Any]:
    """Return a parameter; one of a path is required."""
    found = {"name": name, "in": where, "description": about, "schema": schema, **more}
    return {**found, "required": True} if where == "path" else found


def words(text: str) -> str:
    """Return a text of several lines as one line."""
    return re.sub(r"\s+", " ", text).strip()
