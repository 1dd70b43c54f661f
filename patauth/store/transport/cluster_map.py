"""Read which node of a cluster has which slot, from the answers of a node."""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...errors import StoreUnavailable
from .wire import address_of, fields

SLOTS = 16_384


def slot_of(tag: bytes) -> int:
    """Return the slot of the keys with a hash tag."""
    return crc_hqx(tag, 0) % SLOTS


def read_slots(reply: Any, host: str) -> list[str | None]:
    """Return the address (`host:port`) of each slot's primary in the answer to CLUSTER SLOTS; None: no node.

    `host` is that of the node that answered: a node may leave out its own. Raise `StoreUnavailable`.
    """
    addresses: list[str | None] = [None] * SLOTS
    with _understood():
        for first, last, primary, *_ in reply:
            if not 0 <= first <= last < SLOTS:
                raise ValueError("a range of slots is wrong")
            addresses[first : last + 1] = [_address(primary, host)] * (last + 1 - first)
    if not any(addresses):
        raise StoreUnavailable(detail="the node knows of no slots; is it in the cluster?")
    return addresses


def read_replicas(reply: Any, host: str) -> dict[str, str]:
    """Return the address of each replica in the answer to CLUSTER SLOTS, with that of its primary.

    The rest is as `read_slots` says.
    """
    with _understood():
        named = [[_address(node, host) for node in nodes] for _, _, *nodes in reply]
    return {replica: primary for primary, *replicas in named if primary for replica in replicas if replica}


def read_shards(reply: Any, host: str, *, tls: bool) -> list[list[str]]:
    """Return the addresses of the nodes of each shard in the answer to CLUSTER SHARDS.

    Unlike CLUSTER SLOTS, it names replicas that are down. The rest is as `read_slots` says.
    """
    port = b"tls-port" if tls else b"port"
    with _understood():
        named = [[fields(node) for node in fields(shard)[b"nodes"]] for shard in reply]
        found = [[_address((node[b"endpoint"], node[port]), host) for node in nodes] for nodes in named]
    return [[address for address in addresses if address] for addresses in found]


def _address(node: Sequence[Any], host: str) -> str | None:
    name, port, *_ = node
    if name == b"?":  # the node has no name that anybody knows
        return None
    return address_of((name or b"").decode() or host, port)


@contextmanager
def _understood() -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError, KeyError, AttributeError) as problem:
        raise StoreUnavailable(detail=f"the map of the cluster was not understood: {problem!r}") from None
