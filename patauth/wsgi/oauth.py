"""`POST /oauth/token`: the client credentials grant (RFC 6749 §4.4), in the forms that real clients send.

    Authorization: Basic            raw or form-urlencoded (§2.3.1)
    application/x-www-form-urlencoded   client_id, client_secret in the body
    multipart/form-data                 the same

Refusals come in this order: method 405, size 413, media type 415, repeated or query credentials 400,
grant 400, client 401/429/503, scope 400.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from io import BytesIO
from typing import IO, TYPE_CHECKING
from urllib.parse import parse_qsl

from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header
from werkzeug.wsgi import get_input_stream

from ..authority import Authority
from ..credentials import PatCredentials
from ..errors import InvalidCredentials, InvalidRequest
from ..failures import forwarded_address
from .errors import (
    Answer,
    MethodNotAllowed,
    TooLarge,
    UnsupportedGrantType,
    UnsupportedMediaType,
    json_answer,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MAX_BODY = 8192  # bytes
MAX_PARAMETERS = 64
MAX_PARTS = 8  # of a multipart body

_IN_BODY_ONLY = frozenset({"client_id", "client_secret", "access_token", "client_assertion"})


def token(environ: WSGIEnvironment, authority: Authority) -> Answer:
    """Answer a token request. Raises `PatAuthError` for `wsgi.errors.oauth_error` to render."""
    if environ["REQUEST_METHOD"] != "POST":
        raise MethodNotAllowed("POST")
    form = _read_form(environ)
    query = _unique(_pairs(environ.get("QUERY_STRING", "")))
    if not _IN_BODY_ONLY.isdisjoint(query):
        raise InvalidRequest("send credentials in the body or as Basic, never in the URL")

    grant = form.get("grant_type")
    if grant is None:
        raise InvalidRequest("grant_type is missing; send client_credentials")
    if grant.lower() != "client_credentials":
        raise UnsupportedGrantType

    address = client_address(environ, authority.settings.trusted_proxies)
    credentials = authority.read(lambda: _client(environ, form, authority), address)
    access = authority.exchange_credentials(credentials, scope=form.get("scope"), address=address)
    content = {
        "access_token": access.value,
        "token_type": access.token_type,
        "expires_in": access.expires_in,
        "scope": " ".join(access.scope),
    }
    return json_answer(200, content, access.decision.fields())


def client_address(environ: WSGIEnvironment, trusted_proxies: int) -> str | None:
    """The client's address as far as it can be believed (setting `trusted_proxies`)."""
    return forwarded_address(environ.get("REMOTE_ADDR"), environ.get("HTTP_X_FORWARDED_FOR"), trusted_proxies)


def _client(environ: WSGIEnvironment, form: dict[str, str], authority: Authority) -> PatCredentials:
    """The client's id and secret, by exactly one method (RFC 6749 §2.3)."""
    authorization = environ.get("HTTP_AUTHORIZATION")
    client_id, client_secret = form.get("client_id"), form.get("client_secret")
    if authorization:
        if client_secret is not None:
            raise InvalidRequest("send the client's secret once: as Basic or in the body, not both")
        credentials = authority.format.parse(authorization, form_encoded=True)
        if not isinstance(credentials, PatCredentials) or credentials.method != "basic":
            raise InvalidCredentials("send the PAT id and the PAT secret, as Basic or in the body")
        if client_id is not None and client_id != credentials.pat_id:
            raise InvalidRequest("client_id differs from the user name of Basic")
        return credentials
    if client_id is None or client_secret is None:
        raise InvalidCredentials("send client_id and client_secret, or Basic")
    return authority.format.basic(client_id, client_secret)


def _read_form(environ: WSGIEnvironment) -> dict[str, str]:
    try:
        # One byte more than is allowed: of a chunked body, werkzeug reads as much as it may and says nothing.
        body = get_input_stream(environ, max_content_length=MAX_BODY + 1).read()
    except RequestEntityTooLarge:
        body = bytes(MAX_BODY + 1)
    except (ClientDisconnected, OSError):
        raise InvalidRequest("the request body ended early") from None
    if len(body) > MAX_BODY:
        raise TooLarge(f"the request body is over {MAX_BODY} bytes")
    mimetype, options = parse_options_header(environ.get("CONTENT_TYPE"))
    if mimetype == "application/x-www-form-urlencoded":
        if not body.isascii():
            raise InvalidRequest("the body is not form-urlencoded")
        pairs = _pairs(body.decode("ascii"))
    elif mimetype == "multipart/form-data":
        pairs = _parts(body, options)
    else:
        raise UnsupportedMediaType
    return _unique(pairs)


def _pairs(text: str) -> list[tuple[str, str]]:
    # Raised outside of `suppress`: the error that is kept from sight holds the text, and with it a secret.
    with suppress(ValueError):
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    raise InvalidRequest("the parameters are not form-urlencoded UTF-8, or too many")


def _parts(body: bytes, options: dict[str, str]) -> list[tuple[str, str]]:
    parser = FormDataParser(_no_file, max_form_memory_size=MAX_BODY, max_form_parts=MAX_PARTS, silent=False)
    try:
        _, form, _ = parser.parse(BytesIO(body), "multipart/form-data", len(body), options)
    except RequestEntityTooLarge:
        raise TooLarge(f"the form has over {MAX_PARTS} parts") from None
    except ValueError:
        raise InvalidRequest("the multipart body cannot be read") from None
    return list(form.items(multi=True))


def _no_file(*_: object, **__: object) -> IO[bytes]:
    raise TooLarge("the form holds a file")


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Parameters by name: none twice, an empty one as if omitted (RFC 6749 §3.2)."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidRequest("a parameter is repeated; send each once")
        found[name] = value
    return {name: value for name, value in found.items() if value}
