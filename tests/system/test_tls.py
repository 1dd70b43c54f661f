"""`rediss://`: a process that has just started serves all its threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from patauth import Authority, Owner, StoreUnavailable
from patauth.crypto.profiles import PROFILES
from tests.support.authorities import basic_of, issue
from tests.support.threads import all_at_once
from tests.support.tls import engine_with_tls

THREADS = 64
PATIENCE = 4.0  # s; it takes a fifth of a second, and without what connections share it took six


def test_64_threads_of_a_fresh_process_are_all_served(tmp_path: Path) -> None:
    """With the product's own patience for each request: who comes too late is served at the next try."""
    with engine_with_tls(tmp_path) as url:
        with Authority.from_url(url, hash_profile=PROFILES["testing"]) as maker:
            issued = [issue(maker, owner=Owner(f"owner-{number}")) for number in range(THREADS)]
        with Authority.from_url(url, hash_profile=PROFILES["testing"]) as authority:
            end, refused = time.monotonic() + PATIENCE, list[float]()

            def ask(number: int) -> Callable[[], str]:
                def go() -> str:
                    while True:
                        try:
                            return authority.authenticate(basic_of(issued[number])).pat_id
                        except StoreUnavailable:
                            refused.append(time.monotonic())
                            if refused[-1] > end:
                                raise
                            time.sleep(0.05)

                return go

            start = time.monotonic()
            found = all_at_once([ask(number) for number in range(THREADS)])
            print(f"\n{THREADS} threads in {time.monotonic() - start:.2f} s, {len(refused)} refused first")
    assert found == [one.pat.id for one in issued]
