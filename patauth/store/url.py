"""Store URLs: read which engine a URL names and where it is, and show the URL without its password."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from ..errors import ConfigurationError

Engine = Literal["memory", "local", "server", "cluster"]

HIDDEN = "***"
_SERVERS = ("redis://", "rediss://", "unix://")
_CLUSTER = re.compile(r"(?:redis|valkey)(s?)\+cluster://")
_PORT = 6379  # of a node whose address has none
_SCHEME = re.compile(r"(?:redis|valkey)s?(?:\+[a-z]+)?:(?://)?|unix:(?://)?")
_PASSWORD = re.compile(r"(?i)([?&][^=&#]*password[^=&#]*=)[^&#]*")


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """The parts of a store URL. `repr` shows no password.

    `engine` is "memory" (`memory:`), "local" (`local:DIR`), "server" (`redis://`, `rediss://`, `unix://`) or
    "cluster" (`redis+cluster://`, `rediss+cluster://`); the last two also have `valkey…` spellings.
    `directory` is the DIR of `local:DIR`. `server` is the URL as redis-py reads it, that of the first seed of
    a cluster, and may hold a password. `seeds` are the addresses (`host:port`) that a cluster's URL names.
    """

    engine: Engine
    shown: str  # the URL with its password hidden
    directory: Path | None = None
    server: str = ""
    seeds: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<StoreUrl {self.shown}>"

    @classmethod
    def read(cls, text: str) -> StoreUrl:
        """Read a store URL. Raise `ConfigurationError`, which never repeats the URL."""
        if text in ("memory:", "memory://"):
            return cls("memory", text)
        if text.startswith("local:"):
            directory = unquote(text.removeprefix("local:"))
            if not directory:
                raise ConfigurationError(
                    "store_url: 'local:' needs a directory, for example local:./patauth-data"
                )
            return cls("local", text, Path(directory))
        if _CLUSTER.match(text):
            return cls._read_cluster(text)
        server = text
        if server.startswith(("valkey://", "valkeys://")):
            server = server.replace("valkey", "redis", 1)
        if not server.startswith(_SERVERS):
            raise ConfigurationError(
                "store_url: give memory:, local:DIR, redis://, rediss://, unix:// or redis+cluster://"
            )
        return cls("server", masked(text), server=server)

    @classmethod
    def _read_cluster(cls, text: str) -> StoreUrl:
        unreadable = ConfigurationError("store_url: name the nodes of the cluster as host:port,host:port,…")
        try:
            parts = urlsplit(_CLUSTER.sub(r"redis\1://", text, count=1))
        except ValueError:
            raise unreadable from None
        user, at, hosts = parts.netloc.rpartition("@")
        seeds = [seed if re.search(r":\d+$", seed) else f"{seed}:{_PORT}" for seed in hosts.split(",")]
        if any(seed.startswith(":") for seed in seeds):
            raise unreadable
        databases = {parts.path.strip("/"), *parse_qs(parts.query).get("db", ())}
        if not databases <= {"", "0"}:
            raise ConfigurationError("store_url: a cluster has no database but 0; leave the number out")
        server = urlunsplit((parts.scheme, user + at + seeds[0], "", parts.query, ""))
        return cls("cluster", masked(text), server=server, seeds=tuple(seeds))

    def node(self, address: str) -> str:
        """Return the URL of the node of a cluster at an address (`host:port`). It may hold a password."""
        parts = urlsplit(self.server)
        user, at, _ = parts.netloc.rpartition("@")
        return urlunsplit((parts.scheme, user + at + address, "", parts.query, ""))


def masked(url: str) -> str:
    """Return a store URL, or any text given in its place, without anything that may be a password.

    That is all before an `@`, since some write the password where a user name belongs, and parameters such as
    `password=`.
    """
    # Hide up to the last "@": a password may hold "@" and "/" that nobody has escaped.
    before, at, after = url.rpartition("@")
    if at and not url.startswith(("local:", "unix:///")):  # where "@" is a part of a path
        scheme = _SCHEME.match(url)
        # Within a parameter, what stands behind the "@" is the rest of the password.
        url = (scheme[0] if scheme else "") + HIDDEN + ("" if _PASSWORD.search(before) else at + after)
    return _PASSWORD.sub(rf"\1{HIDDEN}", url)
