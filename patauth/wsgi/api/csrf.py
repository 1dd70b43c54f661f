"""Protect people from requests that another site makes their browser send.

A browser sends a person's cookies along with every request, whichever site caused it. So a request that rests
on a person must come from this origin (the algorithm of Go 1.25's `http.CrossOriginProtection`, but closed
where a browser says nothing). A request that changes something must also bring the token that an earlier
answer gave.

A browser sends the id and secret that it keeps for Basic in the same way. So a change by Basic must come from
this origin, from one that the host has named, or from no browser.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from itsdangerous import BadData, URLSafeSerializer

from ...crypto.keyring import Keyring
from ...errors import Forbidden
from ...model.caller import Person
from ..cors import Cors

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

CSRF_FIELD = "X-CSRF-Token"
CSRF_LIFE = 12 * 3600  # s

_SKEW = 60  # s by which the clocks of two hosts may differ
_MAX_TOKEN = 1024  # characters; two ids of 128 take half of it
_ORIGIN = re.compile(r"https?://([^/?#@\\\s]+)", re.IGNORECASE)  # RFC 6454 §6.2; `null` is no origin


class ForeignRequest(Forbidden):
    """Another site has made a browser send this request, or nobody knows which site has."""


class StaleForm(Forbidden):
    """The CSRF token is missing, too old, or somebody else's."""


def check_origin(environ: WSGIEnvironment, *, safe: bool) -> None:
    """Raise `ForeignRequest` for a request that another site made a browser send.

    `safe`: the method changes nothing. Sec-Fetch-Site decides where it is sent, and otherwise Origin
    against Host. With neither, only a safe request passes; so does an address that was typed (`none`).
    """
    site = environ.get("HTTP_SEC_FETCH_SITE", "")
    origin = environ.get("HTTP_ORIGIN", "")
    if site:
        good = site == "same-origin" or (safe and site == "none")
    elif origin:
        # The scheme is not compared: Host does not tell it, and proxies change it.
        match = _ORIGIN.fullmatch(origin)
        good = match is not None and match[1].lower() == environ.get("HTTP_HOST", "").lower()
    else:
        good = safe
    if not good:
        raise ForeignRequest(
            "this request does not come from this site's own pages; sign in and send it from there"
        )


def check_change_by_basic(environ: WSGIEnvironment, cors: Cors | None) -> None:
    """Raise `ForeignRequest` for a change by Basic that another site made a browser send.

    A request with neither Sec-Fetch-Site nor Origin comes from no browser, and passes. So does one from an
    origin that `cors` names. `["*"]` names no origin: it lets pages read, and lets none of them act.
    """
    origin = environ.get("HTTP_ORIGIN", "")
    if not (origin or environ.get("HTTP_SEC_FETCH_SITE")) or (cors is not None and origin in cors.origins):
        return
    try:
        check_origin(environ, safe=False)
    except ForeignRequest:
        raise ForeignRequest(
            "a page of another site has sent this request, perhaps with a password that the browser keeps;"
            " send a token as Bearer"
        ) from None


def make_csrf_token(ring: Keyring, person: Person, now: int) -> str:
    """Return the token of a person at `now` (seconds since 1970), good for 12 hours and for them only."""
    text = _serializer(ring).dumps([person.tenant, person.owner.id, now])
    return text if isinstance(text, str) else text.decode("ascii")


def check_csrf_token(ring: Keyring, person: Person, token: str, now: int) -> None:
    """Raise `StaleForm` for any token but one that this person got within the 12 hours before `now`."""
    if not token:
        raise StaleForm(f"the field {CSRF_FIELD} is missing; send the value that a GET of this API answers")
    try:
        content = _serializer(ring).loads(token) if len(token) <= _MAX_TOKEN else None
    except BadData:
        content = None
    match content:
        case [person.tenant, person.owner.id, int(made)] if -_SKEW <= now - made < CSRF_LIFE:
            return
    raise StaleForm(
        f"the field {CSRF_FIELD} is not valid or no longer valid; send the value that a new GET of this API"
        " answers"
    )


def _serializer(ring: Keyring) -> Any:
    # The time is part of what is signed, so that it comes from `now` and not from a clock of itsdangerous.
    signing = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
    return URLSafeSerializer(ring.csrf_key, salt="patauth csrf 1", signer_kwargs=signing)
