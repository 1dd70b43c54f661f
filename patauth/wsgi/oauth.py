"""`POST /oauth/token`: the client credentials grant (RFC 6749 §4.4), in the forms that real clients send.

    Authorization: Basic            raw or form-urlencoded (§2.3.1)
    application/x-www-form-urlencoded   client_id, client_secret in the body
    multipart/form-data                 the same

Refusals come in this order: method 405, size 413, media type 415, repeated or query credentials 400,
grant 400, client 401/429/503, scope 400.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..authority import Authority
from ..credentials import PatCredentials
from ..errors import InvalidCredentials, InvalidRequest
from ..failures import forwarded_address
from .bodies import query, read_form
from .errors import Answer, MethodNotAllowed, UnsupportedGrantType, json_answer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_IN_BODY_ONLY = frozenset({"client_id", "client_secret", "access_token", "client_assertion"})


def token(environ: WSGIEnvironment, authority: Authority) -> Answer:
    """Answer a token request. Raises `PatAuthError` for `wsgi.errors.oauth_error` to render."""
    if environ["REQUEST_METHOD"] != "POST":
        raise MethodNotAllowed("POST")
    form = read_form(environ)
    # Empty ones count as omitted (RFC 6749 §3.2).
    if not _IN_BODY_ONLY.isdisjoint(name for name, value in query(environ).items() if value):
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
