"""Errors as the management API of Identity Security Cloud answers them (its ErrorResponseDto).

    {"detailCode", "trackingId", "messages", "causes"}     a 401 is {"error"}, a 429 {"message"}

`messages` say in the client's language what the status means, `causes` in English what was wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...errors import (
    Conflict,
    InsufficientScope,
    InvalidCredentials,
    InvalidToken,
    PatAuthError,
    RateLimited,
)
from .. import languages
from ..answers import Answer, Challenges, challenges, error_fields, json_answer, limited, log_tracked, message
from . import messages

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# What this API calls the fields of patauth, where it has another name for them.
NAMES: Mapping[str, str] = {
    "access_token_ttl": "accessTokenValiditySeconds",
    "expires_at": "expirationDate",
    "expires_in": "expirationDate",
    "expiry": "expirationDate",
    "never_acknowledged": "userAwareTokenNeverExpires",
    "never_expires": "userAwareTokenNeverExpires",
    "not_before": "notBefore",
    "operations": "patch",
    "overlap": "overlapSeconds",
    "owner_id": "owner-id",
    "request_quota": "requestQuota",
    **{f"owner {part}": f"owner.{part}" for part in ("id", "name", "type")},
}

_TOKEN_HAS_EXPIRED = "JWT validation failed: JWT is expired"  # noqa: S105 - the vendor's words

DETAIL_CODES = {
    400: "400.1 Bad Request Content",
    403: "403 Forbidden",
    404: "404 Not found",
    405: "405 Method not allowed",
    413: "413 Content too large",
    415: "415 Unsupported media type",
    500: "500.0 Internal Fault",
    503: "503 Service unavailable",
}


def isc_error(error: PatAuthError, environ: WSGIEnvironment, offered: Challenges) -> Answer:
    """Return an error in the form of this API; a conflict is 400 here.

    `environ` is the request's, for Accept-Language. The tracking id is in the answer and in the log.
    """
    if isinstance(error, RateLimited):
        return limited(error)
    if isinstance(error, InvalidCredentials):
        expired = isinstance(error, InvalidToken) and error.state == "expired"
        text = _TOKEN_HAS_EXPIRED if expired else message(error, NAMES)
        return json_answer(401, {"error": text}, challenges(error, offered))

    status = 400 if isinstance(error, Conflict) else error.status
    if status not in DETAIL_CODES:
        status = 500
    locale, origin = languages.choose(environ.get("HTTP_ACCEPT_LANGUAGE"))
    content = {
        "detailCode": DETAIL_CODES[status],
        "trackingId": log_tracked(error, status),
        "messages": [_text(locale, origin, messages.text(status, locale))],
        # A fault of this server is described in the log alone.
        "causes": [_text(languages.DEFAULT, "DEFAULT", message(error, NAMES))] if status < 500 else [],
    }
    fields = [("Content-Language", locale), ("Vary", "Accept-Language"), *error_fields(error)]
    if isinstance(error, InsufficientScope):
        fields += challenges(error, offered)
    return json_answer(status, content, fields)


def _text(locale: str, origin: languages.Origin, text: str) -> dict[str, str]:
    return {"locale": locale, "localeOrigin": origin, "text": text}
