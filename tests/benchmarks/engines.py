"""The part `engines`: what a request costs on one server, on a cluster and behind Sentinel.

All servers share the client's CPU unless they are pinned elsewhere. What patauth sends is also sent over
plain sockets, to the same nodes in the same order: so much servers and kernel take by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

from patauth import Owner
from patauth.store.transport.pool import Connections
from tests.support.authorities import issue
from tests.support.clusters import free_ports, running_cluster
from tests.support.interventions import standing_in
from tests.support.sentinels import Member, running_sentinels
from tests.support.servers import Server

from .cases import access_of, authority_at
from .floors import RawSocket
from .goals import Goal, goals_table
from .measure import Case, Pinning, Timing, take_turns
from .report import Part, Table, engine_of

ONE, NODE, NODES = "one server", "cluster of 1 node", "cluster of 3 nodes"
PRIMARY, SENTINEL = "a primary with 2 replicas", "the same behind Sentinels"
OVER = {NODE: ONE, NODES: ONE, SENTINEL: PRIMARY}  # what each is compared with
OWNERS = 30  # whose requests take turns: on three nodes, most follow one to another node
MOST = 1.15
_FILE = ("--appendonly", "no")


class Place:
    """An Authority on one of the engines, and one access token for each owner."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.authority = authority_at(url, key_prefix=name.replace(" ", "-"))
        issued = [issue(self.authority, owner=Owner(f"owner-{number}")) for number in range(OWNERS)]
        self._values = [access_of(self.authority, one) for one in issued]
        for value in self._values:  # all scripts are loaded by now
            self.authority.authenticate(value)

    def case(self) -> Case:
        """Return the request as patauth makes it."""
        values = cycle(self._values)
        return Case(self.name, lambda: self.authority.authenticate(next(values)))

    def plain(self, servers: Sequence[Server]) -> Case:
        """Return the same bytes over plain sockets to the servers, which are all that there are."""
        sent: list[tuple[str, bytes]] = []

        def note(real: Callable[..., Any], pool: Any, packed: bytes, *given: Any, **named: Any) -> Any:
            sent.append((pool._locate().rstrip("/"), packed))
            return real(pool, packed, *given, **named)

        with standing_in(Connections, "send", note):
            for value in self._values:
                self.authority.authenticate(value)
        sockets = {server.url: RawSocket(server.connected()) for server in servers}
        turns = cycle([(sockets[url], packed) for url, packed in sent])

        def exchange() -> None:
            raw, packed = next(turns)
            raw.exchange(packed)

        return Case(_plain(self.name), exchange)


def _plain(name: str) -> str:
    return f"{name}: the same bytes over plain sockets"


def run(binary: str, folder: Path, pinning: Pinning, *, rounds: int, calls: int) -> Part:
    """Start all engines, and let requests to them take turns."""
    cases: list[Case] = []
    with ExitStack() as stack:

        def place(name: str, url: str, servers: Sequence[Server], *, plain: bool = False) -> None:
            for server in servers:
                pinning.pin_server(server.process.pid)
            found = Place(name, url)
            stack.callback(found.authority.close)
            cases.append(found.case())
            if plain:
                cases.append(found.plain(servers))

        (port,) = free_ports(1)
        one = Member(binary, folder / "one", port, *_FILE)
        stack.callback(one.stop)
        place(ONE, one.url, [one], plain=True)
        for name, count in ((NODE, 1), (NODES, 3)):
            (folder / name).mkdir()
            cluster = stack.enter_context(running_cluster(binary, folder / name, *_FILE, count=count))
            place(name, cluster.url, cluster.nodes, plain=True)
        (folder / "sentinels").mkdir()
        sentinels = stack.enter_context(running_sentinels(binary, folder / "sentinels", *_FILE))
        place(PRIMARY, sentinels.primary.url, [*sentinels.servers, *sentinels.sentinels])
        place(SENTINEL, sentinels.url, [])
        engine = engine_of(one)
        timings = take_turns(cases, rounds=rounds, calls=calls)
    return _part(engine, pinning, timings, rounds, calls)


def _part(engine: str, pinning: Pinning, timings: Mapping[str, Timing], rounds: int, calls: int) -> Part:
    method = (
        f"{engine}, over TCP; {pinning}, with all nodes, replicas and Sentinels. A request with an access"
        f" token; those of {OWNERS} owners take turns. Medians of {rounds} rounds of {calls} calls. `ratio`"
        " is to one server or, behind Sentinels, to the same primary without them."
    )
    ratios: dict[str, float] = {}
    for name, base in OVER.items():
        ratios[name] = timings[name].median / timings[base].median
        if _plain(name) in timings:
            ratios[_plain(name)] = timings[_plain(name)].median / timings[_plain(base)].median
    rows = [(name, timing.median, ratios.get(name), timing.spread) for name, timing in timings.items()]
    goals = [Goal("engines", f"{name} / {base}", ratios[name], MOST) for name, base in OVER.items()]
    return Part(
        "engines",
        method,
        [Table("Requests", ("case", "µs", "ratio", "spread, %"), rows), goals_table(goals)],
        {
            "engine": engine,
            "cases": {
                name: {"us": timing.median, "spread": timing.spread} for name, timing in timings.items()
            },
            "ratios": ratios,
            "goals": [goal.as_json() for goal in goals],
        },
    )
