"""Refused credentials, counted for each client address.

The quota of failures is what makes guessing noisy, not what makes it hopeless: 256 random bits do that. So
it lives in the process, in a bounded table, costs no round trip, and can never keep a right secret out: the
caller charges it only after credentials were refused, and all it changes is 401 into 429.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from ..errors import ConfigurationError
from ..model.quota import Decision, Quota, admit

_US = 1_000_000  # microseconds in a second

# host [":" port] as servers and proxies write it: RFC 3986 §3.2.2 wants brackets around IPv6, and a bare
# address has at least two colons. RFC 4007 §11 appends "%" and a zone to IPv6.
_ADDRESS = re.compile(
    r"(?P<v4>[0-9.]{7,15})(?::[0-9]{1,5})?"
    r"|\[(?P<bracketed>[0-9A-Fa-f:.]{2,45})(?:%[^\]]*)?\](?::[0-9]{1,5})?"
    r"|(?P<v6>[0-9A-Fa-f:.]{2,45})(?:%.*)?"
)


def client_network(address: str | None) -> str | None:
    """Who counts as one client: an IPv4 address as it is, the /64 of an IPv6 address; None if unknown.

    One customer has at least a /64 to choose addresses from (RFC 6177 §2, RFC 4291 §2.5.4). An IPv4-mapped
    address is the IPv4 address. Port, brackets and zone are dropped. All spellings of an address give the
    same text. Unix sockets, names, `unknown` and the empty text are unknown, and not limited.
    """
    match = _ADDRESS.fullmatch(address or "")
    if match is None:
        return None
    try:
        if match["v4"]:
            return str(IPv4Address(match["v4"]))
        host = IPv6Address(match["bracketed"] or match["v6"])
    except AddressValueError:
        return None
    return str(host.ipv4_mapped or f"{IPv6Address(int(host) >> 64 << 64)}/64")


class Failures:
    """Counts refused credentials against `quota`, for each of the `entries` addresses last seen.

    `timer` gives seconds that never step back. One per process, safe to share by threads. A table that is
    full forgets the address that was quiet longest: at worst somebody gets 401 where 429 was due.
    Raises `ConfigurationError`.
    """

    def __init__(self, quota: Quota, *, entries: int, timer: Callable[[], float] = time.monotonic) -> None:
        if entries < 1:
            raise ConfigurationError("failure_entries must be at least 1")
        self._quota = quota
        self._entries = entries
        self._timer = timer
        self.after_fork()

    def after_fork(self) -> None:
        """In a child: a free lock and an empty table; a thread of the parent may have been changing it."""
        from cachetools import LRUCache

        self._lock = threading.Lock()
        self._tats: LRUCache[str, int] = LRUCache(self._entries)

    def charge(self, address: str | None) -> Decision | None:
        """Count one refused id and secret from `address`; None, and no limit, if the address is unknown."""
        network = client_network(address)
        if network is None:
            return None
        with self._lock:
            # Read under the lock: two threads must not hand in their readings in the other order.
            now_us = int(self._timer() * _US)
            step = admit(self._tats.get(network), now_us, self._quota)
            self._tats[network] = step.tat_us  # on a refusal too, as `admit` asks
        return Decision(step.allowed, "failures", self._quota, step.backlog_us, step.wait_us)
