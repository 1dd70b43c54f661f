"""The HTTP request that is being answered: events tell which one it was, and where it came from.

The entry of a request sets it, and whatever is decided meanwhile finds it: no function needs a parameter for
it. Nothing of it is read before an event asks.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import msgspec

from ..model.address import Address

# No secret of patauth's: their random part and checksum are 49 digits, after any prefix.
_SAFE = re.compile(r"(?!.*[0-9A-Za-z]{49})[A-Za-z0-9._-]{1,64}")


class CurrentRequest(msgspec.Struct):
    """A request. `environ` is that of PEP 3333, and `address_of` reads the client's address in it."""

    environ: dict[str, Any]
    address_of: Callable[[dict[str, Any]], Address]
    made: str = ""  # an id that was made here

    def __repr__(self) -> str:
        return "<CurrentRequest>"  # the environ has credentials

    @property
    def id(self) -> str:
        """The client's X-Request-Id, if it is 1 to 64 characters of `A-Z a-z 0-9 . _ -`; else a made one.

        One that may have a secret in it is none.
        """
        given = self.environ.get("HTTP_X_REQUEST_ID")
        if isinstance(given, str) and _SAFE.fullmatch(given):
            return given
        if not self.made:
            self.made = secrets.token_hex(16)
        return self.made

    @property
    def address(self) -> Address:
        """The client's address."""
        address_of = self.address_of
        return address_of(self.environ)


# None: no request is being answered in this thread or task.
REQUEST: ContextVar[CurrentRequest | None] = ContextVar("patauth_request", default=None)
