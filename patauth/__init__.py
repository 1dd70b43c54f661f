"""patauth: personal access tokens for any WSGI app.

A PAT is an id and a secret that a person or a service account keeps. patauth verifies it against Redis or
Valkey, exchanges it for a short-lived access token with its scopes, limits requests, and revokes at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__ as __version__
from .authority import Authority
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
from .model.caller import Person, Principal
from .model.pat import Disabled, IssuedPat, Owner, PersonalAccessToken, Requester
from .model.quota import Quota
from .operations.exchange import Access
from .operations.introspect import Introspection
from .settings import Settings
from .wsgi.cors import Cors
from .wsgi.middleware import PatAuthMiddleware
from .wsgi.require import require_scope

if TYPE_CHECKING:
    from .jwt.verifier import JWTVerifier
    from .operations.listing import Listing

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
    "require_scope",
]

# What few need takes a fifth of the time of importing patauth.
_LATE = {"JWTVerifier": ".jwt.verifier", "Listing": ".operations.listing"}

if not TYPE_CHECKING:  # a type checker would take any name

    def __getattr__(name: str) -> Any:
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_LATE[name], __name__), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *_LATE})
