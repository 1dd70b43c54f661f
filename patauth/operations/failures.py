"""The failure quota: it counts refused credentials for each client address.

Its purpose is to make guessing visible; 256 random bits already make it hopeless. So each process counts for
itself, in a table of limited size and without a round trip. The quota never refuses a right secret: it is
charged only after credentials were refused, and only turns a 401 into a 429.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from cachetools import LRUCache

from ..model.address import client_network
from ..model.quota import SECOND, Decision, Quota, admit


class Failures:
    """Counts refused credentials against `quota`, for each of the `entries` addresses last seen.

    `timer` returns seconds that never step back. A process has one object, which its threads share. A full
    table forgets the address that was quiet longest: at worst, a client gets 401 instead of 429.
    """

    def __init__(self, quota: Quota, *, entries: int, timer: Callable[[], float] = time.monotonic) -> None:
        self._quota = quota
        self._entries = entries
        self._timer = timer
        self.after_fork()

    def after_fork(self) -> None:
        """Start with a free lock and an empty table: a thread of the parent may have been changing them."""
        self._lock = threading.RLock()  # a signal handler may come in while its own thread holds it
        self._tats: LRUCache[str, int] = LRUCache(self._entries)

    def charge(self, address: str | None) -> Decision | None:
        """Count one refusal of an address and return the decision; None, and no limit, without an address."""
        network = client_network(address)
        if network is None:
            return None
        with self._lock:
            # The clock is read under the lock, so that the readings of two threads stay in order.
            now_us = int(self._timer() * SECOND)
            step = admit(self._tats.get(network), now_us, self._quota)
            self._tats[network] = step.tat_us  # on a refusal too, as `admit` asks
        return Decision(step.allowed, "failures", self._quota, step.backlog_us, step.wait_us)
