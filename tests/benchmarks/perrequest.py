"""The part `requests`: what one request costs, patauth's, its floors' and its peers'.

A process keeps for its life what memory and hashes have given it, which is worth 2 per cent here or there. So
several processes measure one after the other, each with servers of its own.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support.servers import Server

from .calls import Calling, environ_of
from .cases import PatauthCases
from .counts import Count, count
from .floors import GET, Floors
from .goals import bearer_goals, count_goals, other_goals, peer_goal
from .measure import Case, Timings, over_processes, ratio, take_turns
from .options import Options
from .peers import PEERS, Peer, open_peer
from .peers.flaskapp import BARE as BARE_FLASK
from .peers.httpauth import NAME as FLASK_PEER
from .peers.httpauth import open_with_fields
from .peers.steps import hits, signature
from .report import Part, Table, engine_of

UNIX, TCP, FILE = "unix socket", "TCP", "TCP and append-only file"
SETUPS = {UNIX: {}, TCP: {"tcp": True}, FILE: {"tcp": True, "file": True}}


@dataclass(frozen=True, slots=True)
class Measured:
    """Holds what one process found: times by set-up, counts, and the engine."""

    timings: Mapping[str, Timings]
    counts: Mapping[str, Count]
    engine: str


def measure(options: Options, calls: int, said: str) -> Measured:
    """Time all cases in turn, on a server for each set-up, and count those on the unix socket."""
    with ExitStack() as stack:
        servers = {
            setup: stack.enter_context(options.pinned_server(**given)) for setup, given in SETUPS.items()
        }
        cases = {setup: _open(stack, *found, setup) for setup, found in servers.items()}
        turns = [
            replace(case, name=f"{setup}: {case.name}") for setup, some in cases.items() for case in some
        ]
        taken = take_turns(turns, rounds=options.rounds, calls=calls, said=said)
        timings: dict[str, Timings] = {
            setup: {case.name: taken[f"{setup}: {case.name}"] for case in some}
            for setup, some in cases.items()
        }
        unix, _ = servers[UNIX]
        return Measured(timings, {case.name: count(unix, case.call) for case in cases[UNIX]}, engine_of(unix))


def _open(stack: ExitStack, server: Server, folder: Path, setup: str) -> list[Case]:
    """Return the cases of a set-up, each of which has got the right answer once. `stack` closes them."""
    floors, ours = Floors(server), PatauthCases(server.url, folder)
    for one in (floors, ours):
        stack.callback(one.close)
        one.check()
    everywhere = [*floors.cases(), *ours.requests(), *hits(server.url)]
    if setup != UNIX:
        return everywhere
    peers = [*(open_peer(module, server.socket) for module in PEERS), open_with_fields(server.socket)]
    for peer in peers:
        peer.check()
    return [*everywhere, *ours.without_store(), signature(), *ours.more(), *_cases_of(peers)]


def run(options: Options) -> Part:
    """Let processes measure, one after the other."""
    processes = 2 if options.smoke else 5
    calls = max(1, options.calls // processes)
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, fresh, max_tasks_per_child=1) as pool:
        found = [
            pool.submit(measure, options, calls, f"process {number + 1} of {processes}, ").result()
            for number in range(processes)
        ]
    timings = {setup: over_processes([one.timings[setup] for one in found]) for setup in SETUPS}
    counts, unix = found[0].counts, timings[UNIX]
    goals = [
        *bearer_goals(unix, UNIX),
        *bearer_goals(timings[TCP], TCP),
        *count_goals(counts),
        peer_goal(unix, FLASK_PEER, BARE_FLASK),
        *other_goals(unix),
    ]
    method = (
        f"{found[0].engine}; {options.pinning}. {processes} processes one after the other, each with servers"
        f" of its own and {options.rounds} rounds in which all cases take turns, {calls} calls of each in a"
        " round (fewer of slow ones). µs: the median of the processes' medians. x and spread: the median of"
        " their ratios, and the distance between the quartiles of these. WSGI callables are called as a"
        " server would call them, with an environ of their own each time, and the answer is consumed."
    )
    return Part(
        "requests",
        method,
        [_requests(timings), _others(unix, timings[TCP]), _counted(counts)],
        {
            "engine": found[0].engine,
            "pin": options.pinning.pin,
            "processes": processes,
            "rounds": options.rounds,
            "calls": calls,
            "cases": {
                f"{name}, {setup}": {
                    **one.as_json(),
                    "x_get": ratio(some, name, GET).median,
                    "x_get_spread_percent": ratio(some, name, GET).spread,
                }
                for setup, some in timings.items()
                for name, one in some.items()
            },
            "counts": {name: one.as_json() for name, one in counts.items()},
        },
        goals,
    )


def _cases_of(peers: Sequence[Peer]) -> list[Case]:
    cases = {}
    for peer in peers:
        cases[peer.bare_name] = Case(peer.bare_name, Calling(peer.bare, [environ_of()], 200), share=0.5)
        environs = [environ_of(value) for value in peer.authorizations]
        cases[peer.name] = Case(peer.name, Calling(peer.app, environs, 200), share=peer.share)
    return list(cases.values())


def _requests(timings: Mapping[str, Timings]) -> Table:
    """Return the table of what is timed in each set-up."""
    rows = []
    for name in timings[TCP]:
        ratios = [ratio(some, name, GET) for some in timings.values()]
        pairs = zip(timings.values(), ratios, strict=True)
        cells = [cell for some, found in pairs for cell in (some[name].median, found.median)]
        rows.append((name, *cells, max(found.spread for found in ratios)))
    heads = [head for setup in timings for head in (f"{setup}, µs", "x GET")]
    return Table("One request", ("case", *heads, "widest spread %"), rows)


def _others(unix: Timings, asked: Timings) -> Table:
    """Return the table of what is timed on a unix socket alone."""
    others = {name: ratio(unix, name, GET) for name in unix if name not in asked}
    rows = [(name, unix[name].median, found.median, found.spread) for name, found in others.items()]
    return Table("Other calls, over a unix socket", ("case", "µs", "x GET", "spread %"), rows)


def _counted(counts: Mapping[str, Count]) -> Table:
    rows = [
        (name, one.python_calls, one.c_calls, one.round_trips, _commands(one.commands))
        for name, one in counts.items()
    ]
    heads = ("case", "Python calls", "C calls", "round trips", "commands, those in scripts included")
    return Table("What one call does", heads, rows)


def _commands(commands: Mapping[str, float]) -> str:
    return " ".join(f"{name}" if often == 1 else f"{often:g}x{name}" for name, often in commands.items())
