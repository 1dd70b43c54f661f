"""Each decision and each change is counted once, on every engine, and no label names anybody."""

from __future__ import annotations

import gc
import os
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from patauth import Authority, Owner, PatAuthError
from patauth.errors import Overloaded
from patauth.operations.expiring import count_expiring
from tests.support.authorities import AS_INSTALLED, Make, basic, basic_of, bearer, issue, wrong_secret
from tests.support.clocks import Clock
from tests.support.metrics import authentications, grown, here
from tests.support.servers import until
from tests.support.signing import JWT_MODE

ADDRESS = "203.0.113.9"


@pytest.fixture
def counted(make_at: Make) -> Authority:
    return make_at(metrics=True, max_pats_per_owner=100, failure_quota="1000/60")


def tried(call: Callable[[], object]) -> None:
    """Call, and let a refusal be one."""
    with suppress(PatAuthError):
        call()


def of_one(call: Callable[[], object]) -> tuple[str, str]:
    """The method and the reason of the one authentication that a call is counted as."""
    before = Counter(authentications(here()))
    times = here()["patauth_authentication_duration_seconds_count"]
    tried(call)
    (found,) = (Counter(authentications(here())) - before).elements()
    assert here()["patauth_authentication_duration_seconds_count"] == times + 1
    return found


def test_each_authentication_is_one_with_its_method_and_the_reason_of_its_refusal(
    make_at: Make, counted: Authority
) -> None:
    issued, other = issue(counted), issue(counted, "other")
    authenticate, pat = counted.authenticate, issued.pat.id
    access = counted.exchange(pat, issued.secret).value
    for _ in range(2):  # new here, and known
        assert of_one(lambda: authenticate(basic_of(issued))) == ("basic", "")
        assert of_one(lambda: authenticate(bearer(issued.token))) == ("pat", "")
        assert of_one(lambda: authenticate(bearer(access))) == ("access_token", "")
        assert of_one(lambda: counted.verify_bearer(access)) == ("access_token", "")
        assert of_one(lambda: counted.verify_basic(pat, issued.secret)) == ("basic", "")
        assert of_one(lambda: counted.exchange(pat, issued.secret)) == ("basic", "")
    assert of_one(lambda: counted.exchange(pat, issued.secret, scope="not:held")) == ("basic", "")
    wrong = wrong_secret(counted)
    assert of_one(lambda: authenticate(basic(pat, wrong))) == ("basic", "invalid")
    assert of_one(lambda: counted.exchange(pat, wrong)) == ("basic", "invalid")
    for unread in ("Basic !", "Bearer no", "Digest x", "", f"{basic_of(issued)}, {basic_of(issued)}"):
        assert of_one(partial(authenticate, unread)) == ("unknown", "malformed")
    assert of_one(lambda: counted.exchange("x", "y")) == ("unknown", "malformed")

    counted.disable(other.pat.id)
    assert of_one(lambda: authenticate(basic_of(other))) == ("basic", "disabled")
    outside = issue(counted, "outside", networks=["192.0.2.0/24"])
    assert of_one(lambda: authenticate(basic_of(outside), address=ADDRESS)) == ("basic", "outside")
    early = issue(counted, "early", not_before=datetime.now(UTC) + timedelta(hours=1))
    assert of_one(lambda: authenticate(bearer(early.token))) == ("pat", "not_yet")
    narrow = issue(counted, "narrow", request_quota="1/3600")
    assert of_one(lambda: authenticate(bearer(narrow.token))) == ("pat", "")
    assert of_one(lambda: authenticate(bearer(narrow.token))) == ("pat", "rate_limited")
    counted.rotate(pat, overlap=timedelta(0))
    assert of_one(lambda: authenticate(basic_of(issued))) == ("basic", "reused")
    assert of_one(lambda: authenticate(bearer(access))) == ("access_token", "access_token")
    counted.delete(pat)
    assert of_one(lambda: authenticate(bearer(issued.token))) == ("pat", "invalid")


def test_an_expired_pat_is_counted_as_expired(make_at: Make) -> None:
    clock = Clock()
    authority = make_at(metrics=True, clock=clock)
    issued = issue(authority, expires_in=timedelta(hours=1))
    clock.now += 3_600_001
    assert of_one(lambda: authority.authenticate(basic_of(issued))) == ("basic", "expired")


def test_a_jwt_is_an_access_token(make_at: Make, keys: Path) -> None:
    authority = make_at(metrics=True, keys=str(keys), **JWT_MODE)
    issued = issue(authority)
    changes = grown(lambda: authority.exchange(issued.pat.id, issued.secret))
    assert changes['tokens_issued_total{format="jwt"}'] == 1
    access = authority.exchange(issued.pat.id, issued.secret).value
    assert of_one(lambda: authority.authenticate(bearer(access))) == ("access_token", "")
    head, body, signature = access.split(".")
    forged = f"{head}.{body}.{signature[::-1]}"
    assert of_one(lambda: authority.authenticate(bearer(forged))) == ("unknown", "access_token")


def test_without_the_store_a_request_is_refused_and_the_calls_fail(make_at: Make, tmp_path: Path) -> None:
    authority = make_at(url=f"unix://{tmp_path}/nobody", metrics=True, **AS_INSTALLED)
    call = partial(authority.authenticate, basic("0" * 32, wrong_secret(authority)))
    assert of_one(call) == ("basic", "store_unavailable")
    changes = grown(partial(tried, call))
    failed = [name for name in changes if name.startswith("store_operation") and "unavailable" in name]
    assert failed
    assert not [name for name in changes if name.startswith("store_operation") and '"ok"' in name]


def test_changes_tokens_and_quotas_are_counted_from_their_events(counted: Authority) -> None:
    issued = issue(counted)
    pat = issued.pat.id

    def change(operation: str, outcome: str = "done") -> str:
        return f'pat_changes_total{{operation="{operation}",outcome="{outcome}"}}'

    for name, call in {
        change("create"): lambda: issue(counted, "new"),
        change("update"): lambda: counted.update(pat, name="newer"),
        change("rotate"): lambda: counted.rotate(pat),
        change("disable"): lambda: counted.disable(pat),
        change("enable"): lambda: counted.enable(pat),
        change("disable_owner"): lambda: counted.disable_owner("alice"),
        change("enable_owner"): lambda: counted.enable_owner("alice"),
        'tokens_issued_total{format="opaque"}': lambda: counted.exchange(pat, issued.secret),
        change("revoke"): lambda: counted.delete(pat),
        change("revoke_owner"): lambda: counted.revoke_owner("alice"),
    }.items():
        changes = grown(call)
        assert changes.pop(name) == 1, name
        assert not [other for other in changes if re.match("pat_changes|tokens_issued|rate_limited", other)]


def test_each_429_is_counted_by_its_quota(make_at: Make) -> None:
    authority = make_at(
        metrics=True, request_quota="1/3600", exchange_quota="1/3600", failure_quota="1/3600",
        max_tokens_per_secret=1,
    )  # fmt: skip
    issued, wrong = issue(authority), wrong_secret(authority)
    rotated = issue(authority, "rotated")
    authority.rotate(rotated.pat.id, overlap=timedelta(0))
    early = issue(authority, "early", not_before=datetime.now(UTC) + timedelta(hours=1))

    def over(quota: str, call: Callable[[], object]) -> None:
        found = grown(partial(tried, call))
        assert {name: value for name, value in found.items() if name.startswith("rate_limited")} == {
            f'rate_limited_total{{quota="{quota}"}}': 1
        }

    authority.authenticate(basic_of(issued))
    over("requests", lambda: authority.authenticate(basic_of(issued)))
    authority.exchange(issued.pat.id, issued.secret)
    over("exchanges", lambda: authority.exchange(issued.pat.id, issued.secret))
    tried(lambda: authority.authenticate(basic(issued.pat.id, wrong), address=ADDRESS))
    for sent in (basic(issued.pat.id, wrong), basic_of(rotated), basic_of(early)):
        over("failures", partial(authority.authenticate, sent, address=ADDRESS))


def test_proofs_are_hits_or_misses_and_each_hash_is_timed(make_at: Make) -> None:
    """A request whose secret was good before is a hit, also where the cache itself is not asked."""
    authority = make_at(metrics=True)
    issued = issue(authority)
    hit, miss = (f'proof_cache_lookups_total{{result="{result}"}}' for result in ("hit", "miss"))

    def looked_up(call: Callable[[], object]) -> dict[str, float]:
        return {name: value for name, value in grown(call).items() if re.match("proof|hash", name)}

    secret = partial(authority.authenticate, basic_of(issued))
    assert looked_up(secret) == {miss: 1, "hash_duration_seconds_count": 1}
    for _ in range(3):
        assert looked_up(secret) == {hit: 1}
    access = authority.exchange(issued.pat.id, issued.secret).value
    assert looked_up(lambda: authority.authenticate(bearer(access))) == {}
    assert looked_up(lambda: tried(lambda: authority.authenticate("Basic !"))) == {}


def test_who_gets_no_hash_is_counted(make_at: Make) -> None:
    authority = make_at(metrics=True, hash_slots=1, hash_queue=0, hash_wait=0)
    issued = issue(authority)
    hasher = authority.operations._hasher
    slot = hasher._slots.take(1.0, "another")
    try:
        with pytest.raises(Overloaded):
            issue(authority, "no")
        call = partial(authority.authenticate, basic_of(issued))
        assert of_one(call) == ("basic", "overloaded")
        assert grown(partial(tried, call))["hash_rejected_total"] == 1
    finally:
        assert slot is not None
        hasher._slots.give_back(slot)
    assert here()["patauth_hash_waiters"] == 0


def test_a_secret_that_is_not_hashed_again_is_no_rejection(make_at: Make, make: Make) -> None:
    """The request is served with the old digest."""
    authority = make_at(metrics=True, hash_slots=1, hash_queue=0, hash_wait=0)
    issued = issue(authority)
    assert authority.authenticate(basic_of(issued)).pat_id == issued.pat.id
    hasher, proofs = authority.operations._hasher, authority.operations._authenticator.proofs
    slot = hasher._slots.take(1.0, "another")
    assert slot is not None
    try:
        changes = grown(partial(tried, lambda: proofs.renew(b"\0" * 16, b"a secret")))
    finally:
        hasher._slots.give_back(slot)
    assert "hash_rejected_total" not in changes


def test_a_thread_that_waits_for_a_slot_is_counted_while_it_waits(make_at: Make) -> None:
    authority = make_at(metrics=True, hash_slots=1, hash_queue=4, hash_wait=30)
    issued, hasher = issue(authority), authority.operations._hasher
    slot = hasher._slots.take(1.0, "another")
    assert slot is not None
    thread = Thread(target=authority.authenticate, args=(basic_of(issued),))
    thread.start()
    try:
        until(lambda: here()["patauth_hash_waiters"] == 1, 10)
    finally:
        hasher._slots.give_back(slot)
        thread.join()
    assert here()["patauth_hash_waiters"] == 0


def test_connections_are_those_that_are_open(make: Make, engine: str) -> None:
    authority = make(metrics=True)
    changes = grown(lambda: issue(authority))
    idle, used = (f'store_connections{{state="{state}"}}' for state in ("idle", "in_use"))
    assert used not in changes
    opened = changes.get(idle, 0)
    assert opened == 0 if engine == "memory" else opened >= 1
    assert grown(authority.close).get(idle, 0) == -opened


def test_connections_of_an_authority_that_is_dropped_are_not_counted(make_at: Make, engine: str) -> None:
    before = here()['patauth_store_connections{state="idle"}']
    authority = make_at(metrics=True)
    issue(authority)
    settings = authority.settings
    other = Authority(settings)
    tried(other.ping)
    del other
    gc.collect()
    authority.close()
    assert here()['patauth_store_connections{state="idle"}'] == before


def test_a_fork_has_none_of_the_connections_of_its_parent(make_at: Make) -> None:
    authority = make_at(metrics=True)
    issue(authority)
    idle = 'patauth_store_connections{state="idle"}'
    assert authority.operations._observers is not None
    (metrics,) = authority.operations._observers.all
    mine = metrics._connections[1]
    before = here()[idle]
    if child := os.fork():
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == before - mine
    else:
        os._exit(int(here()[idle]))


def test_pats_that_expire_soon_are_counted_within_each_time(make_at: Make) -> None:
    clock = Clock()
    authority = make_at(clock=clock, max_pats_per_owner=100)
    for number, lifetime in enumerate((timedelta(hours=1), timedelta(days=3), timedelta(days=20))):
        issue(authority, f"p{number}", expires_in=lifetime)
    issue(authority, "never", never_expires=True)
    issue(authority, "of bob", owner=Owner("bob"), expires_in=timedelta(days=6))
    actor, day = authority.operations.actor(None), 86_400
    assert count_expiring(actor, [day, 7 * day, 30 * day]) == [1, 3, 4]
    clock.now += 2 * 3_600_000  # one has expired
    assert count_expiring(actor, [day, 7 * day, 30 * day]) == [0, 2, 3]


def test_no_label_names_a_pat_an_owner_a_path_or_a_secret(counted: Authority) -> None:
    issued = issue(counted, owner=Owner("somebody-special"), scope=["special:scope"])
    counted.authenticate(basic_of(issued), address=ADDRESS)
    tried(lambda: counted.authenticate(basic(issued.pat.id, wrong_secret(counted)), address=ADDRESS))
    counted.delete(issued.pat.id, "a special reason")
    from prometheus_client import generate_latest

    text = generate_latest().decode()
    assert "patauth_pat_changes_total" in text
    for hidden in (issued.pat.id, issued.secret, issued.token, "special", ADDRESS, "default", "reports"):
        assert hidden not in text


def test_an_observer_that_fails_fails_no_request(
    counted: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as on a disk that is full, where counters cannot be written."""
    from prometheus_client import Counter as Total
    from prometheus_client import Gauge, Histogram

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    issued = issue(counted)
    for kind, method in ((Total, "inc"), (Gauge, "inc"), (Histogram, "observe")):
        monkeypatch.setattr(kind, method, fail)
    counted.authenticate(basic_of(issued))
    counted.exchange(issued.pat.id, issued.secret)
    counted.delete(issued.pat.id)
    assert [one for one in caplog.messages if one == "metrics: something was not recorded: OSError"]
    assert len([one for one in caplog.messages if one.startswith("metrics:")]) == 1
