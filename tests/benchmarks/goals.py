"""The goals of patauth, as ratios within one run: times of one machine say nothing about another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .cases import ARGON2, BARE, BASIC, EXCHANGE, EXCHANGE_HTTP, ONE_TRIP, TOKEN
from .counts import Count
from .floors import GET
from .measure import Timing
from .report import Table, significant

MOST_CALLS = 60  # Python calls of a request


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure, and the bound that it must keep: at most, or with `at_least`, at least."""

    name: str
    what: str
    figure: float
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure keeps the bound."""
        return self.figure >= self.bound if self.at_least else self.figure <= self.bound

    def as_json(self) -> dict[str, Any]:
        """For the file of figures."""
        return {**asdict(self), "met": self.met}


def goals_table(goals: list[Goal]) -> Table:
    """Each goal in a line."""
    rows = [
        (
            goal.name,
            goal.what,
            significant(goal.figure),
            f"{'>=' if goal.at_least else '<='} {significant(goal.bound)}",
            "met" if goal.met else "NOT MET",
        )
        for goal in goals
    ]
    return Table("Goals", ("goal", "what", "figure", "bound", ""), rows)


def request_goals(timings: Mapping[str, Timing], counts: Mapping[str, Count]) -> list[Goal]:
    """Return the goals for the time and the work of one request."""
    at = {name: timing.median for name, timing in timings.items()}
    goals = [Goal("G1", f"{name} / {GET}", at[name] / at[GET], 0.80) for name in ONE_TRIP]
    for name in ONE_TRIP:
        goals.append(Goal("G1", f"{name}: round trips", counts[name].round_trips, 1))
        goals.append(Goal("G1", f"{name}: Python calls", counts[name].python_calls, MOST_CALLS))
    return [
        *goals,
        Goal("G4", f"{BASIC} / {TOKEN}", at[BASIC] / at[TOKEN], 1.15),
        Goal("G4", f"{ARGON2} / {BASIC}", at[ARGON2] / at[BASIC], 500, at_least=True),
        Goal("G7", f"{EXCHANGE} / {GET}", at[EXCHANGE] / at[GET], 3),
        Goal("G7", f"{EXCHANGE_HTTP} / {GET}", at[EXCHANGE_HTTP] / at[GET], 3),
    ]


def peer_goal(timings: Mapping[str, Timing], peer: str, bare: str, bound: float) -> Goal:
    """Return the goal for what a peer adds to a bare application, as a multiple of what patauth adds."""
    ours = timings[TOKEN].median - timings[BARE].median
    theirs = timings[peer].median - timings[bare].median
    return Goal("G2", f"overhead of {peer} / of patauth", theirs / ours, bound, at_least=True)
