"""The OAuth endpoints, in the forms that real clients send.

    POST /oauth/token        the client credentials grant                       RFC 6749 §4.4
    POST /oauth/introspect   what a token is worth                              RFC 7662
    POST /oauth/revoke       the end of a token                                 RFC 7009
    GET  /oauth/jwks         the keys that verify signed access tokens          RFC 7517 §5

Clients authenticate by one of

    Authorization: Basic                raw or form-urlencoded                  RFC 6749 §2.3.1
    application/x-www-form-urlencoded   client_id, client_secret in the body
    multipart/form-data                 the same
    Authorization: Bearer               an access token or a PAT token; not for a token

Refusals come in this order: method 405, size 413, media type 415, repeated or query credentials 400,
parameters 400, client 401/429/503, scope 400.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ...authority import Authority
from ...errors import InvalidCredentials, InvalidRequest
from ...model.credentials import AccessToken, PatCredentials
from ...operations.authenticate import Admission
from ..answers import Answer, MethodNotAllowed, UnsupportedGrantType, json_answer, quota_fields
from ..bodies import query, read_form
from ..request import client_address

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

JWKS_AGE = 300  # s for which caches may keep the public keys; a new key is asked for by its kid
_IN_BODY_ONLY = frozenset({"client_id", "client_secret", "access_token", "client_assertion", "token"})


def token(environ: WSGIEnvironment, authority: Authority) -> Answer:
    """Answer a token request. Raises `PatAuthError` for `wsgi.errors.oauth_error` to render."""
    form = _form(environ)
    grant = form.get("grant_type")
    if grant is None:
        raise InvalidRequest("grant_type is missing; send client_credentials")
    if grant.lower() != "client_credentials":
        raise UnsupportedGrantType

    address = client_address(environ, authority.settings.trusted_proxies)
    credentials = authority.operations.read(lambda: _client(environ, form, authority), address)
    if not isinstance(credentials, PatCredentials) or credentials.method != "basic":
        raise InvalidCredentials("send the PAT id and the PAT secret, as Basic or in the body")
    access = authority.operations.exchange(credentials, form.get("scope"), address)
    content = {
        "access_token": access.value,
        "token_type": access.token_type,
        "expires_in": access.expires_in,
        "scope": " ".join(access.scope),
    }
    return json_answer(200, content, quota_fields(access.decision))


def introspect(environ: WSGIEnvironment, authority: Authority) -> Answer:
    """Answer an introspection request (RFC 7662 §2). Raises as `token`."""
    asked, admission, address = _about_a_token(environ, authority)
    found = authority.introspect(asked, by=admission.principal, address=address)
    return json_answer(200, found.members(authority.settings.issuer), quota_fields(admission.decision))


def revoke(environ: WSGIEnvironment, authority: Authority) -> Answer:
    """Answer a revocation request (RFC 7009 §2): 200 once what it asks is durably so. Raises as `token`."""
    asked, admission, address = _about_a_token(environ, authority)
    authority.revoke(asked, by=admission.principal, address=address)
    return json_answer(200, {}, quota_fields(admission.decision))


def jwks(environ: WSGIEnvironment, authority: Authority) -> Answer:
    """Answer a request for the public keys. Raises as `token`."""
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        raise MethodNotAllowed("GET, HEAD")
    body = json.dumps(authority.operations.jwks()).encode()
    fields = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", f"public, max-age={JWKS_AGE}"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    return Answer(200, fields, body)


def _about_a_token(environ: WSGIEnvironment, authority: Authority) -> tuple[str, Admission, str | None]:
    """The token that a request asks about, who asks, and from where."""
    form = _form(environ)
    asked = form.get("token")
    if asked is None:
        raise InvalidRequest("token is missing; send the token to look at or to end")
    address = client_address(environ, authority.settings.trusted_proxies)
    credentials = authority.operations.read(lambda: _client(environ, form, authority), address)
    return asked, authority.operations.admit(credentials, address), address


def _form(environ: WSGIEnvironment) -> dict[str, str]:
    if environ["REQUEST_METHOD"] != "POST":
        raise MethodNotAllowed("POST")
    form = read_form(environ)
    # Empty ones count as omitted (RFC 6749 §3.2).
    if not _IN_BODY_ONLY.isdisjoint(name for name, value in query(environ).items() if value):
        raise InvalidRequest("send credentials in the body or as Basic, never in the URL")
    return form


def _client(
    environ: WSGIEnvironment, form: dict[str, str], authority: Authority
) -> PatCredentials | AccessToken:
    """The client's credentials, by exactly one method (RFC 6749 §2.3)."""
    authorization = environ.get("HTTP_AUTHORIZATION")
    client_id, client_secret = form.get("client_id"), form.get("client_secret")
    if authorization:
        if client_secret is not None:
            raise InvalidRequest("send the client's secret once: as Basic or in the body, not both")
        if "access_token" in form:  # RFC 6750 §2
            raise InvalidRequest("send credentials once: in the Authorization header, and not in the body")
        credentials = authority.operations.format.parse(authorization, form_encoded=True)
        if client_id is not None and client_id != credentials.pat_id:
            raise InvalidRequest("client_id differs from the user name of Basic")
        return credentials
    if client_id is None or client_secret is None:
        raise InvalidCredentials("send client_id and client_secret, or Basic")
    return authority.operations.format.basic(client_id, client_secret)
