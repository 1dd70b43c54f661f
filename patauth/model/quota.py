"""Quotas: a number of requests in a number of seconds, by the generic cell rate algorithm (GCRA).

GCRA in its virtual scheduling form (ATM Forum, Traffic Management Specification 4.1, af-tm-0121.000;
ITU-T Recommendation I.371) keeps one number per client, the theoretical arrival time of its next request:

    emission interval   the time that one request uses up: seconds / count
    tat                 the theoretical arrival time: when a client that sends evenly would send next
    burst tolerance     how far tat may run ahead of the clock: count emission intervals
    backlog             tat - now: the time that is used up and not yet given back

A request moves tat forward by one emission interval. It is refused if tat would then pass the tolerance. A
client that was quiet may send `count` requests at once, and then one per emission interval. So any window of
t seconds has at most count + t * count / seconds requests. There is no window to reset, and no burst at its
edges.

All arithmetic is in whole microseconds, which Lua's doubles hold exactly (2^53 µs is the year 2255). The
store's script does the same steps on the server's clock; the tests compare it with `admit`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from ..errors import ConfigurationError, InvalidRequest, RateLimited

MAX_COUNT = 1_000_000
MAX_SECONDS = 86_400

SECOND = 1_000_000  # µs

_QUOTA = re.compile(r"([1-9][0-9]{0,6})/([1-9][0-9]{0,4})")


@dataclass(frozen=True, slots=True)
class Quota:
    """A limit of `count` requests (1-1 000 000) in `seconds` seconds (1-86 400).

    `emission_us` and `tolerance_us` are its emission interval and burst tolerance in µs. Raise
    `ConfigurationError`.
    """

    count: int
    seconds: int
    emission_us: int = field(init=False, repr=False, compare=False)  # rounded up: no request too many passes
    tolerance_us: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_COUNT or not 1 <= self.seconds <= MAX_SECONDS:
            raise ConfigurationError(
                f"a quota is 1 to {MAX_COUNT} requests in 1 to {MAX_SECONDS} seconds, such as 100/10"
            )
        object.__setattr__(self, "emission_us", -(-self.seconds * SECOND // self.count))
        object.__setattr__(self, "tolerance_us", self.count * self.emission_us)

    def is_within(self, most: Quota) -> bool:
        """Return whether this quota allows neither a larger burst nor a higher rate than `most`."""
        return self.count <= most.count and self.count * most.seconds <= most.count * self.seconds

    def __str__(self) -> str:
        return f"{self.count}/{self.seconds}"


def parse(text: str) -> Quota:
    """Read a setting such as `100/10`, 100 requests in 10 seconds. Raise `ConfigurationError`."""
    match = _QUOTA.fullmatch(text)
    if match is None:
        raise ConfigurationError("a quota is written COUNT/SECONDS, such as 100/10")
    return Quota(int(match[1]), int(match[2]))


def check_quota(given: object) -> Quota:
    """Return the request quota that a caller gave as a `Quota` or as a text. Raise `InvalidRequest`."""
    try:
        found = parse(given) if isinstance(given, str) else given
    except ConfigurationError as problem:
        raise InvalidRequest(str(problem), field="request_quota") from None
    if not isinstance(found, Quota):
        raise InvalidRequest("give a text such as '100/10' or a patauth.Quota", field="request_quota")
    return found


class Step(NamedTuple):
    """The effect of one request on a client's tat. Times are in µs, on the clock of `now_us`."""

    allowed: bool
    tat_us: int  # the caller stores this, also on a refusal: see `admit`
    backlog_us: int  # tat_us - now_us
    wait_us: int  # 0 when allowed, else the time until one more request passes


def admit(tat_us: int | None, now_us: int, quota: Quota) -> Step:
    """Judge one request at `now_us` from a client whose stored tat is `tat_us` (None: never seen).

    A tat that is further ahead than the tolerance shows that the clock was set back, or that the quota was
    lowered. It is cut to the tolerance, so the client waits as if it had used up the whole quota, and no
    longer. The caller must store the cut value: if every refusal made the cut again, tat would move with the
    clock, and the client would be refused for as long as the clock was set back. Without a cut, a refusal
    leaves tat unchanged.
    """
    emission, limit = quota.emission_us, quota.tolerance_us
    tat = now_us if tat_us is None else min(max(tat_us, now_us), now_us + limit)
    after = tat + emission
    if after - now_us > limit:
        return Step(False, tat, tat - now_us, after - limit - now_us)
    return Step(True, after, after - now_us, 0)


class Decision(msgspec.Struct, frozen=True):
    """The decision of a quota about one request; `patauth.wsgi.answers` tells it to the client."""

    allowed: bool
    name: str  # "requests", "exchanges", "failures", "creations" or "persons"
    quota: Quota
    backlog_us: int  # tat - now, after this request when it is allowed
    wait_us: int  # 0 when allowed

    @property
    def remaining(self) -> int:
        """How many more requests would pass now."""
        return self.service_limit()[0]

    @property
    def reset_seconds(self) -> int:
        """Whole seconds until one more request is available (the draft's `t`), rounded up; at least 1."""
        return self.service_limit()[1]

    @property
    def retry_after(self) -> int:
        """Whole seconds until a request passes, if no other request comes first (RFC 9110 §10.2.3).

        Rounded up, so that a client never comes back too early; at least 1.
        """
        return -(-self.wait_us // SECOND) or 1

    def refusal(self) -> RateLimited:
        """Return the error that reports this refusal to the caller."""
        quota = self.quota
        return RateLimited(self.retry_after, quota=self.name, count=quota.count, seconds=quota.seconds)

    def service_limit(self) -> tuple[int, int]:
        """Return `remaining` and `reset_seconds` together, because every answer has both."""
        if not self.allowed:
            return 0, self.retry_after
        quota, backlog = self.quota, self.backlog_us
        # A backlog that has begun its n-th emission interval is n requests. The n-th interval ends first.
        begun, into_us = divmod(backlog - 1, quota.emission_us)
        return quota.count - begun - 1, into_us // SECOND + 1
