"""Forward-auth: a front server asks about each request, and lets it through if the answer is 200.

    nginx `auth_request`, Caddy `forward_auth`, Traefik `forwardAuth`

The front server passes on the Authorization field and the client's address. Every method asks the same. A
200 tells it:

    X-Auth-Subject    the owner's id, percent-encoded
    X-Auth-Scopes     the scopes in alphabetical order, separated by single spaces
    X-Auth-Pat-Id     the PAT's id
    X-Auth-Method     basic, pat or access_token

It must remove the fields of these names that a client sent. This endpoint does not know the path of the
request, so the front server says in the query which scopes it demands: `/verify?scope=reports:read+a`.

Refusals are those of the gate: 400, 401 with challenges, 403, 429 and 503 with Retry-After. nginx can pass on
no body of this answer, and only the first of several fields of one name. So the challenges are one field, a
list (RFC 9110 §11.6.1), and X-Auth-Body repeats the body.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from ...errors import InvalidRequest, PatAuthError
from ...model.scopes import covers, parse
from ..answers import Answer, json_answer, with_caller_fields
from ..bodies import query
from ..site import Site

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def verify(environ: WSGIEnvironment, site: Site) -> Answer:
    """Return who sends this request, or the refusal of the gate."""
    decision = expires_ms = None
    try:
        # Read first, so that a front server with a wrong configuration fails for everybody alike.
        asked = query(environ)
        if asked.keys() - {"scope"}:
            raise InvalidRequest("this takes the parameter scope and no other")
        required = parse(asked.get("scope", ""))
        admission = site.authenticate(environ)
        principal, decision = admission.principal, admission.decision
        expires_ms = admission.expires_ms
        if not covers(principal.scopes, required, site.settings.scopes or ()):
            raise site.lacking(principal, required)
    except PatAuthError as error:
        return _in_fields(with_caller_fields(site.refusal(error, environ), decision, expires_ms))
    fields = [
        ("X-Auth-Subject", quote(principal.subject.id, safe="")),
        ("X-Auth-Scopes", " ".join(sorted(principal.scopes))),
        ("X-Auth-Pat-Id", principal.pat_id),
        ("X-Auth-Method", principal.method),
    ]
    return with_caller_fields(json_answer(200, {"active": True}, fields), decision, expires_ms)


def _in_fields(refusal: Answer) -> Answer:
    """Return the refusal with its challenges in one field, and its body in a field too (a line of ASCII)."""
    challenges = [value for name, value in refusal.fields if name == "WWW-Authenticate"]
    fields = [(name, value) for name, value in refusal.fields if name != "WWW-Authenticate"]
    if challenges:
        fields.append(("WWW-Authenticate", ", ".join(challenges)))
    fields.append(("X-Auth-Body", refusal.body.decode("ascii")))
    return Answer(refusal.status, fields, refusal.body)
