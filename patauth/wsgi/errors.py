"""The only place with status lines, WWW-Authenticate and Retry-After: one renderer for each dialect.

    gate    {"error", "error_description"}, Basic and Bearer challenges         RFC 6750 §3, RFC 7617 §2
    oauth   {"error", "error_description"} with the token endpoint's codes      RFC 6749 §5.2

A 429 has its own body in every dialect.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import (
    InsufficientScope,
    InvalidCredentials,
    InvalidRequest,
    MissingCredentials,
    Overloaded,
    PatAuthError,
    RateLimited,
)
from ..quota import Decision

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_log = logging.getLogger("patauth")

_NOT_IN_DESCRIPTION = re.compile(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]")  # RFC 6750 §3.1, RFC 6749 §5.2
_LIMITED_BODY = b'{"message":" Rate Limit Exceeded "}'

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
    """A body of a kind that is not read here."""

    status = 415
    default = "send application/x-www-form-urlencoded or multipart/form-data"


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


def json_answer(status: int, content: dict[str, Any], fields: Fields | None = None) -> Answer:
    """The same, of an object."""
    return answer(status, json.dumps(content).encode(), fields)


def gate_error(error: PatAuthError, realm: str, decision: Decision | None = None) -> Answer:
    """An error as the gate and forward-auth answer it. `decision`: of a quota charged before it failed."""
    if isinstance(error, RateLimited):
        return _limited(error)
    description = _description(error)
    content = {"error": error.code, "error_description": description}
    if isinstance(error, MissingCredentials):
        content = {"error": error.code}
    fields = [*_common(error), *(decision.fields() if decision else ())]
    if error.status == 401:
        fields.append(_basic_challenge(realm))
    if error.status in (401, 403):
        challenge = f'Bearer realm="{realm}"'
        if not isinstance(error, MissingCredentials):
            challenge += f', error="{error.code}", error_description="{description}"'
        if isinstance(error, InsufficientScope) and error.required:
            content["scope"] = " ".join(error.required)
            challenge += f', scope="{content["scope"]}"'
        fields.append(("WWW-Authenticate", challenge))
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
    if isinstance(error, MethodNotAllowed):
        fields.append(("Allow", error.allow))
    return json_answer(error.status, {"error": code, "error_description": _description(error)}, fields)


def _limited(error: RateLimited) -> Answer:
    fields = [("Retry-After", str(error.retry_after)), *(error.decision.fields() if error.decision else ())]
    return answer(429, _LIMITED_BODY, fields)


def _common(error: PatAuthError) -> Fields:
    if error.status >= 500:
        _log.warning("%d %s: %s", error.status, error.code, error.detail or error)
    return [("Retry-After", str(error.retry_after))] if isinstance(error, Overloaded) else []


def _basic_challenge(realm: str) -> tuple[str, str]:
    return ("WWW-Authenticate", f'Basic realm="{realm}", charset="UTF-8"')


def _description(error: PatAuthError) -> str:
    # What went wrong inside is for the log alone.
    text = PatAuthError.default if error.status == 500 else str(error)
    return _NOT_IN_DESCRIPTION.sub("?", text)
