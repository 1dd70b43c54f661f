"""Events: each decision and each change is one event. The sinks take the events.

An event is one object in JSON. Its members are written in camelCase, and what is not known is left out:

    time       when it was decided, RFC 3339 in UTC with milliseconds
    id         32 random hex digits; they stay the same wherever and however often the event is delivered
    type       what happened, one of `Type`
    outcome    `done`, `refused`, or `unknown`: it may hold or not, since the store did not confirm it
    requestId  of the HTTP request (request.py); only while a request is answered
    tenant     the organisation
    patId, ownerId, address, and further facts that belong to the type

No event contains a secret, a token or an Authorization value; the PAT id is no secret. No sink delays or
fails what is reported.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from ..errors import RateLimited, Refusal
from ..model import dates
from .request import REQUEST

_log = logging.getLogger("patauth")

Fact = str | int | float | list[str] | None  # None: not known
Facts = Mapping[str, Fact]  # by name
Event = dict[str, Fact]  # the members
Type = Literal[
    "pat.created", "pat.updated", "pat.rotated", "pat.revoked", "pat.disabled", "pat.enabled",
    "pat.expiring", "pat.expired", "pat.new_address",
    "owner.disabled", "owner.enabled", "owner.revoked",
    "token.issued", "token.revoked", "token.purged",
    "secret.reused", "credentials.refused", "quota.exceeded", "scope.refused",
]  # fmt: skip
Outcome = Literal["done", "refused", "unknown"]
# Why credentials were refused.
Reason = Literal[Refusal, "malformed", "invalid", "revoked", "access_token"]

MOST_OF_LIST = 2000  # characters of a list, such as 256 scopes: who changes PATs must not fill a stream
_REPEATED = 60.0  # s between two warnings of a sink that fails


class Sink(Protocol):
    """Takes events. It returns at once, from many threads and after a fork."""

    name: str  # for people
    dropped: int  # events that it could not take or deliver, since the process began
    on_drop: Callable[[int], object]  # called with how many it drops, each time

    @property
    def is_on(self) -> bool:
        """Whether anything would come of an event now."""

    def take(self, event: Event) -> None:
        """Take an event."""

    def end(self, seconds: float) -> None:
        """Have what it holds delivered within so many seconds, and its thread ended. Return at once."""

    def close(self, seconds: float) -> list[str]:
        """Do so, and wait until that is done. Return the ids of events that it drops then.

        A new event begins a new thread.
        """


class Events:
    """Passes each event to all `sinks`. Operations report what happened here and nowhere else.

    `tenant` is the setting. `clock` returns seconds since 1970, `timer` seconds that never step back.
    """

    def __init__(
        self,
        *sinks: Sink,
        tenant: str = "default",
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sinks = sinks
        self._tenant = tenant
        self._clock = clock
        self._timer = timer
        self._failed = 0  # events that a sink failed to take
        self._warn_at = 0.0

    def emit(self, kind: Type, outcome: Outcome = "done", **facts: Fact) -> None:
        """Pass an event to all sinks. It never raises, whatever a sink does.

        The address is that of the HTTP request, unless `facts` have another one, or None.
        """
        wanted = [sink for sink in self._sinks if sink.is_on]
        event: Event | None = None
        for sink in wanted:
            try:
                event = event or self._event(kind, outcome, facts)
                sink.take(event)
            except Exception as problem:  # such as a handler of the application's own
                self.note_failure(sink.name, problem)

    def _event(self, kind: Type, outcome: Outcome, facts: dict[str, Fact]) -> Event:
        request = REQUEST.get()
        members: Event = {
            "time": dates.format_ms(int(self._clock() * 1000)),
            "id": secrets.token_hex(16),
            "type": kind,
            "outcome": outcome,
            "requestId": None if request is None else request.id,
            "tenant": self._tenant,
            "patId": None,
            "ownerId": None,
            "address": None if request is None or "address" in facts else request.address.charged,
            **facts,
        }
        return {name: _bounded(fact) for name, fact in members.items() if fact is not None}

    def note_failure(self, sink: str, problem: Exception) -> None:
        """Count an event that a sink could not take, and tell the log once a minute."""
        self._failed += 1
        now = self._timer()
        if now < self._warn_at:
            return
        self._warn_at = now + _REPEATED
        # The text of the problem may have anything in it.
        warn(f"the sink {sink} failed: {type(problem).__name__}")

    @property
    def is_on(self) -> bool:
        """Whether any sink would take an event now."""
        return any(sink.is_on for sink in self._sinks)

    @property
    def dropped(self) -> int:
        """How many events all sinks together could not take or deliver, since the process began."""
        return sum(sink.dropped for sink in self._sinks) + self._failed

    def close(self, seconds: float) -> list[str]:
        """Deliver within so many seconds what the sinks hold, all at once, and end their threads.

        Return the ids of events that are dropped then, once for each sink.
        """
        until = self._timer() + seconds
        for sink in self._sinks:
            sink.end(seconds)
        return [one for sink in self._sinks for one in sink.close(max(0.0, until - self._timer()))]

    # -- refusals ---------------------------------------------------------------------------------------

    def refused(
        self, reason: Reason, address: str | None, pat_id: str | None = None, owner_id: str | None = None
    ) -> None:
        """Pass the event of refused credentials (`credentials.refused`) to all sinks."""
        self.emit(
            "credentials.refused", "refused", patId=pat_id, ownerId=owner_id, address=address, reason=reason
        )

    def reused(self, address: str | None, pat_id: str, owner_id: str) -> None:
        """Pass the event of a secret that was used after it had been rotated away (`secret.reused`).

        It takes the place of `credentials.refused`: a client was not told of the new secret, or this one
        was stolen.
        """
        self.emit("secret.reused", "refused", patId=pat_id, ownerId=owner_id, address=address)

    def limited(self, refusal: RateLimited, **facts: Fact) -> RateLimited:
        """Pass the event of a used-up quota (`quota.exceeded`) to all sinks, and return its refusal."""
        self.emit("quota.exceeded", "refused", **facts, quota=refusal.quota, retryAfter=refusal.retry_after)
        return refusal


def _bounded(fact: Fact) -> Fact:
    """Return a fact; of a list, as much as has `MOST_OF_LIST` characters, and how much more there is."""
    if not isinstance(fact, list) or sum(map(len, fact)) <= MOST_OF_LIST:
        return fact
    kept: list[str] = []
    left = MOST_OF_LIST
    for text in fact:
        left -= len(text)
        if left < 0:
            break
        kept.append(text)
    return [*kept, f"and {len(fact) - len(kept)} more"]


def line_of(members: Mapping[str, object]) -> str:
    """Return an object as one line of JSON in printable ASCII, so that no name can forge a second line."""
    return json.dumps(members).replace("\x7f", "\\u007f")  # DEL is the only control that JSON does not escape


def warn(text: str) -> None:
    """Tell the log of trouble with events. A handler that fails fails nothing here."""
    try:
        _log.warning("events: %s", text)
    except Exception:  # noqa: S110 - nobody is left to tell
        pass
