"""Errors as ZITADEL's API answers them, whatever the form of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ...errors import (
    Conflict,
    InsufficientScope,
    InvalidCredentials,
    Overloaded,
    PatAuthError,
    RateLimited,
)
from ..answers import LIMITED, Challenges, Fields, challenges, error_fields, log_tracked, message

# What this API calls the fields of patauth, where it has another name for them.
NAMES: Mapping[str, str] = {
    "expires_at": "expirationDate",
    "expiry": "expirationDate",
    "owner id": "userId",
    "owner_id": "userId",
    "owner type": "userId",
    "tenant": "x-zitadel-orgid",
}

# HTTP status -> the code of gRPC, as a number and as Connect spells it.
RPC_CODES = {
    400: (3, "invalid_argument"),
    401: (16, "unauthenticated"),
    403: (7, "permission_denied"),
    404: (5, "not_found"),
    405: (12, "unimplemented"),
    409: (6, "already_exists"),
    413: (8, "resource_exhausted"),
    415: (12, "unimplemented"),
    429: (8, "resource_exhausted"),
    500: (13, "internal"),
    503: (14, "unavailable"),
}
_FAILED_PRECONDITION = (9, "failed_precondition")  # 400: nothing is wrong with the request as such


class Refusal(NamedTuple):
    """Holds what every form tells of an error. `tracking` is the id that it has in the log."""

    status: int  # of HTTP
    number: int  # the code of gRPC
    word: str  # that code, as Connect spells it
    text: str
    tracking: str
    fields: Fields


def refusal(error: PatAuthError, offered: Challenges) -> Refusal:
    """Log an error, and return what is told of it. A name in use is 409, and too many PATs are 400."""
    status = error.status if error.status in RPC_CODES else 500
    number, word = RPC_CODES[status]
    if isinstance(error, Conflict) and error.field != "name":
        status, (number, word) = 400, _FAILED_PRECONDITION
    text = message(error, NAMES)
    if isinstance(error, RateLimited):
        text = LIMITED
    elif status >= 500:  # a fault of this server is described in the log alone
        text = error.default if isinstance(error, Overloaded) else PatAuthError.default
    fields = error_fields(error)
    if isinstance(error, InvalidCredentials | InsufficientScope):
        fields += challenges(error, offered)
    return Refusal(status, number, word, text, log_tracked(error, status), fields)
