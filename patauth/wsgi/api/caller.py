"""Who calls patauth's own API: a PAT by its Authorization, or a person by the host's sign-in.

    Authorization    as the gate has it: credentials 400/401, quota 429
    identify         the host's signed-in person, or 401; of this tenant, from this origin, with a CSRF token,
                     or 403

A browser sends a person's cookies along with whatever any site makes it ask for, so a request that rests on a
person must come from this origin (the algorithm of Go 1.25's `http.CrossOriginProtection`, but closed where a
browser says nothing), and what changes something must also bring the token that an earlier answer gave.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ...authority import Authority
from ...crypto.keyring import Keyring
from ...errors import Forbidden, MissingCredentials, PatAuthError
from ...model.caller import Person, Principal
from ...model.quota import Decision
from ..request import authorization, client_address

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

Identify = Callable[[dict[str, Any]], Person | None]

CSRF_FIELD = "X-CSRF-Token"
CSRF_LIFE = 12 * 3600  # s

_SAFE = ("GET", "HEAD")  # the methods of ours that change nothing
_SKEW = 60  # s that the clocks of two hosts may be apart
_MAX_TOKEN = 1024  # characters; two ids of 128 come to half of it
_ORIGIN = re.compile(r"https?://([^/?#@\\\s]+)", re.IGNORECASE)  # RFC 6454 §6.2; `null` is none

_log = logging.getLogger("patauth")


class Admitted(NamedTuple):
    """A verified caller of patauth's own API.

    `decision`: of the quota that was charged, for a PAT. `csrf_token`: for a person's GET or HEAD, to be sent
    along with the answer.
    """

    caller: Principal | Person
    decision: Decision | None
    csrf_token: str | None


def identify_caller(
    environ: WSGIEnvironment,
    authority: Authority,
    identify: Identify | None,
    *,
    clock: Callable[[], float] = time.time,
) -> Admitted:
    """Who sends this request. An Authorization header wins, and nothing else is tried when it is refused.

    Raises what `Authority.admit` does, `MissingCredentials` for nobody, `Forbidden` for a person of another
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


def check_origin(environ: WSGIEnvironment, *, safe: bool) -> None:
    """Refuse what another site made a browser send. Raises `Forbidden`.

    Sec-Fetch-Site decides where it is sent, else Origin against Host. With neither, only what changes nothing
    passes; typing an address (`none`) is no way to change anything either.
    """
    site = environ.get("HTTP_SEC_FETCH_SITE", "")
    origin = environ.get("HTTP_ORIGIN", "")
    if site:
        good = site == "same-origin" or (safe and site == "none")
    elif origin:
        # The scheme stays out of it, as Host does not tell it and proxies change it.
        match = _ORIGIN.fullmatch(origin)
        good = match is not None and match[1].lower() == environ.get("HTTP_HOST", "").lower()
    else:
        good = safe
    if not good:
        raise Forbidden(
            "this request does not come from this site's own pages; sign in and send it from there"
        )


def make_csrf_token(ring: Keyring, person: Person, now: int) -> str:
    """The token of a person at `now` (seconds since 1970): good for 12 hours, and for nobody else."""
    text = _serializer(ring).dumps([person.tenant, person.owner.id, now])
    return text if isinstance(text, str) else text.decode("ascii")


def check_csrf_token(ring: Keyring, person: Person, token: str, now: int) -> None:
    """Raises `Forbidden` for any token but one that this person got within 12 hours before `now`."""
    from itsdangerous import BadData

    if not token:
        raise Forbidden(f"the field {CSRF_FIELD} is missing; send what a GET of this API answers in it")
    try:
        content = _serializer(ring).loads(token) if len(token) <= _MAX_TOKEN else None
    except BadData:
        content = None
    match content:
        case [person.tenant, person.owner.id, int(made)] if -_SKEW <= now - made < CSRF_LIFE:
            return
    raise Forbidden(
        f"the field {CSRF_FIELD} is not valid any more; send what a new GET of this API answers in it"
    )


def log_failure(what: str, problem: Exception) -> None:
    """Log an exception that should not be: what and where it is. Its text may hold anything; it stays out."""
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
        raise PatAuthError(detail=f"the callable `identify` answered a {kind}, not a patauth.Person or None")
    return person


def _serializer(ring: Keyring) -> Any:
    # Imported late: without `identify` it is never needed. The time is in what is signed, not beside it, so
    # that it comes from `now` and not from a clock of itsdangerous' own.
    from itsdangerous import URLSafeSerializer

    signing = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
    return URLSafeSerializer(ring.csrf_key, salt="patauth csrf 1", signer_kwargs=signing)
