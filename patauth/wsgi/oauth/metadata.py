"""`/.well-known/oauth-authorization-server`: what clients learn about the token endpoint (RFC 8414).

It is published only where the setting `issuer` says how clients reach patauth. A Host header has no part in
it, because anybody may write one. `/.well-known/openid-configuration` answers the same, because many clients
look only there (RFC 8414 §5).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from ...settings import Settings
from ..answers import json_answer
from ..routing import Route, get_only, issuer_base

_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]
_WELL_KNOWN = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")


def metadata(settings: Settings) -> dict[str, Any] | None:
    """Return the authorization server's metadata (RFC 8414 §2), or None without an `issuer`.

    An issuer whose path does not end in `path_prefix` is the URL at which the application is mounted, and
    `path_prefix` follows it.
    """
    if settings.issuer is None:
        return None
    base = f"{issuer_base(settings.issuer, settings)}{settings.path_prefix}/oauth"
    found: dict[str, Any] = {
        "issuer": settings.issuer,
        "token_endpoint": f"{base}/token",
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": _AUTH_METHODS,
        "introspection_endpoint": f"{base}/introspect",
        "introspection_endpoint_auth_methods_supported": [*_AUTH_METHODS, "Bearer"],
        "revocation_endpoint": f"{base}/revoke",
        "revocation_endpoint_auth_methods_supported": _AUTH_METHODS,
        # RFC 8414 requires it, although there is no authorization endpoint that could send a response.
        "response_types_supported": [],
    }
    if settings.signs_tokens:
        found["jwks_uri"] = f"{base}/jwks"
    if settings.scopes:
        found["scopes_supported"] = list(settings.scopes)
    return found


def routes(settings: Settings) -> dict[str, Route]:
    """Return the metadata's routes by path; none without an `issuer`.

    Clients insert the well-known part before the issuer's path (RFC 8414 §3.1) or append it (RFC 8414 §5).
    The paths are those of both forms, as the application sees them, and the one below `path_prefix`.
    """
    found = metadata(settings)
    if found is None:
        return {}
    issuer = found["issuer"]
    inside = issuer.removeprefix(issuer_base(issuer, settings))  # its path, as the application sees it
    answer = json_answer(200, found)
    route = get_only(lambda: answer)
    return {
        path: route
        for known in _WELL_KNOWN
        for path in (settings.path_prefix + known, inside + known, known + urlsplit(issuer).path)
    }
