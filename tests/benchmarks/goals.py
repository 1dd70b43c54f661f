"""The goals for one request, as ratios within one run: times of one machine say nothing about another."""

from __future__ import annotations

from collections.abc import Mapping

from .cases import ARGON2, BARE, BASIC, BEARER, EXCHANGE, EXCHANGE_HTTP, ONE_TRIP, TOKEN
from .counts import Count
from .floors import GET
from .measure import Timings, ratio
from .report import Goal

MOST_CALLS = 40  # Python calls of a request


def bearer_goals(timings: Timings, setup: str) -> list[Goal]:
    """Return the goals for the time of a bearer token, by a set-up of server and socket."""
    return [Goal("G1", f"{name} / {GET}, {setup}", ratio(timings, name, GET).median, 1.05) for name in BEARER]


def count_goals(counts: Mapping[str, Count]) -> list[Goal]:
    """Return the goals for the work of one request, by the credential that takes the most."""
    ways = [counts[name] for name in ONE_TRIP]
    return [
        Goal("G1", "round trips of a request, at most", max(way.round_trips for way in ways), 1),
        Goal("G1", "Python calls of a request, at most", max(way.python_calls for way in ways), MOST_CALLS),
    ]


def other_goals(timings: Timings) -> list[Goal]:
    """Return the goals for the time of secrets and exchanges."""

    def goal(name: str, what: str, base: str, bound: float, *, at_least: bool = False) -> Goal:
        return Goal(name, f"{what} / {base}", ratio(timings, what, base).median, bound, at_least)

    return [
        goal("G4", BASIC, TOKEN, 1.15),
        goal("G4", ARGON2, BASIC, 500, at_least=True),
        goal("G7", EXCHANGE, GET, 2.6),
        goal("G7", EXCHANGE_HTTP, GET, 3.5),
    ]


def peer_goal(timings: Timings, peer: str, bare: str) -> Goal:
    """Return the goal for what a peer adds to a bare application, as a multiple of what patauth adds."""
    ours = timings[TOKEN].median - timings[BARE].median
    theirs = timings[peer].median - timings[bare].median
    return Goal("G2", f"overhead of {peer} / of patauth", theirs / ours, 7, at_least=True)
