"""JSON Patches (RFC 6902) of a PAT, with the member names of the management API, read as `PatChange`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..errors import InvalidRequest
from ..model import dates
from ..model.expiry import FIELD as EXPIRY
from ..model.expiry import Expiry
from ..model.pat import PersonalAccessToken
from ..model.pat_members import patauth_members
from . import json_patch
from .pat_change import PatChange

IN_BULK = ("expirationDate", "userAwareTokenNeverExpires")
PATCHABLE = ("name", "scope", *IN_BULK)
PATAUTH_PATCHABLE = ("description", "networks", "notBefore", "requestQuota")  # what only patauth has
_DATE, _ACKNOWLEDGED = "/expirationDate", "/userAwareTokenNeverExpires"
_DATES = {_DATE: EXPIRY, "/notBefore": "not_before"}  # with the names of their fields in Python
_KINDS = {
    "description": "a text",
    "notBefore": "an RFC 3339 date-time",
    "requestQuota": "a quota such as '100/10'",
}


class PatPatch:
    """A checked JSON Patch of the members `fields` of a PAT (None: all), which fits any PAT.

    The `value` of an expiry may be missing: clients that never send a null mean one. Raise `InvalidRequest`.
    """

    def __init__(self, operations: object, fields: Collection[str] | None) -> None:
        self._fields = [name for name in (*PATCHABLE, *PATAUTH_PATCHABLE) if fields is None or name in fields]
        # Of networks, a missing value would let a PAT be used everywhere.
        self._operations = json_patch.check(
            operations, self._fields, value_may_be_missing=("expirationDate",)
        )
        for operation in self._operations:
            field = _DATES.get(operation["path"])
            if field is not None and isinstance(operation.get("value"), str):
                # Every date gets the same spelling, so that `test` compares instants.
                operation["value"] = dates.format_ms(dates.parse_ms(operation["value"], field))
        writing = [operation for operation in self._operations if operation["op"] != "test"]
        targets = {operation["path"] for operation in writing}
        moved = {operation["from"] for operation in writing if operation["op"] == "move"}
        self._dates = _DATE in targets | moved
        self._turns = _ACKNOWLEDGED in targets | moved
        self._acknowledges = any(
            operation["op"] in ("add", "replace")
            and operation["path"] == _ACKNOWLEDGED
            and operation["value"] is True
            for operation in writing
        )

    def change_of(self, pat: PersonalAccessToken) -> PatChange:
        """Return what the patch changes about a PAT. Raise `InvalidRequest`, `InvalidScope`."""
        members = _document(pat)
        patched = json_patch.apply({name: members[name] for name in self._fields}, self._operations)
        return self._read(pat, {**members, **dict.fromkeys(self._fields), **patched})

    def _read(self, pat: PersonalAccessToken, members: dict[str, Any]) -> PatChange:
        scopes, date = members["scope"], members["expirationDate"]
        acknowledged = members["userAwareTokenNeverExpires"]
        if acknowledged is None:
            acknowledged = False
        if not isinstance(scopes, list):
            raise InvalidRequest("give a list of scopes", field="scope")
        if not isinstance(members["name"], str):
            raise InvalidRequest("give a text", field="name")
        if not isinstance(date, str | None):
            raise InvalidRequest("give an RFC 3339 date-time or null", field=EXPIRY)
        if not isinstance(acknowledged, bool):
            raise InvalidRequest("give true or false", field="never_acknowledged")
        if date is None and (
            (self._dates and not (self._acknowledges and acknowledged)) or (self._turns and not acknowledged)
        ):
            raise InvalidRequest(
                "set this to true in the same patch, for a personal access token that never expires",
                field="never_acknowledged",
            )
        expires_ms = None if date is None else dates.parse_ms(date, EXPIRY)
        return PatChange(
            name=members["name"],
            scope=scopes,
            expiry=None if expires_ms == pat.expires_ms else Expiry(at_ms=expires_ms),
            never_acknowledged=acknowledged,
            **_patauth_changes(pat, members),
        )


def _patauth_changes(pat: PersonalAccessToken, members: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords of `PatChange` for what a patch has changed of `PATAUTH_PATCHABLE`."""
    before = _document(pat)
    changed = {name: members[name] for name in PATAUTH_PATCHABLE if members[name] != before[name]}
    found: dict[str, Any] = {}
    for name, value in changed.items():
        if name == "networks":
            if not isinstance(value, list | None):
                raise InvalidRequest("give a list of networks or null", field="networks")
            found["networks"] = value or []
            continue
        field = {"notBefore": "not_before", "requestQuota": "request_quota"}.get(name, name)
        if value is not None and (not isinstance(value, str) or not value):
            raise InvalidRequest(f"give {_KINDS[name]} or null", field=field)
        if name == "notBefore":
            found["not_before_ms"] = 0 if value is None else dates.parse_ms(value, field)
        else:
            found[field] = value or ""
    return found


def _document(pat: PersonalAccessToken) -> dict[str, Any]:
    """Return the members that can be patched, by their names in the management API."""
    return {
        "name": pat.name,
        "scope": list(pat.scope),
        "expirationDate": None if pat.expires_ms is None else dates.format_ms(pat.expires_ms),
        "userAwareTokenNeverExpires": pat.never_acknowledged,
        **{name: value for name, value in patauth_members(pat).items() if name in PATAUTH_PATCHABLE},
    }
