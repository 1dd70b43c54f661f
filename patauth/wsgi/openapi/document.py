"""`GET /openapi.json`: what patauth's own routes take and answer, in OpenAPI 3.1.

The document describes the surfaces that are on, and holds nothing secret: it is public, costs no call to the
store, and is the same at every request. Its server is that of the setting `issuer`, or else relative to the
document. A Host header has no part in it, because anybody may write one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from ..._version import __version__
from ...settings import Settings
from ..answers import Answer, json_answer
from ..routing import Routes, get_only, issuer_base
from .parts import HEADERS, RESPONSES, SCHEMAS, SHARED, Description, answer, operation, responses, words

OPENAPI = "3.1.0"

_ABOUT = words("""
    Personal access tokens: verified, exchanged, limited and revoked. Every path that answers GET answers
    HEAD; a method that a path does not have gets 405 with `Allow`. Instants are RFC 3339 date-times. A `429`
    and a `503` say in `Retry-After` how long to wait.
""")
_SECURITY = {
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The PAT's id as user name, its secret as password.",
    },
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An access token, or the PAT token: id and secret in one string.",
    },
}


def document(settings: Settings, descriptions: Sequence[Description]) -> dict[str, Any]:
    """Return the document of these surfaces."""
    return {
        "openapi": OPENAPI,
        "info": {
            "title": "patauth",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": _server(settings)}],
        "security": [{"basic": []}, {"bearer": []}],
        "tags": [description.tag for description in descriptions],
        "paths": _joined(description.paths for description in descriptions),
        "components": {
            "schemas": _joined([SCHEMAS, *(description.schemas for description in descriptions)]),
            "responses": _joined([RESPONSES, *(description.responses for description in descriptions)]),
            "headers": {name: HEADERS[name] for name in SHARED},
            "securitySchemes": _SECURITY,
        },
    }


def routes(settings: Settings, descriptions: Callable[[], Sequence[Description]]) -> Routes:
    """Return the route of the document, which is made at the first request for it."""

    @cache
    def made() -> Answer:
        return json_answer(200, document(settings, descriptions()))

    return Routes({_path(settings): get_only(made)})


def describe(settings: Settings) -> Description:
    """Return the description of this surface."""
    answers = {"200": answer("This document.", {"type": "object"}), **responses("Get405")}
    get = operation("getDescription", "Describe this API", "Description", answers, security=[])
    tag = {"name": "Description", "description": "This document."}
    return Description(tag, {_path(settings): {"get": get}}, {}, {})


def _path(settings: Settings) -> str:
    return f"{settings.path_prefix}/openapi.json"


def _server(settings: Settings) -> str:
    """Return the URL at which the application is mounted: by the issuer, or relative to the document."""
    if settings.issuer is not None:
        return issuer_base(settings.issuer, settings)
    return "/".join([".."] * settings.path_prefix.count("/")) or "."


def _joined(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one mapping of several. No part may hide what another one has."""
    found: dict[str, Any] = {}
    for part in parts:
        assert found.keys().isdisjoint(part)
        found.update(part)
    return found
