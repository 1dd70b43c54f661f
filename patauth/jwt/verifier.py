"""`patauth.JWTVerifier`: it verifies signed access tokens with the public keys alone, without a store."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from ..concurrency.forks import after_fork_in_child
from ..concurrency.slots import Slot, Slots
from ..errors import (
    ConfigurationError,
    InvalidRequest,
    InvalidToken,
    Overloaded,
    PatAuthError,
    expired_token,
)
from ..model.caller import Principal
from ..model.credentials import Claims
from ..model.pat import Owner, check_id
from .claims import refuse
from .signature import Key, UnknownKey, Verifier

_log = logging.getLogger("patauth")

_UNAVAILABLE = "the keys that verify tokens are not available; try again shortly"


class JWTVerifier:
    """Verifies the signed access tokens of a patauth in another service (RFC 9068 §4), without a store.

    It checks signature, issuer, audience, tenant, expiry and the form of every claim. It does not know what
    happens after a token was issued. So a revoked token, or one whose PAT was deleted or whose owner was
    disabled, passes until it expires, and no quota is charged. Where that matters, ask the store
    (`Authority`) or `/oauth/introspect`.

    `jwks` is a JWK Set (RFC 7517 §5), as `/oauth/jwks` answers it, or a callable that returns one and has
    its own time limit. The callable is called at the first use, again before the keys are `max_age` seconds
    old, and for a token with an unknown key, but at most every `interval` seconds. One thread at a time calls
    it, and none waits for that: a token whose key is not known by then is refused, and a token with a known
    key is good meanwhile. Only after nobody has asked for `max_age` seconds, the first token waits for the
    keys of that moment. While the callable fails, the known keys
    stay in use. `issuer` is the issuer of the token service. `audience` is one name of this service or
    several; None means the issuer. `leeway` is how many seconds the clocks may differ. `clock` gives s
    since 1970, and `timer` s that never go back.

    Threads can share a verifier, also after a fork. It needs joserfc (extra `jwt`). Raise
    `ConfigurationError`.
    """

    def __init__(
        self,
        jwks: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        *,
        issuer: str,
        audience: str | Iterable[str] | None = None,
        tenant: str = "default",
        leeway: float = 30,
        interval: float = 10,
        max_age: float = 300,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        if not isinstance(issuer, str) or not issuer:
            raise ConfigurationError("issuer: give the URL that the token service has as its issuer")
        audience = issuer if audience is None else audience
        names = (audience,) if isinstance(audience, str) else tuple(audience)
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ConfigurationError("audience: give one text, or several")
        for name, value in (("leeway", leeway), ("interval", interval), ("max_age", max_age)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 86_400:
                raise ConfigurationError(f"{name}: give seconds, from 0 to 86400")
        self._issuer = issuer
        self._audience = names
        try:
            self._tenant = check_id(tenant, "tenant")
        except InvalidRequest as problem:
            raise ConfigurationError(str(problem)) from None
        self._leeway = leeway
        self._interval = interval
        self._max_age = max_age
        self._clock = clock
        self._timer = timer
        self._fetch = jwks if callable(jwks) else None
        self._verifier = None if callable(jwks) else self._made(jwks)
        self._asked_at = -float("inf")  # by `timer`
        self._fetched_at = -float("inf")  # by `timer`
        self._after_fork()
        after_fork_in_child(self._after_fork)

    def verify(self, token: str) -> Principal:
        """Verify an access token, and return who sends it and with which scopes.

        The `subject` has only an id, which is also its name. Raise `InvalidToken`; for an expired token its
        text says so. Raise `Overloaded` while there are no keys, and for a token by an unknown key while
        another thread fetches the keys.
        """
        if not isinstance(token, str):
            raise InvalidToken
        verifier = self._fresh()
        try:
            try:
                claims = verifier.verify(token)
            except UnknownKey:
                newest = self._newest()
                if newest is None:  # the keys that come may be those of this token
                    raise Overloaded(description=_UNAVAILABLE) from None
                claims = newest.verify(token)
        except UnknownKey as problem:
            raise InvalidToken(detail=problem.detail) from None
        return self._principal(claims)

    def _principal(self, claims: Claims) -> Principal:
        now = self._clock()
        if claims.tenant != self._tenant:
            refuse("another tenant")
        if claims.issued > now + self._leeway:
            refuse("iat is in the future")
        if now >= claims.expires + self._leeway:
            raise expired_token()
        return Principal(
            subject=Owner(claims.subject),
            scopes=frozenset(claims.scope),
            pat_id=str(claims.pat_id),
            tenant=claims.tenant,
            method="access_token",
            expires_ms=claims.expires * 1000,
        )

    # -- keys -----------------------------------------------------------------------------------------------

    def _fresh(self) -> Verifier:
        """Return a verifier with the known keys. Fetch them first if there are none, or nobody has for long.

        If they are only half as old as that, they are fetched by another thread. Raise `Overloaded` if there
        are no keys.
        """
        known = self._verifier
        if known is None:
            known = self._newest()
            if known is None:
                raise Overloaded(description=_UNAVAILABLE)
            return known
        now = self._timer()
        if self._fetch is None or now < max(
            self._fetched_at + self._max_age / 2, self._asked_at + self._interval
        ):
            return known
        if now >= self._asked_at + self._max_age:
            return self._newest() or known
        slot = self._fetching.take(0)
        if slot is not None:
            with suppress(RuntimeError):  # no more threads can be started; the next token tries again
                threading.Thread(target=self._ask, args=(slot,), daemon=True).start()
        return known

    def _newest(self) -> Verifier | None:
        """Return a verifier with the newest keys; None if there are none, or another thread fetches them.

        Fetch them, unless that was just done.
        """
        if self._fetch is not None:
            slot = self._fetching.take(0)
            if slot is None:
                return None
            self._ask(slot)
        return self._verifier

    def _ask(self, slot: Slot) -> None:
        """Fetch the keys if the last try is `interval` seconds ago, and give the slot back."""
        try:
            if self._fetch is None or self._timer() < self._asked_at + self._interval:
                return
            try:
                self._verifier = self._made(self._fetch())
                self._fetched_at = self._timer()
            except Exception as problem:  # any error of a network; its text may hold a password
                why = str(problem) if isinstance(problem, PatAuthError) else type(problem).__name__
                _log.warning("the keys that verify tokens could not be fetched: %s", why)
            finally:
                # Set this at the end, so that the next try does not follow a slow one at once.
                self._asked_at = self._timer()
        finally:
            self._fetching.give_back(slot)

    def _made(self, jwks: object) -> Verifier:
        entries = jwks.get("keys") if isinstance(jwks, Mapping) else None
        if not isinstance(entries, list | tuple):
            raise ConfigurationError("jwks: give a JWK Set, {'keys': […]}, or a callable that returns one")
        keys = [key for key in map(Key.public, entries) if key is not None]
        if not keys:
            raise ConfigurationError("jwks: it has no key for ES256, EdDSA or RS256 with a kid")
        return Verifier(keys, self._issuer, self._audience)

    def _after_fork(self) -> None:
        self._fetching = Slots(1, queue=0)
