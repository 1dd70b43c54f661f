"""Many hashes at once: everybody is served in turn, and what comes after a long one still has its time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from patauth import Authority, Owner, PatAuthError, Person
from patauth.crypto import hashing
from patauth.crypto.profiles import PROFILES
from patauth.model.pat import IssuedPat
from patauth.model.pat_id import PatId
from patauth.store import deadline as deadline_module
from patauth.store import store as store_module
from patauth.store.transport import pool as pool_module
from patauth.store.transport import wire as wire_module
from tests.support.authorities import AS_INSTALLED, Make, basic_of, issue
from tests.support.internals import hasher_of, store_of
from tests.support.threads import all_at_once

MANAGE = "idn:my-personal-access-tokens:manage"
ALL = "idn:all-personal-access-tokens:manage"
# The product's own hash and queue; its patience is for machines that are not busy with a whole test run.
AS_BUSY: dict[str, Any] = {"hash_profile": PROFILES["owasp"], "hash_slots": 2, "hash_wait": 60}
CALLERS = 64


def people(authority: Authority) -> list[IssuedPat]:
    return [issue(authority, owner=Owner(f"owner-{number}")) for number in range(CALLERS)]


@pytest.mark.parametrize("way", ["basic", "exchange"])
def test_64_pats_that_a_fresh_process_sees_at_once_are_all_accepted_and_noted(
    make_at: Make, way: str
) -> None:
    """After each deployment, nobody's proof is there yet."""
    issued = people(make_at())
    fresh = make_at(**{**AS_BUSY, "hash_profile": PROFILES["testing"]})
    slow = threading.Semaphore(0)  # so that all of them wait before the first one is done

    def ask(one: IssuedPat) -> Callable[[], object]:
        if way == "exchange":
            return lambda: fresh.exchange(one.pat.id, one.secret).scope
        return lambda: fresh.authenticate(basic_of(one)).pat_id

    real = hashing._argon2id

    def held(*given: Any) -> bytes:
        assert slow.acquire(timeout=60)
        return real(*given)

    def let_go() -> None:
        hasher: Any = hasher_of(fresh)
        while hasher._slots.waiting < CALLERS - 2:
            time.sleep(0.001)
        slow.release(CALLERS)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(hashing, "_argon2id", held)
        *outcomes, _ = all_at_once([*map(ask, issued), let_go])
    assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
    found = [fresh.get(one.pat.id).last_used for one in issued]
    assert None not in found


@pytest.mark.system
def test_one_who_rotates_without_pause_makes_nobody_elses_first_use_fail(make_at: Make) -> None:
    """24 threads rotate the 10 PATs of one owner, which each time is a new digest and a check of it."""
    authority = make_at(request_quota="100000/1", **AS_BUSY)
    mine = [
        issue(authority, f"mine {number}", owner=Owner("mallory"), scope=[MANAGE]) for number in range(10)
    ]
    others = [issue(authority, owner=Owner(f"owner-{number}")) for number in range(40)]
    done, rotations = threading.Event(), [0]

    def rotate(number: int) -> None:
        token = mine[number % 10].token
        while not done.is_set():
            try:
                by = authority.verify_bearer(token)
                token = authority.rotate(by.pat_id, overlap=timedelta(days=7), by=by).token
                rotations[0] += 1
            except PatAuthError:
                pass

    threads = [threading.Thread(target=rotate, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    try:
        # At most one digest and one check of mallory's are before each; nobody comes near the two seconds.
        for one in others:
            assert authority.authenticate(basic_of(one)).pat_id == one.pat.id
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert rotations[0] > 0


@pytest.fixture
def hash_takes(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Makes each hash take so many seconds by the clock of deadlines, and no time at all."""
    ahead, seconds = [0.0], [0.0]

    def now() -> float:
        return time.monotonic() + ahead[0]

    for module in (deadline_module, store_module, wire_module):
        monkeypatch.setattr(module, "monotonic", now)
    monkeypatch.setattr(pool_module, "time", SimpleNamespace(monotonic=now))
    real = hashing._argon2id

    def slow(*given: Any) -> bytes:
        ahead[0] += seconds[0]
        return real(*given)

    monkeypatch.setattr(hashing, "_argon2id", slow)
    return lambda given: seconds.__setitem__(0, given)


def test_a_use_is_noted_and_an_exchange_goes_on_however_long_the_hash_took(
    make_at: Make, hash_takes: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third = (issue(make_at(), name) for name in ("a", "b", "c"))
    fresh = make_at(**AS_INSTALLED)
    hash_takes(7)
    assert fresh.authenticate(basic_of(first))
    assert fresh.exchange(second.pat.id, second.secret).value
    assert fresh.introspect(third.token).active
    assert None not in [fresh.get(one.pat.id).last_used for one in (first, second)]
    assert caplog.text == ""


def test_a_pat_is_hashed_again_and_the_exchange_goes_on_however_long_that_takes(
    make_at: Make, hash_takes: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    issued = issue(make_at())
    fresh = make_at(hash_profile=PROFILES["owasp"], **AS_INSTALLED)
    hash_takes(7)
    assert fresh.exchange(issued.pat.id, issued.secret).value
    assert caplog.text == ""
    (record,) = store_of(fresh).pats.read([PatId(issued.pat.id)])
    assert record is not None
    assert record.secrets[0].digest.memory_kib == PROFILES["owasp"].memory_kib


def test_a_new_digest_counts_for_the_owner_who_calls_whether_by_pat_or_in_person(
    make_at: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And for the owner of the PAT if the application itself makes it, or nobody would take turns."""
    authority = make_at(may_act_in=lambda *_: True)
    by = authority.verify_bearer(issue(authority, scope=["reports:read", ALL]).token)
    person = Person(Owner("alice"), frozenset({"reports:read", ALL}))
    hasher: Any = hasher_of(authority)
    real, owners = hasher.hash, list[str]()
    monkeypatch.setattr(hasher, "hash", lambda secret, owner: owners.append(owner) or real(secret, owner))
    given: dict[str, Any] = {"scope": ["reports:read"], "expires_in": timedelta(days=1)}
    made = [
        authority.create(owner=Owner("bob"), name=f"pat {number}", by=caller, **given)
        for number, caller in enumerate((by, person, None))
    ]
    authority.rotate(made[0].pat.id, by=person)
    authority.rotate(made[0].pat.id)
    ring = store_of(authority).keyring
    alice, bob = (ring.owner_tag("default", owner) for owner in ("alice", "bob"))
    assert owners == [alice, alice, bob, alice, bob]
    assert [one.pat.id[:8] for one in made] == [bob] * 3
