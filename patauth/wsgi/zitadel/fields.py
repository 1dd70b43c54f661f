"""The fields of ZITADEL's requests and answers: how they are read and written in both versions.

Requests and answers follow protobuf's JSON mapping. Names are in camelCase; a request may also spell them as
the .proto file does (snake_case). Null means that a field is left out. Numbers of 64 bits are texts, zero
values are left out, and instants are in UTC with 0 or 3 fraction digits. Unlike protobuf, this API refuses
unknown fields and coerces nothing.

Source: https://protobuf.dev/programming-guides/json/, and the vendor's own SDK.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from ...errors import InvalidRequest
from ...model import dates
from ...model.pat import PersonalAccessToken
from ..api.structs import as_struct

# A PAT that never expires is shown with this date. One that expires in the milliseconds after it is shown and
# compared as if it never did, because a client cannot tell the two apart.
NEVER_MS = dates.LATEST - 999
MAX_UINT64 = 2**64 - 1

_AFTER_UNDERSCORE = re.compile(r"_([a-z0-9])")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,19}")

UInt64 = Annotated[
    int | str | None,
    msgspec.Meta(description="0 to 18446744073709551615, as a number or as its decimal text"),
]
Timestamp = Annotated[
    str | None, msgspec.Meta(description="RFC 3339 date-time", extra_json_schema={"format": "date-time"})
]


# -- reading -------------------------------------------------------------------------------------------------


class Page(msgspec.Struct, forbid_unknown_fields=True):
    """The part of a list to return. A limit of 0 counts as left out: protobuf cannot tell the two apart."""

    offset: UInt64 = None
    limit: UInt64 = None
    asc: bool | None = None


S = TypeVar("S", bound=msgspec.Struct)


def request_of(content: Any, kind: type[S], ids: Mapping[str, str]) -> S:
    """Return a message as a `kind`. `ids` are those of the path, which the message may repeat.

    Raise `InvalidRequest`.
    """
    message = _in_camel(content)
    if isinstance(message, dict):
        for name, value in ids.items():
            if message.setdefault(name, value) != value:
                raise InvalidRequest("give the id that is in the path, or leave it out", field=name)
    return as_struct(message, kind)


def _in_camel(value: Any) -> Any:
    if isinstance(value, list):
        return [_in_camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for name, item in value.items():
        if item is None:  # the field is left out
            continue
        wire = _AFTER_UNDERSCORE.sub(lambda match: match[1].upper(), name)
        if wire in found:
            raise InvalidRequest("this is given in both spellings; give it once", field=wire)
        found[wire] = _in_camel(item)
    return found


def page_of(page: Page | None, field: str, usual: int, most: int) -> tuple[int, int]:
    """Return the offset and limit of a list; `usual` is the default limit, and `field` the page's name.

    Raise `InvalidRequest`, as ZITADEL does for a limit above `most`.
    """
    if page is None:
        return 0, usual
    offset = _uint64(page.offset, f"{field}.offset")
    limit = _uint64(page.limit, f"{field}.limit")
    if limit > most:
        raise InvalidRequest(f"give at most {most}", field=f"{field}.limit")
    return offset, limit or usual


def _uint64(value: int | str | None, field: str) -> int:
    if isinstance(value, str):
        value = int(value) if _DECIMAL.fullmatch(value) else -1
    number = value or 0
    if not 0 <= number <= MAX_UINT64:
        raise InvalidRequest(f"give a whole number from 0 to {MAX_UINT64}", field=field)
    return number


# -- writing -------------------------------------------------------------------------------------------------


def instant(ms: int) -> str:
    """Return an instant as protobuf writes it: with three fraction digits, or none where these are zeros."""
    return dates.format_ms(ms).replace(".000Z", "Z")


def expiry(pat: PersonalAccessToken) -> str:
    """Return when a PAT expires: in the year 9999 if it never does."""
    return instant(NEVER_MS if pat.expires_ms is None else min(pat.expires_ms, NEVER_MS))


def filled(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message without its zero values. "0" is one, because numbers of 64 bits are texts."""
    return {name: value for name, value in content.items() if value not in ("", "0", [], False)}
