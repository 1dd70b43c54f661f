"""The servers of a run: whose primary an event strikes, and how all is brought back to order after it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import redis

from patauth.store.transport.cluster_map import slot_of
from tests.support import clusters
from tests.support.clusters import Node, free_ports, running_cluster
from tests.support.sentinels import REPLICAS, SERVICE, Member, Sentinels, running_sentinels
from tests.support.servers import Server, until

PATIENCE = 40.0  # s until all servers are back in order
# The user of the apps, on servers and Sentinels. The other servers use the default one.
_APP = ["app", "on", "nopass", "~*", "&*", "+@all"]
_AS_APP = {"username": "app", "password": "any"}
_PACE = (
    f"sentinel failover-timeout {SERVICE} 1500"  # ms; twice as long after a failover, none begins by itself
)
_INFO_PERIOD = 500  # ms between two looks of a Sentinel at a server, which come each 10 s otherwise


class World(ABC):
    """Servers of which one primary is struck in each round, `old`.

    `url` is what apps use, and `far_url` what those use that may be cut off from the Sentinels. Each primary
    has `copies` replicas.
    """

    copies: ClassVar[int]
    url: str
    far_url: str
    old: Any

    @property
    @abstractmethod
    def servers(self) -> Sequence[Any]:
        """Return all servers that have data."""

    @abstractmethod
    def begin(self, chance: Random) -> None:
        """Choose the primary that is struck in this round."""

    @property
    @abstractmethod
    def heirs(self) -> Sequence[Any]:
        """Return the replicas of the primary that is struck."""

    @abstractmethod
    def elsewhere(self, tags: Iterable[str]) -> Set[str] | None:
        """Return those hash tags whose keys are on other shards than that of the primary that is struck.

        None if there is one shard.
        """

    @abstractmethod
    def is_replaced(self) -> bool:
        """Return whether another server has taken the place of the primary that is struck."""

    @abstractmethod
    def fail_over(self) -> None:
        """Order a failover. It goes on when this returns."""

    @abstractmethod
    def heal(self) -> None:
        """Start and continue all servers, and wait until each primary has its replicas."""


class SentinelWorld(World):
    """A primary with two replicas, and three Sentinels."""

    copies = REPLICAS

    def __init__(self, running: Sentinels) -> None:
        self.sentinels = running
        hosts = ",".join(one.address for one in running.sentinels)
        self.url = f"redis+sentinel://app:any@{hosts}/{SERVICE}"
        self.far_url = f"{self.url}?sentinel_username=app&sentinel_password=any"
        for one in running.sentinels:
            with one.client() as client:
                client.execute_command("SENTINEL", "DEBUG", "INFO-PERIOD", _INFO_PERIOD)

    @property
    def servers(self) -> Sequence[Member]:
        return self.sentinels.servers

    def begin(self, chance: Random) -> None:
        self.old = self.sentinels.primary

    @property
    def heirs(self) -> Sequence[Member]:
        return [one for one in self.servers if one is not self.old]

    def elsewhere(self, tags: Iterable[str]) -> None:
        return None

    def is_replaced(self) -> bool:
        return self.sentinels.primary is not self.old

    def fail_over(self) -> None:
        self.sentinels.fail_over()

    def part(self) -> None:
        """Cut the primary off from the Sentinels and its replicas, and from the Sentinels those of `far_url`.

        They are locked out, and their connections closed. All apps still reach the primary.
        """
        with self._own_client(self.old) as client:
            _lock_out(client, "default")
        for one in self.sentinels.sentinels:
            with one.client() as client:
                _lock_out(client, "app")

    def heal(self) -> None:
        for server in self.servers:
            server.thaw()
            if server.process.poll() is not None:
                server.start()
            with self._own_client(server) as client:
                client.execute_command("ACL", "SETUSER", "default", "on")
        for one in self.sentinels.sentinels:
            with one.client() as client:
                client.execute_command("ACL", "SETUSER", "app", "on")
        primary = self.sentinels.primary
        for server in self.servers:
            # Sentinels would do so, too, but only after some seconds.
            if server is not primary and _replication(server).get("master_port") != primary.port:
                server.follow(primary)
        until(self._is_whole, PATIENCE)

    def _is_whole(self) -> bool:
        return (
            self.sentinels.ready
            and _has_replicas(self.sentinels.primary, self.copies)
            and all(flags == b"slave" for one in self.sentinels.sentinels for flags in _flags(one))
        )

    @staticmethod
    def _own_client(server: Member) -> redis.Redis:
        return redis.Redis(server.host, server.port, protocol=2, socket_timeout=60, **_AS_APP)


class ClusterWorld(World):
    """Three primaries with one replica each."""

    copies = 1

    def __init__(self, running: clusters.Cluster) -> None:
        self.cluster = running
        self.url = self.far_url = running.url

    @property
    def servers(self) -> Sequence[Node]:
        return [*self.cluster.nodes, *self.cluster.replicas]

    def begin(self, chance: Random) -> None:
        self.old = chance.choice(self.cluster.nodes)
        self._heirs = [
            one for one in self.cluster.replicas if _replication(one)["master_port"] == self.old.port
        ]

    @property
    def heirs(self) -> Sequence[Node]:
        return self._heirs

    def elsewhere(self, tags: Iterable[str]) -> Set[str]:
        known = self.old.slots()
        return {tag for tag in tags if known[slot_of(tag.encode())] != self.old.address}

    def is_replaced(self) -> bool:
        return any(_replication(one)["role"] == "master" for one in self._heirs)

    def fail_over(self) -> None:
        self._heirs[0].cluster("FAILOVER")

    def heal(self) -> None:
        for node in self.servers:
            node.thaw()
            if node.process.poll() is not None:
                node.start()
        until(self._is_whole, PATIENCE)

    def _is_whole(self) -> bool:
        nodes = self.servers
        primaries = [one for one in nodes if _replication(one)["role"] == "master"]
        if len(primaries) != clusters.NODES or not all(_has_replicas(one, self.copies) for one in primaries):
            return False
        self.cluster.nodes = primaries
        self.cluster.replicas = [one for one in nodes if one not in primaries]
        return self.cluster.agrees() and not any(b"fail" in one.cluster("NODES") for one in nodes)


def _lock_out(client: redis.Redis, user: str) -> None:
    """Refuse a user from now on, and close the user's connections."""
    client.execute_command("ACL", "SETUSER", user, "off")
    client.execute_command("CLIENT", "KILL", "USER", user)


def _replication(server: Server) -> dict[str, Any]:
    with server.client() as client:
        return dict(client.info("replication"))


def _has_replicas(primary: Server, count: int) -> bool:
    """Return whether a primary has so many replicas, and all have its data."""
    said = _replication(primary)
    states = [said.get(f"slave{number}", {}).get("state") for number in range(count)]
    return said["connected_slaves"] == count and states == ["online"] * count


def _flags(sentinel: Member) -> list[bytes]:
    """Return what a Sentinel thinks of each replica: "slave" if all is well."""
    with sentinel.client() as client:
        found = client.execute_command("SENTINEL", "REPLICAS", SERVICE)
    return [dict(zip(one[::2], one[1::2], strict=True))[b"flags"] for one in found]


@contextmanager
def sentinel_world(binary: str, folder: Path) -> Iterator[SentinelWorld]:
    """Start a primary, replicas and Sentinels in subfolders of `folder`; stop them at the end."""
    lines = [_PACE, " ".join(["user", *_APP])]
    with running_sentinels(binary, folder, "--user", *_APP, lines=lines) as running:
        world = SentinelWorld(running)
        world.heal()
        yield world


@contextmanager
def cluster_world(binary: str, folder: Path) -> Iterator[ClusterWorld]:
    """Start primaries and replicas in subfolders of `folder`; stop them at the end."""
    quick = ("--repl-diskless-sync-delay", "0")
    with ExitStack() as stack:
        running = stack.enter_context(running_cluster(binary, folder, *quick))
        for number, primary in enumerate(running.nodes):
            place = folder / f"replica-{number}"
            place.mkdir()
            replica = Node(binary, place, *free_ports(2), *quick)
            stack.callback(replica.stop)
            running.add_replica(replica, primary)
        world = ClusterWorld(running)
        world.heal()
        yield world


WORLDS = {"sentinel": sentinel_world, "cluster": cluster_world}
