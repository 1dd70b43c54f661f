"""When a PAT is to expire: what was asked for, and what that comes to under policy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ..errors import InvalidRequest
from . import dates

FIELD = "expiry"


@dataclass(frozen=True, slots=True)
class Expiry:
    """What was asked for: an instant, a time from now, or neither.

    `months`: as some versions of the management API have it, the longest life in calendar months from
    creation, and the life of a PAT for which nothing is asked. Without it, neither instant nor time means
    never.
    """

    at_ms: int | None = None
    after_ms: int | None = None
    months: int | None = None

    @classmethod
    def of_keywords(
        cls, expires_in: timedelta | None, expires_at: datetime | None, never_expires: bool
    ) -> Expiry | None:
        """Return what keywords ask for; None where none is given. Raises `InvalidRequest` for several."""
        if [expires_in is not None, expires_at is not None, bool(never_expires)].count(True) > 1:
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
        """Return the instant that was asked for (ms), by a clock that says `now`; None where none was."""
        return self.at_ms if self.after_ms is None else now + self.after_ms

    def settle(
        self, now: int, *, created: int, longest: int | None = None, ceiling: int | None = None
    ) -> int | None:
        """The expiry in ms, None for never. Raises `InvalidRequest`.

        `created`: when the PAT was or is made; `longest`: seconds that it may live (setting `max_lifetime`);
        `ceiling`: when the maker's own PAT expires. Where nothing was asked for and `months` decides, the
        result is cut to both; what was asked for is refused past them.
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
        if asked is not None and asked <= now:
            raise InvalidRequest("give an instant in the future", field=FIELD)
        if asked is not None and asked > dates.LATEST:
            raise InvalidRequest("the year 9999 is the last that can be given", field=FIELD)
        for limit, problem in bounds:
            if asked is None or asked > limit:
                raise InvalidRequest(problem, field=FIELD)
        return asked
