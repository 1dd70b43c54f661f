"""Errors that only HTTP knows."""

from __future__ import annotations

from patauth import InvalidRequest
from patauth.wsgi.errors import MethodNotAllowed, TooLarge, UnsupportedMediaType
from tests.support.tables import each


@each(
    ("error", "status", "text"),
    [
        (MethodNotAllowed("POST"), 405, "this method is not allowed here; use POST"),
        (
            MethodNotAllowed("GET, HEAD, POST"),
            405,
            "this method is not allowed here; use GET, HEAD or POST",
        ),
        (TooLarge(), 413, "the request body is too large"),
        (UnsupportedMediaType("send a/b"), 415, "send a/b"),
    ],
)
def test_each_has_its_status_and_says_what_to_do(error: InvalidRequest, status: int, text: str) -> None:
    assert isinstance(error, InvalidRequest)
    assert (error.status, error.code, str(error)) == (status, "invalid_request", text)
