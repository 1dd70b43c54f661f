"""Forward-auth: a front server asks about each request, and lets through what is answered 200.

    nginx `auth_request`, Caddy `forward_auth`, Traefik `forwardAuth`

The front server sends the request's headers on, and takes from a 200

    X-Auth-Subject    the owner's id, percent-encoded
    X-Auth-Scopes     the scopes, with single spaces between, in alphabetical order
    X-Auth-Pat-Id     the PAT's id
    X-Auth-Method     basic, pat or access_token

It must remove what a client sent under these names. Refusals are the gate's: 400, 401 with challenges, 403,
429 and 503 with Retry-After. Nothing of the path that was asked for is known here, so what a route demands
is in the query: `/verify?scope=reports:read+reports:write`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from ...authority import Authority
from ...errors import InsufficientScope, InvalidRequest, PatAuthError
from ...model.scopes import covers, parse
from ..answers import Answer, gate_error, json_answer, quota_fields, with_quota
from ..bodies import query
from ..request import authorization, client_address

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def verify(environ: WSGIEnvironment, authority: Authority) -> Answer:
    """Who sends this request, or the gate's refusal."""
    settings = authority.settings
    decision = None
    try:
        # Read first: a front server that is set up wrongly must fail for everybody, and not only for some.
        asked = query(environ)
        if asked.keys() - {"scope"}:
            raise InvalidRequest("this takes scope and nothing else")
        required = parse(asked.get("scope", ""))
        address = client_address(environ, settings.trusted_proxies)
        principal, decision = authority.operations.authenticate(authorization(environ), address)
        if not covers(principal.scopes, required, settings.scopes or ()):
            raise InsufficientScope(required)
    except PatAuthError as error:
        return with_quota(gate_error(error, settings.realm), decision)
    fields = [
        ("X-Auth-Subject", quote(principal.subject.id, safe="")),
        ("X-Auth-Scopes", " ".join(sorted(principal.scopes))),
        ("X-Auth-Pat-Id", principal.pat_id),
        ("X-Auth-Method", principal.method),
        *quota_fields(decision),
    ]
    return json_answer(200, {"active": True}, fields)
