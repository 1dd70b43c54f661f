"""patauth: personal access tokens for any WSGI app.

A PAT is an id and a secret that a person or a service account keeps. patauth verifies it against Redis or
Valkey, exchanges it for a short-lived access token with its scopes, limits requests, and revokes at once.
"""

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
from .jwt.verifier import JWTVerifier
from .model.caller import Person, Principal
from .model.pat import IssuedPat, Owner, PersonalAccessToken
from .model.quota import Quota
from .operations.exchange import Access
from .operations.introspect import Introspection
from .operations.listing import Listing
from .settings import Settings
from .wsgi.middleware import PatAuthMiddleware
from .wsgi.require import require_scope

__all__ = [
    "Access",
    "Authority",
    "ConfigurationError",
    "Conflict",
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
    "Settings",
    "StoreUnavailable",
    "require_scope",
]
