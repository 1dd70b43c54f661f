"""The last use of a PAT: when its secret was used, and from where. Only a proven secret counts."""

from __future__ import annotations

import logging
from typing import Any

from ..errors import PatAuthError
from ..events.events import Events
from ..model.address import covers_networks
from ..model.pat import PersonalAccessToken, used
from ..store.record import PatRecord
from ..store.store import Store

_log = logging.getLogger("patauth")

_TRIES = 5  # while a PAT changes


class LastUse:
    """Writes last uses to the store. `detail` is the setting `address_detail`."""

    def __init__(self, store: Store, events: Events, detail: str) -> None:
        self._store = store
        self._events = events
        self._detail = detail

    def note(self, record: PatRecord, now: int, used_from: str | None) -> None:
        """Write a last use, within a deadline of its own. Log a failure, and go on.

        It is written when `patauth.model.pat.used` says, and only once, however many processes try. Emit an
        event if the address replaces another one.
        """
        pats = self._store.for_request().pats
        try:
            for _ in range(_TRIES):
                pat = used(record.pat, now, used_from)
                if pat is record.pat:
                    return
                found = pats.touch(record, pat)
                if found == "written":
                    self._tell_new_address(record.pat, pat)
                if not isinstance(found, PatRecord):
                    return
                record = found
        except PatAuthError as problem:
            _log.warning("lastUsed of PAT %s not written: %s", record.pat_id, problem.detail or problem)
        else:
            _log.warning("lastUsed of PAT %s not written: it kept changing", record.pat_id)

    def _tell_new_address(self, before: PersonalAccessToken, after: PersonalAccessToken) -> None:
        previous, address = before.last_used_from, after.last_used_from
        if previous is None or self._detail == "none" or _is_same(previous, address):
            return
        # Without one, the event has that of the connection, so a client that hides its address has one too.
        known: dict[str, Any] = {} if address is None else {"address": address}
        self._events.emit(
            "pat.new_address", patId=after.id, ownerId=after.owner.id, **known, previous=previous
        )


def _is_same(previous: str, address: str | None) -> bool:
    """Return whether both may be the same address: after a change of the setting, one contains the other."""
    if address is None:
        return False
    return covers_networks((previous,), (address,)) or covers_networks((address,), (previous,))
