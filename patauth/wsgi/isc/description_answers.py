"""What the management API of Identity Security Cloud answers: types, to which tests hold every answer."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ..openapi.parts import DATE, OWNER_TYPE, PAT_ID, QUOTA, SCOPE, SECONDS, answer, ref
from .languages import LOCALES

_Id = Annotated[str, Meta(extra_json_schema=PAT_ID)]
_Date = Annotated[str, Meta(extra_json_schema=DATE)]
_Seconds = Annotated[int, Meta(extra_json_schema=SECONDS)]
_Scopes = list[Annotated[str, Meta(extra_json_schema=SCOPE)]]


class ShownOwner(msgspec.Struct, forbid_unknown_fields=True):
    """Who a PAT acts for."""

    type: Annotated[str, Meta(extra_json_schema=OWNER_TYPE)]
    id: str
    name: str


class _Shown(msgspec.Struct, forbid_unknown_fields=True, rename="camel", kw_only=True):
    id: _Id
    name: str
    scope: _Scopes
    owner: ShownOwner
    created: _Date
    access_token_validity_seconds: _Seconds


class ShownPat(_Shown, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A PAT as v3 and v2024 show it: what never expires does so in the year 9999."""

    last_used: Annotated[_Date | None, Meta(description="Moves at most once a UTC day.")]
    managed: bool
    expiration_date: _Date


class ShownPatOrNever(_Shown, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A PAT as the other versions show it."""

    last_used: Annotated[_Date | None, Meta(description="Moves at most once a UTC day.")]
    managed: bool
    expiration_date: Annotated[_Date | None, Meta(description="Null: never.")]
    user_aware_token_never_expires: bool


class IssuedPat(_Shown, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A PAT with a new secret, which is shown here and never again."""

    secret: str
    expiration_date: Annotated[_Date, Meta(description="In the year 9999: never.")]


class IscMessage(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A text for people."""

    locale: Annotated[str, Meta(extra_json_schema={"enum": list(LOCALES)})]
    locale_origin: Annotated[str, Meta(extra_json_schema={"enum": ["DEFAULT", "REQUEST"]})]
    text: str


class IscError(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """An error. `trackingId` stands in the log too; `causes` say what was wrong with which field."""

    detail_code: str
    tracking_id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    messages: list[IscMessage]
    causes: list[IscMessage]


class IscRefused(msgspec.Struct, forbid_unknown_fields=True):
    """Credentials that are missing or refused."""

    error: str


def _refusal(about: str, *always: str, maybe: tuple[str, ...] = ()) -> dict[str, Any]:
    return answer(about, ref("IscError"), always=["Content-Language", *always], maybe=[*maybe, *QUOTA])


RESPONSES = {
    "Isc400": _refusal("The request is malformed, or what it asks for is against a rule."),
    "Isc401": answer(
        "The credentials are missing or refused.", ref("IscRefused"), always=["WWW-Authenticate"], maybe=QUOTA
    ),
    "Isc403": _refusal("The caller has no right to this.", maybe=("WWW-Authenticate",)),
    "Isc404": _refusal("There is no such PAT for the caller."),
    "Isc413": _refusal("The body is too large."),
    "Isc415": _refusal("The body is of another media type."),
    "IscPatch415": _refusal("The body is of another media type.", "Accept-Patch"),
    "Isc500": _refusal("A fault of this server."),
    "Isc503": _refusal("The store or a hash slot was not to be had in time.", "Retry-After"),
}

TYPES = [ShownOwner, ShownPat, ShownPatOrNever, IssuedPat, IscMessage, IscError, IscRefused]
