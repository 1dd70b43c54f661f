"""What `patauth doctor --url` finds when it asks a running deployment, as a stranger does.

What it sends are credentials of the right shape that nobody has, so nothing that it says is a secret.
"""

from __future__ import annotations

import json
import re
import secrets
import ssl
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPSConnection
from time import monotonic
from typing import NamedTuple
from urllib.parse import urlsplit

from ...model.credentials import Format, mint_secret
from ...settings import Settings
from .finding import Finding, ok, problem, warning

_SECONDS = 5.0  # for a connection, for each read, and for all of a body
_MOST = 65536  # bytes of an answer that are read

_ERROR = re.compile(r'error="([^"]*)"')


class _Answer(NamedTuple):
    status: int
    fields: HTTPMessage
    body: bytes

    @property
    def error(self) -> str:
        """What patauth says is wrong with the credentials; empty if this is no answer of patauth's."""
        challenged = [text for text in self.fields.get_all("WWW-Authenticate", ()) if "Bearer" in text]
        try:
            code = json.loads(self.body).get("error", "")
        except (ValueError, AttributeError, RecursionError):
            code = ""
        found = _ERROR.search(" ".join(challenged))
        return found[1] if found else str(code or ("unauthorized" if challenged else ""))


def judge_deployed(url: str, settings: Settings) -> Iterator[Finding]:
    """Ask for a protected URL with credentials that nobody has, and judge the answers.

    Certificates are verified, and no redirect is followed.
    """
    token = Format(settings.credential_prefixes).token_text(secrets.token_hex(16), mint_secret())
    bearer = {"Authorization": f"Bearer {token}"}
    try:
        answer = _ask(url, "GET", bearer)
        yield _arrives(url, answer)
        if answer.status == 401 and answer.error == "invalid_token":
            yield from _merges(url, settings, bearer)
    except (OSError, HTTPException) as trouble:
        yield problem(
            "url", f"{url} does not answer ({trouble}).", "Check the URL, its certificate, and that it runs."
        )


def _arrives(url: str, answer: _Answer) -> Finding:
    status, error = answer.status, answer.error
    if status == 401 and error == "invalid_token":
        return ok("url", f"{url} judges the Authorization header that it gets.")
    if status == 401 and error:
        return problem(
            "url",
            f"{url} says of a request with credentials that it has none: something before the app takes the"
            " Authorization header away.",
            "With Apache and mod_wsgi, write `WSGIPassAuthorization On`; let CGI and each proxy pass it on.",
        )
    if status == 429 or status >= 500:
        return warning("url", f"{url} answers {status}, which says nothing yet.", "Ask again later.")
    if 300 <= status < 400:
        return warning("url", f"{url} answers {status}.", "Give the URL to which it redirects.")
    if status == 401:
        return warning(
            "url",
            f"{url} answers 401, but not as patauth does.",
            "See what asks for credentials there. With on_refusal, let the challenges of patauth be bearer.",
        )
    return problem(
        "url",
        f"{url} answers {status} to credentials that nobody has.",
        "Give a URL that needs credentials. If this one should, patauth does not stand before it.",
    )


def _merges(url: str, settings: Settings, bearer: Mapping[str, str]) -> Iterator[Finding]:
    """Send what is another header only where `_` is taken for `-`.

    patauth shows from outside what it has read of two kinds of headers alone: token_headers and those of a
    preflight.
    """
    named = [name for name in settings.token_headers or () if "-" in name]
    if named:
        # Two carriers of credentials are 400.
        name = named[0].replace("-", "_")
        is_merged = _ask(url, "GET", {**bearer, name: "none"}).status == 400
    elif settings.cors_origins:
        name = "Access_Control_Request_Method"
        origin = settings.cors_origins[0].replace("*", "https://app.example")
        is_merged = _ask(url, "OPTIONS", {"Origin": origin, name: "GET"}).status == 204
    else:
        yield warning(
            "headers",
            f"Whether something before {url} takes X_Forwarded_For for X-Forwarded-For is unknown: patauth"
            " shows it only with the setting token_headers (a name with `-`) or cors_origins.",
            "Make sure that the front server drops names with an underscore (nginx does).",
        )
        return
    if is_merged:
        yield problem(
            "headers",
            f"{url} takes the header {name} for {name.replace('_', '-')}. So clients can send headers that a"
            " proxy is to set or remove, such as X_Forwarded_For.",
            "Let the front server drop names with an underscore (nginx: underscores_in_headers off).",
        )
    else:
        yield ok("headers", f"{url} does not take the header {name} for {name.replace('_', '-')}.")


def _ask(url: str, method: str, fields: Mapping[str, str]) -> _Answer:
    parts = urlsplit(url)
    address = parts.hostname or "", parts.port
    connection = (
        HTTPSConnection(*address, timeout=_SECONDS, context=ssl.create_default_context())
        if parts.scheme == "https"
        else HTTPConnection(*address, timeout=_SECONDS)
    )
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, headers={**fields, "Connection": "close"})
        answer = connection.getresponse()
        body, until = b"", monotonic() + _SECONDS
        while len(body) < _MOST and monotonic() < until and (piece := answer.read1(_MOST)):
            body += piece
        return _Answer(answer.status, answer.headers, body)
    finally:
        connection.close()
