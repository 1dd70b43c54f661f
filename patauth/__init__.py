"""patauth: personal access tokens for any WSGI app.

A PAT is an id and a secret that a person or a service account keeps. patauth verifies it against Redis or
Valkey, exchanges it for a short-lived access token with its scopes, limits requests, and revokes at once.
"""

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
from .jwtverifier import JWTVerifier
from .listing import Listing
from .pat import IssuedPat, Owner, PersonalAccessToken
from .principal import Person, Principal
from .quota import Quota
from .settings import Settings
from .wsgi.middleware import PatAuthMiddleware
from .wsgi.require import require_scope

__version__ = "0.1.0"

__all__ = [
    "Authority",
    "ConfigurationError",
    "Conflict",
    "Forbidden",
    "InsufficientScope",
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
