"""Events: every decision and every change is one event, which the sinks read.

The audit trail is a sink: one line of JSON for each event, in ASCII so that no name can forge a second line
(logger `patauth.audit`). No event holds a secret, a token or an Authorization value; the PAT id is no secret.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Literal

_log = logging.getLogger("patauth.audit")

Fact = str | int | float | list[str] | None
Facts = Mapping[str, Fact]  # by name; None: not known
# Why `credentials.refused`.
Reason = Literal[
    "malformed", "invalid", "rotated away", "expired", "disabled", "revoked", "access token"
]  # fmt: skip
Sink = Callable[[str, Facts], None]  # is told the event's name, such as `pat.create`, and its facts


def log(event: str, facts: Facts) -> None:
    """Write an event to the audit trail."""
    if _log.isEnabledFor(logging.INFO):
        known = {name: fact for name, fact in facts.items() if fact is not None}
        line = json.dumps({"event": event, **known})
        _log.info("%s", line.replace("\x7f", "\\u007f"))  # DEL, the one control that JSON leaves as it is


class Events:
    """The one way by which operations tell what happened; each event goes to all `sinks`."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks

    def emit(self, event: str, **facts: Fact) -> None:
        """Tell all sinks of an event."""
        for sink in self._sinks:
            sink(event, facts)
