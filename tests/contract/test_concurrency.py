"""Many threads and processes at once: nothing is counted twice, made twice or missed."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from patauth import Authority, Conflict, InvalidCredentials, Owner, PatAuthError, RateLimited
from patauth.crypto.profiles import PROFILES
from tests.support.authorities import Make, basic_of, issue, patient
from tests.support.servers import Server

PROCESSES, THREADS = 8, 8

_context = multiprocessing.get_context("fork")


def everywhere(url: str, prefix: str, work: Callable[[Authority, int], Any]) -> list[Any]:
    """What `work` returned in each of 8 threads of each of 8 processes, all started together."""
    results = _context.SimpleQueue()
    barrier = _context.Barrier(PROCESSES * THREADS)

    def process(number: int) -> None:
        authority = patient(url, key_prefix=prefix, hash_profile=PROFILES["testing"])
        authority.ping()

        def thread(index: int) -> None:
            barrier.wait()
            results.put(work(authority, number * THREADS + index))

        threads = [threading.Thread(target=thread, args=(index,)) for index in range(THREADS)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()

    processes = [_context.Process(target=process, args=(number,)) for number in range(PROCESSES)]
    for one in processes:
        one.start()
    gathered = [results.get() for _ in range(PROCESSES * THREADS)]
    for one in processes:
        one.join()
        assert one.exitcode == 0
    return gathered


def test_8_processes_of_8_threads_pass_the_quota_and_its_refill_and_write_one_use(
    make_at: Make, server: Server, prefix: str
) -> None:
    """100 at once and 10 each second, over all processes (REQUIREMENTS L8, D6)."""
    authority = make_at()
    issued = issue(authority)
    value = basic_of(issued)
    before = server.calls().get("zrem", 0)

    def work(mine: Authority, _: int) -> tuple[float, float, int]:
        start, passed = time.monotonic(), 0
        while time.monotonic() < start + 1:
            try:
                mine.authenticate(value)
                passed += 1
            except RateLimited:
                pass
        return start, time.monotonic(), passed

    found = everywhere(server.url, prefix, work)
    seconds = max(end for _, end, _ in found) - min(start for start, _, _ in found)
    passed = sum(passed for _, _, passed in found)
    assert 100 + 10 * 0.9 <= passed <= 100 + 10 * seconds
    assert server.calls()["zrem"] - before == 1, "the mark of one write is taken back"
    assert authority.get(issued.pat.id).last_used is not None


def test_64_racing_creations_make_one_pat_of_a_name(make_at: Make, server: Server, prefix: str) -> None:
    authority = make_at()
    outcomes = everywhere(server.url, prefix, lambda mine, _: create(mine, "the name"))
    assert sorted(outcomes) == ["Conflict"] * 63 + ["made"]
    assert len(authority.list(owner_id="racer")) == 1


def test_64_racing_creations_make_as_many_pats_as_are_allowed(
    make_at: Make, server: Server, prefix: str
) -> None:
    authority = make_at()
    outcomes = everywhere(server.url, prefix, lambda mine, number: create(mine, f"name {number}"))
    assert sorted(outcomes) == ["Conflict"] * 54 + ["made"] * 10
    assert len(authority.list(owner_id="racer")) == 10


def create(authority: Authority, name: str) -> str:
    try:
        authority.create(owner=Owner("racer"), name=name, scope=["a"], expires_in=timedelta(days=1))
    except Conflict:
        return "Conflict"
    return "made"


def test_after_a_deletion_is_acknowledged_no_process_accepts(
    make_at: Make, server: Server, prefix: str
) -> None:
    """F8: proofs are cached in every process, and none of them stands in for the record."""
    authority = make_at()
    issued = issue(authority, request_quota="1000000/10")
    access = authority.exchange(issued.pat.id, issued.secret)
    values = [basic_of(issued), "Bearer " + issued.token, "Bearer " + access.value]
    deleted = _context.Value("d", 0.0)
    warm = _context.Semaphore(0)

    def work(mine: Authority, number: int) -> tuple[int, bool]:
        if number == 0:
            for _ in range(PROCESSES * THREADS - 1):
                warm.acquire()
            mine.delete(issued.pat.id)
            deleted.value = time.monotonic()
            return 0, True
        accepted_late, value, told = 0, values[number % 3], False
        while True:
            asked = time.monotonic()
            try:
                mine.authenticate(value)
            except InvalidCredentials:
                return accepted_late, told
            if not told:
                told = True
                warm.release()
            if deleted.value and asked > deleted.value:
                accepted_late += 1

    assert everywhere(server.url, prefix, work) == [(0, True)] * (PROCESSES * THREADS)


def test_a_deletion_races_exchanges_and_leaves_nothing_that_is_accepted(
    make_at: Make, server: Server, prefix: str
) -> None:
    """A token that is written as its PAT goes away is dead all the same, and no use brings the PAT back."""
    authority = make_at()
    for round_ in range(5):
        issued = issue(authority, f"round {round_}")

        def work(mine: Authority, number: int, issued: Any = issued) -> list[str]:
            if number == 7:
                mine.delete(issued.pat.id)
                return []
            tokens = []
            try:
                while True:
                    tokens.append(mine.exchange(issued.pat.id, issued.secret).value)
            except PatAuthError:
                return tokens

        tokens = [token for found in everywhere(server.url, prefix, work) for token in found]
        for token in tokens:
            try:
                authority.verify_bearer(token)
            except InvalidCredentials:
                continue
            raise AssertionError("a token of a deleted PAT was accepted")
        assert authority.list(owner_id="alice") == []
