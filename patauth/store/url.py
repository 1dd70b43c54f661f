"""Store URLs: read which engine a URL names and where it is, and show the URL without its password."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, parse_qs, parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from ..errors import ConfigurationError

Engine = Literal["memory", "local", "server", "cluster", "sentinel"]

HIDDEN = "***"
_SERVERS = ("redis://", "rediss://", "unix://")
_CLUSTER = re.compile(r"(?:redis|valkey)(s?)\+cluster://")
_SENTINEL = re.compile(r"(?:redis|valkey)(s?)\+sentinel://")
_PORT, _SENTINEL_PORT = 6379, 26_379  # of an address that has none
_SERVICE = re.compile(r"/([A-Za-z0-9._-]+)(/[0-9]*)?")  # the characters that Sentinel allows in a name
_OF_SERVERS = {"db", "username", "password"}  # parameters that are not for Sentinels
_SCHEME = re.compile(r"(?:redis|valkey)s?(?:\+[a-z]+)?:(?://)?|unix:(?://)?")
# Where a login may stand in a text: up to the next URL in that of a store, since people forget to encode a
# password, and up to the path in any other. What follows unix:/// is a path.
_LOGIN = re.compile(
    r"(?s)((?:redis|valkey)s?(?:\+[a-z]+)?:(?://)?(?!\s)|unix://(?!/))(.*?)(?=\s\S*://|\Z)"
    r"|(?<!unix)(://)([^\s/]*)"
)
_PASSWORD = re.compile(r"(?i)([?&][^=&#]*password[^=&#]*=)[^&#]*")


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """The parts of a store URL. `repr` shows no password.

    `engine` is "memory" (`memory:`), "local" (`local:DIR`), "server" (`redis://`, `rediss://`, `unix://`),
    "cluster" (`redis+cluster://`, `rediss+cluster://`) or "sentinel" (`redis+sentinel://`,
    `rediss+sentinel://`); the last three also have `valkey…` spellings. `directory` is the DIR of
    `local:DIR`. `server` is the URL as redis-py reads it, and may hold a password. `seeds` are the addresses
    (`host:port`) that the URL of a cluster or of Sentinels names. The first one stands in `server`, and
    `node` puts another one in its place. `service` is what the Sentinels call the servers, and `sentinel` the
    URL of the first Sentinel, which may hold a password of its own.
    """

    engine: Engine
    shown: str  # the URL with its password hidden
    directory: Path | None = None
    server: str = ""
    seeds: tuple[str, ...] = ()
    service: str = ""
    sentinel: str = ""

    def __repr__(self) -> str:
        return f"<StoreUrl {self.shown}>"

    @classmethod
    def read(cls, text: str) -> StoreUrl:
        """Read a store URL. Raise `ConfigurationError`, which never repeats the URL."""
        if text in ("memory:", "memory://"):
            return cls("memory", text)
        if text.startswith("local:"):
            directory = unquote(text.removeprefix("local:"))
            if not directory or "\0" in directory:
                raise _wrong("'local:' needs a directory, for example local:./patauth-data")
            return cls("local", text, Path(directory))
        if _CLUSTER.match(text):
            return cls._read_cluster(text)
        if _SENTINEL.match(text):
            return cls._read_sentinel(text)
        server = text
        if server.startswith(("valkey://", "valkeys://")):
            server = server.replace("valkey", "redis", 1)
        if not server.startswith(_SERVERS):
            raise _wrong(
                "give memory:, local:DIR, redis://, rediss://, unix://, redis+cluster:// or redis+sentinel://"
            )
        return cls("server", masked(text), server=server)

    @classmethod
    def _read_cluster(cls, text: str) -> StoreUrl:
        parts, user, seeds = _several(
            _CLUSTER.sub(r"redis\1://", text, count=1), _PORT, "name the nodes of the cluster"
        )
        databases = {parts.path.strip("/"), *parse_qs(parts.query).get("db", ())}
        if not databases <= {"", "0"}:
            raise _wrong("a cluster has no database but 0; leave the number out")
        server = urlunsplit((parts.scheme, user + seeds[0], "", parts.query, ""))
        return cls("cluster", masked(text), server=server, seeds=seeds)

    @classmethod
    def _read_sentinel(cls, text: str) -> StoreUrl:
        parts, user, seeds = _several(
            _SENTINEL.sub(r"redis\1://", text, count=1), _SENTINEL_PORT, "name the Sentinels"
        )
        service = _SERVICE.fullmatch(parts.path)
        if service is None:
            raise _wrong(
                "name what the Sentinels watch behind them, as in"
                " redis+sentinel://host:26379,host:26379/SERVICE or …/SERVICE/DB"
            )
        given = parse_qsl(parts.query, keep_blank_values=True)
        own = dict(given)
        who = [quote(own.get(f"sentinel_{name}", ""), safe="") for name in ("username", "password")]
        login = f"{who[0]}:{who[1]}@" if any(who) else ""
        given = [(name, value) for name, value in given if not name.startswith("sentinel_")]
        shared = [(name, value) for name, value in given if name not in _OF_SERVERS]

        def url(login: str, path: str, query: list[tuple[str, str]]) -> str:
            asked = urlencode(query, quote_via=quote, safe="/:")
            return urlunsplit((parts.scheme, login + seeds[0], path, asked, ""))

        return cls(
            "sentinel",
            masked(text),
            server=url(user, service[2] or "", given),
            seeds=seeds,
            service=service[1],
            sentinel=url(login, "", shared),
        )

    def node(self, address: str) -> str:
        """Return the URL of the server at an address (`host:port`). It may hold a password."""
        return _at(self.server, address)

    def sentinel_at(self, address: str) -> str:
        """Return the URL of the Sentinel at an address (`host:port`). It may hold a password."""
        return _at(self.sentinel, address)


def _wrong(problem: str) -> ConfigurationError:
    return ConfigurationError(problem, field="store_url")


def _at(url: str, address: str) -> str:
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return urlunsplit((parts.scheme, user + at + address, parts.path, parts.query, ""))


def _several(url: str, port: int, wanted: str) -> tuple[SplitResult, str, tuple[str, ...]]:
    """Return the parts of a URL with several hosts: all of them, the login with its `@`, the addresses."""
    unreadable = _wrong(f"{wanted} as host:port,host:port,…")
    scheme, _, rest = url.partition("://")
    netloc = re.split("[/?#]", rest, maxsplit=1)[0]
    user, at, hosts = netloc.rpartition("@")
    seeds = tuple(seed if re.search(r":\d+$", seed) else f"{seed}:{port}" for seed in hosts.split(","))
    try:
        # Each by itself: before Python 3.11.4, a second host in brackets was none.
        for seed in seeds:
            urlsplit(f"{scheme}://{user}{at}{seed}")
        parts = urlsplit(f"{scheme}://{rest.removeprefix(netloc)}")
    except ValueError:
        raise unreadable from None
    if any(seed.startswith(":") for seed in seeds):
        raise unreadable
    return parts, user + at, seeds


def masked(url: str) -> str:
    """Return a store URL, or any text given in its place, without anything that may be a password.

    Hide everything before an `@`, since some people write the password in place of a user name, and
    parameters such as `password=`.
    """
    # Hide up to the last "@": a password may hold "@" and "/" that nobody has escaped.
    before, at, after = url.rpartition("@")
    if at and not url.startswith(("local:", "unix:///")):  # where "@" is a part of a path
        scheme = _SCHEME.match(url)
        # Within a parameter, what stands behind the "@" is the rest of the password.
        url = (scheme[0] if scheme else "") + HIDDEN + ("" if _PASSWORD.search(before) else at + after)
    return _PASSWORD.sub(rf"\1{HIDDEN}", url)


def masked_within(text: str) -> str:
    """Return a text with `***` for what stands before the last `@` of each URL in it."""

    def hidden(found: re.Match[str]) -> str:
        scheme, rest = found.group(1, 2) if found[1] else found.group(3, 4)
        _, at, after = rest.rpartition("@")
        return scheme + HIDDEN + at + after if at else found[0]

    return _LOGIN.sub(hidden, text)
