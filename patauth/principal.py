"""The verified caller."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from . import dates
from .pat import Owner

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
