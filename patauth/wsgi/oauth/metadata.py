"""`/.well-known/oauth-authorization-server`: what clients find out about the token endpoint (RFC 8414).

Published only where the setting `issuer` says what the outside calls us: never from a Host header, which
anybody may write. It lists what works, and nothing besides. `/.well-known/openid-configuration` answers the
same, because many clients look there alone (RFC 8414 §5).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ...settings import Settings
from ..answers import Answer, MethodNotAllowed, json_answer, oauth_error

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]
_WELL_KNOWN = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")


def metadata(settings: Settings) -> dict[str, Any] | None:
    """The authorization server's metadata (RFC 8414 §2); None without an `issuer`.

    The token endpoint is the issuer's origin, `path_prefix` and `/oauth/token`. An issuer's path that does
    not end in `path_prefix` is taken for where the application is mounted, and stands before that prefix.
    """
    if settings.issuer is None:
        return None
    prefix = "" if ends_in_prefix(settings) else settings.path_prefix
    found: dict[str, Any] = {
        "issuer": settings.issuer,
        "token_endpoint": f"{settings.issuer}{prefix}/oauth/token",
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": _AUTH_METHODS,
        "introspection_endpoint": f"{settings.issuer}{prefix}/oauth/introspect",
        "introspection_endpoint_auth_methods_supported": [*_AUTH_METHODS, "Bearer"],
        "revocation_endpoint": f"{settings.issuer}{prefix}/oauth/revoke",
        "revocation_endpoint_auth_methods_supported": _AUTH_METHODS,
        # Required, although there is no authorization endpoint whose responses they would be.
        "response_types_supported": [],
    }
    if settings.signs_tokens:
        found["jwks_uri"] = f"{settings.issuer}{prefix}/oauth/jwks"
    if settings.scopes:
        found["scopes_supported"] = list(settings.scopes)
    return found


def routes(settings: Settings) -> dict[str, Callable[[WSGIEnvironment], Answer]]:
    """The metadata's routes by path, for GET and HEAD; each renders its errors. No issuer, no routes.

    Clients insert the well-known part before the issuer's path (RFC 8414 §3.1) or append it (its §5); both
    forms are here, as the application sees them, and the one under `path_prefix`.
    """
    found = metadata(settings)
    if found is None:
        return {}
    inside = settings.path_prefix if ends_in_prefix(settings) else ""
    path = urlsplit(settings.issuer or "").path
    answer = partial(_answer, json_answer(200, found), settings.realm)
    return {
        place: answer
        for known in _WELL_KNOWN
        for place in (settings.path_prefix + known, inside + known, known + path)
    }


def ends_in_prefix(settings: Settings) -> bool:
    """Whether the issuer's path leads to patauth's routes, and not only to the application around them."""
    return urlsplit(settings.issuer or "").path.endswith(settings.path_prefix)


def _answer(found: Answer, realm: str, environ: WSGIEnvironment) -> Answer:
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        return oauth_error(MethodNotAllowed("GET, HEAD"), realm)
    return found
