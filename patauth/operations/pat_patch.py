"""What a JSON Patch makes of a PAT: the rules, without any store."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from ..errors import InvalidRequest, InvalidScope
from ..model import dates
from ..model.expiry import FIELD as EXPIRY
from ..model.expiry import Expiry
from ..model.pat import PersonalAccessToken, check_name
from ..model.rights import EVERYTHING
from ..model.scopes import check as check_scopes
from ..model.scopes import check_known, covers
from ..settings import Settings
from . import json_patch
from .permissions import Limit

PATCHABLE = ("name", "scope", "expirationDate", "userAwareTokenNeverExpires")
_DATE, _ACKNOWLEDGED = "/expirationDate", "/userAwareTokenNeverExpires"


class PatPatch:
    """A JSON Patch (RFC 6902) of a PAT's members `fields` (None: all), checked, to be applied to any PAT.

    A date's `value` may be missing: clients that never send a null mean one. Raises `InvalidRequest`.
    """

    def __init__(self, operations: object, fields: Collection[str] | None) -> None:
        self._fields = [name for name in PATCHABLE if fields is None or name in fields]
        self._operations = json_patch.check(
            operations, self._fields, value_may_be_missing=("expirationDate",)
        )
        for operation in self._operations:
            if operation["path"] == _DATE and isinstance(operation.get("value"), str):
                # One spelling, so that `test` compares instants.
                operation["value"] = dates.format_ms(dates.parse_ms(operation["value"], EXPIRY))
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

    def apply(
        self, pat: PersonalAccessToken, now: int, limit: Callable[[], Limit], settings: Settings
    ) -> PersonalAccessToken:
        """The PAT as the patch leaves it; `pat` itself when nothing changes.

        Raises `InvalidRequest`, `InvalidScope`, and what `limit` raises, which is asked when anything grows:
        more scopes or a later expiry need all of the outcome to be within what the caller can pass on.
        """
        if pat.state_at(now) == "expired":
            raise InvalidRequest("this personal access token has expired; it can only be read or deleted")
        members = _document(pat)
        outcome = json_patch.apply({name: members[name] for name in self._fields}, self._operations)
        after = self._read(pat, {**members, **dict.fromkeys(self._fields), **outcome})
        # Beside `sp:scopes:all`, a scope is pinned for a time when the catalogue has it no more.
        catalogue = frozenset(() if EVERYTHING in after.scope else settings.scopes or ())
        added = tuple(scope for scope in after.scope if not covers(pat.scope, (scope,), catalogue))
        check_known(added, settings.scopes)
        later = _is_later(after.expires_ms, pat.expires_ms)
        ceiling = None
        if added or later:
            most = limit()
            most.require(after.scope)
            ceiling = most.expires_ms
        if after.expires_ms != pat.expires_ms or ceiling is not None:
            longest = settings.max_lifetime if after.expires_ms != pat.expires_ms else None
            Expiry(at_ms=after.expires_ms).settle(
                now, created=pat.created_ms, longest=longest, ceiling=ceiling
            )
        if after == pat:
            return pat
        return replace(after, changed_ms=max(now, pat.changed_ms), sequence=pat.sequence + 1)

    def _read(self, pat: PersonalAccessToken, members: dict[str, Any]) -> PersonalAccessToken:
        scopes, date = members["scope"], members["expirationDate"]
        acknowledged = members["userAwareTokenNeverExpires"]
        if acknowledged is None:
            acknowledged = False
        if not isinstance(scopes, list):
            raise InvalidRequest("give a list of scopes", field="scope")
        if not scopes:
            raise InvalidScope("give at least one scope", field="scope")
        if not isinstance(date, str | None):
            raise InvalidRequest("give an RFC 3339 date-time or null", field=EXPIRY)
        if not isinstance(acknowledged, bool):
            raise InvalidRequest("give true or false", field="never_acknowledged")
        if date is None and (
            (self._dates and not (self._acknowledges and acknowledged)) or (self._turns and not acknowledged)
        ):
            raise InvalidRequest(
                "a personal access token that never expires needs this true, in the same patch",
                field="never_acknowledged",
            )
        return replace(
            pat,
            name=check_name(members["name"]),
            scope=check_scopes(scopes),
            expires_ms=None if date is None else dates.parse_ms(date, EXPIRY),
            never_acknowledged=acknowledged,
        )


def _document(pat: PersonalAccessToken) -> dict[str, Any]:
    """What can be patched, by the names of the management API."""
    return {
        "name": pat.name,
        "scope": list(pat.scope),
        "expirationDate": None if pat.expires_ms is None else dates.format_ms(pat.expires_ms),
        "userAwareTokenNeverExpires": pat.never_acknowledged,
    }


def _is_later(expires_ms: int | None, than: int | None) -> bool:
    return than is not None and (expires_ms is None or expires_ms > than)
