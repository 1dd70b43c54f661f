"""The only place with status lines, WWW-Authenticate and Retry-After: one renderer for each dialect.

    gate    {"error", "error_description"}, Basic and Bearer challenges         RFC 6750 §3, RFC 7617 §2
    oauth   {"error", "error_description"} with the token endpoint's codes      RFC 6749 §5.2
    isc     {"detailCode", "trackingId", "messages", "causes"}, a 401 {"error"}  the management API's own
    zitadel {"code": 5, "message", "details"}, over Connect {"code": "not_found", "message"}

A 429 has its own body, and in every dialect the same message.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Iterable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import (
    Conflict,
    InsufficientScope,
    InvalidCredentials,
    InvalidRequest,
    InvalidToken,
    MissingCredentials,
    Overloaded,
    PatAuthError,
    RateLimited,
)
from ..model.quota import Decision

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_log = logging.getLogger("patauth")

_NOT_IN_DESCRIPTION = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")  # RFC 6750 §3.1, RFC 6749 §5.2
_LIMITED = " Rate Limit Exceeded "
_LIMITED_BODY = b'{"message":"' + _LIMITED.encode() + b'"}'

Fields = list[tuple[str, str]]


class MethodNotAllowed(InvalidRequest):
    """One of patauth's own routes, with a method that it does not have."""

    status = 405

    def __init__(self, allow: str) -> None:
        super().__init__(f"this takes {allow} only")
        self.allow = allow


class TooLarge(InvalidRequest):
    """A body or a number of form parts above the limit."""

    status = 413
    default = "the request body is too large"


class UnsupportedMediaType(InvalidRequest):
    """A body of a kind that is not read here; the text says what to send."""

    status = 415
    default = "send a body of another media type"

    def __init__(self, description: str | None = None, *, accept_patch: str | None = None) -> None:
        super().__init__(description)
        self.accept_patch = accept_patch  # of a PATCH: the media types that it takes (RFC 5789 §3.1)


class UnsupportedGrantType(InvalidRequest):
    """A grant other than those offered (RFC 6749 §5.2)."""

    code = "unsupported_grant_type"
    default = "the grant type must be client_credentials"


class Answer(NamedTuple):
    """A complete response of patauth's own: a WSGI application."""

    status: int
    fields: Fields
    body: bytes

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send it; HEAD gets the fields alone."""
        start_response(f"{self.status} {HTTPStatus(self.status).phrase}", list(self.fields))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [self.body]


def answer(status: int, body: bytes, fields: Fields | None = None) -> Answer:
    """A JSON response that no cache keeps (RFC 9111 §5.2.2.5)."""
    return Answer(
        status,
        [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Pragma", "no-cache"),  # RFC 6749 §5.1
            ("X-Content-Type-Options", "nosniff"),
            *(fields or ()),
        ],
        body,
    )


def json_answer(status: int, content: dict[str, Any] | list[Any], fields: Fields | None = None) -> Answer:
    """The same, of an object or a list."""
    return answer(status, json.dumps(content).encode(), fields)


def with_quota(answer: Answer, decision: Decision | None) -> Answer:
    """Return the answer with the fields of the quota that was charged; a 429 has those of its own."""
    if decision is None or answer.status == RateLimited.status:
        return answer
    return answer._replace(fields=[*answer.fields, *quota_fields(decision)])


def quota_fields(of: Decision | RateLimited) -> Fields:
    """Return `RateLimit-Policy: "requests";q=100;w=10` and `RateLimit: "requests";r=99;t=1`.

    draft-ietf-httpapi-ratelimit-headers-10 §3.1 and §4.1, in the syntax of RFC 9651: `t` is the time until
    additional quota is made available, so on a refusal it equals Retry-After. No partition key (`pk`): it
    would name the PAT. An error that no quota of ours caused has no fields.
    """
    if isinstance(of, RateLimited):
        return [] if of.quota is None else [*_quota_fields(of.quota, of.count, of.seconds, 0, of.retry_after)]
    return [*_quota_fields(of.name, of.quota.count, of.quota.seconds, *of.service_limit())]


@lru_cache(maxsize=4096)  # few of them differ, and each answer has them
def _quota_fields(
    name: str, count: int, seconds: int, remaining: int, reset_seconds: int
) -> tuple[tuple[str, str], tuple[str, str]]:
    # The name is an sf-string; the names are ours and need no escapes.
    return (
        ("RateLimit-Policy", f'"{name}";q={count};w={seconds}'),
        ("RateLimit", f'"{name}";r={remaining};t={reset_seconds}'),
    )


def gate_error(error: PatAuthError, realm: str) -> Answer:
    """An error as the gate and forward-auth answer it."""
    if isinstance(error, RateLimited):
        return _limited(error)
    description = _description(error)
    content = {"error": error.code, "error_description": description}
    if isinstance(error, MissingCredentials):
        content = {"error": error.code}
    if isinstance(error, InsufficientScope) and error.required:
        content["scope"] = " ".join(error.required)
    fields = [*_common(error), *_challenges(error, realm)]
    return json_answer(error.status, content, fields)


def oauth_error(error: PatAuthError, realm: str) -> Answer:
    """An error as the token endpoint answers it."""
    if isinstance(error, RateLimited):
        return _limited(error)
    fields = _common(error)
    code = error.code
    if isinstance(error, InvalidCredentials):
        code = "invalid_client"
        fields.append(_basic_challenge(realm))
    return json_answer(error.status, {"error": code, "error_description": _description(error)}, fields)


# What the management API calls the fields of our own: those that its dialect sends under other names.
ISC_NAMES: Mapping[str, str] = {
    "access_token_ttl": "accessTokenValiditySeconds",
    "expires_at": "expirationDate",
    "expires_in": "expirationDate",
    "expiry": "expirationDate",
    "never_acknowledged": "userAwareTokenNeverExpires",
    "never_expires": "userAwareTokenNeverExpires",
    "overlap": "overlapSeconds",
    "owner_id": "owner-id",
    **{f"owner {part}": f"owner.{part}" for part in ("id", "name", "type")},
}

_DETAIL_CODES = {
    400: "400.1 Bad Request Content",
    403: "403 Forbidden",
    404: "404 Not found",
    405: "405 Method not allowed",
    413: "413 Content too large",
    415: "415 Unsupported media type",
    500: "500.0 Internal Fault",
    503: "503 Service unavailable",
}
# Said to the right secret or signature alone (authenticate.py); all other refused credentials have one text.


def isc_error(
    error: PatAuthError,
    environ: WSGIEnvironment,
    decision: Decision | None = None,
    names: Mapping[str, str] = ISC_NAMES,
    *,
    realm: str | None = None,
) -> Answer:
    """An error as the management API of Identity Security Cloud answers it (its ErrorResponseDto).

    `environ`: of the request, for Accept-Language, and for the realm of its `patauth.authority` where `realm`
    is not given; `decision`: of a quota charged before it failed; `names`: the wire's names of our fields.
    A conflict is 400 in this dialect. A tracking id stands in the answer and in the log.
    """
    if isinstance(error, RateLimited):
        return _limited(error)
    quota = quota_fields(decision) if decision else []
    if realm is None:
        realm = _realm(environ)
    if isinstance(error, InvalidCredentials):
        return json_answer(401, {"error": _refused(error)}, [*quota, *_challenges(error, realm)])

    from .isc import languages

    status = 400 if isinstance(error, Conflict) else error.status
    if status not in _DETAIL_CODES:
        status = 500
    tracking = _tracked(error, status)
    locale, origin = languages.choose(environ.get("HTTP_ACCEPT_LANGUAGE"))
    causes = [_message(languages.DEFAULT, "DEFAULT", _cause(error, names))] if status < 500 else []
    content = {
        "detailCode": _DETAIL_CODES[status],
        "trackingId": tracking,
        "messages": [_message(locale, origin, languages.text(status, locale))],
        "causes": causes,
    }
    fields = [("Content-Language", locale), ("Vary", "Accept-Language"), *quota]
    if isinstance(error, InsufficientScope):
        fields += _challenges(error, realm)
    return json_answer(status, content, [*fields, *_of_class(error)])


# What ZITADEL's API calls the fields of our own.
ZITADEL_NAMES: Mapping[str, str] = {
    "expires_at": "expirationDate",
    "expiry": "expirationDate",
    "owner id": "userId",
    "owner_id": "userId",
    "owner type": "userId",
    "tenant": "x-zitadel-orgid",
}

# The codes of gRPC by our statuses: as numbers, and as Connect spells them.
_RPC_CODES = {
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


def zitadel_error(
    error: PatAuthError,
    environ: WSGIEnvironment,
    decision: Decision | None = None,
    connect: bool = False,
    *,
    realm: str | None = None,
) -> Answer:
    """An error as ZITADEL's API answers it: a google.rpc.Status, or with `connect` an error of Connect.

    `environ`, `decision`, `realm`: as for `isc_error`. A name in use is 409, too many PATs are 400. A
    tracking id stands in the details and in the log; Connect's shape has no place for one.
    """
    status = error.status if error.status in _RPC_CODES else 500
    number, word = _RPC_CODES[status]
    if isinstance(error, Conflict) and error.field != "name":
        status, (number, word) = 400, _FAILED_PRECONDITION
    message = _cause(error, ZITADEL_NAMES)
    if isinstance(error, RateLimited):
        message = _LIMITED
    elif isinstance(error, InvalidCredentials):
        message = _refused(error)
    elif status >= 500:  # what went wrong inside is for the log alone
        message = error.default if isinstance(error, Overloaded) else PatAuthError.default
    tracking = _tracked(error, status)
    content: dict[str, Any] = {"code": word, "message": message}
    if not connect:
        detail = {"@type": _ERROR_DETAIL, "id": tracking, "message": message}
        content = {"code": number, "message": message, "details": [detail]}

    if isinstance(error, RateLimited):
        return json_answer(status, content, _limits(error))
    fields = [*(quota_fields(decision) if decision else ()), *_of_class(error)]
    if isinstance(error, InvalidCredentials | InsufficientScope):
        fields += _challenges(error, _realm(environ) if realm is None else realm)
    return json_answer(status, content, fields)


def _realm(environ: WSGIEnvironment) -> str:
    authority = environ.get("patauth.authority")
    return "patauth" if authority is None else str(authority.settings.realm)


_EXPIRED_TOKEN = "JWT validation failed: JWT is expired"  # noqa: S105 - the management API's words


def _refused(error: InvalidCredentials) -> str:
    if isinstance(error, InvalidToken) and error.state == "expired":
        return _EXPIRED_TOKEN
    known = isinstance(error, MissingCredentials) or error.state is not None
    return str(error) if known else InvalidCredentials.default


def _tracked(error: PatAuthError, status: int) -> str:
    """Log an error that is answered; the id that it has there."""
    tracking = secrets.token_hex(16)
    # Escaped: what a client sends must not look like another line.
    said = str(error.detail or error).encode("unicode_escape").decode()
    level = logging.WARNING if status >= 500 else logging.INFO
    _log.log(level, "%d %s trackingId %s: %s", status, error.code, tracking, said)
    return tracking


def _message(locale: str, origin: str, text: str) -> dict[str, str]:
    return {"locale": locale, "localeOrigin": origin, "text": text}


def _cause(error: PatAuthError, names: Mapping[str, str]) -> str:
    if error.field:
        return f"{names.get(error.field, error.field)}: {error.problem}"
    if isinstance(error, InsufficientScope) and error.required:
        return f"{error}: {' '.join(error.required)}"
    return str(error)


def _of_class(error: PatAuthError) -> Fields:
    """The fields that an error has by what it is, in every dialect."""
    if isinstance(error, Overloaded):
        return [("Retry-After", str(error.retry_after))]
    if isinstance(error, MethodNotAllowed):
        return [("Allow", error.allow)]
    if isinstance(error, UnsupportedMediaType) and error.accept_patch:
        return [("Accept-Patch", error.accept_patch)]
    return []


def _limited(error: RateLimited) -> Answer:
    return answer(429, _LIMITED_BODY, _limits(error))


def _limits(error: RateLimited) -> Fields:
    return [("Retry-After", str(error.retry_after)), *quota_fields(error)]


def _common(error: PatAuthError) -> Fields:
    if error.status >= 500:
        _log.warning("%d %s: %s", error.status, error.code, error.detail or error)
    return _of_class(error)


def _challenges(error: PatAuthError, realm: str) -> Fields:
    """Of a 401 and a 403: RFC 6750 §3, RFC 7617 §2. Without credentials there is no error to name."""
    if error.status not in (401, 403):
        return []
    bearer = f'Bearer realm="{realm}"'
    if not isinstance(error, MissingCredentials):
        bearer += f', error="{error.code}", error_description="{_description(error)}"'
    if isinstance(error, InsufficientScope) and error.required:
        bearer += f', scope="{" ".join(error.required)}"'
    return [*([_basic_challenge(realm)] if error.status == 401 else []), ("WWW-Authenticate", bearer)]


def _basic_challenge(realm: str) -> tuple[str, str]:
    return ("WWW-Authenticate", f'Basic realm="{realm}", charset="UTF-8"')


def _description(error: PatAuthError) -> str:
    # What went wrong inside is for the log alone.
    text = PatAuthError.default if error.status == 500 else str(error)
    return _NOT_IN_DESCRIPTION.sub("?", text)
