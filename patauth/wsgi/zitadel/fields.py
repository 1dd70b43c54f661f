"""What both versions of ZITADEL's API share: how a request is read, and how values are written.

Requests and answers are protobuf's JSON mapping: names in camelCase, or on the way in also as the .proto file
spells them (snake_case); null as good as nothing; 64-bit numbers as texts; zero values left out; instants in
UTC with 0 or 3 fraction digits. Unlike protobuf's, an unknown field is refused and nothing is coerced.

Source: https://protobuf.dev/programming-guides/json/, and the vendor's own SDK.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import msgspec

from ...authority import Authority
from ...errors import InvalidRequest, NotFound
from ...model import dates
from ...model.caller import Caller, Principal
from ...model.expiry import Expiry
from ...model.filters import Filter, Sorter
from ...model.pat import IssuedPat, PersonalAccessToken, check_id
from ...operations.create import NewPat
from ...operations.listing import Listing
from ...operations.management import Management
from ..answers import Answer, UnsupportedMediaType
from ..api.structs import as_struct
from ..bodies import read_json

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# How no expiry is written. What expires later, in the last second that can be written, counts as never too:
# to a client, which sees this alone, there is no difference.
NEVER_MS = dates.LATEST - 999
MAX_UINT64 = 2**64 - 1

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,19}")
_FRAMED = re.compile(r"\s*application/(grpc|connect\+|proto)", re.IGNORECASE)

UInt64 = Annotated[
    int | str | None,
    msgspec.Meta(description="0 to 18446744073709551615, as a number or as its decimal text"),
]
Timestamp = Annotated[
    str | None, msgspec.Meta(description="RFC 3339 date-time", extra_json_schema={"format": "date-time"})
]


class Call(NamedTuple):
    """One admitted request. `management` is of the tenant where it wants to act; ids are as in the path."""

    environ: WSGIEnvironment
    management: Management
    caller: Caller
    user_id: str  # "" where the path has none
    token_id: str

    @property
    def tenant(self) -> str:
        """The organisation that is acted in."""
        return self.management.settings.tenant

    def is_own(self, user_id: str) -> bool:
        """Whether a user of the organisation is whoever calls. An equal id elsewhere is another user."""
        caller = self.caller
        subject = caller.subject if isinstance(caller, Principal) else caller.owner
        return caller.tenant == self.tenant and subject.id == user_id


Operation = Callable[[Call], Answer]


def admitted(environ: WSGIEnvironment, authority: Authority, caller: Caller, ids: tuple[str, str]) -> Call:
    """The call of an admitted caller, in the organisation that `x-zitadel-orgid` names; without it, theirs.

    Raises `InvalidRequest`, `Forbidden`, and `UnsupportedMediaType` for gRPC, which is not served.
    """
    if _FRAMED.match(environ.get("CONTENT_TYPE") or ""):
        raise UnsupportedMediaType(
            "gRPC, gRPC-web, Connect streams and protobuf are not served here; send application/json"
        )
    organisation = environ.get("HTTP_X_ZITADEL_ORGID")
    acting = authority.operations.management
    if organisation is not None:
        # A server joins a field that was sent twice by commas.
        if "," in organisation:
            raise InvalidRequest("name one organisation, and once", field="tenant")
        acting = authority.operations.management_in(check_id(organisation, "tenant"), caller)
    return Call(environ, acting, caller, *ids)


# -- reading -------------------------------------------------------------------------------------------------


class Page(msgspec.Struct, forbid_unknown_fields=True):
    """Which part of a list is asked for. A limit of 0 is none, as protobuf cannot tell them apart."""

    offset: UInt64 = None
    limit: UInt64 = None
    asc: bool | None = None


S = TypeVar("S", bound=msgspec.Struct)


def read(call: Call, kind: type[S], camel: Mapping[str, str]) -> S:
    """The body of a request as a `kind`; `camel`: its names in snake_case, and what they are in camelCase.

    Raises `InvalidRequest`, `TooLarge`, `UnsupportedMediaType`.
    """
    return as_struct(_renamed(read_json(call.environ, "application/json"), camel), kind)


def names_of(*kinds: type[msgspec.Struct]) -> dict[str, str]:
    """The names of fields in snake_case that have another one in camelCase."""
    return {
        name: wire
        for kind in kinds
        for name, wire in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True)
        if name != wire
    }


def _renamed(value: Any, camel: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_renamed(item, camel) for item in value]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for name, item in value.items():
        if item is None:  # as good as nothing
            continue
        wire = camel.get(name, name)
        if wire in found:
            raise InvalidRequest("this is given in both spellings; give it once", field=wire)
        found[wire] = _renamed(item, camel)
    return found


def page_of(page: Page | None, field: str, usual: int, most: int) -> tuple[int, int]:
    """Offset and limit of a list. `field`: where the page stands in the body; `usual`: the default limit.

    Raises `InvalidRequest`, as the real one does for a limit above its maximum.
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


# -- what all versions do ------------------------------------------------------------------------------------


def add(call: Call, user_id: str, expires: str | None) -> IssuedPat:
    """Make a PAT. A request has neither name nor scopes: the name is made, the scopes are the maker's."""
    check_id(user_id, "userId")
    expires_ms = None if expires is None else dates.parse_ms(expires, "expirationDate")
    new = NewPat(
        owner=user_id,
        name=lambda pat_id: f"zitadel-{pat_id[-8:]}",
        scope=None,
        expiry=Expiry(at_ms=expires_ms),
        never_acknowledged=expires_ms is None,  # here, to say nothing is to ask for it
    )
    return call.management.create(new, by=call.caller)


def find(call: Call, user_id: str, token_id: str) -> PersonalAccessToken:
    """A PAT by id, if it is this user's. Raises `NotFound`, `Forbidden`."""
    check_id(user_id, "userId")
    pat = call.management.get(token_id, by=call.caller)
    if pat.owner.id != user_id:
        raise NotFound
    return pat


def remove(call: Call, user_id: str, token_id: str) -> PersonalAccessToken:
    """Remove a PAT, if it is this user's; as it was just before. Raises `NotFound`, `Forbidden`."""
    check_id(user_id, "userId")
    try:
        pat = call.management.get(token_id, by=call.caller)
    except NotFound:
        # The removal finds nothing either, but says so only once one that came first is durable.
        call.management.delete(token_id, by=call.caller)
        raise
    if pat.owner.id != user_id:
        raise NotFound
    call.management.delete(token_id, by=call.caller)
    return pat


def listed(
    call: Call, user_id: str | None, filters: Filter | None, sorter: Sorter, offset: int, limit: int
) -> Listing:
    """PATs of a user, or with None of the organisation, and how many there are in all."""
    return call.management.list(
        owner_id="me" if user_id is not None and call.is_own(user_id) else user_id,
        filters=filters,
        sort=[sorter],
        offset=offset,
        limit=limit,
        count=True,
        by=call.caller,
    )


# -- writing -------------------------------------------------------------------------------------------------


def instant(ms: int) -> str:
    """An instant as protobuf writes it: with three fraction digits, or none where these are zeros."""
    return dates.format_ms(ms).replace(".000Z", "Z")


def expiry(pat: PersonalAccessToken) -> str:
    """When a PAT expires; none is a date that nobody will see."""
    return instant(NEVER_MS if pat.expires_ms is None else min(pat.expires_ms, NEVER_MS))


def filled(content: Mapping[str, Any]) -> dict[str, Any]:
    """A message without its zero values. Numbers of 64 bits go out as texts, so "0" is one."""
    return {name: value for name, value in content.items() if value not in ("", "0", [], False)}
