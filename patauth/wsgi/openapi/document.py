"""`GET /openapi.json`: what patauth's own routes take and answer, in OpenAPI 3.1.

It speaks of the surfaces that are on (descriptions/), and of nothing secret: it is public, costs no call to
the store, and is the same at every request. Where the routes are is told by the setting `issuer`, or else
relative to the document: never by a Host header, which anybody may write.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from typing import TYPE_CHECKING, Any

from ..._version import __version__
from ...authority import Authority
from ...settings import Settings
from ..answers import Answer, MethodNotAllowed, json_answer, oauth_error
from ..oauth.metadata import ends_in_prefix
from .parts import HEADERS, RESPONSES, SCHEMAS, SHARED, Description, answer, words

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

OPENAPI = "3.1.0"

_ABOUT = words("""
    Personal access tokens: verified, exchanged, limited and revoked. Wherever GET is answered, HEAD is;
    other methods than those of a path get 405 with `Allow`. Instants are RFC 3339 date-times. A `429` and a
    `503` say in `Retry-After` how long to wait.
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


def document(
    settings: Settings, surfaces: Collection[str], *, publishes_keys: bool = False
) -> dict[str, Any]:
    """The description of these surfaces under these settings."""
    found = _descriptions(settings, surfaces, publishes_keys)
    return {
        "openapi": OPENAPI,
        "info": {"title": "patauth", "version": __version__, "description": _ABOUT},
        "servers": [{"url": _server(settings)}],
        "security": [{"basic": []}, {"bearer": []}],
        "tags": [description.tag for description in found],
        "paths": _joined(description.paths for description in found),
        "components": {
            "schemas": {**SCHEMAS, **_joined(description.schemas for description in found)},
            "responses": {**RESPONSES, **_joined(description.responses for description in found)},
            "headers": {name: HEADERS[name] for name in SHARED},
            "securitySchemes": _SECURITY,
        },
    }


def routes(authority: Authority, surfaces: Collection[str]) -> dict[str, Callable[[WSGIEnvironment], Answer]]:
    """The document's route by its path, for GET and HEAD; it is made at the first request for it."""
    settings = authority.settings

    @cache
    def made() -> Answer:
        return json_answer(
            200, document(settings, surfaces, publishes_keys=authority.operations.publishes_keys)
        )

    def respond(environ: WSGIEnvironment) -> Answer:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return oauth_error(MethodNotAllowed("GET, HEAD"), settings.realm)
        return made()

    return {_path(settings): respond}


def _path(settings: Settings) -> str:
    return f"{settings.path_prefix}/openapi.json"


def _descriptions(settings: Settings, surfaces: Collection[str], publishes_keys: bool) -> list[Description]:
    # Imported late: most processes never make the document.
    found = []
    if "oauth" in surfaces:
        from ..oauth import description as oauth

        found.append(oauth.describe(settings, publishes_keys))
    if "isc" in surfaces:
        from ..isc import description as isc

        found.append(isc.describe(settings))
    if "zitadel" in surfaces:
        from ..zitadel import description as zitadel

        found.append(zitadel.describe(settings))
    if "openapi" in surfaces:
        found.append(_of_itself(settings))
    return found


def _of_itself(settings: Settings) -> Description:
    operation = {
        "operationId": "getDescription",
        "summary": "Describe this API",
        "tags": ["Description"],
        "security": [],
        "responses": {"200": answer("This document.", {"type": "object"})},
    }
    about = {"name": "Description", "description": "This document."}
    return Description(about, {_path(settings): {"get": operation}}, {}, {})


def _joined(parts: Any) -> dict[str, Any]:
    """One of several, of which none may hide another's."""
    found: dict[str, Any] = {}
    for part in parts:
        assert found.keys().isdisjoint(part)
        found.update(part)
    return found


def _server(settings: Settings) -> str:
    """Where the application is mounted, as paths have `path_prefix`: by the issuer, or as seen from here."""
    if settings.issuer is not None:
        return settings.issuer.removesuffix(settings.path_prefix if ends_in_prefix(settings) else "")
    return "/".join([".."] * settings.path_prefix.count("/")) or "."
