"""CORS: decide which pages of other origins may read the answers (WHATWG Fetch §3.3).

patauth answers preflights itself, so no preflight reaches the application unchecked. It never allows the
credentials mode: a page of another origin cannot read an answer to a request that carries the visitor's
cookies or saved Basic password. Browsers may still send such a request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError
from ..model.http_names import read_header_names, read_origins
from ..settings import read_named
from .answers import NO_CONTENT, Answer, Fields
from .request import bare

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

EXPOSED = "Retry-After, RateLimit, RateLimit-Policy, WWW-Authenticate, PatAuth-Expires"
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
MAX_AGE = 86_400  # s

_VARY = ("Vary", "Origin")

# The request fields that reach an application with a preflight.
_OF_PREFLIGHTS = re.compile(
    "HTTP_(?:HOST|ORIGIN|ACCESS_CONTROL_REQUEST_(?:METHOD|HEADERS|PRIVATE_NETWORK)"
    "|X_FORWARDED_(?:FOR|PROTO|HOST|PORT|PREFIX))"
)


class Cors:
    """Says which origins may read answers, by which request headers, and how long browsers keep that.

    `origins` are exact, as in `["https://app.example"]`, or `["*"]` for all. `headers` are the request
    headers that a page may set. `max_age` is in seconds, 0 to 86400. Raise `ConfigurationError`.
    """

    def __init__(
        self,
        origins: Iterable[str],
        headers: Iterable[str] = ("Authorization", "Content-Type"),
        max_age: int = 600,
    ) -> None:
        self.origins = read_named("cors: origins", read_origins, origins)
        self.headers = read_named("cors: headers", read_header_names, headers)
        if not self.origins:
            raise ConfigurationError("cors: origins: give at least one, or ['*'] for all")
        if isinstance(max_age, bool) or not isinstance(max_age, int) or not 0 <= max_age <= MAX_AGE:
            raise ConfigurationError(f"cors: max_age: give 0 to {MAX_AGE} whole seconds")
        self.max_age = max_age

    def __repr__(self) -> str:
        return f"Cors(origins={self.origins!r}, headers={self.headers!r}, max_age={self.max_age})"

    def allows(self, origin: str) -> bool:
        """Return whether pages of this origin may read answers."""
        return origin in self.origins or "*" in self.origins


def preflight(cors: Cors, environ: WSGIEnvironment, more_headers: Iterable[str]) -> Answer:
    """Return the answer to a preflight. An unknown origin gets no CORS fields."""
    allowed = allowed_by(cors, environ)
    if not allowed:
        return NO_CONTENT.with_fields([_VARY])
    fields = [
        _VARY,
        *allowed,
        ("Access-Control-Allow-Methods", METHODS),
        ("Access-Control-Allow-Headers", ", ".join(dict.fromkeys([*cors.headers, *more_headers]))),
        ("Access-Control-Max-Age", str(cors.max_age)),
    ]
    return NO_CONTENT.with_fields(fields)


def with_cors(allowed: Fields | None, fields: Fields) -> Fields:
    """Return the fields of an answer with those of CORS, unless it allows an origin itself.

    `allowed` is from `allowed_by`; None: there is no CORS here. If patauth allows the origin, drop the CORS
    fields of the application: an `Access-Control-Allow-Credentials` among them would let the page read with
    the visitor's cookies. An answer depends on the origin, so Vary says so, with or without an Origin.
    """
    if allowed is None or any(name.lower() == "access-control-allow-origin" for name, _ in fields):
        return fields
    if allowed:
        fields = [field for field in fields if not field[0].lower().startswith("access-control-")]
    return [*fields, _VARY, *allowed]


def allowed_by(cors: Cors, environ: WSGIEnvironment) -> Fields:
    """Return the fields that let a page of the request's origin read the answer; none if it may not."""
    origin = environ.get("HTTP_ORIGIN")
    if origin is None or not cors.allows(origin):
        return []
    allowed = "*" if "*" in cors.origins else origin
    return [("Access-Control-Allow-Origin", allowed), ("Access-Control-Expose-Headers", EXPOSED)]


def is_preflight(environ: WSGIEnvironment) -> bool:
    """Return whether this is a CORS preflight (Fetch §3.3.2)."""
    return (
        environ["REQUEST_METHOD"] == "OPTIONS"
        and "HTTP_ORIGIN" in environ
        and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
    )


def ask_app(app: WSGIApplication, environ: WSGIEnvironment) -> Answer:
    """Return the application's answer to a preflight: only its CORS fields."""
    found: Fields = []

    def start_response(_: str, fields: Fields, exc_info: Any = None) -> Callable[[bytes], object]:
        found[:] = fields
        return lambda _: None

    body = app(bare_preflight(environ), start_response)
    try:
        for _ in body:  # an application may call start_response as late as now
            break
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()
    return answer_of_app(found)


def bare_preflight(environ: WSGIEnvironment) -> WSGIEnvironment:
    """Return the environ of a preflight as an application may see it.

    It is an OPTIONS without credentials, body, query, cookies, and without any field by which the application
    could take it for another method.
    """
    seen = {name: value for name, value in bare(environ).items() if _reaches_app(name)}
    return {**seen, "patauth.site": environ["patauth.site"]}  # for `require_scope`


def _reaches_app(name: str) -> bool:
    """Return whether the entry of this name in an environ reaches an application with a preflight."""
    return not name.startswith("HTTP_") or _OF_PREFLIGHTS.fullmatch(name) is not None


def answer_of_app(fields: Fields) -> Answer:
    """Return the answer to a preflight: the CORS fields among the fields of the application's answer."""
    return NO_CONTENT.with_fields([field for field in fields if _is_cors(*field)])


def _is_cors(name: str, value: str) -> bool:
    name = name.lower()
    return name.startswith("access-control-") or (name == "vary" and "origin" in value.lower())
