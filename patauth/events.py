"""Events: every change, exchange and refused credential is one event. The sinks read the events.

The audit trail is a sink. It writes one line of JSON for each event to the logger `patauth.audit`, in ASCII,
so that no name can forge a second line. No event contains a secret, a token or an Authorization value; the
PAT id is no secret.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Literal

from .errors import Refusal

_log = logging.getLogger("patauth.audit")

Fact = str | int | float | list[str] | None
Facts = Mapping[str, Fact]  # by name; None: not known
Sink = Callable[[str, Facts], None]  # takes the event's name, such as `pat.create`, and its facts
# Why credentials were refused.
Reason = Literal[Refusal, "malformed", "invalid", "revoked", "access token"]


def log(event: str, facts: Facts) -> None:
    """Write an event to the audit trail."""
    if _log.isEnabledFor(logging.INFO):
        known = {name: fact for name, fact in facts.items() if fact is not None}
        line = json.dumps({"event": event, **known})
        _log.info("%s", line.replace("\x7f", "\\u007f"))  # DEL is the only control that JSON does not escape


class Events:
    """Passes each event to all `sinks`. Operations report what happened here and nowhere else."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = sinks

    def emit(self, event: str, **facts: Fact) -> None:
        """Pass an event to all sinks."""
        for sink in self._sinks:
            sink(event, facts)

    def refused(self, reason: Reason, address: str | None, pat_id: str | None = None) -> None:
        """Pass the event of refused credentials (`credentials.refused`) to all sinks."""
        self.emit("credentials.refused", patId=pat_id, reason=reason, address=address)

    def reused(self, address: str | None, pat_id: str, owner_id: str) -> None:
        """Pass the event of a secret that was used after it had been rotated away (`secret.reused`).

        It takes the place of `credentials.refused`: whoever holds the secret was not told, or has stolen it.
        """
        self.emit("secret.reused", patId=pat_id, ownerId=owner_id, address=address)
