"""Errors as ZITADEL's API answers them.

{"code": 5, "message", "details"}         a google.rpc.Status
{"code": "not_found", "message"}          over Connect
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import (
    Conflict,
    InsufficientScope,
    InvalidCredentials,
    Overloaded,
    PatAuthError,
    RateLimited,
)
from ..answers import LIMITED, Answer, Challenges, challenges, error_fields, json_answer, log_tracked, message

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
    413: (3, "invalid_argument"),
    415: (3, "invalid_argument"),
    429: (8, "resource_exhausted"),
    500: (13, "internal"),
    503: (14, "unavailable"),
}
_FAILED_PRECONDITION = (9, "failed_precondition")  # 400: nothing is wrong with the request as such
_ERROR_DETAIL = "type.googleapis.com/zitadel.v1.ErrorDetail"


def zitadel_error(error: PatAuthError, offered: Challenges, *, connect: bool) -> Answer:
    """Return an error in the form of this API, or with `connect` in that of Connect.

    A name in use is 409, and too many PATs are 400. The tracking id is in the details and in the log;
    Connect's form has no place for it.
    """
    status = error.status if error.status in RPC_CODES else 500
    number, word = RPC_CODES[status]
    if isinstance(error, Conflict) and error.field != "name":
        status, (number, word) = 400, _FAILED_PRECONDITION
    text = message(error, NAMES)
    if isinstance(error, RateLimited):
        text = LIMITED
    elif status >= 500:  # a fault of this server is described in the log alone
        text = error.default if isinstance(error, Overloaded) else PatAuthError.default
    tracking = log_tracked(error, status)
    content: dict[str, Any] = {"code": word, "message": text}
    if not connect:
        detail = {"@type": _ERROR_DETAIL, "id": tracking, "message": text}
        content = {"code": number, "message": text, "details": [detail]}
    fields = error_fields(error)
    if isinstance(error, InvalidCredentials | InsufficientScope):
        fields += challenges(error, offered)
    return json_answer(status, content, fields)
