"""What ZITADEL's management API answers: types, to which tests hold every answer."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..openapi.parts import DATE, PAT_ID, QUOTA, SCOPE, answer, ref

_Id = Annotated[str, Meta(extra_json_schema=PAT_ID)]
_Date = Annotated[str, Meta(extra_json_schema=DATE)]
_Expiry = Annotated[str, Meta(description="In the year 9999: never.", extra_json_schema=DATE)]
_UInt64 = Annotated[str, Meta(pattern="^(?:0|[1-9][0-9]{0,19})$")]
_Token = Annotated[str, Meta(description="The PAT token: shown here and never again.")]


class ZitadelDetails(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Of an object; `sequence` counts its changes."""

    sequence: _UInt64
    change_date: _Date
    resource_owner: str
    creation_date: _Date | UnsetType = UNSET


class ZitadelAdded(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    token_id: _Id
    token: _Token
    details: ZitadelDetails


class ZitadelPat(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    id: _Id
    details: ZitadelDetails
    expiration_date: _Expiry
    scopes: list[Annotated[str, Meta(extra_json_schema=SCOPE)]]


class ZitadelGot(msgspec.Struct, forbid_unknown_fields=True):
    token: ZitadelPat


class ZitadelListDetails(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """`processedSequence` counts the changes of the whole organisation."""

    view_timestamp: _Date
    total_result: _UInt64 | UnsetType = UNSET
    processed_sequence: _UInt64 | UnsetType = UNSET


class ZitadelFound(msgspec.Struct, forbid_unknown_fields=True):
    details: ZitadelListDetails
    result: list[ZitadelPat] | UnsetType = UNSET


class ZitadelRemoved(msgspec.Struct, forbid_unknown_fields=True):
    details: ZitadelDetails


class ZitadelAddedV2(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    creation_date: _Date
    token_id: _Id
    token: _Token


class ZitadelRemovedV2(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    deletion_date: _Date


class ZitadelPatV2(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    creation_date: _Date
    change_date: _Date
    id: _Id
    user_id: str
    organization_id: str
    expiration_date: _Expiry


class ZitadelPagination(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    applied_limit: _UInt64
    total_result: _UInt64 | UnsetType = UNSET


class ZitadelFoundV2(msgspec.Struct, forbid_unknown_fields=True):
    pagination: ZitadelPagination
    result: list[ZitadelPatV2] | UnsetType = UNSET


class ZitadelErrorDetail(msgspec.Struct, forbid_unknown_fields=True):
    """`id` stands in the log too."""

    type: str = msgspec.field(name="@type")
    id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    message: str


class ZitadelError(msgspec.Struct, forbid_unknown_fields=True):
    """A google.rpc.Status; `code` is of gRPC."""

    code: Annotated[int, Meta(ge=1, le=16)]
    message: str
    details: list[ZitadelErrorDetail]


class ConnectError(msgspec.Struct, forbid_unknown_fields=True):
    """An error of Connect; `code` is of gRPC, as Connect spells it."""

    code: Annotated[str, Meta(pattern="^[a-z_]+$")]
    message: str


TYPES = [
    *(ZitadelDetails, ZitadelAdded, ZitadelPat, ZitadelGot, ZitadelListDetails, ZitadelFound, ZitadelRemoved),
    *(ZitadelAddedV2, ZitadelRemovedV2, ZitadelPatV2, ZitadelPagination, ZitadelFoundV2),
    *(ZitadelErrorDetail, ZitadelError, ConnectError),
]


def errors() -> dict[str, dict[str, Any]]:
    """The refusals of both families, by names that end in their status."""
    found = {}
    for family, schema in (("Zitadel", ref("ZitadelError")), ("Connect", ref("ConnectError"))):
        for status, about, always in (
            ("400", "The request is malformed, or what it asks for is against a rule.", []),
            ("401", "The credentials are missing or refused.", ["WWW-Authenticate"]),
            ("403", "The caller has no right to this, or may not act in that organisation.", []),
            ("404", "There is no such PAT for the caller.", []),
            ("409", "A PAT of that name is there already.", []),
            ("413", "The body is too large.", []),
            ("415", "The body is of another media type.", []),
            ("429", "A quota is used up.", ["Retry-After"]),
            ("500", "A fault of this server.", []),
            ("503", "The store or a hash slot was not to be had in time.", ["Retry-After"]),
        ):
            challenge = ["WWW-Authenticate"] if status == "403" else []
            found[family + status] = answer(about, schema, always=always, maybe=[*challenge, *QUOTA])
    return found
