"""A real cluster for the tests: three primaries without replicas, on loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.cluster import ClusterNode, RedisCluster

from patauth.store.transport.cluster_map import SLOTS, slot_of
from tests.support.servers import Server, until

Tls = tuple[Path, Path]  # a certificate and its key
NODES = 3
NODE_TIMEOUT = 2.0  # s


class Node(Server):
    """A node of a cluster on a port of 127.0.0.1, in a folder of its own."""

    def __init__(
        self, binary: str, folder: Path, port: int, bus: int, *options: str, tls: Tls | None = None
    ) -> None:
        self.folder = folder
        self.port = port
        self.bus = bus
        self.address = f"{'localhost' if tls else '127.0.0.1'}:{port}"
        self.url = f"redis://{self.address}"
        listening = ["--port", str(port)]
        self._given: dict[str, Any] = {}  # to the test's own client
        if tls is not None:
            chain, key = map(str, tls)
            listening = [
                "--port", "0", "--tls-port", str(port), "--tls-cert-file", chain, "--tls-key-file", key,
                "--tls-ca-cert-file", chain, "--tls-auth-clients", "no", "--tls-cluster", "yes",
                "--cluster-announce-hostname", "localhost", "--cluster-preferred-endpoint-type", "hostname",
            ]  # fmt: skip
            self._given = {"ssl": True, "ssl_ca_certs": chain}
        self._command = [
            binary, *listening, "--bind", "127.0.0.1", "--dir", str(folder), "--save", "",
            "--appendonly", "yes",
            "--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-require-full-coverage", "no",
            "--cluster-node-timeout", str(round(NODE_TIMEOUT * 1000)), "--daemonize", "no", *options,
        ]  # fmt: skip
        self.start()

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, protocol=2, socket_timeout=60, **self._given)

    def connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port))

    def cluster(self, *words: object) -> Any:
        """Run a CLUSTER command on this node."""
        with self.client() as client:
            return client.execute_command("CLUSTER", *words)

    def info(self, section: str) -> bytes:
        """Return a section of INFO as text."""
        with self.client() as client:
            return bytes(client.execute_command("INFO " + section.upper(), NEVER_DECODE=[]))

    @property
    def id(self) -> str:
        return str(self.cluster("MYID").decode())

    def slots(self) -> dict[int, str]:
        """Return the address of the node that has each slot, as this node knows it."""
        return {
            slot: f"{named[0].decode()}:{named[1]}"
            for first, last, named, *_ in self.cluster("SLOTS")
            for slot in range(first, last + 1)
        }


class Cluster:
    """Nodes that share the slots in equal ranges. It looks like a `Server` to tests of the contract."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self.url = f"redis+cluster://{','.join(node.address for node in nodes)}"
        self.replicas: list[Node] = []
        bounds = [number * SLOTS // len(nodes) for number in range(len(nodes) + 1)]
        for number, node in enumerate(nodes):
            node.cluster("SET-CONFIG-EPOCH", number + 1)
            node.cluster("ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
        for node in nodes[1:]:
            nodes[0].cluster("MEET", "127.0.0.1", node.port, node.bus)
        until(self.agrees)

    def agrees(self) -> bool:
        """Return whether all nodes are up and know the same node for each slot."""
        maps = [node.slots() for node in self.nodes]
        ready = all(b"cluster_state:ok" in node.cluster("INFO") for node in self.nodes)
        return ready and len(maps[0]) == SLOTS and all(found == maps[0] for found in maps)

    def node_of(self, tag: str) -> Node:
        """Return the node that has the keys with a hash tag."""
        asked = next(node for node in self.nodes if node.answers())
        address = asked.slots()[slot_of(tag.encode())]
        return next(node for node in [*self.nodes, *self.replicas] if node.address == address)

    def add_replica(self, replica: Node, primary: Node) -> None:
        """Make a node that has just started the replica of a primary, and wait until it has its data."""
        primary.cluster("MEET", "127.0.0.1", replica.port, replica.bus)
        until(lambda: primary.id.encode() in replica.cluster("NODES"))
        until(lambda: all(replica.id.encode() in node.cluster("NODES") for node in self.nodes))
        replica.cluster("REPLICATE", primary.id)
        until(lambda: b"master_link_status:up" in replica.info("replication"))
        until(lambda: all(replica.address in _replicas(node) for node in self.nodes))
        self.replicas.append(replica)

    def client(self) -> Any:
        return RedisCluster(
            startup_nodes=[ClusterNode("127.0.0.1", node.port) for node in self.nodes], protocol=2
        )

    def calls(self) -> dict[str, int]:
        """Return how often each command was called on all nodes together."""
        counts: dict[str, int] = {}
        for node in self.nodes:
            for name, count in node.calls().items():
                counts[name] = counts.get(name, 0) + count
        return counts

    # -- moving a slot, step by step ------------------------------------------------------------------

    def begin_to_move(self, slot: int, source: Node, target: Node) -> None:
        """Mark a slot as one that moves. From here on, the source answers ASK for keys that it has not."""
        target.cluster("SETSLOT", slot, "IMPORTING", source.id)
        source.cluster("SETSLOT", slot, "MIGRATING", target.id)

    def move_keys(self, slot: int, source: Node, target: Node, count: int = 1_000_000) -> int:
        """Move at most `count` keys of a slot. Return how many moved."""
        keys = source.cluster("GETKEYSINSLOT", slot, count)
        if keys:
            with source.client() as client:
                client.execute_command(
                    "MIGRATE", "127.0.0.1", target.port, "", 0, 60_000, "REPLACE", "KEYS", *keys
                )
        return len(keys)

    def end_move(self, slot: int, target: Node) -> None:
        """Give a slot to the target, whose keys it has. All nodes learn it."""
        for node in (target, *(node for node in self.nodes if node is not target)):
            node.cluster("SETSLOT", slot, "NODE", target.id)

    def move(self, slot: int, source: Node, target: Node) -> None:
        """Move a slot with all of its keys."""
        self.begin_to_move(slot, source, target)
        while self.move_keys(slot, source, target):
            pass
        self.end_move(slot, target)


def _replicas(node: Node) -> list[str]:
    """Return the addresses of all replicas that a node knows."""
    return [
        f"{named[0].decode()}:{named[1]}"
        for _, _, _, *replicas in node.cluster("SLOTS")
        for named in replicas
    ]


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in taken]


@contextmanager
def running_cluster(
    binary: str, folder: Path, *options: str, tls: Tls | None = None, count: int = NODES
) -> Iterator[Cluster]:
    """Start a cluster of `count` nodes in subfolders of `folder`; stop all of them at the end.

    With `tls`, the nodes have that certificate of "localhost", and go by this name.
    """
    ports = free_ports(2 * count)
    with ExitStack() as stack:
        nodes = []
        for number in range(count):
            place = folder / f"node-{number}"
            place.mkdir()
            node = Node(binary, place, ports[number], ports[count + number], *options, tls=tls)
            stack.callback(node.stop)
            nodes.append(node)
        yield Cluster(nodes)
