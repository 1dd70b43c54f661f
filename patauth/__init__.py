"""patauth: personal access tokens for any WSGI or ASGI app.

A PAT is an id and a secret that a person or a service account keeps. patauth verifies it against Redis or
Valkey, exchanges it for a short-lived access token with its scopes, limits requests, and revokes at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__
from .errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    InsufficientScope,
    InvalidCredentials,
    InvalidRequest,
    InvalidScope,
    InvalidToken,
    MissingCredentials,
    NotFound,
    Overloaded,
    PatAuthError,
    RateLimited,
    StoreUnavailable,
)

if TYPE_CHECKING:
    from .authority import Authority
    from .jwt.verifier import JWTVerifier
    from .model.caller import Person, Principal
    from .model.pat import Disabled, IssuedPat, Owner, PersonalAccessToken, Requester
    from .model.quota import Quota
    from .operations.exchange import Access
    from .operations.introspect import Introspection
    from .operations.listing import Listing
    from .settings import Settings
    from .wsgi.cors import Cors
    from .wsgi.metrics import metrics_app
    from .wsgi.middleware import PatAuthMiddleware
    from .wsgi.require import require_scope

__all__ = [
    "Access",
    "Authority",
    "ConfigurationError",
    "Conflict",
    "Cors",
    "Disabled",
    "Forbidden",
    "InsufficientScope",
    "Introspection",
    "InvalidCredentials",
    "InvalidRequest",
    "InvalidScope",
    "InvalidToken",
    "IssuedPat",
    "JWTVerifier",
    "Listing",
    "MissingCredentials",
    "NotFound",
    "Overloaded",
    "Owner",
    "PatAuthError",
    "PatAuthMiddleware",
    "Person",
    "PersonalAccessToken",
    "Principal",
    "Quota",
    "RateLimited",
    "Requester",
    "Settings",
    "StoreUnavailable",
    "metrics_app",
    "require_scope",
]

# These are imported at their first use. It takes 0.2 s to import them all, and each run of pytest in an
# environment with patauth imports this package, for its plugin (testing.py).
_LATE = {
    "Access": ".operations.exchange",
    "Authority": ".authority",
    "Cors": ".wsgi.cors",
    "Disabled": ".model.pat",
    "Introspection": ".operations.introspect",
    "IssuedPat": ".model.pat",
    "JWTVerifier": ".jwt.verifier",
    "Listing": ".operations.listing",
    "Owner": ".model.pat",
    "PatAuthMiddleware": ".wsgi.middleware",
    "Person": ".model.caller",
    "PersonalAccessToken": ".model.pat",
    "Principal": ".model.caller",
    "Quota": ".model.quota",
    "Requester": ".model.pat",
    "Settings": ".settings",
    "metrics_app": ".wsgi.metrics",
    "require_scope": ".wsgi.require",
}

if not TYPE_CHECKING:  # a type checker would take any name

    def __getattr__(name: str) -> Any:
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_LATE[name], __name__), name)
        return found

    def __dir__() -> list[str]:
        return [*__all__, "__version__"]
