"""The part `requests`: what one request costs, patauth's, its floors' and its peers'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.servers import Server

from .calls import Calling, environ_of
from .cases import PatauthCases
from .counts import Count, count
from .floors import GET, Floors
from .goals import goals_table, peer_goal, request_goals
from .imports import import_goal, measure_imports
from .measure import Case, Pinning, Timing, take_turns
from .peers import PEERS, Peer, open_peer
from .peers.httpauth import NAME as FLASK_PEER
from .peers.httpauth import open_with_fields
from .peers.oauthresource import NAME as AUTHLIB_PEER
from .report import Part, Table, engine_of


def run(server: Server, folder: Path, pinning: Pinning, *, rounds: int, calls: int) -> Part:
    """Time and count everything on one server."""
    floors, ours = Floors(server), PatauthCases(server.url, folder)
    peers = [open_peer(module, server.socket) for module in PEERS]
    peers.append(open_with_fields(server.socket))
    for check in (floors.check, ours.check, *(peer.check for peer in peers)):
        check()
    cases = [*floors.cases(), *ours.cases(), *_cases_of(peers)]
    timings = take_turns(cases, rounds=rounds, calls=calls)
    counts = {case.name: count(server, case.call) for case in (*ours.requests(), *_cases_of(peers))}
    floors.close()
    ours.close()

    inside, _ = measure_imports(rounds)
    bare_of = {peer.name: peer.bare_name for peer in peers}
    goals = [
        *request_goals(timings, counts),
        peer_goal(timings, FLASK_PEER, bare_of[FLASK_PEER], 10),
        peer_goal(timings, AUTHLIB_PEER, bare_of[AUTHLIB_PEER], 8),
        import_goal(inside),
    ]
    goals.sort(key=lambda goal: goal.name)
    engine = engine_of(server)
    method = (
        f"{engine}, on a unix socket; {pinning}. {rounds} rounds in which all"
        f" cases take turns, {calls} calls of each in a round (fewer of slow ones). µs: the median of the"
        " rounds; spread: the distance between their quartiles. WSGI callables are called as a server would"
        " call them, with an environ of their own each time, and the answer is consumed."
    )
    return Part(
        "requests",
        method,
        [_times(timings), _counted(counts), goals_table(goals)],
        {
            "engine": engine,
            "pin": pinning.pin,
            "rounds": rounds,
            "calls": calls,
            "cases": _figures(timings),
            "counts": {name: one.as_json() for name, one in counts.items()},
            "goals": [goal.as_json() for goal in goals],
        },
    )


def _cases_of(peers: Sequence[Peer]) -> list[Case]:
    cases = {}
    for peer in peers:
        cases[peer.bare_name] = Case(peer.bare_name, Calling(peer.bare, [environ_of()], 200), share=0.5)
        environs = [environ_of(value) for value in peer.authorizations]
        cases[peer.name] = Case(peer.name, Calling(peer.app, environs, 200), share=peer.share)
    return list(cases.values())


def _times(timings: Mapping[str, Timing]) -> Table:
    get = timings[GET].median
    rows = [(name, one.median, one.spread, one.median / get) for name, one in timings.items()]
    return Table("Time of one call", ("case", "µs", "spread %", f"x {GET}"), rows)


def _counted(counts: Mapping[str, Count]) -> Table:
    rows = [
        (name, one.python_calls, one.c_calls, one.round_trips, _commands(one.commands))
        for name, one in counts.items()
    ]
    heads = ("case", "Python calls", "C calls", "round trips", "commands, those in scripts included")
    return Table("What one call does", heads, rows)


def _commands(commands: Mapping[str, float]) -> str:
    return " ".join(f"{name}" if often == 1 else f"{often:g}x{name}" for name, often in commands.items())


def _figures(timings: Mapping[str, Timing]) -> dict[str, Any]:
    get = timings[GET].median
    return {
        name: {
            "us": one.median,
            "spread_percent": one.spread,
            "x_get": one.median / get,
            "rounds": one.rounds,
        }
        for name, one in timings.items()
    }
