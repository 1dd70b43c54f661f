"""Turn the expiry that was asked for into the instant that the policy allows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ..errors import InvalidRequest
from . import dates

FIELD = "expiry"


def require_acknowledged(expires_ms: int | None, acknowledged: bool) -> None:
    """Raise `InvalidRequest` for a PAT that never expires, unless its maker has confirmed that."""
    if expires_ms is None and not acknowledged:
        raise InvalidRequest(
            "set this to true for a personal access token that never expires", field="never_acknowledged"
        )


def settle_begin(not_before_ms: int | None, now: int, expires_ms: int | None) -> int | None:
    """Return from when on a PAT may be used (ms). None: at once, which is also the result for a past instant.

    Raise `InvalidRequest` for a PAT that would expire before.
    """
    if not_before_ms is None or not_before_ms <= now:
        return None
    dates.require_writable(not_before_ms, "not_before")
    if expires_ms is not None and not_before_ms >= expires_ms:
        raise InvalidRequest("give an instant before the expiry", field="not_before")
    return not_before_ms


@dataclass(frozen=True, slots=True)
class Expiry:
    """The expiry that was asked for: an instant, or a time from now. Without both, it is never.

    `months` exists for some versions of the management API. A PAT can live at most this number of calendar
    months from creation, and it lives that long if neither an instant nor a time is given.
    """

    at_ms: int | None = None
    after_ms: int | None = None
    months: int | None = None

    @classmethod
    def of_keywords(
        cls, expires_in: timedelta | None, expires_at: datetime | None, never_expires: bool
    ) -> Expiry | None:
        """Return what the keyword asks for; None without one. Raise `InvalidRequest` for several."""
        if (expires_in is not None) + (expires_at is not None) + bool(never_expires) > 1:
            raise InvalidRequest(
                "give only one of expires_in, expires_at and never_expires=True", field=FIELD
            )
        if never_expires:
            return cls()
        if expires_in is not None:
            if not isinstance(expires_in, timedelta):
                raise InvalidRequest("give a timedelta as expires_in", field=FIELD)
            return cls(after_ms=expires_in // timedelta(milliseconds=1))
        if expires_at is not None:
            if not isinstance(expires_at, datetime):
                raise InvalidRequest("give a datetime as expires_at", field=FIELD)
            return cls(at_ms=dates.to_ms(expires_at, "expires_at"))
        return None

    def instant(self, now: int) -> int | None:
        """Return the instant that was asked for (ms), counted from `now` (ms); None if none was."""
        return self.at_ms if self.after_ms is None else now + self.after_ms

    def settle(
        self, now: int, *, created: int, longest: int | None = None, ceiling: int | None = None
    ) -> int | None:
        """Return the expiry in ms that is within all limits; None is never. Raise `InvalidRequest`.

        `created`: when the PAT was or is made (ms). `longest`: how many seconds it may live (setting
        `max_lifetime`). `ceiling`: when the maker's own PAT expires (ms). An expiry that was asked for and is
        past a limit is refused. One that comes from `months` is cut to the earliest limit.
        """
        limits = [(ceiling, "give an instant no later than the expiry of your own personal access token")]
        if longest is not None:
            limits.append((created + longest * 1000, f"PATs must expire within {longest} seconds here"))
        if self.months is not None:
            latest = dates.add_months(created, self.months)
            limits.append((latest, f"give an instant within {self.months} months from creation"))
        bounds = [(limit, problem) for limit, problem in limits if limit is not None]
        asked = self.instant(now)
        if asked is None and self.months is not None:
            return min(limit for limit, _ in bounds)
        if asked is not None and dates.require_writable(asked, FIELD) <= now:
            raise InvalidRequest("give an instant in the future", field=FIELD)
        for limit, problem in bounds:
            if asked is None or asked > limit:
                raise InvalidRequest(problem, field=FIELD)
        return asked
