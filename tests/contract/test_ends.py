"""The end of a credential is the end of all that it does: nothing that it asks for is done after it.

Each claim is a table: every change, every end, in the caller's slot and in another one. The end comes at the
worst moment, when the change was judged and is about to be written, and has returned before that goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from time import sleep
from typing import Any

import pytest

from patauth import (
    Authority,
    Forbidden,
    InvalidCredentials,
    IssuedPat,
    NotFound,
    Owner,
    PatAuthError,
    Principal,
)
from patauth.crypto.hashing import Hasher
from patauth.model import dates
from patauth.store import asking
from patauth.store.scripts import Scripts
from tests.support.authorities import Make, basic_of, issue
from tests.support.clocks import DAY, NOW, Clock
from tests.support.internals import store_of
from tests.support.servers import one_engine
from tests.support.tables import each
from tests.support.tenants import keys_like

ALL, MY = "idn:all-personal-access-tokens:manage", "idn:my-personal-access-tokens:manage"
CALLER, SLEEPER = Owner("root"), Owner("sleeper")
HOUR, DAYS = timedelta(hours=1), timedelta(days=30)
LATER = dates.to_datetime(NOW + DAY)
GROW = [{"op": "add", "path": "/scope/-", "value": "x"}]


@pytest.fixture
def world(make_at: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An Authority on a clock that goes on while an end waits."""
    monkeypatch.setattr(asking, "sleep", lambda seconds: clock.advance(round(1000 * seconds)))
    return make_at(clock=clock, max_pats_per_owner=1000, request_quota="100000/1", exchange_quota="100000/1")


class Case:
    """One caller, who may do everything, and what they change: a PAT of their own or of somebody else."""

    def __init__(self, authority: Authority, way: str, target: Owner) -> None:
        self.authority = authority
        self.issued = issue(authority, name="caller", owner=CALLER, scope=["x", "y", ALL], expires_in=DAYS)
        self.target = issue(authority, name="target", owner=target, scope=["y"], expires_in=HOUR)
        self.token = authority.exchange(self.issued.pat.id, self.issued.secret).value
        self.target_token = authority.exchange(self.target.pat.id, self.target.secret).value
        shown = {"basic": basic_of(self.issued), "pat": f"Bearer {self.issued.token}"}
        self.by: Principal = authority.authenticate(shown.get(way, f"Bearer {self.token}"))

    def state(self) -> list[Any]:
        """Everything that a change could have changed, but for the caller's PAT."""
        found = self.authority.list()
        pats = [
            (pat.id, pat.scope, pat.expires_ms, pat.name) for pat in found if pat.id != self.issued.pat.id
        ]
        return [sorted(pats), self.passes(self.target.token), self.passes(self.target_token)]

    def passes(self, token: str) -> bool:
        try:
            return bool(self.authority.verify_bearer(token))
        except InvalidCredentials:
            return False


def create(case: Case) -> Any:
    owner = case.target.pat.owner
    return case.authority.create(owner=owner, name="new", scope=["x", ALL], expires_in=HOUR, by=case.by)


def grow(case: Case) -> Any:
    return case.authority.patch(case.target.pat.id, GROW, by=case.by)


def rename(case: Case) -> Any:
    return case.authority.update(case.target.pat.id, name="renamed", by=case.by)


def rotate(case: Case) -> Any:
    return case.authority.rotate(case.target.pat.id, overlap=timedelta(0), by=case.by)


def delete(case: Case) -> Any:
    return case.authority.delete(case.target.pat.id, by=case.by)


CHANGES: list[Callable[[Case], Any]] = [create, grow, rename, rotate, delete]
# Each ends the caller's credential, or the right that the changes need. The host asks for it.
ENDS: dict[str, Callable[[Case], Any]] = {
    "its PAT is deleted": lambda c: c.authority.delete(c.issued.pat.id),
    "its secret is rotated away": lambda c: c.authority.rotate(c.issued.pat.id, overlap=timedelta(0)),
    "its secret is rotated away, with an overlap": lambda c: c.authority.rotate(
        c.issued.pat.id, overlap=HOUR
    ),
    "its owner is disabled": lambda c: c.authority.disable_owner("root"),
    "its owner is revoked": lambda c: c.authority.revoke_owner("root"),
    "its PAT is disabled": lambda c: c.authority.disable(c.issued.pat.id),
    "its PAT may be used elsewhere": lambda c: c.authority.update(c.issued.pat.id, networks=["192.0.2.0/24"]),
    "its PAT may not be used yet": lambda c: c.authority.update(c.issued.pat.id, not_before=LATER),
    "its PAT loses the right": lambda c: c.authority.update(c.issued.pat.id, scope=["x", "y"]),
    "its PAT ends with a token of it": lambda c: c.authority.revoke(c.issued.token),
}
OF_TOKENS = {"the access token is revoked": lambda c: c.authority.revoke(c.token)}


def interrupted(monkeypatch: pytest.MonkeyPatch, end: Callable[[], Any]) -> Callable[[], bool]:
    """Let `end` happen, whole, before the next durable write. Returns whether it has happened."""
    usual, done = Scripts.run_durably, []

    def run(self: Scripts, *args: Any, **named: Any) -> Any:
        if not done:
            done.append(True)
            end()
        return usual(self, *args, **named)

    monkeypatch.setattr(Scripts, "run_durably", run)
    return lambda: bool(done)


def is_near(case: Case) -> bool:
    return case.issued.pat.id[:8] == case.target.pat.id[:8]


@pytest.mark.parametrize("target", [CALLER, SLEEPER], ids=["same slot", "another slot"])
@pytest.mark.parametrize("way", ["basic", "pat", "access token"])
def test_no_change_takes_effect_after_the_end_of_the_credential_that_asks_for_it(
    world: Authority, way: str, target: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = {**ENDS, **(OF_TOKENS if way == "access token" else {})}
    for what, end in ends.items():
        for change in CHANGES:
            for owner in ("root", "sleeper"):
                world.enable_owner(owner)
                world.revoke_owner(owner)
            case = Case(world, way, target)
            assert is_near(case) == (target is CALLER)
            expected: list[Any] = []

            def stop(case: Case = case, end: Any = end, expected: list[Any] = expected) -> None:
                end(case)
                expected.extend(case.state())

            with monkeypatch.context() as patch:
                happened = interrupted(patch, stop)
                with pytest.raises(PatAuthError) as caught:
                    change(case)
                assert happened(), (what, change.__name__)
            assert case.state() == expected, (what, change.__name__, caught.value)


@pytest.mark.parametrize("target", [CALLER, SLEEPER], ids=["same slot", "another slot"])
def test_a_change_of_the_callers_pat_that_ends_nothing_lets_its_changes_go_on(
    world: Authority, target: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script sees another version, so the caller is judged again."""
    for number, change in enumerate(CHANGES):
        for owner in ("root", "sleeper"):
            world.revoke_owner(owner)
        case = Case(world, "basic", target)
        before = case.state()
        with monkeypatch.context() as patch:
            rename_caller = partial(world.update, case.issued.pat.id, name=f"caller {number}")
            interrupted(patch, rename_caller)
            change(case)
        assert case.state() != before, change.__name__


def test_an_end_waits_only_where_it_matters(world: Authority, clock: Clock) -> None:
    """A PAT that could change PATs of others, or once could; a repeat waits for what is left."""

    def waits(end: Callable[[], Any]) -> int:
        before = clock.now
        end()
        return clock.now - before

    plain = issue(world, name="plain", scope=["x", MY])
    assert waits(lambda: world.rotate(plain.pat.id)) == 0
    assert waits(lambda: world.update(plain.pat.id, scope=["x"])) == 0
    assert waits(lambda: world.delete(plain.pat.id)) == 0
    manager = issue(world, name="manager", owner=CALLER, scope=["x", ALL])
    token = world.exchange(manager.pat.id, manager.secret).value
    assert waits(lambda: world.update(manager.pat.id, name="renamed")) == 0
    assert waits(lambda: world.revoke(token)) == 500
    assert waits(lambda: world.rotate(manager.pat.id)) == 500
    assert waits(lambda: world.update(manager.pat.id, scope=["x"])) == 500
    assert waits(lambda: world.update(manager.pat.id, expires_in=timedelta(days=1))) == 500
    assert waits(lambda: world.delete(manager.pat.id)) == 500
    assert waits(lambda: world.disable_owner("root")) in range(400, 501), "what is left of the last end"
    assert waits(lambda: world.enable_owner("root")) in range(501)


def test_a_repeated_end_waits_for_the_first_one(world: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the time of the server, because the key that says so lives by it."""
    waited: list[float] = []
    monkeypatch.setattr(asking, "sleep", waited.append)
    manager = issue(world, name="manager", scope=["x", ALL])
    token = world.exchange(manager.pat.id, manager.secret).value
    world.revoke(token)
    world.revoke(token)
    world.delete(manager.pat.id)
    with pytest.raises(NotFound):
        world.delete(manager.pat.id)
    assert [0 < seconds <= 0.5 for seconds in waited] == [True] * 4


class TestOverlap:
    """FINDINGS A4: in an overlap, the previous secret is used and exchanged, and ends its own PAT."""

    @pytest.fixture
    def rotated(self, world: Authority) -> tuple[Authority, IssuedPat, IssuedPat]:
        old = issue(world, name="ci", owner=CALLER, scope=["x", ALL], expires_in=DAYS)
        return world, old, world.rotate(old.pat.id, overlap=HOUR)

    def test_it_changes_nothing(self, rotated: tuple[Authority, IssuedPat, IssuedPat]) -> None:
        world, old, new = rotated
        other = issue(world, name="other", owner=SLEEPER, scope=["y"])
        access = world.exchange(old.pat.id, old.secret).value
        current = world.exchange(new.pat.id, new.secret).value
        for value in (basic_of(old), f"Bearer {old.token}", f"Bearer {access}"):
            by = world.authenticate(value)
            assert world.get(old.pat.id, by=by).name == "ci"
            for change in (
                lambda by=by: world.create(owner=CALLER, name="n", scope=["x"], expires_in=HOUR, by=by),
                lambda by=by: world.create(owner=SLEEPER, name="n", scope=["x"], expires_in=HOUR, by=by),
                lambda by=by: world.update(old.pat.id, name="n", by=by),
                lambda by=by: world.update(other.pat.id, name="n", by=by),
                lambda by=by: world.rotate(old.pat.id, by=by),
                lambda by=by: world.rotate(other.pat.id, by=by),
                lambda by=by: world.delete(other.pat.id, by=by),
                lambda by=by: world.delete(old.pat.id, by=by),
                lambda by=by: world.revoke(current, by=by),
            ):
                with pytest.raises(Forbidden, match="rotated away"):
                    change()
        assert {pat.name for pat in world.list()} == {"ci", "other"}
        assert world.verify_basic(new.pat.id, new.secret).method == "basic"
        assert world.verify_bearer(current)

    def test_it_ends_its_own_pat_and_tokens_that_came_from_it(
        self, rotated: tuple[Authority, IssuedPat, IssuedPat]
    ) -> None:
        world, old, new = rotated
        access = world.exchange(old.pat.id, old.secret).value
        assert world.revoke(access, by=world.authenticate(basic_of(old)))
        assert world.revoke(old.token, by=world.authenticate(basic_of(old)))
        with pytest.raises(InvalidCredentials):
            world.verify_basic(new.pat.id, new.secret)


def test_only_a_principal_that_patauth_has_made_can_change_something(world: Authority) -> None:
    issued = issue(world, scope=["x", MY])
    by = world.authenticate(basic_of(issued))
    copy = Principal(by.subject, by.scopes, by.pat_id, by.tenant, by.method, by.expires_ms)
    assert copy == by
    with pytest.raises(PatAuthError, match="by: "):
        world.delete(issued.pat.id, by=copy)
    assert store_of(world).pats.now("store")
    assert world.get(issued.pat.id, by=copy)


USUAL = Hasher.verify


def ending_verify(end: Callable[[], Any], done: list[bool]) -> Callable[..., bool]:
    """A check of a hash that takes so long that `end` happens meanwhile, once."""

    def verify(self: Hasher, *args: Any) -> bool:
        found = USUAL(self, *args)
        if not done:
            done.append(True)
            end()
        return found

    return verify


@pytest.mark.parametrize("way", ["basic", "pat", "introspection"])
def test_a_request_that_had_to_hash_is_judged_again(
    world: Authority, make_at: Make, clock: Clock, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end comes while the hash is computed."""
    for what, end in ENDS.items():
        for owner in ("root", "sleeper"):
            world.enable_owner(owner)
            world.revoke_owner(owner)
        case = Case(world, "access token", SLEEPER)
        fresh, done = make_at(clock=clock), list[bool]()
        monkeypatch.setattr(Hasher, "verify", ending_verify(partial(end, case), done))
        passes = ("with an overlap" in what) or ("loses the right" in what)
        try:
            if way == "introspection":
                active = fresh.introspect(case.issued.token).active
            else:
                shown = basic_of(case.issued) if way == "basic" else f"Bearer {case.issued.token}"
                principal = fresh.authenticate(shown)
                active = True
                if "loses the right" in what:
                    assert ALL not in principal.scopes, "beyond what is left"
        except InvalidCredentials:
            active = False
        assert done, what
        assert active == passes, what
        monkeypatch.setattr(Hasher, "verify", USUAL)


@one_engine
@each("end", ["delete", "rotate"])
def test_access_tokens_go_with_their_secret_although_the_wait_of_an_end_outlasts_the_request(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    """An end of a PAT with the right to all waits half a second, which is as long as a request may take."""
    seconds = 0.5
    authority = make(clock=clock, request_seconds=seconds, max_tokens_per_secret=5, access_token_ttl=43_200)
    issued = issue(authority, scope=["x", ALL])
    authority.exchange(issued.pat.id, issued.secret)
    monkeypatch.setattr(asking, "sleep", lambda _: sleep(seconds))
    if end == "delete":
        authority.delete(issued.pat.id)
    else:
        authority.rotate(issued.pat.id, overlap=timedelta(0))
    assert keys_like(authority, store_of(authority).pats.keys.access_tokens) == []
    assert caplog.messages == []
