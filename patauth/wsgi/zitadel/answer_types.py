"""Types of the answers of ZITADEL's management API. They describe the answers; tests compare the two."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..openapi.parts import DATE, PAT_ID, REFUSALS, SCOPE, ref, refusal

_Id = Annotated[str, Meta(extra_json_schema=PAT_ID)]
_Date = Annotated[str, Meta(extra_json_schema=DATE)]
_Expiry = Annotated[str, Meta(description="In the year 9999: never.", extra_json_schema=DATE)]
_UInt64 = Annotated[str, Meta(pattern="^(?:0|[1-9][0-9]{0,19})$")]
_Token = Annotated[str, Meta(description="The PAT token: shown here and never again.")]


class ZitadelDetails(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The details of a PAT; `sequence` counts its changes."""

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
    """The details of a list; `processedSequence` counts the changes in the whole organisation."""

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
    """The details of an error; `id` is in the log too."""

    type: str = msgspec.field(name="@type")
    id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    message: str


class ZitadelError(msgspec.Struct, forbid_unknown_fields=True):
    """A google.rpc.Status; `code` is that of gRPC."""

    code: Annotated[int, Meta(ge=1, le=16)]
    message: str
    details: list[ZitadelErrorDetail]


class ConnectError(msgspec.Struct, forbid_unknown_fields=True):
    """An error of Connect; `code` is that of gRPC, as Connect spells it."""

    code: Annotated[str, Meta(pattern="^[a-z_]+$")]
    message: str


TYPES = [
    *(ZitadelDetails, ZitadelAdded, ZitadelPat, ZitadelGot, ZitadelListDetails, ZitadelFound, ZitadelRemoved),
    *(ZitadelAddedV2, ZitadelRemovedV2, ZitadelPatV2, ZitadelPagination, ZitadelFoundV2),
    *(ZitadelErrorDetail, ZitadelError, ConnectError),
]


RESPONSES = {
    family + status: refusal(status, ref(schema))
    for family, schema in (("Zitadel", "ZitadelError"), ("Connect", "ConnectError"))
    for status in REFUSALS
}
