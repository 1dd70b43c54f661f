"""The caller: a principal, who calls by a PAT, or a person, whom the host application has signed in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NoReturn

from ..errors import InvalidRequest
from . import dates
from .credentials import DEFAULT_TENANT
from .pat import Owner, check_id
from .scopes import check

Method = Literal["basic", "pat", "access_token"]


class _Known:
    """Stands for a caller who was verified, so FastAPI (pydantic) must not build one from a client's data."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> NoReturn:
        raise TypeError(
            f"no request or response carries a patauth {cls.__name__}: for the verified caller, write"
            " patauth.fastapi.Principal as the type of the argument"
        )


@dataclass(frozen=True, slots=True)
class Credential(_Known):
    """Holds what a principal has shown: a secret, or an access token that came from it."""

    generation: int  # of the secret
    token: bytes | None = field(default=None, repr=False)  # the digest of the access token
    address: str | None = field(default=None, repr=False)  # where the client was, if the PAT has networks


@dataclass(frozen=True, slots=True)
class Principal(_Known):
    """The verified caller of a request: the owner, the PAT that vouches for them, and the scopes.

    `method` tells how the caller authenticated: "basic" (PAT id and secret), "pat" (a PAT token) or
    "access_token". A change by this principal is made only if the credential is still good at the write. So
    only a principal that patauth has returned can change something.
    """

    subject: Owner
    scopes: frozenset[str]  # as granted, unexpanded
    pat_id: str
    tenant: str
    method: Method
    expires_ms: int | None  # when the credential that was sent expires; None: never
    credential: Credential | None = field(default=None, repr=False, compare=False)

    @property
    def expires_at(self) -> datetime | None:
        """When the credential that was sent expires (UTC); None: never."""
        return None if self.expires_ms is None else dates.to_datetime(self.expires_ms)


@dataclass(frozen=True, slots=True, init=False)
class Person(_Known):
    """A user whom the host application has signed in; the host's `identify(environ)` returns one.

    `scopes`: what this person may do, rights included. The PATs that they make have at most these scopes. A
    person can use patauth's own page and API, and never the application's routes. Raise `InvalidRequest`,
    `InvalidScope`.
    """

    owner: Owner
    scopes: frozenset[str]
    tenant: str

    def __init__(self, owner: Owner, scopes: Iterable[str] = (), tenant: str = DEFAULT_TENANT) -> None:
        if not isinstance(owner, Owner):
            raise InvalidRequest("give a patauth.Owner", field="owner")
        object.__setattr__(self, "owner", owner)
        object.__setattr__(self, "scopes", frozenset(check(scopes)))
        object.__setattr__(self, "tenant", check_id(tenant, "tenant"))


Caller = Principal | Person


def subject_of(caller: Caller) -> Owner:
    """Return the owner that a caller acts for."""
    return caller.subject if isinstance(caller, Principal) else caller.owner
