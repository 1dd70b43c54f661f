"""The error tree: every error that patauth raises on purpose.

    PatAuthError
    ├── ConfigurationError            wrong settings; never the fault of a request
    ├── InvalidRequest            400 malformed, in more than a credential
    │   └── InvalidScope          400 a scope that is malformed, unknown or not held
    ├── InvalidCredentials        401 an id and secret that were refused
    │   ├── MissingCredentials    401 none were sent
    │   └── InvalidToken          401 an access token that was refused
    ├── Forbidden                 403 the caller is known, but not allowed
    │   └── InsufficientScope     403 the caller is known, but lacks scopes
    ├── NotFound                  404
    ├── Conflict                  409 a name in use, or too many PATs
    ├── RateLimited               429 a quota is used up
    └── Overloaded                503 no hash slot in time
        └── StoreUnavailable      503 the store did not answer, or its answer makes no sense

An error has the HTTP status and the code that fit it, but it writes no HTTP: only `patauth.wsgi.answers`
renders it. `str(error)` is for the caller and fits an `error_description` (RFC 6750 §3.1). `error.detail` is
for the operator's log. Neither ever contains a secret.
"""

from __future__ import annotations

import copyreg
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

Refusal = Literal["expired", "disabled", "not_yet", "outside"]  # why right credentials are refused


class PatAuthError(Exception):
    """Base of every error that patauth raises.

    `status` is the HTTP status that fits, and `code` the OAuth error code (RFC 6749 §5.2, RFC 6750 §3.1). If
    one argument was wrong, `field` is its name in Python, and `problem` says what was wrong with it. A wire
    format may have another name for the field.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "server_error"
    default: ClassVar[str] = "something went wrong"

    def __init__(
        self, description: str | None = None, *, field: str | None = None, detail: str | None = None
    ) -> None:
        self.field = field
        self.problem = description or self.default
        super().__init__(f"{field}: {self.problem}" if field else self.problem)
        self.detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep text and attributes in copies and pickles; `Exception` would pass the text to `__init__`."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class ConfigurationError(PatAuthError):
    """A setting is missing or wrong. This is raised during setup, never because of a request."""

    default = "patauth is not configured correctly"


class InvalidRequest(PatAuthError):
    """The request is malformed: a bad argument, two credentials at once, a body that cannot be read."""

    status = 400
    code = "invalid_request"
    default = "the request is malformed"


class InvalidScope(InvalidRequest):
    """A scope is malformed, not in the catalogue, or not held by the PAT (RFC 6749 §5.2)."""

    code = "invalid_scope"
    default = "the requested scope is invalid"


class InvalidCredentials(PatAuthError):
    """The credentials are refused. The text is the same for unknown, wrong and deleted ones.

    `state` says why right credentials are refused; None for all others. Only their holder learns it.
    """

    status = 401
    code = "invalid_token"
    default = "the credentials are not valid"

    def __init__(
        self,
        description: str | None = None,
        *,
        state: Refusal | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(description, detail=detail)
        self.state = state


class MissingCredentials(InvalidCredentials):
    """No credentials were sent. The answer has no error code (RFC 6750 §3)."""

    code = "unauthorized"
    default = "credentials are required"


class InvalidToken(InvalidCredentials):
    """The access token is refused: it is unknown, expired or revoked, or its PAT is gone (RFC 6750 §3.1)."""

    default = "the access token is not valid"


def expired_token() -> InvalidToken:
    """Return the error for a signed access token that has expired and whose signature is right."""
    return InvalidToken("the access token has expired", state="expired")


class Forbidden(PatAuthError):
    """The caller is known, and may not do this."""

    status = 403
    code = "access_denied"
    default = "this is not allowed"


class InsufficientScope(Forbidden):
    """The principal lacks scopes. `required` has all scopes that are needed (RFC 6750 §3.1)."""

    code = "insufficient_scope"
    default = "the credentials do not carry the scope that this needs"

    def __init__(self, required: Iterable[str] = (), *, detail: str | None = None) -> None:
        super().__init__(detail=detail)
        self.required = tuple(sorted(required))


class NotFound(PatAuthError):
    """There is no such PAT, or the caller may not see it."""

    status = 404
    code = "not_found"
    default = "there is no such personal access token"


class Conflict(PatAuthError):
    """The owner already has a PAT of that name, or as many PATs as are allowed."""

    status = 409
    code = "conflict"
    default = "this conflicts with something that exists already"


class RateLimited(PatAuthError):
    """A quota is used up. `retry_after` is a number of whole seconds, at least 1.

    `quota` names the quota: "requests", "exchanges", "failures", "creations", "persons", or "tokens" for the
    access tokens that a secret may have at once. It allows `count` in `seconds` seconds.
    """

    status = 429
    code = "rate_limited"
    default = "too many requests"

    def __init__(
        self, retry_after: int, *, quota: str | None = None, count: int = 0, seconds: int = 0
    ) -> None:
        super().__init__(f"too many requests; try again in {retry_after} s")
        self.retry_after = retry_after
        self.quota = quota
        self.count = count
        self.seconds = seconds


class Overloaded(PatAuthError):
    """No hash slot came free in time. `retry_after` is a number of whole seconds."""

    status = 503
    code = "temporarily_unavailable"
    default = "too busy at the moment; try again shortly"

    def __init__(
        self, retry_after: int = 1, description: str | None = None, *, detail: str | None = None
    ) -> None:
        super().__init__(description, detail=detail)
        self.retry_after = retry_after


class StoreUnavailable(Overloaded):
    """The store is down or too slow, or its answer makes no sense. Nothing was decided.

    If `may_be_done` is true, a change was sent and may be done all the same. Else nothing was changed.
    """

    default = "the token store is not reachable; try again shortly"
    may_be_done = False
