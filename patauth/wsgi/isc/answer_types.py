"""Types of the answers of Identity Security Cloud's API. They describe the answers; tests compare the two."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ...model.pat import State
from ..languages import LOCALES
from ..openapi.parts import DATE, OWNER_TYPE, PAT_ID, SCOPE, SECONDS, ref, refusal

_Id = Annotated[str, Meta(extra_json_schema=PAT_ID)]
_Date = Annotated[str, Meta(extra_json_schema=DATE)]
_Seconds = Annotated[int, Meta(extra_json_schema=SECONDS)]
_Networks = Annotated[list[str], Meta(description="patauth's own. Where it may be used; none: everywhere.")]
_State = Annotated[
    State,
    Meta(description="patauth's own. The first that holds of revoked, disabled, expired, not_yet, active."),
]
_Scopes = list[Annotated[str, Meta(extra_json_schema=SCOPE)]]


class ShownOwner(msgspec.Struct, forbid_unknown_fields=True):
    """The owner for whom a PAT acts."""

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
    """A PAT as v3, beta and v2024 show it; one that never expires has a date in the year 9999."""

    last_used: Annotated[_Date | None, Meta(description="Changes at most once per UTC day.")]
    managed: bool
    expiration_date: _Date


class ShownPatOrNever(_Shown, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A PAT as the other versions show it; one that never expires has no date."""

    last_used: Annotated[_Date | None, Meta(description="Changes at most once per UTC day.")]
    managed: bool
    expiration_date: Annotated[_Date | None, Meta(description="Null: never.")]
    user_aware_token_never_expires: bool


class ShownRequester(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Who made or removed a PAT: an owner, by a PAT of theirs or signed in."""

    owner_id: str
    pat_id: Annotated[_Id | None, Meta(description="Null: signed in.")]
    tenant: Annotated[str, Meta(description="Of a guest from another organisation.")] | UnsetType = UNSET


class ShownPatV1(ShownPatOrNever, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A PAT as v1 shows it, with what only patauth has."""

    description: Annotated[str | None, Meta(description="patauth's own.")]
    networks: _Networks
    not_before: Annotated[_Date | None, Meta(description="patauth's own. From when on it may be used.")]
    request_quota: Annotated[
        str | None, Meta(description="patauth's own. Requests per seconds: `100/10`; null: the setting.")
    ]
    state: _State
    last_used_from: Annotated[
        str | None,
        Meta(
            description="patauth's own. The address of the last use, or its network; null: not known."
            " It changes at most twice per UTC day, and once more if it is not known at first."
        ),
    ]
    made_by: Annotated[ShownRequester | None, Meta(description="patauth's own. Null: the application.")]
    revoked_at: Annotated[_Date, Meta(description="patauth's own, of a removed PAT.")] | UnsetType = UNSET
    revoked_by: (
        Annotated[
            ShownRequester | None, Meta(description="patauth's own, of a removed PAT. Null: the application.")
        ]
        | UnsetType
    ) = UNSET
    revoked_reason: (
        Annotated[str | None, Meta(description="patauth's own, of a removed PAT.")] | UnsetType
    ) = UNSET


class IssuedPat(_Shown, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A PAT with a new secret, which no other answer shows."""

    secret: str
    expiration_date: Annotated[_Date, Meta(description="In the year 9999: never.")]


class IssuedPatV1(IssuedPat, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A PAT with a new secret as v1 shows it, with what it may have of its maker."""

    description: Annotated[str, Meta(description="patauth's own.")] | UnsetType = UNSET
    networks: _Networks
    not_before: (
        Annotated[_Date, Meta(description="patauth's own. From when on it may be used.")] | UnsetType
    ) = UNSET
    request_quota: (
        Annotated[str, Meta(description="patauth's own. Requests per seconds; absent: the setting.")]
        | UnsetType
    ) = UNSET
    state: _State


class IscMessage(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A text for people."""

    locale: Annotated[str, Meta(extra_json_schema={"enum": list(LOCALES)})]
    locale_origin: Annotated[str, Meta(extra_json_schema={"enum": ["DEFAULT", "REQUEST"]})]
    text: str


class IscError(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """An error; `trackingId` is in the log too, and `causes` say what was wrong with which field."""

    detail_code: str
    tracking_id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    messages: list[IscMessage]
    causes: list[IscMessage]


class IscRefused(msgspec.Struct, forbid_unknown_fields=True):
    """The error for credentials that are missing or refused."""

    error: str


RESPONSES = {
    "Isc401": refusal("401", ref("IscRefused")),
    **{
        f"Isc{status}": refusal(status, ref("IscError"), "Content-Language")
        for status in ("400", "403", "404", "413", "415", "500", "503")
    },
    "IscPatch415": refusal("415", ref("IscError"), "Content-Language", "Accept-Patch"),
}

TYPES = [
    ShownOwner,
    ShownPat,
    ShownPatOrNever,
    ShownRequester,
    ShownPatV1,
    IssuedPat,
    IssuedPatV1,
    IscMessage,
    IscError,
    IscRefused,
]
