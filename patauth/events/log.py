"""The sink `log`: the audit trail, one line of JSON for each event, on the logger `patauth.audit` at INFO."""

from __future__ import annotations

import logging
from collections.abc import Callable

from .events import Event, line_of

EVENT = "patauth_event"  # the attribute of a record that has the event itself, for formatters

_log = logging.getLogger("patauth.audit")


class Log:
    """Writes each event to the audit trail, in the thread that reports it, as logging does."""

    name = "log"
    dropped = 0
    on_drop: Callable[[int], object]  # it drops nothing itself

    @property
    def is_on(self) -> bool:
        """Tell whether the logger writes anything."""
        return _log.isEnabledFor(logging.INFO)

    def take(self, event: Event) -> None:
        """Write an event."""
        _log.info("%s", line_of(event), extra={EVENT: event})

    def end(self, seconds: float) -> None:
        """Do nothing: nothing waits here."""

    def close(self, seconds: float) -> list[str]:
        """Do nothing: nothing waits here."""
        return []
