"""The part `engines`: what a request costs on one server, on a cluster and behind Sentinel.

All servers share the client's CPU unless they are pinned elsewhere. Beside each stands redis-py's GET on the
same servers. What patauth sends is also sent over plain sockets, to the same nodes in the same order: so much
servers and kernel take by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import redis

from patauth import Owner
from patauth.store.transport.pool import Connections
from tests.support.authorities import basic_of, issue
from tests.support.clusters import free_ports, running_cluster
from tests.support.interventions import standing_in
from tests.support.sentinels import Member, running_sentinels
from tests.support.servers import Server

from .cases import BASIC, TOKEN, access_of, authority_at
from .floors import GET, VALUE, RawSocket
from .measure import Case, Pinning, Timings, ratio, take_turns
from .report import Goal, Part, Table, engine_of

ONE, NODE, NODES = "one server", "cluster of 1 node", "cluster of 3 nodes"
PRIMARY, SENTINEL = "a primary with 2 replicas", "the same behind Sentinels"
OVER = {NODE: ONE, NODES: ONE, SENTINEL: PRIMARY}  # what each is compared with
PLAIN = "the same bytes over plain sockets"
OWNERS = 30  # whose requests take turns: on three nodes, most follow one to another node
MOST = 1.15
_FILE = ("--appendonly", "no")


class Place:
    """An engine, an Authority there, and for each owner an access token, a secret, and a key for redis-py."""

    def __init__(self, name: str, url: str, client: redis.Redis) -> None:
        self.name = name
        self.authority = authority_at(url, key_prefix=name.replace(" ", "-"))
        self._client = client
        self._keys = [f"bench:{{owner-{number}}}" for number in range(OWNERS)]
        issued = [issue(self.authority, owner=Owner(f"owner-{number}")) for number in range(OWNERS)]
        self._tokens = [access_of(self.authority, one) for one in issued]
        self._secrets = [basic_of(one) for one in issued]
        for key in self._keys:
            client.set(key, VALUE)
        for value in (*self._tokens, *self._secrets):  # all scripts are loaded, and all proofs cached, by now
            self.authority.authenticate(value)

    def close(self) -> None:
        """Close the connections."""
        self.authority.close()
        self._client.close()

    def cases(self) -> list[Case]:
        """Return a GET by redis-py, and the requests as patauth makes them."""
        keys, tokens, secrets = cycle(self._keys), cycle(self._tokens), cycle(self._secrets)
        return [
            Case(f"{self.name}: {GET}", lambda: self._client.get(next(keys))),
            Case(f"{self.name}: {TOKEN}", lambda: self.authority.authenticate(next(tokens))),
            Case(f"{self.name}: {BASIC}", lambda: self.authority.authenticate(next(secrets))),
        ]

    def plain(self, servers: Sequence[Server]) -> Case:
        """Return the bytes of the tokens over plain sockets to the servers, which are all that there are."""
        sent: list[tuple[str, bytes]] = []

        def note(real: Callable[..., Any], pool: Any, packed: bytes, *given: Any, **named: Any) -> Any:
            sent.append((pool._locate().rstrip("/"), packed))
            return real(pool, packed, *given, **named)

        with standing_in(Connections, "send", note):
            for value in self._tokens:
                self.authority.authenticate(value)
        sockets = {server.url: RawSocket(server.connected()) for server in servers}
        turns = cycle([(sockets[url], packed) for url, packed in sent])

        def exchange() -> None:
            raw, packed = next(turns)
            raw.exchange(packed)

        return Case(f"{self.name}: {PLAIN}", exchange)


def run(binary: str, folder: Path, pinning: Pinning, *, rounds: int, calls: int) -> Part:
    """Start all engines, and let requests to them take turns."""
    cases: list[Case] = []
    with ExitStack() as stack:

        def place(
            name: str, url: str, client: redis.Redis, servers: Sequence[Server], *, plain: bool = False
        ) -> None:
            for server in servers:
                pinning.pin_server(server.process.pid)
            found = Place(name, url, client)
            stack.callback(found.close)
            cases.extend(found.cases())
            if plain:
                cases.append(found.plain(servers))

        (port,) = free_ports(1)
        one = Member(binary, folder / "one", port, *_FILE)
        stack.callback(one.stop)
        place(ONE, one.url, one.client(), [one], plain=True)
        for name, count in ((NODE, 1), (NODES, 3)):
            (folder / name).mkdir()
            cluster = stack.enter_context(running_cluster(binary, folder / name, *_FILE, count=count))
            place(name, cluster.url, cluster.client(), cluster.nodes, plain=True)
        (folder / "sentinels").mkdir()
        sentinels = stack.enter_context(running_sentinels(binary, folder / "sentinels", *_FILE))
        primary = sentinels.primary
        place(PRIMARY, primary.url, primary.client(), [*sentinels.servers, *sentinels.sentinels])
        place(SENTINEL, sentinels.url, primary.client(), [])
        engine = engine_of(one)
        timings = take_turns(cases, rounds=rounds, calls=calls)
    return _part(engine, pinning, timings, rounds, calls)


def _part(engine: str, pinning: Pinning, timings: Timings, rounds: int, calls: int) -> Part:
    method = (
        f"{engine}, over TCP; {pinning}, with all nodes, replicas and Sentinels. `Authority.authenticate`;"
        f" the credentials of {OWNERS} owners take turns. Medians of {rounds} rounds of {calls} calls. {GET}:"
        " by `RedisCluster` in a cluster. `of one`: the access token as a multiple of that on one server or,"
        " behind Sentinels, on the same primary without them."
    )
    rows, goals = [], []
    for name in (ONE, NODE, NODES, PRIMARY, SENTINEL):
        get, token, basic = (f"{name}: {kind}" for kind in (GET, TOKEN, BASIC))
        plain = timings.get(f"{name}: {PLAIN}")
        of_one = ratio(timings, token, f"{OVER[name]}: {TOKEN}").median if name in OVER else None
        if of_one is not None:
            goals.append(Goal("engines", f"{name} / {OVER[name]}", of_one, MOST))
        rows.append(
            (
                name,
                timings[get].median,
                timings[token].median,
                ratio(timings, token, get).median,
                timings[basic].median,
                ratio(timings, basic, get).median,
                plain and plain.median,
                of_one,
            )
        )
    heads = ("engine", f"{GET}, µs", f"{TOKEN}, µs", "x GET", f"{BASIC}, µs", "x GET", PLAIN, "of one")
    return Part(
        "engines",
        method,
        [Table("Clusters and Sentinels", heads, rows)],
        {"engine": engine, "cases": {name: timing.as_json() for name, timing in timings.items()}},
        goals,
    )
