"""Find who calls the management API or the page: a PAT by its Authorization, or a signed-in person.

Authorization    a change by Basic that another site causes is 403; then the same checks as at the gate:
                 credentials 400/401, quota 429
identify         the host's signed-in person, or 401; another tenant, a foreign origin or a missing CSRF
                 token is 403, quota 429
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ...errors import Forbidden, MissingCredentials, PatAuthError
from ...model.caller import Caller, Person
from ...model.quota import Decision
from ..request import without_body
from ..site import Identify, Site
from .csrf import check_change_by_basic, check_csrf_token, check_origin, make_csrf_token

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_SAFE = ("GET", "HEAD")  # the methods here that change nothing


class Admitted(NamedTuple):
    """Holds a verified caller of the management API or the page.

    `decision` is that of the charged quota; None: nothing was charged. `expires_ms` is when the caller's
    secret expires, if that is near. `csrf_token` is sent with the answer to a person's GET or HEAD.
    """

    caller: Caller
    decision: Decision | None
    expires_ms: int | None
    csrf_token: str | None


def identify_caller(
    environ: WSGIEnvironment, site: Site, *, ending: bool = False, clock: Callable[[], float] = time.time
) -> Admitted:
    """Return who sends this request. If credentials are refused, try nothing else.

    `ending`: the request ends something, as each DELETE does.

    Raise what `Authority.authenticate` raises, `MissingCredentials` for nobody, and `RateLimited` for the
    person quota. Raise `Forbidden` for a person of another tenant, from another origin or without a CSRF
    token, and for a change by Basic from another origin. Raise `PatAuthError` (500) if `identify` fails.
    """
    method = environ["REQUEST_METHOD"]
    ending = ending or method == "DELETE"
    safe = method in _SAFE
    authorization = site.carried(environ)
    if site.identify is None or authorization:
        # Check this first: a request that another site causes must not use up a quota.
        if not safe and authorization[:5].lower() == "basic":
            check_change_by_basic(environ, site.cors)
        admission = site.authenticate(environ, ending=ending)
        return Admitted(admission.principal, admission.decision, admission.expires_ms, None)
    person = signed_in(environ, site)
    check_origin(environ, safe=safe)
    ring = site.operations.keyring()
    now = int(clock())
    token = make_csrf_token(ring, person, now) if safe else None
    if token is None:
        check_csrf_token(ring, person, environ.get("HTTP_X_CSRF_TOKEN", ""), now)
    # Charge this last: a request that another site causes must not use up a quota.
    return Admitted(person, site.operations.admit_person(person, ending=ending), None, token)


def signed_in(environ: WSGIEnvironment, site: Site) -> Person:
    """Return the host's signed-in person. Nothing else of the request is checked.

    Raise `MissingCredentials` for nobody, `Forbidden` for a person of another tenant, and `PatAuthError`
    (500) where `identify` fails.
    """
    person = None if site.identify is None else _ask(site, site.identify, environ)
    if person is None:
        raise MissingCredentials
    if person.tenant != site.settings.tenant:
        raise Forbidden("you are signed in to another organisation than this one")
    return person


def _ask(site: Site, identify: Identify, environ: WSGIEnvironment) -> Person | None:
    person = site.ask("identify", identify, without_body(environ))
    if person is not None and not isinstance(person, Person):
        kind = type(person).__name__
        raise PatAuthError(detail=f"the callable `identify` returned a {kind}, not a patauth.Person or None")
    return person
