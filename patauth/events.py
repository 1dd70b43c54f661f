"""The audit trail: one structured event for each change, exchange and refusal (logger `patauth.audit`).

An event is one line of JSON in ASCII, so that no name can forge a second line. It never holds a secret, a
token or an Authorization value; the PAT id is no secret.
"""

from __future__ import annotations

import json
import logging

_log = logging.getLogger("patauth.audit")


def record(event: str, **facts: str | int | float | list[str] | None) -> None:
    """Write one event: its name (`pat.create`, `credentials.refused`, …) and what is known of it."""
    if _log.isEnabledFor(logging.INFO):
        known = {name: fact for name, fact in facts.items() if fact is not None}
        line = json.dumps({"event": event, **known})
        _log.info("%s", line.replace("\x7f", "\\u007f"))  # DEL, the one control that JSON leaves as it is
