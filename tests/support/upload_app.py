"""What gunicorn serves in tests of refused uploads: 401 for all but /ok, without reading the request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from patauth.errors import MissingCredentials
from patauth.wsgi.answers import gate_error
from patauth.wsgi.drain import answered

REFUSAL = gate_error(MissingCredentials(), "uploads")


def without_patauth(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer as an application of one's own does."""
    if environ["PATH_INFO"] == "/ok":
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
    start_response("401 Unauthorized", list(REFUSAL.fields))
    return [REFUSAL.body]


def with_patauth(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer as the gate does."""
    body = without_patauth(environ, start_response)
    return body if environ["PATH_INFO"] == "/ok" else answered(body, environ)
