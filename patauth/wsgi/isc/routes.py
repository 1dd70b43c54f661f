"""The management API as SailPoint's Identity Security Cloud has it: paths, fields and statuses, and no rule.

                     v1                                     v3, v2024, v2025, v2026, beta
    list, create     GET, POST  /personal-access-tokens/v1  GET, POST      /{version}/personal-access-tokens
    patch, delete    PATCH, DELETE  .../v1/{id}             PATCH, DELETE  .../{id}
    bulk update      PATCH, POST    .../v1/bulk-update
    only in patauth  GET .../v1/{id}   POST .../v1/{id}/rotate, /disable, /enable
                     GET, DELETE .../v1/self   POST .../v1/self/rotate

Source: the vendor's published OpenAPI descriptions, and its own SDK (a create must answer 200: at 201 the SDK
returns nothing). The operations decide who may do what, and within which limits.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from ...errors import InvalidRequest, PatAuthError
from ...model import dates
from ...model.caller import Caller
from ...model.expiry import Expiry
from ...model.owner_types import DEFAULT_OWNER_TYPE
from ...model.pat import IssuedPat, Owner, PersonalAccessToken
from ...model.pat_members import patauth_members
from ...model.rights import EVERYTHING
from ...operations import lifecycle
from ...operations.create import NewPat, create
from ...operations.disable import set_disabled
from ...operations.listing import list_pats
from ...operations.pat_patch import PATAUTH_PATCHABLE, PATCHABLE
from ...operations.permissions import Actor
from ...operations.rotate import DEFAULT_OVERLAP, rotate, rotate_self
from ...operations.update import patch, patch_many
from ...settings import MAX_ACCESS_TOKEN_TTL
from ..answers import NO_CONTENT, Answer, json_answer
from ..api.respond import respond
from ..api.structs import as_struct, unknown
from ..bodies import query, read_json
from ..routing import Find, Route, Routes
from ..site import Site
from .errors import isc_error

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

JSON, JSON_PATCH = "application/json", "application/json-patch+json"
MAX_LIMIT = 250  # of a list
MAX_OFFSET = 999_999_999

# The answer to a create has no null, because the vendor's SDK raises on one after the PAT was made.
_NEVER = dates.format_ms(dates.LATEST)


class Version(NamedTuple):
    """Holds what differs between the versions of the API."""

    path: str
    months: int | None  # the longest and the default life of a PAT; None: no limit, and no default
    patchable: tuple[str, ...]
    full: bool = False  # has bulk-update, and the operations and members that only patauth has

    @property
    def knows_never(self) -> bool:
        """Return whether a PAT may live for ever here, once the client acknowledges it."""
        return self.months is None


_FEW = ("name", "scope")
VERSIONS = {
    "v1": Version("/personal-access-tokens/v1", None, (*PATCHABLE, *PATAUTH_PATCHABLE), full=True),
    "v3": Version("/v3/personal-access-tokens", 6, _FEW),
    "beta": Version("/beta/personal-access-tokens", 6, _FEW),
    "v2024": Version("/v2024/personal-access-tokens", 6, _FEW),
    "v2025": Version("/v2025/personal-access-tokens", None, PATCHABLE),
    "v2026": Version("/v2026/personal-access-tokens", None, PATCHABLE),
}


class _Call(NamedTuple):
    """Holds one admitted request; `pat_id` is what the path has in the place of an id."""

    environ: WSGIEnvironment
    actor: Actor
    version: Version
    pat_id: str


Operation = Callable[[_Call], Answer]


def routes(site: Site) -> Routes:
    """Return the routes of all versions."""
    fixed: dict[str, Route] = {}
    below: dict[str, Find] = {}
    for version in VERSIONS.values():
        base = site.settings.path_prefix + version.path
        route = partial(_route, site, version)
        fixed[base] = route(_COLLECTION)
        if version.full:
            fixed[base + "/bulk-update"] = route(_BULK)
            fixed[base + "/self"] = route(_SELF)
            fixed[base + "/self/rotate"] = route(_SELF_ROTATION)
        below[base + "/"] = partial(_find, route, version.full)
    return Routes(fixed, below)


def _find(route: Callable[..., Route], full: bool, rest: str) -> Route | None:
    match rest.split("/"):
        case [pat_id] if pat_id:
            return route(_ONE_V1 if full else _ONE, pat_id)
        case [pat_id, "rotate"] if pat_id and full:
            return route(_ROTATION, pat_id)
        case [pat_id, "disable"] if pat_id and full:
            return route(_DISABLING, pat_id, ending=True)
        case [pat_id, "enable"] if pat_id and full:
            return route(_ENABLING, pat_id)
    return None


def _route(
    site: Site,
    version: Version,
    operations: Mapping[str, Operation],
    pat_id: str = "",
    *,
    ending: bool = False,
) -> Route:
    def answer(environ: WSGIEnvironment) -> Answer:
        def call(caller: Caller) -> _Call:
            return _Call(environ, site.operations.actor(caller, site.confirm(environ)), version, pat_id)

        def render(error: PatAuthError) -> Answer:
            return isc_error(error, environ, site.challenges)

        return respond(environ, site, operations, call, render, ending=ending)

    return answer


# -- request bodies ------------------------------------------------------------------------------------------


class OwnerToBe(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    name: str | None = None
    type: str | None = None


class Create(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The body of a create in the versions in which a PAT lives for six months at most."""

    name: str
    scope: list[str] | None = None
    access_token_validity_seconds: int | None = None
    expiration_date: str | None = None
    owner: OwnerToBe | None = None


class CreateOrNever(Create, forbid_unknown_fields=True, rename="camel"):
    """The body of a create in the versions in which a PAT may live for ever."""

    user_aware_token_never_expires: bool | None = None


class CreateV1(CreateOrNever, forbid_unknown_fields=True, rename="camel"):
    """The body of a create with what only patauth has."""

    description: str | None = None
    networks: list[str] | None = None
    not_before: str | None = None
    request_quota: str | None = None


class Bulk(msgspec.Struct, forbid_unknown_fields=True):
    ids: list[str]
    patch: list[Any]


class Rotation(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    overlap_seconds: int | None = None


_S = TypeVar("_S", bound=msgspec.Struct)


def _read(call: _Call, kind: type[_S]) -> _S:
    return as_struct(read_json(call.environ, JSON), kind)


# -- operations ----------------------------------------------------------------------------------------------

_PARAMETERS = ("owner-id", "filters", "sorters", "limit", "offset", "count")


def _list(call: _Call) -> Answer:
    parameters = query(call.environ)
    for name in parameters:
        if name not in _PARAMETERS:
            raise unknown("parameter", name)
    owner_id = parameters.get("owner-id")
    if owner_id == "":
        raise InvalidRequest("give an id or me, or leave the parameter out", field="owner-id")
    counted = parameters.get("count", "false")
    if counted not in ("true", "false"):
        raise InvalidRequest("give true or false", field="count")
    listing = list_pats(
        call.actor,
        owner_id=owner_id,
        filters=parameters.get("filters"),
        sort=parameters.get("sorters"),
        offset=_whole(parameters, "offset", MAX_OFFSET) or 0,
        limit=_whole(parameters, "limit", MAX_LIMIT),
        count=counted == "true",
    )
    total = [] if listing.total is None else [("X-Total-Count", str(listing.total))]
    return json_answer(200, [_shown(call, pat) for pat in listing], total)


def _whole(parameters: Mapping[str, str], name: str, highest: int) -> int | None:
    text = parameters.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) > highest:
        raise InvalidRequest(f"give a whole number from 0 to {highest}", field=name)
    return int(text)


def _create(call: _Call) -> Answer:
    version = call.version
    body = _read(call, CreateV1 if version.full else CreateOrNever if version.knows_never else Create)
    date, seconds = body.expiration_date, body.access_token_validity_seconds
    expires_ms = None if date is None else dates.parse_ms(date, "expirationDate")
    new = NewPat(
        owner=_owner(body.owner),
        name=body.name,
        scope=[EVERYTHING] if body.scope is None else body.scope,
        expiry=Expiry(at_ms=expires_ms, months=version.months),
        access_token_ttl=MAX_ACCESS_TOKEN_TTL if seconds is None else seconds,
        never_acknowledged=isinstance(body, CreateOrNever) and bool(body.user_aware_token_never_expires),
    )
    if isinstance(body, CreateV1):
        begin = None if body.not_before is None else dates.parse_ms(body.not_before, "notBefore")
        new = replace(
            new,
            description=body.description,
            networks=body.networks,
            not_before_ms=begin,
            request_quota=body.request_quota,
        )
    return _issued(call, create(call.actor, new))


def _owner(given: OwnerToBe | None) -> Owner | None:
    if given is None:
        return None
    return Owner(given.id, given.name, DEFAULT_OWNER_TYPE if given.type is None else given.type)


def _get(call: _Call) -> Answer:
    return json_answer(200, _shown(call, lifecycle.get(call.actor, call.pat_id, removed=True)))


def _patch(call: _Call) -> Answer:
    operations = read_json(call.environ, JSON_PATCH)
    fields = call.version.patchable
    pat = patch(call.actor, call.pat_id, operations, fields)
    return json_answer(200, _shown(call, pat))


def _delete(call: _Call) -> Answer:
    lifecycle.delete(call.actor, call.pat_id, _reason(call))
    return NO_CONTENT


def _reason(call: _Call) -> str | None:
    return query(call.environ).get("reason") if call.version.full else None


def _bulk_update(call: _Call) -> Answer:
    body = _read(call, Bulk)
    pats = patch_many(call.actor, body.ids, body.patch)
    return json_answer(200, [_shown(call, pat) for pat in pats])


def _rotate(call: _Call) -> Answer:
    return _issued(call, rotate(call.actor, call.pat_id, _overlap(call)))


def _rotate_self(call: _Call) -> Answer:
    return _issued(call, rotate_self(call.actor, _overlap(call)))


def _overlap(call: _Call) -> timedelta:
    body = Rotation() if _is_empty(call.environ) else _read(call, Rotation)
    if body.overlap_seconds is None:
        return DEFAULT_OVERLAP
    # Cut to what a timedelta can hold. A value that was cut is refused as too long or negative anyway.
    return timedelta(seconds=max(-1, min(body.overlap_seconds, 10**9)))


def _disable(call: _Call) -> Answer:
    return json_answer(200, _shown(call, set_disabled(call.actor, call.pat_id, disabled=True)))


def _enable(call: _Call) -> Answer:
    return json_answer(200, _shown(call, set_disabled(call.actor, call.pat_id, disabled=False)))


def _get_self(call: _Call) -> Answer:
    return json_answer(200, _shown(call, lifecycle.get_self(call.actor)))


def _delete_self(call: _Call) -> Answer:
    lifecycle.delete_self(call.actor, _reason(call))
    return NO_CONTENT


def _is_empty(environ: WSGIEnvironment) -> bool:
    # Servers may mark every input as terminated, so `wsgi.input_terminated` tells nothing here.
    return environ.get("CONTENT_LENGTH", "") in ("", "0") and "HTTP_TRANSFER_ENCODING" not in environ


# Operations by method, in the order of Allow.
_COLLECTION: dict[str, Operation] = {"GET": _list, "POST": _create}
_ONE: dict[str, Operation] = {"PATCH": _patch, "DELETE": _delete}
_ONE_V1: dict[str, Operation] = {"GET": _get, **_ONE}
_ROTATION: dict[str, Operation] = {"POST": _rotate}
_DISABLING: dict[str, Operation] = {"POST": _disable}
_ENABLING: dict[str, Operation] = {"POST": _enable}
_BULK: dict[str, Operation] = {"PATCH": _bulk_update, "POST": _bulk_update}
_SELF: dict[str, Operation] = {"GET": _get_self, "DELETE": _delete_self}
_SELF_ROTATION: dict[str, Operation] = {"POST": _rotate_self}


# -- answers -------------------------------------------------------------------------------------------------


def _shown(call: _Call, pat: PersonalAccessToken) -> dict[str, Any]:
    """Return a PAT with the fields that a read has in this version."""
    never = None if call.version.knows_never else _NEVER
    shown = {
        **_base(call, pat),
        "lastUsed": None if pat.last_used_ms is None else dates.format_ms(pat.last_used_ms),
        "managed": False,
        "expirationDate": never if pat.expires_ms is None else dates.format_ms(pat.expires_ms),
    }
    if call.version.knows_never:
        shown["userAwareTokenNeverExpires"] = pat.never_acknowledged
    if call.version.full:
        shown |= patauth_members(pat)
    return shown


def _issued(call: _Call, issued: IssuedPat) -> Answer:
    """Answer with a PAT and its new secret, which no other answer has.

    In v1 it says also what the PAT may have of its maker, so far as there is something to say.
    """
    expires_ms = issued.pat.expires_ms
    content = {
        **_base(call, issued.pat),
        "secret": issued.secret,
        "expirationDate": _NEVER if expires_ms is None else dates.format_ms(expires_ms),
    }
    if call.version.full:
        members = patauth_members(issued.pat)
        content |= {
            name: members[name] for name in (*PATAUTH_PATCHABLE, "state") if members[name] is not None
        }
    return json_answer(200, content)


def _base(call: _Call, pat: PersonalAccessToken) -> dict[str, Any]:
    seconds = call.actor.settings.access_token_ttl if pat.access_token_ttl is None else pat.access_token_ttl
    return {
        "id": pat.id,
        "name": pat.name,
        "scope": list(pat.scope),
        "owner": {"type": pat.owner.type, "id": pat.owner.id, "name": pat.owner.name},
        "created": dates.format_ms(pat.created_ms),
        "accessTokenValiditySeconds": seconds,
    }
