"""Requests that try to get around a gate: paths in many spellings, and fields that some layer may believe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

# Parts of paths that some app reads differently than another. Bytes are spelled as latin-1, as in PEP 3333.
SEPARATORS = ["/", "/", "/", "//", "///", "\\", "/./", "/../", "/..;/", "/;x/", ";p=1", ";/", ".", ".."]
WORDS = [*"admin admin pub app a b Admin http: * % 2e 5c".split(), " ", "\0", "\t", "\n"]
ESCAPES = "%2f,%2F,%5c,%2e,%2e%2e,%252e,%252f,%25,%3b,%3B,%61,%61dmin,%c0%af,%c3,%0a,%00".split(",")
NO_ASCII = ["\xff", "\xc0\xaf", "\xc3\xa9", "\xef\xbd\x81", "\xc2\x85"]

MORE = "reports feed private x ? # %3f %23 /..? /..# /..%3f".split()
PIECES = [*SEPARATORS, *SEPARATORS, *WORDS, *ESCAPES, *NO_ASCII, *MORE]
# By what a path begins and ends, as routes of tests/support/routed_apps.py.
STARTS = ["", "", *"/ /pub /pub /pub/x /pub/ /feed /feed /reports/7 /admin/x /x //".split()]
GOALS = ["", *["/admin/x"] * 4, *["/reports/7"] * 3, *["/private", "/pub/private"] * 2]
GOALS += "/x / /pub/x /feed \\admin\\x admin/x".split()
PLAIN = "/ /x /x/y /pub/x /feed /feed/1 /pub/private".split() + ["/reports/7", "/reports/a/b", "/admin/x"] * 2
# Before the path in the request line: the absolute form and what looks like it.
ORIGINS = ["http://h", "http://h:80", "HTTPS://user@h", "//h", "http:", "x", "*"]

USUAL = ["GET"] * 6 + ["HEAD", "POST", "POST", "OPTIONS", "OPTIONS", "PUT", "DELETE"]
UNUSUAL = ["PATCH", "TRACE", "PROPFIND", "get", "post", "Post", "options", "OPTIONSX", "M-SEARCH", "G"]

QUERIES = ["?", "?x=1", "?_method=POST", "?/../admin/x", "?;/admin/x", "?access_token={token}", "?x=1?y#z"]
PREFLIGHT = ("Origin: https://app.example", "Access-Control-Request-Method: GET")
PATHS = ("/admin/x", "/reports/7", "/pub/x", "/pub", "")
FIELDS = [
    *(f"{name}: Bearer {{token}}" for name in (
        "X-Authorization", "Proxy-Authorization", "HTTP_AUTHORIZATION", "Http-Authorization", "X-Api-Key",
        "X_Api_Key", "X-Forwarded-Authorization", "Authorization_", "Authorization-", "Cookie")),
    *(f"{name}: {path}" for path in PATHS for name in (
        "X-Original-URL", "X-Rewrite-URL", "X-Original-URI", "X-Forwarded-Path", "X-Forwarded-Prefix",
        "X-Forwarded-Uri", "Script-Name", "SCRIPT_NAME", "X-Script-Name", "X_SCRIPT_NAME", "PATH_INFO",
        "Path-Info", "Request-Uri", "REQUEST_URI", "Location")),
    *(f"{name}: {method}" for method in ("GET", "POST", "OPTIONS", "HEAD") for name in (
        "X-HTTP-Method-Override", "X_HTTP_Method_Override", "X-HTTP-Method", "X-Method-Override",
        "Request-Method", "REQUEST_METHOD", "Access-Control-Request-Method")),
    *(f"{name}: alice" for name in (
        "REMOTE_USER", "Remote-User", "Remote_User", "X-Remote-User", "X-Forwarded-User", "AUTH_TYPE",
        "Auth-Type", "PatAuth-Principal", "patauth.principal", "PatAuth_Scopes", "patauth-scopes",
        "X-Auth-Subject")),
    "X-Forwarded-Host: rules.files", "X-Forwarded-Proto: https", "X-Forwarded-For: 127.0.0.1",
    "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1;host=h;proto=https", "Origin: https://app.example",
    "Origin: null", "Access-Control-Request-Headers: authorization",
    "Authorization:", "Transfer-Encoding: chunked", "Range: bytes=0-1",
    "Content-Type: application/x-www-form-urlencoded", "Connection: Authorization", "TE: trailers",
]  # fmt: skip
BODIES = ["_method=DELETE&access_token={token}", "GET /admin/x HTTP/1.1\r\nHost: h\r\n\r\n"]


class Request(NamedTuple):
    """Holds a request in pieces, which can be left out one by one. Bytes are spelled as latin-1."""

    method: str
    target: tuple[str, ...]
    query: str = ""
    fields: tuple[str, ...] = ()
    body: str = ""

    def bytes(self, host: str, authorization: str = "") -> bytes:
        target = "".join(self.target) or "/"
        lines = [f"{self.method} {target}{self.query} HTTP/1.1", f"Host: {host}"]
        if authorization:
            lines.append(f"Authorization: {authorization}")
        lines += self.fields
        body = self.body
        if "Transfer-Encoding: chunked" in self.fields:
            body = f"{len(body):x}\r\n{body}\r\n0\r\n\r\n" if body else "0\r\n\r\n"
        elif body:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", body]).encode("latin-1")

    @property
    def is_alone(self) -> bool:
        """Whether client and server may not agree on where the answer or the next request begins."""
        usual = self.method in USUAL and self.method != "HEAD"  # Django answers HEAD with a body
        return not usual or bool(self.body) or "Transfer-Encoding: chunked" in self.fields

    @property
    def is_preflight(self) -> bool:
        names = {field.partition(":")[0].lower() for field in self.fields}
        return self.method == "OPTIONS" and {"origin", "access-control-request-method"} <= names

    def smaller(self) -> Iterator[Request]:
        """Yield this request with one thing less."""
        if self.method != "GET":
            yield self._replace(method="GET")
        if self.query:
            yield self._replace(query="")
        if self.body:
            yield self._replace(body="")
        for name in ("fields", "target"):
            pieces = getattr(self, name)
            for number in range(len(pieces)):
                yield self._replace(**{name: pieces[:number] + pieces[number + 1 :]})


def smallest(request: Request, fails: Callable[[Request], object]) -> Request:
    """Return a request that still fails, and no longer does with one thing less."""
    while (found := next(filter(fails, request.smaller()), None)) is not None:
        request = found
    return request


def generate(chance: Random, token: str) -> Request:
    """Return a random request. `token` opens everything, and is put where nobody may read it."""
    method = chance.choice(USUAL if chance.random() < 0.9 else UNUSUAL)
    query = chance.choice(QUERIES) if chance.random() < 0.15 else ""
    fields = chance.choices(FIELDS, k=chance.choice((0, 0, 1, 1, 2, 3)))
    if method == "OPTIONS" and chance.random() < 0.7:
        fields += PREFLIGHT
        chance.shuffle(fields)
    body = chance.choice(BODIES) if chance.random() < 0.05 else ""
    fill = lambda text: text.replace("{token}", token)  # noqa: E731
    return Request(method, tuple(target(chance)), fill(query), tuple(map(fill, fields)), fill(body))


def target(chance: Random) -> Iterator[str]:
    """Yield the pieces of a request target."""
    if chance.random() < 0.15:
        yield chance.choice(PLAIN)
        return
    if chance.random() < 0.08:
        yield chance.choice(ORIGINS)
    start = chance.choice(STARTS)
    if start.startswith("/") and chance.random() < 0.9:
        yield "/"  # without it, some servers answer 400 at once
        start = start[1:]
    for piece in (start, *chance.choices(PIECES, k=chance.randrange(5)), chance.choice(GOALS)):
        if piece:
            yield spelled(piece, chance)


def spelled(piece: str, chance: Random) -> str:
    """Return a piece of a decoded path as a URL may have it."""
    form = "%{:02x}" if chance.random() < 0.5 else "%{:02X}"
    escape = lambda sign: form.format(ord(sign))  # noqa: E731
    style = chance.random()
    if style < 0.45:  # as it stands, but for what ends a request line; few servers take other raw bytes
        kept = lambda sign: " " < sign < "\x7f" or (sign not in " \r\n" and chance.random() < 0.1)  # noqa: E731
    elif style < 0.65:
        kept = lambda sign: sign.isascii() and sign.isalnum()  # noqa: E731
    elif style < 0.8:
        kept = lambda sign: sign == "/"  # noqa: E731
    else:
        kept = lambda sign: " " < sign < "\x7f" and chance.random() < 0.6  # noqa: E731
    found = "".join(sign if kept(sign) else escape(sign) for sign in piece)
    return found.replace("%", "%25") if chance.random() < 0.15 else found
