"""Authentications that tell observers how they end.

Each one is counted once: credentials of a request, or of an exchange, whether or not they can be read. A
request without credentials is none, except at the OAuth endpoints, which demand some: there it is malformed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Concatenate, ParamSpec, TypeVar

from ..errors import (
    InvalidCredentials,
    InvalidRequest,
    InvalidScope,
    Overloaded,
    PatAuthError,
    RateLimited,
    StoreUnavailable,
)
from ..model.credentials import AccessToken, PatCredentials
from .observer import Observers

Credentials = PatCredentials | AccessToken
P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")

UNREAD = "unknown"  # the method of credentials that cannot be read
TOKEN = "access_token"  # noqa: S105 - a method


class _Authentication:
    """An authentication that is under way, and what other parts say of it."""

    reason = ""  # why it is refused; only the event tells, since the caller must not learn it
    asked_for_proof = False


# That of this thread or task, or its last one.
_CURRENT: ContextVar[_Authentication | None] = ContextVar("patauth_authentication", default=None)


def refused(reason: str) -> None:
    """Say why the credentials are refused that this thread or task authenticates."""
    current = _CURRENT.get()
    if current is not None:
        current.reason = reason


def looked_up() -> None:
    """Say that the proof cache was asked about a secret, and has told the observers."""
    current = _CURRENT.get()
    if current is not None:
        current.asked_for_proof = True


def observed(
    observers: Observers,
    authenticate: Callable[Concatenate[S, P], T],
    identify: Callable[[S, T | None], tuple[str, str]],
) -> Callable[Concatenate[S, P], T]:
    """Return a function that does the same, and tells the observers.

    `identify` says how credentials were sent and which PAT id they name, by them and by what `authenticate`
    returned; None: it raised.
    """

    def observed_authenticate(sent: S, /, *args: P.args, **named: P.kwargs) -> T:
        end = observers.authentication()
        current = _Authentication()
        _CURRENT.set(current)
        try:
            found = authenticate(sent, *args, **named)
        except BaseException as problem:
            method, pat_id = identify(sent, None)
            end(method, _reason(problem, current.reason), pat_id)
            raise
        method, pat_id = identify(sent, found)
        # A secret that was good before is known with its proof, and the cache is not asked.
        if method != TOKEN and not current.asked_for_proof:
            observers.proof_lookup("hit")
        end(method, "", pat_id)
        return found

    return observed_authenticate


def observed_reading(observers: Observers, read: Callable[P, T]) -> Callable[P, T]:
    """Return a function that reads credentials as `read` does, and tells the observers if it refuses them."""

    def observed_read(*args: P.args, **named: P.kwargs) -> T:
        try:
            return read(*args, **named)
        except PatAuthError as problem:
            end = observers.authentication()
            end(UNREAD, _reason(problem, "malformed"), "")
            raise

    return observed_read


def by_credentials(credentials: Credentials, _: object = None) -> tuple[str, str]:
    """Return how credentials were sent ("basic", "pat" or "access_token"), and the PAT id that they name."""
    method = TOKEN if isinstance(credentials, AccessToken) else credentials.method
    return method, credentials.pat_id


def by_text(read: Callable[[str], Credentials]) -> Callable[[str, Any], tuple[str, str]]:
    """Return a function that says the same of a text, by its admission or by what `read` reads."""

    def identify(sent: str, admission: Any) -> tuple[str, str]:
        if admission is not None:
            principal = admission.principal
            return principal.method, principal.pat_id
        try:
            return by_credentials(read(sent))
        except PatAuthError:
            return UNREAD, ""

    return identify


def _reason(problem: BaseException, told: str) -> str:
    """Return why credentials were refused, by what was raised and told; empty: they were good.

    It is one of `expired disabled not_yet outside invalid revoked reused malformed access_token rate_limited
    overloaded store_unavailable error`.
    """
    # An exchange of good credentials: for scopes that the PAT lacks, or of a PAT with too many tokens.
    if isinstance(problem, InvalidScope) or (isinstance(problem, RateLimited) and problem.quota == "tokens"):
        return ""
    if isinstance(problem, InvalidCredentials):
        return told or "invalid"
    if isinstance(problem, InvalidRequest):
        return "malformed"
    if isinstance(problem, RateLimited):
        return "rate_limited"
    if isinstance(problem, StoreUnavailable):
        return "store_unavailable"
    return "overloaded" if isinstance(problem, Overloaded) else "error"
