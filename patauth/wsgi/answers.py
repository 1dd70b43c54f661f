"""Answers, and the only place with status lines, challenges, Retry-After and the fields of a quota.

    gate_error    {"error", "error_description"}, Basic and Bearer challenges     RFC 6750 §3, RFC 7617 §2
    oauth_error   {"error", "error_description"} with the token endpoint's codes  RFC 6749 §5.2

A management dialect renders errors in its own form (`isc/errors.py`, `zitadel/errors.py`), from the parts
below. A 429 has the same message in every form.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Iterable, Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import (
    InsufficientScope,
    InvalidCredentials,
    MissingCredentials,
    Overloaded,
    PatAuthError,
    RateLimited,
)
from ..model.quota import Decision
from .drain import answered
from .errors import MethodNotAllowed, UnsupportedMediaType

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Fields = list[tuple[str, str]]
QuotaFields = tuple[tuple[str, str], tuple[str, str]]

LIMITED = " Rate Limit Exceeded "  # the message of every 429, with the blanks that clients compare

_log = logging.getLogger("patauth")

_LIMITED_BODY = b'{"message":"' + LIMITED.encode() + b'"}'
_NOT_IN_DESCRIPTION = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")  # RFC 6750 §3.1, RFC 6749 §5.2


class Answer(NamedTuple):
    """Holds a complete response, and is the WSGI application that sends it."""

    status: int
    fields: Fields
    body: bytes
    refused: int | None = None  # the status of a refusal that is answered with another: gRPC-web has 200

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send the response; HEAD gets the fields without the body. The rest of a refused upload is read."""
        start_response(f"{self.status} {HTTPStatus(self.status).phrase}", list(self.fields))
        body = [] if environ["REQUEST_METHOD"] == "HEAD" else [self.body]
        return answered(body, environ) if self.status >= 400 or self.refused else body

    def with_fields(self, fields: Fields) -> Answer:
        """Return the response with more fields."""
        return Answer(self.status, [*self.fields, *fields], self.body, self.refused)


class Challenges(NamedTuple):
    """Says which challenges a 401 carries, in which order, and for which realm (RFC 9110 §11.3)."""

    realm: str
    schemes: tuple[str, ...]  # of settings.CHALLENGES


# RFC 9111 §5.2.2.5; RFC 6749 §5.1 asks for Pragma too.
_NOT_CACHED = (("Cache-Control", "no-store"), ("Pragma", "no-cache"))
_NO_SNIFFING = ("X-Content-Type-Options", "nosniff")

# A 204 has no body and no field that describes one (RFC 9110 §8.6).
NO_CONTENT = Answer(204, [_NOT_CACHED[0], _NO_SNIFFING], b"")


def json_answer(
    status: int,
    content: bytes | dict[str, Any] | list[Any],
    fields: Iterable[tuple[str, str]] = (),
    *,
    public_for: int | None = None,
) -> Answer:
    """Return a JSON response. `content` as bytes is sent as it is.

    No cache keeps the response, or with `public_for` every cache may keep it for so many seconds.
    """
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return bytes_answer(status, body, "application/json", fields, public_for=public_for)


def bytes_answer(
    status: int,
    body: bytes,
    media_type: str,
    fields: Iterable[tuple[str, str]] = (),
    *,
    public_for: int | None = None,
) -> Answer:
    """Return a response with a body of that type. Caches may keep it as `json_answer` says."""
    caching = _NOT_CACHED if public_for is None else [("Cache-Control", f"public, max-age={public_for}")]
    length = ("Content-Length", str(len(body)))
    return Answer(status, [("Content-Type", media_type), length, *caching, _NO_SNIFFING, *fields], body)


def with_body(answer: Answer, given: object) -> Answer | None:
    """Return the answer with another body, from a pair of body and content type; None for anything else."""
    if not isinstance(given, tuple) or len(given) != 2:
        return None
    body, content_type = given
    content = body.encode("utf-8", "replace") if isinstance(body, str) else body
    if not isinstance(content, bytes) or not isinstance(content_type, str):
        return None
    if re.fullmatch(r"[!-~][ -~]{0,255}", content_type) is None:
        return None
    described = {"content-type", "content-length"}
    kept = [field for field in answer.fields if field[0].lower() not in described]
    fields = [("Content-Type", content_type), ("Content-Length", str(len(content))), *kept]
    return Answer(answer.status, fields, content)


# -- fields about the caller ---------------------------------------------------------------------------------


def with_caller_fields(answer: Answer, decision: Decision | None, expires_ms: int | None) -> Answer:
    """Return the answer with fields about its caller: the quota that was charged, and an expiry that is near.

    `expires_ms`: None, unless the caller is to be warned. A 429 has the fields of its own quota.
    """
    if decision is not None and RateLimited.status not in (answer.status, answer.refused):
        answer = answer.with_fields([*quota_fields(decision)])
    return answer if expires_ms is None else answer.with_fields([expiry_field(expires_ms)])


@lru_cache(maxsize=4096)
def expiry_field(expires_ms: int) -> tuple[str, str]:
    """Return `PatAuth-Expires` with a date as RFC 9110 §5.6.7 prefers it. `expires_ms`: ms since 1970."""
    return ("PatAuth-Expires", formatdate(expires_ms // 1000, usegmt=True))


def quota_fields(decision: Decision) -> QuotaFields:
    """Return `RateLimit-Policy: "requests";q=100;w=10` and `RateLimit: "requests";r=99;t=1`.

    draft-ietf-httpapi-ratelimit-headers-10 §3.1 and §4.1, in the syntax of RFC 9651. `t` is the number of
    seconds until more quota is available, so on a refusal it equals Retry-After. There is no partition key
    (`pk`), because it would name the PAT.
    """
    quota = decision.quota
    return fields_of_quota(decision.name, quota.count, quota.seconds, *decision.service_limit())


@lru_cache(maxsize=4096)  # every answer has these fields, and few of them differ
def fields_of_quota(name: str, count: int, seconds: int, remaining: int, reset_seconds: int) -> QuotaFields:
    # The name is an sf-string. patauth chooses the names, and none of them needs an escape.
    return (
        ("RateLimit-Policy", f'"{name}";q={count};w={seconds}'),
        ("RateLimit", f'"{name}";r={remaining};t={reset_seconds}'),
    )


# -- errors of the gate and of the OAuth endpoints -----------------------------------------------------------


def gate_error(error: PatAuthError, offered: Challenges) -> Answer:
    """Return an error as the gate and forward-auth answer it."""
    if isinstance(error, RateLimited):
        return limited(error)
    content = {"error": error.code, "error_description": _description(error)}
    if isinstance(error, MissingCredentials):
        content = {"error": error.code}
    if isinstance(error, InsufficientScope) and error.required:
        content["scope"] = " ".join(error.required)
    _log_fault(error)
    return json_answer(error.status, content, [*error_fields(error), *challenges(error, offered)])


def oauth_error(error: PatAuthError, offered: Challenges | None = None) -> Answer:
    """Return an error as the token endpoint answers it. Only a 401 needs `offered`.

    Clients authenticate by Basic here. If a 401 must not have that challenge, it has the one for a bearer.
    """
    if isinstance(error, RateLimited):
        return limited(error)
    fields = error_fields(error)
    code = error.code
    if isinstance(error, InvalidCredentials):
        code = "invalid_client"
        if offered is not None:
            realm, schemes = offered
            fields.append(_basic(realm) if "basic" in schemes else _bearer(error, realm))
    _log_fault(error)
    return json_answer(error.status, {"error": code, "error_description": _description(error)}, fields)


def _description(error: PatAuthError) -> str:
    # Only the log describes a fault of this server.
    text = PatAuthError.default if error.status == 500 else str(error)
    return _NOT_IN_DESCRIPTION.sub("?", text)


def _log_fault(error: PatAuthError) -> None:
    if error.status >= 500:
        _log.warning("%d %s: %s", error.status, error.code, error.detail or error)


# -- parts of every error ------------------------------------------------------------------------------------


def limited(error: RateLimited) -> Answer:
    """Return the 429 that all forms share."""
    return json_answer(RateLimited.status, _LIMITED_BODY, error_fields(error))


def error_fields(error: PatAuthError) -> Fields:
    """Return the fields that belong to the kind of error: Retry-After, the quota, Allow, Accept-…."""
    if isinstance(error, RateLimited):
        wait = ("Retry-After", str(error.retry_after))
        if error.quota is None:  # no quota of patauth has caused it
            return [wait]
        return [wait, *fields_of_quota(error.quota, error.count, error.seconds, 0, error.retry_after)]
    if isinstance(error, Overloaded):
        return [("Retry-After", str(error.retry_after))]
    if isinstance(error, MethodNotAllowed):
        return [("Allow", error.allow)]
    if isinstance(error, UnsupportedMediaType):
        accepted = {"Accept-Patch": error.accept_patch, "Accept-Encoding": error.accept_encoding}
        return [(name, value) for name, value in accepted.items() if value]
    return []


def challenges(error: PatAuthError, offered: Challenges) -> Fields:
    """Return the WWW-Authenticate fields of a 401 or 403, and none for other errors.

    A 401 has the challenges that are offered: Basic (RFC 7617 §2), Bearer (RFC 6750 §3). A 403 has the
    latter. Without credentials in the request, the Bearer challenge names no error.
    """
    if error.status not in (401, 403):
        return []
    realm, schemes = offered
    shown = schemes if error.status == 401 else ("bearer",)
    return [_basic(realm) if scheme == "basic" else _bearer(error, realm) for scheme in shown]


def _basic(realm: str) -> tuple[str, str]:
    return ("WWW-Authenticate", f'Basic realm="{realm}", charset="UTF-8"')


def _bearer(error: PatAuthError, realm: str) -> tuple[str, str]:
    challenge = f'Bearer realm="{realm}"'
    if not isinstance(error, MissingCredentials):
        challenge += f', error="{error.code}", error_description="{_description(error)}"'
    if isinstance(error, InsufficientScope) and error.required:
        challenge += f', scope="{" ".join(error.required)}"'
    return ("WWW-Authenticate", challenge)


# -- parts of the management dialects' errors ----------------------------------------------------------------


def message(error: PatAuthError, names: Mapping[str, str]) -> str:
    """Return what was wrong, for the client. `names`: what the dialect calls the fields of patauth."""
    if isinstance(error, InvalidCredentials):
        # Only the holder of the right secret is told of a state. All other refused credentials have one text.
        told = isinstance(error, MissingCredentials) or error.state is not None
        return str(error) if told else InvalidCredentials.default
    if error.field:
        return f"{names.get(error.field, error.field)}: {error.problem}"
    if isinstance(error, InsufficientScope) and error.required:
        return f"{error}: {' '.join(error.required)}"
    return str(error)


def log_tracked(error: PatAuthError, status: int) -> str:
    """Log an error that is answered with `status`, and return the tracking id that it has in the log."""
    tracking = secrets.token_hex(16)
    # Escaped, so that nothing a client sends looks like another line.
    text = str(error.detail or error).encode("unicode_escape").decode()
    level = logging.WARNING if status >= 500 else logging.INFO
    _log.log(level, "%d %s trackingId %s: %s", status, error.code, tracking, text)
    return tracking
