"""Marks of PATs and owners, and changes of all PATs of an owner, which go in pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest

from patauth import (
    Authority,
    Conflict,
    Disabled,
    Forbidden,
    InvalidCredentials,
    IssuedPat,
    Overloaded,
    Owner,
    StoreUnavailable,
)
from patauth.model.pat_id import PatId
from patauth.store import owner_changes
from patauth.store.owner_changes import OwnerChanges
from patauth.store.scripts import Script, Scripts
from patauth.store.transport.wire import Wire
from tests.support.authorities import Make, basic_of, issue, maker_of
from tests.support.clocks import Clock
from tests.support.internals import store_of
from tests.support.interventions import standing_in
from tests.support.servers import shared_engines
from tests.support.tables import each
from tests.support.tenants import owner_keys

MY, ALL = "idn:my-personal-access-tokens:manage", "idn:all-personal-access-tokens:manage"
SECOND = timedelta(seconds=1)


# -- marks ---------------------------------------------------------------------------------------------------


def passes(authority: Authority, issued: IssuedPat) -> bool:
    try:
        return bool(authority.verify_basic(issued.pat.id, issued.secret))
    except InvalidCredentials:
        return False


def test_a_pat_and_its_owner_are_disabled_and_enabled_apart(authority: Authority) -> None:
    issued, other = issue(authority, "one"), issue(authority, "two")
    token = authority.exchange(issued.pat.id, issued.secret).value
    assert authority.disable(issued.pat.id).state == "disabled"
    with pytest.raises(InvalidCredentials):
        authority.verify_bearer(token)
    assert (passes(authority, issued), passes(authority, other)) == (False, True)
    authority.disable_owner("alice")
    authority.enable(issued.pat.id)
    assert not passes(authority, issued), "its owner is disabled"
    authority.disable(issued.pat.id)
    authority.enable_owner("alice")
    assert (passes(authority, issued), passes(authority, other)) == (False, True)
    assert authority.enable(issued.pat.id).state == "active"
    assert passes(authority, issued)
    assert authority.verify_bearer(token)


def test_what_an_operator_has_disabled_only_an_operator_enables(authority: Authority) -> None:
    """The marks are of who did it; an operator's word undoes both."""
    target = issue(authority, "target", scope=["reports:read"])
    _, by = maker_of(authority)
    root = issue(authority, "root", owner=Owner("root"), scope=["reports:read", ALL])
    operator = authority.authenticate(basic_of(root))
    for strong in (None, operator):
        authority.disable(target.pat.id, by=strong)
        authority.disable(target.pat.id, by=by)
        with pytest.raises(Forbidden, match="operator"):
            authority.enable(target.pat.id, by=by)
        assert not passes(authority, target)
        authority.enable(target.pat.id, by=operator)
        assert passes(authority, target)
    authority.disable(target.pat.id, by=by)
    assert authority.get(target.pat.id).disabled == Disabled.BY_OWNER
    authority.enable(target.pat.id, by=by)
    assert passes(authority, target)


def test_nobody_enables_a_pat_that_can_do_more_than_they(authority: Authority) -> None:
    strong = issue(authority, "strong", scope=["reports:read", "admin"])
    _, by = maker_of(authority)
    authority.disable(strong.pat.id, by=by)
    with pytest.raises(Forbidden, match="more scopes"):
        authority.enable(strong.pat.id, by=by)
    assert not passes(authority, strong)


# -- changes of all PATs in pieces ---------------------------------------------------------------------------


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_changes, "_PIECE", 3)


class Stop(Exception):
    """The process ends here."""


def stopping(at: int) -> Callable[..., Any]:
    """Return what stands in for a step and ends the process before its call number `at`."""
    calls = iter(range(at + 1))

    def step(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        if next(calls, at) == at:
            raise Stop
        return real(*given, **named)

    return step


def kinds_of_change() -> Iterator[tuple[str, Callable[[Authority], int], bool]]:
    yield "disable", lambda authority: authority.disable_owner("alice"), False
    yield "enable", lambda authority: authority.enable_owner("alice"), True
    yield "revoke", lambda authority: authority.revoke_owner("alice"), False


@pytest.mark.system
@shared_engines
@pytest.mark.usefixtures("small_pieces")
@each("kind, change, usable", list(kinds_of_change()))
def test_a_change_that_is_cut_anywhere_is_finished_by_its_repeat(
    make: Make, clock: Clock, kind: str, change: Callable[[Authority], int], usable: bool
) -> None:
    for at in range(12):
        authority = make(clock=clock, max_pats_per_owner=20, retention=0, key_prefix=f"patauth:cut{kind}{at}")
        authority.revoke_owner("alice")
        issued = [issue(authority, f"n{number}") for number in range(10)]
        if kind == "enable":
            authority.disable_owner("alice")
        with (
            standing_in(OwnerChanges, "_write_state" if kind != "revoke" else "_remove", stopping(at)),
            suppress(Stop),
        ):
            change(authority)
        if kind != "revoke":
            assert change(authority) == 10
        else:
            change(authority)
        assert [passes(authority, one) for one in issued] == [usable] * 10
        clock.advance(20_000)
        if kind == "disable":
            with pytest.raises(Forbidden):
                issue(authority, "new")
        else:
            assert passes(authority, issue(authority, "new"))
        authority.enable_owner("alice")
        authority.revoke_owner("alice")
        assert owner_keys(authority) == []


@pytest.mark.usefixtures("small_pieces")
def test_a_piece_that_a_failover_has_lost_is_done_again(make_at: Make) -> None:
    """The owner record says how far the pieces got, and is lost with them."""
    authority = make_at()
    issued = [issue(authority, f"n{number}") for number in range(10)]
    pats = store_of(authority).pats
    ids = [PatId(one.pat.id) for one in issued]
    tag = ids[0].tag
    kept: list[Any] = []
    lost = [*map(pats.keys.pat, ids), pats.keys.owner(tag, "alice").record]
    count = 0

    def fail_over(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if count == 2:
            kept.extend(pats.scripts.call([("GET", key) for key in lost]))
        if count == 4:
            pats.scripts.call([("SET", key, value) for key, value in zip(lost, kept, strict=True)])
        return real(*given, **named)

    with standing_in(OwnerChanges, "_write_state", fail_over):
        authority.disable_owner("alice")
    assert count > 5
    assert not any(passes(authority, one) for one in issued)


@pytest.mark.usefixtures("small_pieces")
def test_nobody_makes_a_pat_while_all_are_being_removed(make: Make, clock: Clock) -> None:
    """Also if the removal stalls; if it was given up, creations go on after ten seconds."""
    authority = make(clock=clock)
    for number in range(5):
        issue(authority, f"n{number}")
    tried: list[Any] = []

    def step(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        found = real(*given, **named)
        if not tried:
            with pytest.raises(Overloaded, match="being removed") as refused:
                issue(authority, "new")
            tried.append(refused.value.retry_after)
        return found

    with standing_in(OwnerChanges, "_remove", step):
        assert authority.revoke_owner("alice") == 5
    assert tried == [1]
    assert passes(authority, issue(authority, "new"))


@pytest.mark.usefixtures("small_pieces")
def test_of_two_that_disagree_the_one_that_began_later_wins_and_the_other_says_so(make_at: Make) -> None:
    authority = make_at()
    issued = [issue(authority, f"n{number}") for number in range(10)]
    for change, other, usable in [
        (authority.disable_owner, authority.enable_owner, True),
        (authority.enable_owner, authority.disable_owner, False),
    ]:
        begun: list[object] = []

        def begin_only(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
            raise Stop

        def step(
            real: Callable[..., Any], *given: Any, other: Any = other, begun: list[Any] = begun, **named: Any
        ) -> Any:
            begun.append(1)
            if len(begun) == 2:
                with standing_in(OwnerChanges, "_write_state", begin_only), suppress(Stop):
                    other("alice")
            return real(*given, **named)

        with (
            standing_in(OwnerChanges, "_write_state", step),
            pytest.raises(Conflict, match="at the same time"),
        ):
            change("alice")
        other("alice")
        assert [passes(authority, one) for one in issued] == [usable] * 10


@pytest.mark.usefixtures("small_pieces")
def test_a_disabling_outlasts_an_enabling_that_began_and_ended_meanwhile(make_at: Make) -> None:
    authority = make_at()
    issued = [issue(authority, f"n{number}") for number in range(10)]
    begun: list[int] = []

    def step(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        begun.append(1)
        if len(begun) == 3:
            authority.enable_owner("alice")
        return real(*given, **named)

    with standing_in(OwnerChanges, "_write_state", step):
        assert authority.disable_owner("alice") == 10, "each one counts once"
    assert not any(passes(authority, one) for one in issued)
    with pytest.raises(Forbidden):
        issue(authority, "new")


@pytest.mark.usefixtures("small_pieces")
def test_two_that_agree_both_return_when_all_is_done(make_at: Make) -> None:
    authority = make_at()
    issued = [issue(authority, f"n{number}") for number in range(10)]
    begun: list[int] = []

    def step(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        begun.append(1)
        if len(begun) == 3:
            authority.disable_owner("alice")
        return real(*given, **named)

    with standing_in(OwnerChanges, "_write_state", step):
        authority.disable_owner("alice")
    assert not any(passes(authority, one) for one in issued)


@pytest.mark.usefixtures("small_pieces")
def test_what_was_done_before_an_error_is_in_the_trail(make_at: Make, events: Any) -> None:
    authority = make_at()
    for number in range(10):
        issue(authority, f"n{number}")
    events()

    def fail(at: int) -> Callable[..., Any]:
        calls = iter(range(at + 1))

        def step(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
            if next(calls, at) == at:
                raise StoreUnavailable(detail="the server has gone away")
            return real(*given, **named)

        return step

    with standing_in(OwnerChanges, "_remove", fail(2)), pytest.raises(StoreUnavailable, match="in part"):
        authority.revoke_owner("alice")
    about = {"outcome": "unknown", "ownerId": "alice", "pats": 3}
    assert events() == [{"type": "owner.revoked", **about}]
    with standing_in(OwnerChanges, "_write_state", fail(1)), pytest.raises(StoreUnavailable, match="in part"):
        authority.disable_owner("alice")
    assert events() == [{"type": "owner.disabled", **about}]


@pytest.mark.usefixtures("small_pieces")
def test_a_disabling_whose_reply_was_lost_says_that_it_could_not_read_a_pat(make_at: Make) -> None:
    """A piece that is sent twice, or is done by another call: what it could not read is forgotten."""
    authority = make_at()
    made = [issue(authority, f"n{number}") for number in range(5)]
    pats = store_of(authority).pats
    pats.scripts.call([("SETRANGE", pats.keys.pat(PatId(made[0].pat.id)), 0, b"3")])
    sent: list[int] = []

    def twice(real: Callable[..., Any], self: Scripts, script: Script, *given: Any, **named: Any) -> Any:
        if script is owner_changes._STATE and not sent:
            sent.append(1)
            real(self, script, *given, **named)
        return real(self, script, *given, **named)

    with standing_in(Scripts, "run", twice), pytest.raises(StoreUnavailable):
        authority.disable_owner("alice")


@contextmanager
def losing_reply(script: Script, number: int) -> Iterator[None]:
    """Lose the reply to the n-th call of a script: the server has done it, and then hangs up."""
    calls = 0

    def send(real: Callable[..., Any], wire: Wire, packed: bytes, *given: Any) -> Any:
        nonlocal calls
        replies = real(wire, packed, *given)
        if script.digest in packed:
            calls += 1
            if calls == number:
                raise ConnectionResetError("the server hangs up")
        return replies

    with standing_in(Wire, "send", send):
        yield


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_change_of_all_counts_the_pats_of_a_piece_whose_reply_was_lost(make_at: Make, number: int) -> None:
    authority = make_at()
    for one in range(10):
        issue(authority, f"n{one}")
    authority.enable_owner("alice")  # so that the server knows the script
    with losing_reply(owner_changes._STATE, number):
        assert authority.disable_owner("alice") == 10
    with losing_reply(owner_changes._STATE, number):
        assert authority.enable_owner("alice") == 10


@pytest.mark.usefixtures("small_pieces")
@each("number", [2, 3, 4, 5])
def test_pats_whose_removal_was_not_answered_are_in_the_trail(
    make_at: Make, events: Any, number: int
) -> None:
    """Nobody else will say that they are gone."""
    authority = make_at()
    authority.revoke_owner("bob")  # so that the server knows the script
    for one in range(10):
        issue(authority, f"n{one}")
    events()
    removed = min(3 * (number - 1), 10)
    with losing_reply(owner_changes._REVOKE, number), pytest.raises(StoreUnavailable, match="in part"):
        authority.revoke_owner("alice")
    (event,) = events()
    assert (event["type"], event["outcome"], event["pats"]) == ("owner.revoked", "unknown", removed)
    assert authority.revoke_owner("alice") == 10 - removed
