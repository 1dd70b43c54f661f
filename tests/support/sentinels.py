"""A primary with replicas, and Sentinels that watch it, for the tests: all on loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from tests.support.clusters import Tls, free_ports
from tests.support.servers import Server, until

SERVICE = "tokens"
REPLICAS, SENTINELS = 2, 3
_THEIR_OWN = ("ping", "info", "publish", "replconf")  # commands of Sentinels and replicas
DOWN_AFTER = 1.0  # s without an answer, after which a Sentinel calls a server down


class Member(Server):
    """A server on a port of 127.0.0.1, in a folder of its own: a primary, a replica, or a Sentinel."""

    def __init__(
        self, binary: str, folder: Path, port: int, *options: str, tls: Tls | None = None, config: str = ""
    ) -> None:
        folder.mkdir()
        self.folder = folder
        self.port = port
        self.host = "localhost" if tls else "127.0.0.1"
        self.address = f"{self.host}:{port}"
        self.url = f"redis://{self.address}"
        listening = ["--port", str(port)]
        self._given: dict[str, Any] = {}  # to the test's own client
        if tls is not None:
            chain, key = map(str, tls)
            listening = [
                "--port", "0", "--tls-port", str(port), "--tls-cert-file", chain, "--tls-key-file", key,
                "--tls-ca-cert-file", chain, "--tls-auth-clients", "no", "--tls-replication", "yes",
                "--replica-announce-ip", self.host,
            ]  # fmt: skip
            self._given = {"ssl": True, "ssl_ca_certs": chain}
        self._command = [binary]
        if config:  # a Sentinel writes to its file
            (folder / "sentinel.conf").write_text(config)
            self._command += [str(folder / "sentinel.conf"), "--sentinel"]
        else:
            listening += ["--save", "", "--appendonly", "yes", "--repl-diskless-sync-delay", "0"]
        self._command += [
            *listening, "--bind", "127.0.0.1", "--dir", str(folder), "--daemonize", "no", *options
        ]  # fmt: skip
        self.start()

    def client(self) -> redis.Redis:
        return redis.Redis(self.host, self.port, protocol=2, socket_timeout=60, **self._given)

    def connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port))

    def answers(self) -> bool:
        """Return whether it answers, be it only that nobody without a password may ask."""
        try:
            return super().answers()
        except redis.AuthenticationError:
            return True

    @property
    def role(self) -> str:
        """Its role as it sees it itself: "master" or "slave"."""
        with self.client() as client:
            return str(client.execute_command("ROLE")[0].decode())

    def follow(self, primary: Member) -> None:
        """Become a replica of a primary, and wait until its data is here."""
        with self.client() as client:
            client.execute_command("REPLICAOF", primary.host, primary.port)
            until(lambda: client.info("replication")["master_link_status"] == "up")

    def fields(self, *words: object) -> dict[str, str]:
        """Run a SENTINEL command that answers with names and values; return them."""
        with self.client() as client:
            reply = [word.decode() for word in client.execute_command("SENTINEL", *words)]
        return dict(zip(reply[::2], reply[1::2], strict=True))


class Sentinels:
    """Servers and their Sentinels. It looks like the primary `Server` to tests of the contract."""

    def __init__(self, servers: Sequence[Member], sentinels: Sequence[Member]) -> None:
        self.servers = servers
        self.sentinels = sentinels
        self.url = f"redis+sentinel://{','.join(one.address for one in sentinels)}/{SERVICE}"

    @property
    def ready(self) -> bool:
        """Whether each Sentinel knows all others, all replicas, and the same primary."""
        found = [one.fields("MASTER", SERVICE) for one in self.sentinels]
        return all(
            known["num-other-sentinels"] == str(len(self.sentinels) - 1)
            and known["num-slaves"] == str(len(self.servers) - 1)
            and known["flags"] == "master"
            and known["port"] == found[0]["port"]
            for known in found
        )

    @property
    def primary(self) -> Member:
        """The server that the newest configuration of all Sentinels names."""
        asked = [one for one in self.sentinels if one.answers()]
        newest = max(asked, key=lambda one: int(one.fields("MASTER", SERVICE)["config-epoch"]))
        with newest.client() as client:  # MASTER names the old one until the last replica follows the new one
            _, port = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return next(one for one in self.servers if one.port == int(port))

    @property
    def replicas(self) -> list[Member]:
        primary = self.primary
        return [one for one in self.servers if one is not primary]

    def fail_over(self) -> None:
        """Order a failover. It goes on when this returns."""
        with self.sentinels[0].client() as client:
            client.execute_command("SENTINEL", "FAILOVER", SERVICE)

    def client(self) -> redis.Redis:
        return self.servers[0].client()

    def connected(self) -> socket.socket:
        return self.servers[0].connected()

    def calls(self) -> dict[str, int]:
        """How often each command was called, but for those that Sentinels and replicas send by themselves."""
        counts = self.servers[0].calls()
        return {name: count for name, count in counts.items() if name not in _THEIR_OWN}

    def node_of(self, tag: str) -> Server:
        return self.servers[0]


@contextmanager
def running_sentinels(
    binary: str,
    folder: Path,
    *options: str,
    tls: Tls | None = None,
    down_after: float = DOWN_AFTER,
    lines: Sequence[str] = (),
) -> Iterator[Sentinels]:
    """Start a primary, replicas and Sentinels in subfolders of `folder`; stop all of them at the end.

    `options` are those of the servers, and `lines` go into the files of the Sentinels. `down_after` is how
    long (s) a server does not answer before it is called down. With `tls`, all have that certificate of
    "localhost".
    """
    ports = free_ports(1 + REPLICAS + SENTINELS)
    with ExitStack() as stack:

        def started(name: str, *given: str, config: str = "") -> Member:
            member = Member(binary, folder / name, ports.pop(), *given, tls=tls, config=config)
            stack.callback(member.stop)
            return member

        servers = [started(f"server-{number}", *options) for number in range(1 + REPLICAS)]
        for replica in servers[1:]:
            replica.follow(servers[0])
        watched = f"{SERVICE} {servers[0].host} {servers[0].port}"
        written = [
            *(["sentinel resolve-hostnames yes", "sentinel announce-hostnames yes"] if tls else []),
            f"sentinel monitor {watched} {SENTINELS // 2 + 1}",
            f"sentinel down-after-milliseconds {SERVICE} {round(down_after * 1000)}",
            f"sentinel failover-timeout {SERVICE} 5000",
            f"sentinel parallel-syncs {SERVICE} {REPLICAS}",
            *lines,
        ]
        config = "".join(f"{line}\n" for line in written)
        sentinels = [started(f"sentinel-{number}", config=config) for number in range(SENTINELS)]
        running = Sentinels(servers, sentinels)
        until(lambda: running.ready, 20.0)
        yield running
