"""The OAuth endpoints, in the forms that real clients send.

    POST /oauth/token        the client credentials grant                       RFC 6749 §4.4
    POST /oauth/introspect   whether a token is active, and for what            RFC 7662
    POST /oauth/revoke       the end of a token                                 RFC 7009
    GET  /oauth/jwks         the keys that verify signed access tokens          RFC 7517 §5
    GET  /.well-known/...    the metadata of these endpoints (metadata.py)      RFC 8414

Clients authenticate in one of these ways:

    Authorization: Basic                raw or form-urlencoded                  RFC 6749 §2.3.1
    application/x-www-form-urlencoded   client_id, client_secret in the body
    multipart/form-data                 client_id, client_secret in the body
    Authorization: Bearer               an access token or a PAT token; not at /oauth/token

Refusals come in this order: method 405, size 413, media type 415, repeated or query credentials 400,
parameters 400, client 401/429/503, scope 400.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ...errors import InvalidCredentials, InvalidRequest, PatAuthError
from ...model.address import Address
from ...model.credentials import AccessToken, PatCredentials
from ...operations.admit import Admission
from ..answers import Answer, json_answer, oauth_error, with_caller_fields
from ..bodies import query, read_form
from ..errors import MethodNotAllowed
from ..request import PAT_ID
from ..routing import Routes, get_only
from ..site import Site
from . import metadata

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_encode = msgspec.json.Encoder().encode  # takes a tenth of the time of `json.dumps`
JWKS_AGE = 300  # s for which caches may keep the public keys; clients ask again for a kid that is new to them
_IN_BODY_ONLY = frozenset({"client_id", "client_secret", "access_token", "client_assertion", "token"})


class UnsupportedGrantType(InvalidRequest):
    """The grant is not one of those offered (RFC 6749 §5.2)."""

    code = "unsupported_grant_type"
    default = "the grant type must be client_credentials"


def routes(site: Site) -> Routes:
    """Return the routes of this surface. A signed-in person opens none of them: they are for clients."""
    settings = site.settings
    found = metadata.routes(settings)
    for endpoint in (token, introspect, revoke):
        found[f"{settings.path_prefix}/oauth/{endpoint.__name__}"] = partial(_answer, endpoint, site)
    if site.operations.publishes_keys:
        keys = partial(_jwks, site)
        found[f"{settings.path_prefix}/oauth/jwks"] = get_only(keys)
    return Routes(found)


def _answer(
    endpoint: Callable[[WSGIEnvironment, Site], Answer], site: Site, environ: WSGIEnvironment
) -> Answer:
    try:
        return endpoint(environ, site)
    except PatAuthError as error:
        return oauth_error(error, site.challenges)


def token(environ: WSGIEnvironment, site: Site) -> Answer:
    """Answer a token request. Raise `PatAuthError`, which `oauth_error` renders."""
    form = _form(environ)
    grant = form.get("grant_type")
    if grant is None:
        raise InvalidRequest("grant_type is missing; send client_credentials")
    if grant.lower() != "client_credentials":
        raise UnsupportedGrantType

    address = site.client_address(environ)
    credentials = site.operations.read(lambda: _client(environ, form, site), address)
    if not isinstance(credentials, PatCredentials):
        raise InvalidCredentials("an access token is not exchanged; send the PAT id and the PAT secret")
    access, decision, expires_ms = site.operations.exchange(credentials, form.get("scope"), address)
    environ[PAT_ID] = credentials.pat_id
    content = {
        "access_token": access.value,
        "token_type": access.token_type,
        "expires_in": access.expires_in,
        "scope": " ".join(access.scope),
    }
    return with_caller_fields(json_answer(200, _encode(content)), decision, expires_ms)


def introspect(environ: WSGIEnvironment, site: Site) -> Answer:
    """Answer an introspection request (RFC 7662 §2). Raise `PatAuthError`."""
    asked, admission, address, form = _about_a_token(environ, site)
    found = site.operations.introspect(
        asked, by=admission.principal, address=address, client_address=form.get("client_address")
    )
    members = found.members(site.settings.issuer)
    return with_caller_fields(json_answer(200, members), admission.decision, admission.expires_ms)


def revoke(environ: WSGIEnvironment, site: Site) -> Answer:
    """Answer a revocation request (RFC 7009 §2) once the end is durable. Raise `PatAuthError`."""
    asked, admission, address, _ = _about_a_token(environ, site, ending=True)
    site.operations.revoke(asked, by=admission.principal, address=address)
    return with_caller_fields(json_answer(200, {}), admission.decision, admission.expires_ms)


def _jwks(site: Site) -> Answer:
    return json_answer(200, site.operations.jwks(), public_for=JWKS_AGE)


def _about_a_token(
    environ: WSGIEnvironment, site: Site, *, ending: bool = False
) -> tuple[str, Admission, Address, dict[str, str]]:
    """Return the token that a request is about, who asks, the client's address, and the whole form."""
    form = _form(environ)
    asked = form.get("token")
    if asked is None:
        raise InvalidRequest("token is missing; send the token that the request is about")
    address = site.client_address(environ)
    credentials = site.operations.read(lambda: _client(environ, form, site), address)
    admission = site.operations.admit(credentials, address, ending=ending)
    environ[PAT_ID] = admission.principal.pat_id
    return asked, admission, address, form


def _form(environ: WSGIEnvironment) -> dict[str, str]:
    if environ["REQUEST_METHOD"] != "POST":
        raise MethodNotAllowed("POST")
    form = read_form(environ)
    # An empty parameter counts as omitted (RFC 6749 §3.2).
    if not _IN_BODY_ONLY.isdisjoint(name for name, value in query(environ).items() if value):
        raise InvalidRequest("send credentials in the body or as Basic, never in the URL")
    return form


def _client(environ: WSGIEnvironment, form: dict[str, str], site: Site) -> PatCredentials | AccessToken:
    """Return the client's credentials, sent by exactly one method (RFC 6749 §2.3)."""
    authorization = site.carried(environ)
    client_id, client_secret = form.get("client_id"), form.get("client_secret")
    if authorization:
        if client_secret is not None:
            raise InvalidRequest("send the client's secret once: as Basic or in the body, not both")
        if "access_token" in form:  # RFC 6750 §2
            raise InvalidRequest("send credentials once: in the Authorization header, and not in the body")
        credentials = site.operations.format.parse(authorization, form_encoded=True)
        if client_id is not None and client_id != credentials.pat_id:
            raise InvalidRequest("client_id differs from the user name of Basic")
        return credentials
    if client_id is None or client_secret is None:
        raise InvalidCredentials("send client_id and client_secret, or Basic")
    return site.operations.format.basic(client_id, client_secret)
