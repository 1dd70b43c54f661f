"""The environ of an ASGI scope."""

from __future__ import annotations

from typing import Any

from patauth.asgi.scope import environ_of, kept
from tests.support.asgi import scope_of
from tests.support.tables import each


@each("given, name, value", [
    ({}, "REQUEST_METHOD", "GET"),
    ({"type": "websocket"}, "REQUEST_METHOD", "GET"),
    ({"method": "PUT"}, "REQUEST_METHOD", "PUT"),
    ({"type": "websocket", "scheme": "wss"}, "wsgi.url_scheme", "https"),
    ({"scheme": "https"}, "wsgi.url_scheme", "https"),
    ({"http_version": "2"}, "SERVER_PROTOCOL", "HTTP/2"),
    ({"query_string": b"a=%2F&b=\xff"}, "QUERY_STRING", "a=%2F&b=\xff"),
    ({"client": None}, "REMOTE_ADDR", ""),
    ({"client": ["::1", 1]}, "REMOTE_ADDR", "::1"),
    ({"server": ("/run/s", None)}, "SERVER_PORT", ""),
    ({"server": None}, "SERVER_NAME", ""),
    ({"path": "/é"}, "PATH_INFO", "/Ã©"),
    ({"headers": [("Content-Type", "a/b")]}, "CONTENT_TYPE", "a/b"),
    ({"headers": [("CONTENT-LENGTH", "5"), ("content-length", "6")]}, "CONTENT_LENGTH", "5,6"),
    ({"headers": [("cookie", "a=b"), ("Cookie", "c=d")]}, "HTTP_COOKIE", "a=b; c=d"),
    ({"headers": [("x-a", "1"), ("X-A", "2")]}, "HTTP_X_A", "1,2"),
    ({"headers": [("x-\xff\xdf", "1")]}, "HTTP_X_\xff\xdf", "1"),
])  # fmt: skip
def test_what_a_scope_says_is_where_pep_3333_has_it(given: dict[str, Any], name: str, value: str) -> None:
    assert environ_of(scope_of(**given))[name] == value


def test_a_name_with_an_underscore_is_in_no_environ_and_not_kept() -> None:
    scope = scope_of(headers=[("x_a", "1"), ("x-b_c", "2"), ("x-d", "3")])
    environ = environ_of(scope)
    assert {name for name in environ if name.startswith("HTTP_")} == {"HTTP_X_D"}
    assert kept(scope["headers"], environ) == [(b"x-d", b"3")]
