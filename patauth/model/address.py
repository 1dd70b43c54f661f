"""Addresses of clients, and the networks in which a PAT may be used. Nothing here asks a name server.

An IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) is its IPv4 address, in networks and in addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    NetmaskValueError,
    ip_network,
)
from typing import Protocol

import msgspec

from ..errors import InvalidRequest

MAX_NETWORKS = 32  # of one PAT
UNIX = "unix"  # among the networks of proxies: a peer without an address, on the other end of a Unix socket
MAX_PROXY_NETWORKS = 1024

# host [":" port] as servers and proxies write it. RFC 3986 §3.2.2 requires brackets around IPv6; an address
# without them has at least two colons. RFC 4007 §11 appends "%" and a zone to IPv6.
_ADDRESS = re.compile(
    r"(?P<v4>[0-9.]{7,15})(?::[0-9]{1,5})?"
    r"|\[(?P<bracketed>[0-9A-Fa-f:.]{2,45})(?:%[^\]]*)?\](?::[0-9]{1,5})?"
    r"|(?P<v6>[0-9A-Fa-f:.]{2,45})(?:%.*)?"
)
_MAPPED = IPv6Network("::ffff:0:0/96")
# What gunicorn, waitress and uWSGI call the peer of a Unix socket, and nginx in X-Forwarded-For. No peer can
# have one of these as its address.
WITHOUT_ADDRESS = frozenset({"", "localhost", "0.0.0.0", "unix:"})  # noqa: S104 - nothing is bound to it


class Address(msgspec.Struct, frozen=True):
    """The address of a client, for its two uses.

    `charged`: the address that refusals are counted for; None: none. `known`: the address that networks are
    compared with; None: nobody knows it for certain, so it is outside of all networks.
    """

    charged: str | None
    known: str | None

    @property
    def address(self) -> Address:
        """This address."""
        return self


class Located(Protocol):
    """Says where a client is: an address, or a request whose address is read when something depends on it."""

    @property
    def address(self) -> Address:
        """The address of the client."""


UNKNOWN = Address(None, None)


def read_address(text: str | None) -> IPv4Address | IPv6Address | None:
    """Return the address in a text as servers and proxies write it.

    Drop port, brackets and zone. Return None for anything but an address: Unix sockets, names, `unknown` and
    the empty text.
    """
    match = _ADDRESS.fullmatch(text or "")
    if match is None:
        return None
    try:
        if match["v4"]:
            return IPv4Address(match["v4"])
        host = IPv6Address(match["bracketed"] or match["v6"])
    except AddressValueError:
        return None
    return host.ipv4_mapped or host


@lru_cache(maxsize=4096)
def in_detail(address: str | None, detail: str) -> str | None:
    """Return what is kept of an address: all of it, its network (/24, or /48 of IPv6), or nothing.

    `detail` is the setting `address_detail`: "full", "prefix" or "none".

    All spellings of an address give the same text. None stands for what is no address.
    """
    host = read_address(address)
    if host is None or detail == "none":
        return None
    if detail == "full":
        return str(host)
    return str(ip_network(f"{host}/{24 if host.version == 4 else 48}", strict=False))


def address_text(given: object, field: str) -> str | None:
    """Return an address that an application gives, by text or as an object of `ipaddress`, as a text.

    None stays None. Raise `InvalidRequest`, which names `field`, for anything else.
    """
    if isinstance(given, IPv4Address | IPv6Address):
        return str(given)
    if not isinstance(given, str | None):
        raise InvalidRequest("give an address as a text", field=field)
    return given


def check_address(given: object, field: str) -> str | None:
    """Return an address as `address_text` does. Raise `InvalidRequest` also for a text that is no address."""
    text = address_text(given, field)
    if text is not None and read_address(text) is None:
        raise InvalidRequest("give an IPv4 or IPv6 address", field=field)
    return text


def client_network(address: str | None) -> str | None:
    """Return the network that counts as one client: an IPv4 address, or the /64 of an IPv6 address.

    One customer has at least a /64 of addresses (RFC 6177 §2, RFC 4291 §2.5.4). An IPv4-mapped address counts
    as its IPv4 address. All spellings of an address give the same text. None stands for what is no address.
    """
    host = read_address(address)
    if isinstance(host, IPv6Address):
        return f"{IPv6Address(int(host) >> 64 << 64)}/64"
    return None if host is None else str(host)


def check_networks(given: Iterable[str], most: int = MAX_NETWORKS) -> tuple[str, ...]:
    """Return networks in their canonical spelling, each one once and in order: `10.0.0.0/8`, `2001:db8::/32`.

    An address alone is a network of one address. Raise `InvalidRequest` for other texts, for bits behind the
    prefix, and for more than `most` networks.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InvalidRequest("give a list of networks, such as ['203.0.113.0/24']", field="networks")
    found = [_check_network(one, place) for place, one in enumerate(given)]
    if len(found) > most:
        raise InvalidRequest(f"give at most {most} networks", field="networks")
    ordered = sorted(set(found), key=lambda one: (one.version, one))
    return tuple(map(str, ordered))


def check_proxy_networks(words: Iterable[str]) -> tuple[str, ...]:
    """Return networks as `check_networks` does, and `unix` at the end if it is among the words.

    Raise `InvalidRequest`, also for more than 1024 networks.
    """
    given = list(words)
    found = check_networks([word for word in given if word != UNIX], MAX_PROXY_NETWORKS)
    return (*found, UNIX) if UNIX in given else found


def _check_network(text: object, place: int) -> IPv4Network | IPv6Network:
    field = f"networks[{place}]"
    if not isinstance(text, str) or len(text) > 64 or "%" in text:
        raise InvalidRequest("give a network such as 203.0.113.0/24 or 2001:db8::/32", field=field)
    try:
        return _unmapped(ip_network(text))
    except (AddressValueError, NetmaskValueError, ValueError) as problem:
        if "host bits" in str(problem):
            whole = ip_network(text, strict=False)
            raise InvalidRequest(
                f"it has bits behind its prefix; give {whole}, or one address", field=field
            ) from None
        raise InvalidRequest("give a network such as 203.0.113.0/24 or 2001:db8::/32", field=field) from None


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        mapped = network.network_address.ipv4_mapped
        return IPv4Network((str(mapped), network.prefixlen - 96))
    return network


@lru_cache(maxsize=4096)
def _networks(texts: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(map(ip_network, texts))


@lru_cache(maxsize=4096)
def is_within(address: str | None, networks: tuple[str, ...]) -> bool:
    """Return whether an address is in one of `networks` (canonical); without networks, every one is."""
    if not networks:
        return True
    host = read_address(address)
    return host is not None and any(host in network for network in _networks(networks))


@lru_cache(maxsize=4096)
def is_proxy(address: str, networks: tuple[str, ...]) -> bool:
    """Return whether an address is that of a proxy. `networks`: as `check_proxy_networks` returns them.

    `WITHOUT_ADDRESS` has what stands for the peer of a Unix socket.
    """
    if address in WITHOUT_ADDRESS:
        return UNIX in networks
    ranges = networks[:-1] if networks[-1:] == (UNIX,) else networks
    host = read_address(address)
    return host is not None and any(host in network for network in _networks(ranges))


def covers_networks(held: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Return whether all addresses of `wanted` are in `held`. No networks at all means all addresses."""
    if not held:
        return True
    if not wanted:
        return False
    holding = _networks(held)
    return all(
        any(one.version == other.version and one.subnet_of(other) for other in holding)  # type: ignore[arg-type]
        for one in _networks(wanted)
    )
