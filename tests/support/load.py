"""Load on a service from several threads, with good and bad credentials, and what the clients counted."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple


class Ask(NamedTuple):
    """A request that clients send again and again."""

    method: str
    path: str
    authorization: str
    body: str = ""


class Load:
    """Sends requests on connections of their own, and counts the statuses by the name of the request.

    `broken` counts requests that got no answer.
    """

    def __init__(self, port: int, asks: Mapping[str, Ask]) -> None:
        self._port = port
        self._asks = asks
        self._over = threading.Event()
        self._pausing = threading.Event()
        self._lock = threading.Lock()
        self._under_way = 0
        self.counts: Counter[tuple[str, int]] = Counter()
        self.broken = 0

    def _ask(self, name: str) -> None:
        ask = self._asks[name]
        fields = {"Authorization": ask.authorization}
        if ask.body:
            fields["Content-Type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request(ask.method, ask.path, ask.body or None, fields)
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            with self._lock:
                self.broken += 1
        else:
            with self._lock:
                self.counts[name, answer.status] += 1
        finally:
            connection.close()

    def _go(self, first: int) -> None:
        names, number = list(self._asks), first
        while not self._over.is_set():
            with self._lock:
                goes = not self._pausing.is_set()
                self._under_way += goes
            if not goes:
                time.sleep(0.001)
                continue
            try:
                self._ask(names[number % len(names)])
            finally:
                with self._lock:
                    self._under_way -= 1
            number += 1

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No request is under way in the block."""
        self._pausing.set()
        while self._under_way:
            time.sleep(0.001)
        try:
            yield
        finally:
            self._pausing.clear()

    @contextmanager
    def from_threads(self, threads: int) -> Iterator[None]:
        """Load as long as the block runs, from so many threads, and wait for the last answers."""
        all_threads = [threading.Thread(target=self._go, args=(first,)) for first in range(threads)]
        for thread in all_threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in all_threads:
                thread.join()
