"""The end of a credential while it is busy: threads on a real engine, and the real wait of half a second.

No record may change between the instant at which the end returns and the one at which all threads have been
refused. A long run: SEARCH=10 pytest -s -m system tests/system/test_ends.py
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from patauth import Authority, Forbidden, InvalidCredentials, IssuedPat, Owner, PatAuthError, Principal
from patauth.model.pat_id import PatId
from patauth.store import asking, pats
from patauth.store.scripts import Scripts
from tests.support.authorities import Make, basic_of, bearer, issue
from tests.support.internals import store_of
from tests.support.interventions import standing_in
from tests.support.searches import TIMES
from tests.support.servers import Server, until

ALL = "idn:all-personal-access-tokens:manage"
AT_ONCE, HOUR, DAYS = timedelta(0), timedelta(hours=1), timedelta(days=30)
ROUNDS = 2 * TIMES
BUSY = "busy"  # the name of threads on a slow network
_rounds = count()
World = tuple[Authority, Server, str]  # the last one is its key_prefix
ALL_RECORDS = """
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do found[#found + 1] = {key, redis.call('GET', key)} end
return found
"""


@pytest.fixture(autouse=True)
def real_wait(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "sleep", time.sleep)


@pytest.fixture(autouse=True)
def slow_network() -> Iterator[None]:
    """What busy threads write is on its way for up to 0.4 s."""

    def late(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        if threading.current_thread().name == BUSY:
            time.sleep(random.choice((0, 0.05, 0.4)))
        return real(*given, **named)

    with standing_in(Scripts, "run_durably", late):
        yield


@pytest.fixture
def world(make_at: Make, server: Server, prefix: str) -> World:
    most = {"max_pats_per_owner": 1000, "request_quota": "100000/1", "exchange_quota": "100000/1"}
    return make_at(**most), server, prefix


class Round:
    """A credential that asks for everything in its slot (`near`) and in another one, until it is refused."""

    def __init__(self, world: World, *, by_token: bool = False, near: bool = True, far: bool = True) -> None:
        self.authority, self._server, self._prefix = authority, *_ = world
        number = next(_rounds)
        self.owner = Owner(f"root{number}")
        self.issued = issue(
            authority, name="caller", owner=self.owner, scope=["x", "y", ALL], expires_in=DAYS
        )
        self.token = authority.exchange(self.issued.pat.id, self.issued.secret).value
        self.value = bearer(self.token) if by_token else basic_of(self.issued)
        self.accepted: list[tuple[float, Principal]] = []  # when it was sent
        self.changes = 0
        self._numbers = count()
        works = [self._authenticate]
        for owner in [self.owner] * near + [Owner(f"sleeper{number}")] * far:
            works += self._changes(owner)
        self._threads = [threading.Thread(target=self._repeat, args=(work,), name=BUSY) for work in works]
        self._ready = threading.Barrier(len(works) + 1)
        self.returned = float("inf")  # when the end has returned

    def _changes(self, owner: Owner) -> list[Callable[[Principal], Any]]:
        make = self.authority
        named, grown, rotated = (
            issue(make, name=name, owner=owner, scope=["x"], expires_in=HOUR).pat.id
            for name in ("named", "grown", "rotated")
        )
        stock = [
            issue(make, name=f"{n}", owner=owner, scope=["x"], expires_in=HOUR).pat.id for n in range(20)
        ]

        def create(by: Principal) -> IssuedPat:
            return make.create(
                owner=owner, name=f"n{next(self._numbers)}", scope=["x"], expires_in=HOUR, by=by
            )

        def grow(by: Principal) -> None:
            make.update(grown, scope=["x", "y"], by=by)
            make.update(grown, scope=["x"], by=by)

        def delete(by: Principal) -> None:
            make.delete(stock.pop() if len(stock) > 1 else create(by).pat.id, by=by)

        return [
            create,
            grow,
            delete,
            lambda by: make.update(named, name=f"n{next(self._numbers)}", by=by),
            lambda by: make.rotate(rotated, overlap=AT_ONCE, by=by),
        ]

    def _authenticate(self, by: Principal) -> None:
        sent = time.monotonic()
        self.accepted.append((sent, self.authority.authenticate(self.value)))
        time.sleep(0.001)
        if time.monotonic() > self.returned + 0.2:
            raise InvalidCredentials  # it may be a credential that still authenticates

    def _repeat(self, work: Callable[[Principal], Any]) -> None:
        by = self.authority.authenticate(self.value)
        self._ready.wait()
        while True:
            try:
                work(by)
                self.changes += work != self._authenticate
            except (InvalidCredentials, Forbidden):
                return
            except PatAuthError:  # too late, or a name that is taken: again
                pass

    def _records(self) -> dict[bytes, bytes]:
        own = store_of(self.authority).pats.keys.pat(PatId(self.issued.pat.id))
        with self._server.client() as client:
            found = dict(client.eval(ALL_RECORDS, 0, f"{self._prefix}:*}}:p:*"))
        found.pop(own, None)
        return found

    def run(self, end: Callable[[Round], Any]) -> int:
        """Return how many records differ from what they were when `end` had returned."""
        for thread in self._threads:
            thread.start()
        self._ready.wait()
        until(lambda: self.changes > 10 and self.accepted)
        time.sleep(random.uniform(0, 0.2))
        end(self)
        self.returned = time.monotonic()
        before = self._records()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "it was not refused"
        after = self._records()
        return sum(before.get(key) != after.get(key) for key in {*before, *after})

    def accepted_late(self) -> list[Principal]:
        return [principal for sent, principal in self.accepted if sent > self.returned]


# Each ends everything but what the second member says: which of the late requests are right.
NONE, REST = (lambda principal: False), (lambda principal: ALL not in principal.scopes)
ENDS: dict[str, tuple[Callable[[Round], Any], Callable[[Principal], bool]]] = {
    "delete": (lambda r: r.authority.delete(r.issued.pat.id), NONE),
    "rotate": (lambda r: r.authority.rotate(r.issued.pat.id, overlap=AT_ONCE), NONE),
    "rotate with an overlap": (
        lambda r: r.authority.rotate(r.issued.pat.id, overlap=HOUR),
        lambda principal: True,
    ),
    "disable the owner": (lambda r: r.authority.disable_owner(r.owner.id), NONE),
    "revoke the owner": (lambda r: r.authority.revoke_owner(r.owner.id), NONE),
    "take the right": (lambda r: r.authority.update(r.issued.pat.id, scope=["x", "y"]), REST),
    "revoke the token": (lambda r: r.authority.revoke(r.token), NONE),
}


@pytest.mark.parametrize("what", ENDS)
def test_nothing_that_a_credential_asks_for_happens_after_its_end(world: World, what: str) -> None:
    end, may_pass = ENDS[what]
    for _ in range(ROUNDS):
        busy = Round(world, by_token=what == "revoke the token")
        assert busy.run(end) == 0
        assert [one for one in busy.accepted_late() if not may_pass(one)] == []
        print(f"{what}: {busy.changes} changes, {len(busy.accepted)} requests")


class TestWithoutTheWait:
    """What the claim above rests on: it is no empty one."""

    @pytest.fixture(autouse=True)
    def no_wait(self, real_wait: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(asking, "sleep", lambda seconds: None)

    @pytest.mark.parametrize("what", ["delete", "take the right"])
    def test_changes_in_another_slot_come_late(self, world: World, what: str) -> None:
        assert any(Round(world, near=False).run(ENDS[what][0]) for _ in range(10))

    @pytest.mark.parametrize("what", ["delete", "take the right"])
    def test_in_the_same_slot_the_script_alone_is_enough(
        self, world: World, what: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for _ in range(ROUNDS):
            assert Round(world, far=False).run(ENDS[what][0]) == 0
        monkeypatch.setattr(pats, "asking_of", lambda keys, by, pat_id: ([keys.pat(pat_id)] * 2, b""))
        assert any(Round(world, far=False).run(ENDS[what][0]) for _ in range(10))
