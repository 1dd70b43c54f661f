"""Quotas: so many requests in so many seconds, by the generic cell rate algorithm (GCRA).

GCRA in its virtual scheduling form (ATM Forum, Traffic Management Specification 4.1, af-tm-0121.000;
ITU-T Recommendation I.371) keeps one number per client, the theoretical arrival time of its next request:

    emission interval   the time that one request uses up: seconds / count
    tat                 when the client would have used up its time, had it sent at an even pace
    burst tolerance     how far tat may run ahead of the clock: count emission intervals
    backlog             tat - now: what is used up and not yet given back

A request moves tat one emission interval on, and is refused if that takes it past the tolerance. A client
that was quiet may send `count` at once and one per emission interval from then on, so any window of
t seconds sees at most count + t * count / seconds. There is no window to reset, and no burst at its edges.

All arithmetic is in whole microseconds, which Lua's doubles hold exactly (2^53 µs is the year 2255): the
store's script does the same steps on the server's clock, and `admit` is what it is tested against.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import ConfigurationError, RateLimited

MAX_COUNT = 1_000_000
MAX_SECONDS = 86_400

_SECOND = 1_000_000  # µs
_QUOTA = re.compile(r"([1-9][0-9]{0,6})/([1-9][0-9]{0,4})")


class _Gcra:
    """A quota in GCRA's words, in µs."""

    __slots__ = ("emission_us", "tolerance_us")

    emission_us: int  # what one request uses up, rounded up: never more passes than was promised
    tolerance_us: int  # how far tat may run ahead of the clock: `count` requests at once, and not one more


@dataclass(frozen=True, slots=True)
class Quota(_Gcra):
    """`count` requests (1-1 000 000) in `seconds` seconds (1-86 400). Raises `ConfigurationError`."""

    count: int
    seconds: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_COUNT or not 1 <= self.seconds <= MAX_SECONDS:
            raise ConfigurationError(
                f"a quota is 1 to {MAX_COUNT} requests in 1 to {MAX_SECONDS} seconds, such as 100/10"
            )
        object.__setattr__(self, "emission_us", -(-self.seconds * _SECOND // self.count))
        object.__setattr__(self, "tolerance_us", self.count * self.emission_us)

    def __str__(self) -> str:
        return f"{self.count}/{self.seconds}"


def parse(text: str) -> Quota:
    """Read a setting such as `100/10`, 100 requests in 10 seconds. Raises `ConfigurationError`."""
    match = _QUOTA.fullmatch(text)
    if match is None:
        raise ConfigurationError("a quota is written COUNT/SECONDS, such as 100/10")
    return Quota(int(match[1]), int(match[2]))


class Step(NamedTuple):
    """What one request does to a client's tat. Times in µs, on the clock of `now_us`."""

    allowed: bool
    tat_us: int  # to be stored, also on a refusal: see `admit`
    backlog_us: int  # tat_us - now_us
    wait_us: int  # 0 when allowed, else how long until one more request passes


def admit(tat_us: int | None, now_us: int, quota: Quota) -> Step:
    """Take one request at `now_us` from a client whose stored tat is `tat_us` (None: never seen).

    A tat further ahead than the tolerance is not one this quota made on this clock: the clock was set back,
    or the quota lowered. It is cut to the tolerance, so such a client waits as if it had used up everything
    and no longer. The cut holds only if it is stored: cut anew on each refusal, it would move along with the
    clock, and refuse for as long as the clock was set back. Without a cut, a refusal leaves tat as it was.
    """
    emission, limit = quota.emission_us, quota.tolerance_us
    tat = now_us if tat_us is None else min(max(tat_us, now_us), now_us + limit)
    after = tat + emission
    if after - now_us > limit:
        return Step(False, tat, tat - now_us, after - limit - now_us)
    return Step(True, after, after - now_us, 0)


class Decision(NamedTuple):
    """What a quota said to one request; `patauth.wsgi.answers` tells it to the client."""

    allowed: bool
    name: str  # "requests", "exchanges" or "failures"
    quota: Quota
    backlog_us: int  # tat - now, after this request when it is allowed
    wait_us: int  # 0 when allowed

    @property
    def remaining(self) -> int:
        """How many more requests would pass right now."""
        return self.service_limit()[0]

    @property
    def reset_seconds(self) -> int:
        """Whole seconds until more of the quota is there (the draft's `t`), rounded up, at least 1."""
        return self.service_limit()[1]

    @property
    def retry_after(self) -> int:
        """Whole seconds until a request passes, if nobody else takes it (RFC 9110 §10.2.3); at least 1."""
        return _whole_seconds(self.wait_us)

    def refusal(self) -> RateLimited:
        """Return the error that tells a caller of this refusal."""
        quota = self.quota
        return RateLimited(self.retry_after, quota=self.name, count=quota.count, seconds=quota.seconds)

    def service_limit(self) -> tuple[int, int]:
        """Return `remaining` and `reset_seconds` in one go: this runs on every answer."""
        if not self.allowed:
            return 0, self.retry_after
        quota, backlog = self.quota, self.backlog_us
        # A backlog of n emission intervals, the last one begun, is n requests taken; that one ends first.
        taken = -(-backlog // quota.emission_us)
        return quota.count - taken, _whole_seconds(backlog - (taken - 1) * quota.emission_us)


def _whole_seconds(us: int) -> int:
    """Rounded up, so that who waits so long has waited long enough; at least 1."""
    seconds = -(-us // _SECOND)
    return seconds if seconds > 1 else 1
