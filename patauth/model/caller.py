"""Who calls: a principal by a PAT, or a person by the host application's own sign-in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ..errors import InvalidRequest
from . import dates
from .pat import Owner, check_id
from .scopes import check

Method = Literal["basic", "pat", "access_token"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, by which PAT, and with which scopes.

    `method` is how: "basic" (id and secret), "pat" (a PAT token as bearer) or "access_token".
    """

    subject: Owner
    scopes: frozenset[str]  # as granted, unexpanded
    pat_id: str
    tenant: str
    method: Method
    expires_ms: int | None  # of the credential that was presented; None: never

    @property
    def expires_at(self) -> datetime | None:
        """When the presented credential expires (UTC), or None for never."""
        return None if self.expires_ms is None else dates.to_datetime(self.expires_ms)


@dataclass(frozen=True, slots=True, init=False)
class Person:
    """The host application's signed-in user, as the host's `identify(environ)` names them.

    `scopes`: what this person may do, rights included; what they make has at most these. A person opens
    patauth's own page and API, never the application's routes. Raises `InvalidRequest`, `InvalidScope`.
    """

    owner: Owner
    scopes: frozenset[str]
    tenant: str

    def __init__(self, owner: Owner, scopes: Iterable[str] = (), tenant: str = "default") -> None:
        if not isinstance(owner, Owner):
            raise InvalidRequest("give a patauth.Owner", field="owner")
        object.__setattr__(self, "owner", owner)
        object.__setattr__(self, "scopes", frozenset(check(scopes)))
        object.__setattr__(self, "tenant", check_id(tenant, "tenant"))


Caller = Principal | Person


def subject_of(caller: Caller) -> Owner:
    """Return whom a caller acts for."""
    return caller.subject if isinstance(caller, Principal) else caller.owner
