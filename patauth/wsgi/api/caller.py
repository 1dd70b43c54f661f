"""Who calls the management API: a PAT by its Authorization, or a person by the host's sign-in.

Authorization    the same checks as at the gate: credentials 400/401, quota 429
identify         the host's signed-in person, or 401; another tenant, a foreign origin or a missing CSRF
                 token is 403
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ...authority import Authority
from ...errors import Forbidden, MissingCredentials, PatAuthError
from ...model.caller import Caller, Person
from ...model.quota import Decision
from ..request import authorization, client_address
from .csrf import check_csrf_token, check_origin, make_csrf_token

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

Identify = Callable[[dict[str, Any]], Person | None]

_SAFE = ("GET", "HEAD")  # the methods of this API that change nothing

_log = logging.getLogger("patauth")


class Admitted(NamedTuple):
    """Holds a verified caller of the management API.

    `decision` is that of the quota that was charged, for a PAT. `csrf_token` is sent with the answer to a
    person's GET or HEAD.
    """

    caller: Caller
    decision: Decision | None
    csrf_token: str | None


def identify_caller(
    environ: WSGIEnvironment,
    authority: Authority,
    identify: Identify | None,
    *,
    clock: Callable[[], float] = time.time,
) -> Admitted:
    """Return who sends this request. When an Authorization header is refused, nothing else is tried.

    Raise as `Authority.authenticate`, `MissingCredentials` for nobody, `Forbidden` for a person of another
    tenant, from another origin or without a CSRF token, and `PatAuthError` (500) where `identify` fails.
    """
    if identify is None or environ.get("HTTP_AUTHORIZATION"):
        address = client_address(environ, authority.settings.trusted_proxies)
        return Admitted(*authority.operations.authenticate(authorization(environ), address), None)

    person = _ask(identify, environ)
    if person is None:
        raise MissingCredentials
    if person.tenant != authority.settings.tenant:
        raise Forbidden("you are signed in to another organisation than this one")
    safe = environ["REQUEST_METHOD"] in _SAFE
    check_origin(environ, safe=safe)
    ring = authority.operations.keyring()
    now = int(clock())
    if safe:
        return Admitted(person, None, make_csrf_token(ring, person, now))
    check_csrf_token(ring, person, environ.get("HTTP_X_CSRF_TOKEN", ""), now)
    return Admitted(person, None, None)


def log_failure(what: str, problem: Exception) -> None:
    """Log the type and place of an unexpected exception, without its text, which may hold a secret."""
    shown = PatAuthError(type(problem).__name__)
    _log.error(what, exc_info=(type(shown), shown, problem.__traceback__))


def _ask(identify: Identify, environ: WSGIEnvironment) -> Person | None:
    try:
        person = identify(environ)
    except Exception as problem:
        log_failure("the callable `identify` failed; the request is refused", problem)
        raise PatAuthError(detail="the callable `identify` failed") from None
    if person is not None and not isinstance(person, Person):
        kind = type(person).__name__
        raise PatAuthError(detail=f"the callable `identify` returned a {kind}, not a patauth.Person or None")
    return person
