"""Traffic, and what became of it, for tests of engines that fail; and the contract on such an engine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from patauth import Authority, InvalidCredentials, StoreUnavailable
from patauth.crypto.profiles import PROFILES
from tests.support.paths import ROOT


def outcome(call: Callable[[], object]) -> str:
    """What a call came to: "accepted", "refused" or "503"."""
    try:
        call()
    except InvalidCredentials:
        return "refused"
    except StoreUnavailable:
        return "503"
    return "accepted"


def as_installed(url: str, **given: Any) -> Authority:
    """An Authority that is no more patient than the product is, to be closed by the test."""
    return Authority.from_url(url, hash_profile=PROFILES["testing"], request_quota="1000000/1", **given)


class Seen:
    """What requests came to: each with the instant at which it began, and together."""

    def __init__(self) -> None:
        self.requests: list[tuple[float, str]] = []
        self.counts: Counter[str] = Counter()

    def __repr__(self) -> str:
        return str(dict(self.counts))

    def add(self, began: float, came: str) -> None:
        self.requests.append((began, came))
        self.counts[came] += 1

    def gap(self) -> float:
        """The longest time (s) between two that were accepted."""
        times = [began for began, came in self.requests if came == "accepted"]
        return max((later - earlier for earlier, later in pairwise(times)), default=float("inf"))


@contextmanager
def under_traffic(authority: Authority, values: dict[str, str]) -> Iterator[dict[str, Seen]]:
    """Verify Authorization values all the time, each in a thread of its own, and note what comes of it."""
    seen = {name: Seen() for name in values}
    over = threading.Event()

    def go(name: str) -> None:
        while not over.wait(0.001):
            began = time.monotonic()
            seen[name].add(began, outcome(lambda: authority.authenticate(values[name])))

    threads = [threading.Thread(target=go, args=(name,)) for name in values]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()


def assert_contract_holds(**environment: str) -> None:
    """Run the tests of the contract in a process that has these variables, and fail if any of them fails."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/contract"]
    given = {**os.environ, **environment}
    run = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-5000:]
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed is not None
    assert int(passed[1]) > 500
