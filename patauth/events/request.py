"""Hold the HTTP request that is being answered, so that events can name it and the client's address.

The entry of a request sets it, and every event of that time finds it, so no function needs a parameter for
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

# No secret of patauth, nor the random part of one, which has 43 digits.
_SAFE = re.compile(r"(?!.*[0-9A-Za-z]{43})[A-Za-z0-9._-]{1,64}")
# W3C Trace Context §3.2. More may follow in versions after 00; ff is none.
TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:(?<!\A00.{53})-.*)?"
)
_MADE = "patauth.request_id"  # where an environ keeps an id that was made


class CurrentRequest(msgspec.Struct):
    """A request. `environ` is that of PEP 3333, and `address_of` reads the client's address in it."""

    environ: dict[str, Any]
    address_of: Callable[[dict[str, Any]], Address]

    def __repr__(self) -> str:
        return "<CurrentRequest>"  # the environ has credentials

    @property
    def id(self) -> str:
        """The id by which events and logs name the request."""
        return request_id(self.environ)

    @property
    def address(self) -> Address:
        """The client's address."""
        address_of = self.address_of
        return address_of(self.environ)


# None: no request is being answered in this thread or task.
REQUEST: ContextVar[CurrentRequest | None] = ContextVar("patauth_request", default=None)


def request_id(environ: dict[str, Any]) -> str:
    """Return the id of a request, the same each time.

    It is the client's X-Request-ID, if that is 1 to 64 characters of `A-Z a-z 0-9 . _ -` and nothing that may
    be a secret. Else it is the trace id of a well-formed `traceparent` (W3C Trace Context), else a new one.
    """
    given = environ.get("HTTP_X_REQUEST_ID")
    if isinstance(given, str) and _SAFE.fullmatch(given):
        return given
    parent = environ.get("HTTP_TRACEPARENT")
    if isinstance(parent, str) and (match := TRACEPARENT.fullmatch(parent)):
        return match[1]
    if _MADE not in environ:
        environ[_MADE] = secrets.token_hex(16)
    made: str = environ[_MADE]
    return made
