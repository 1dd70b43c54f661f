"""What one owner can have, and what it costs: bounds, quotas of makers, marks, and changes in pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from patauth import (
    Authority,
    Conflict,
    Disabled,
    Forbidden,
    InvalidCredentials,
    InvalidRequest,
    IssuedPat,
    Overloaded,
    Owner,
    PatAuthError,
    Person,
    RateLimited,
    StoreUnavailable,
)
from patauth.model.pat_id import PatId
from patauth.store import owners as store_owners
from patauth.store.owners import Owners
from patauth.store.scripts import Script, Scripts
from tests.support.authorities import Make, basic_of, issue
from tests.support.clocks import MINUTE, Clock
from tests.support.internals import store_of
from tests.support.interventions import standing_in
from tests.support.servers import Server, shared_engines
from tests.support.tables import each

MY, ALL = "idn:my-personal-access-tokens:manage", "idn:all-personal-access-tokens:manage"
SECOND = timedelta(seconds=1)


def names(authority: Authority, **given: Any) -> list[str]:
    return [pat.name for pat in authority.list(owner_id="alice", **given)]


def owner_keys(authority: Authority, owner_id: str = "alice") -> list[bytes]:
    """The keys of an owner that the store holds now."""
    store = store_of(authority)
    tag = store.keyring.owner_tag("default", owner_id)
    keys = list(store.pats.keys.owner(tag, owner_id))
    return [
        key
        for key, there in zip(keys, store.pats.scripts.call([("EXISTS", key) for key in keys]), strict=True)
        if there
    ]


# -- expired PATs --------------------------------------------------------------------------------------------


def test_of_expired_pats_the_oldest_go_first_and_with_them_their_names(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, max_kept_per_owner=3)
    made = []
    for number in range(6):
        made.append(issue(authority, f"n{number}", expires_in=SECOND * (number + 1)).pat.id)
        clock.advance(1)
    clock.advance(10_000)
    assert names(authority) == [f"n{number}" for number in range(6)], "nothing goes before a creation"
    issue(authority, "new")
    assert names(authority) == ["n3", "n4", "n5", "new"]
    assert len(authority.list()) == 4, "the tenant's index has lost them, too"
    assert store_of(authority).pats.read([PatId(made[0])]) == [None]
    issue(authority, "n0")
    with pytest.raises(Conflict):
        issue(authority, "n5")


def test_who_makes_pats_that_expire_at_once_never_has_more_than_both_bounds_allow(
    make: Make, clock: Clock
) -> None:
    authority = make(clock=clock, max_pats_per_owner=4, max_kept_per_owner=5)
    for number in range(60):
        issue(authority, f"n{number}", expires_in=timedelta(milliseconds=20))
        clock.advance(7)
        assert len(authority.list(owner_id="alice")) <= 4 + 5 + 1
    assert len(authority.list()) == len(authority.list(owner_id="alice"))


@shared_engines
def test_one_creation_removes_at_most_ten(make: Make, clock: Clock) -> None:
    """A setting that is lowered costs no creation more than that."""
    authority = make(clock=clock, max_pats_per_owner=100)
    for number in range(30):
        issue(authority, f"n{number}", expires_in=SECOND)
    clock.advance(2000)
    lower = make(clock=clock, max_kept_per_owner=0)
    for number, left in enumerate((20, 10, 0, 0)):
        issue(lower, f"new{number}", expires_in=timedelta(days=1))
        assert len([name for name in names(lower) if not name.startswith("new")]) == left


def test_nothing_is_left_of_an_owner_whose_pats_are_past_their_retention(make: Make, clock: Clock) -> None:
    """Neither the id in a key nor a name. Real engines do it by TTL, which the test's clock does not move."""
    authority = make(clock=clock, retention=60)
    issue(authority, "laptop", expires_in=SECOND)
    store = store_of(authority)
    found = owner_keys(authority)
    assert len(found) == 3
    left = store.pats.scripts.call([("PTTL", key) for key in found])
    assert all(60_000 < ms <= 61_000 for ms in left)
    forever = issue(authority, "server", never_expires=True)
    assert store.pats.scripts.call([("PTTL", key) for key in found]) == [-1] * 3
    authority.delete(forever.pat.id)
    assert all(0 < ms <= 61_000 for ms in store.pats.scripts.call([("PTTL", key) for key in found]))
    authority.revoke_owner("alice")
    assert owner_keys(authority) == []
    authority.disable_owner("alice")
    assert len(owner_keys(authority)) == 1
    authority.enable_owner("alice")
    assert owner_keys(authority) == []


# -- pages ---------------------------------------------------------------------------------------------------


def test_a_page_in_order_of_creation_is_that_part_of_all(authority: Authority, clock: Clock) -> None:
    every = [f"n{number}" for number in range(8)]
    for name in every:
        issue(authority, name)
        clock.advance(1)
    assert names(authority) == every
    for offset, limit in [(0, 0), (0, 3), (2, 3), (6, 3), (7, 3), (9, 1), (0, 500), (0, 501)]:
        page = authority.list(owner_id="alice", offset=offset, limit=limit, count=True)
        assert [pat.name for pat in page] == every[offset : offset + limit]
        assert page.total == 8


def test_a_page_has_no_hole_where_pats_are_past_their_retention(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_owners, "_PIECE", 3)
    authority = make(clock=clock, retention=60, max_pats_per_owner=100)
    for number in range(20):
        issue(authority, f"n{number}", expires_in=SECOND if number % 3 else timedelta(days=1))
        clock.advance(1)
    clock.advance(2 * MINUTE)
    page = authority.list(owner_id="alice", limit=4, count=True)
    assert [pat.name for pat in page] == ["n0", "n3", "n6", "n9"]
    assert page.total == 7


def test_an_entry_that_lost_its_record_is_repaired_by_the_page_that_meets_it(
    authority: Authority, clock: Clock
) -> None:
    made = []
    for number in range(5):
        made.append(issue(authority, f"n{number}").pat.id)
        clock.advance(1)
    pats = store_of(authority).pats
    pats.scripts.call([("DEL", pats.keys.pat(PatId(made[1])))])
    page = authority.list(owner_id="alice", limit=3, count=True)
    assert (len(page), page.total) == (3, 4)
    issue(authority, "n1")


# -- quotas of makers ----------------------------------------------------------------------------------------


def maker_of(authority: Authority, **given: Any) -> tuple[IssuedPat, Any]:
    maker = issue(authority, "maker", scope=["reports:read", MY], **given)
    return maker, authority.authenticate(basic_of(maker))


def make_one(authority: Authority, name: str, by: Any, **given: Any) -> IssuedPat:
    return authority.create(name=name, scope=["reports:read"], expires_in=timedelta(days=1), by=by, **given)


def test_deleting_and_making_again_does_not_reset_the_create_quota(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, create_quota="3/60")
    _, by = maker_of(authority)
    for number in range(3):
        authority.delete(make_one(authority, f"n{number}", by).pat.id)
    with pytest.raises(RateLimited) as limited:
        make_one(authority, "n3", by)
    assert (limited.value.quota, limited.value.retry_after) == ("creations", 20)
    issue(authority, "the host's")
    clock.advance(20_000)
    made = make_one(authority, "n3", by)
    authority.rotate(made.pat.id, by=by)
    authority.delete(made.pat.id, by=by)


def test_the_create_quota_is_of_the_maker_whoever_owns_the_pat_and_however_they_call(
    make: Make, clock: Clock
) -> None:
    authority = make(clock=clock, create_quota="2/60")
    operator = issue(authority, "operator", owner=Owner("root"), scope=["reports:read", ALL])
    by = authority.authenticate(basic_of(operator))
    person = Person(Owner("root"), by.scopes)
    make_one(authority, "one", by, owner=Owner("bob"))
    make_one(authority, "two", person, owner=Owner("carol"))
    for caller in (by, person):
        with pytest.raises(RateLimited):
            make_one(authority, "three", caller, owner=Owner("dave"))
    _, other = maker_of(authority)
    make_one(authority, "another maker's", other)


def test_a_creation_that_is_refused_is_not_charged(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, create_quota="1/60")
    _, by = maker_of(authority)
    for _ in range(3):
        with pytest.raises(Conflict):
            make_one(authority, "maker", by)
        with pytest.raises(InvalidRequest):
            authority.create(name="x", scope=["admin"], expires_in=timedelta(days=1), by=by)
    make_one(authority, "one", by)


@each(
    "own, asked, passes",
    [
        ("20/10", "20/10", True),
        ("20/10", "10/10", True),
        ("20/10", "20/20", True),
        ("20/10", "21/10", False),
        ("20/10", "20/9", False),
        ("20/10", "40/20", False),  # the same rate in bursts twice as large
        ("20/10", "1000000/1", False),
        (None, "100/10", True),  # the setting
        (None, "101/10", False),
    ],
)
def test_a_request_quota_never_grows(
    make: Make, clock: Clock, own: str | None, asked: str, passes: bool
) -> None:
    authority = make(clock=clock)
    authority.revoke_owner("alice")  # the row before
    _, by = maker_of(authority, request_quota=own)
    if passes:
        made = make_one(authority, "child", by, request_quota=asked)
        assert str(made.pat.request_quota) == asked
    else:
        with pytest.raises(InvalidRequest, match="request_quota"):
            make_one(authority, "child", by, request_quota=asked)
    assert str(issue(authority, "the host's", request_quota=asked).pat.request_quota) == asked


def test_a_secret_has_a_bounded_number_of_access_tokens(make: Make, clock: Clock) -> None:
    """An exchange beyond it passes when one has expired or was revoked; another secret has its own."""
    authority = make(clock=clock, max_tokens_per_secret=2, access_token_ttl=900)
    issued = issue(authority)
    first = authority.exchange(issued.pat.id, issued.secret)
    clock.advance(100_000)
    second = authority.exchange(issued.pat.id, issued.secret)
    with pytest.raises(RateLimited) as limited:
        authority.exchange(issued.pat.id, issued.secret)
    assert (limited.value.quota, limited.value.count, limited.value.retry_after) == ("tokens", 2, 800)
    assert authority.revoke(second.value)
    third = authority.exchange(issued.pat.id, issued.secret)
    clock.advance(800_000)
    authority.exchange(issued.pat.id, issued.secret)
    with pytest.raises(PatAuthError):
        authority.verify_bearer(first.value)
    rotated = authority.rotate(issued.pat.id, overlap=timedelta(0))
    with pytest.raises(PatAuthError):
        authority.verify_bearer(third.value)
    authority.exchange(rotated.pat.id, rotated.secret)


def test_where_the_exchange_quota_bounds_the_tokens_nothing_counts_them(make: Make, clock: Clock) -> None:
    authority = make(clock=clock)  # 60 at once and 60 a minute, for 15 minutes: 960
    issued = issue(authority, access_token_ttl=900)
    long = issue(authority, "long", access_token_ttl=43_200)
    pats = store_of(authority).pats
    indexes = [pats.keys.tokens_of(PatId(one.pat.id), 1) for one in (issued, long)]
    for one in (issued, long):
        authority.exchange(one.pat.id, one.secret)
    assert pats.scripts.call([("EXISTS", index) for index in indexes]) == [0, 1]
    assert 0 < pats.scripts.call([("PTTL", indexes[1])])[0] <= 43_200_000


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
    monkeypatch.setattr(store_owners, "_PIECE", 3)


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


@pytest.mark.usefixtures("small_pieces")
@each("kind, change, usable", list(kinds_of_change()))
def test_a_change_that_is_cut_anywhere_is_finished_by_its_repeat(
    make: Make, clock: Clock, kind: str, change: Callable[[Authority], int], usable: bool
) -> None:
    for at in range(12):
        authority = make(clock=clock, max_pats_per_owner=20, key_prefix=f"cut{kind}{at}")
        authority.revoke_owner("alice")
        issued = [issue(authority, f"n{number}") for number in range(10)]
        if kind == "enable":
            authority.disable_owner("alice")
        with (
            standing_in(Owners, "_write_state" if kind != "revoke" else "_remove", stopping(at)),
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

    with standing_in(Owners, "_write_state", fail_over):
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

    with standing_in(Owners, "_remove", step):
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
                with standing_in(Owners, "_write_state", begin_only), suppress(Stop):
                    other("alice")
            return real(*given, **named)

        with standing_in(Owners, "_write_state", step), pytest.raises(Conflict, match="at the same time"):
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

    with standing_in(Owners, "_write_state", step):
        authority.disable_owner("alice")
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

    with standing_in(Owners, "_write_state", step):
        authority.disable_owner("alice")
    assert not any(passes(authority, one) for one in issued)


@pytest.mark.usefixtures("small_pieces")
def test_what_was_done_before_an_error_is_in_the_trail(
    make_at: Make, caplog: pytest.LogCaptureFixture
) -> None:
    authority = make_at()
    for number in range(10):
        issue(authority, f"n{number}")
    caplog.set_level("INFO", "patauth.audit")

    def fail(at: int) -> Callable[..., Any]:
        calls = iter(range(at + 1))

        def step(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
            if next(calls, at) == at:
                raise StoreUnavailable(detail="the server has gone away")
            return real(*given, **named)

        return step

    with standing_in(Owners, "_remove", fail(2)), pytest.raises(StoreUnavailable, match="in part"):
        authority.revoke_owner("alice")
    assert '"ownerId": "alice", "pats": 3, "outcome": "unfinished"' in caplog.text
    with standing_in(Owners, "_write_state", fail(1)), pytest.raises(StoreUnavailable, match="in part"):
        authority.disable_owner("alice")
    assert '"event": "owner.disable", "ownerId": "alice", "pats": 3, "outcome": "unfinished"' in caplog.text


# -- cost ----------------------------------------------------------------------------------------------------


def test_what_is_done_with_one_pat_takes_as_many_commands_whatever_the_owner_has(
    make_at: Make, server: Server
) -> None:
    """Commands in the server, those of scripts included: create, page, verify, patch, delete."""
    authority = make_at(max_pats_per_owner=10_000, max_kept_per_owner=10_000, create_quota="1000000/1")
    for owner, count in (("few", 10), ("many", 1_000)):
        for number in range(count):
            given = {"never_expires": True} if number % 2 else {"expires_in": timedelta(milliseconds=1)}
            issue(authority, f"n{number}", owner=Owner(owner), scope=["a"], **given)

    def commands_of(call: Callable[[], Any]) -> int:
        before = server.calls()
        call()
        uncounted = ("config", "info", "client", "cluster")
        counts = {name: count - before.get(name, 0) for name, count in server.calls().items()}
        return sum(count for name, count in counts.items() if not name.startswith(uncounted))

    def costs(owner: str) -> list[int]:
        made: list[IssuedPat] = []
        steps: list[Callable[[], Any]] = [
            lambda: made.append(issue(authority, "one", owner=Owner(owner), scope=["a"], never_expires=True)),
            lambda: authority.list(owner_id=owner, limit=5, count=True),
            lambda: authority.verify_basic(made[0].pat.id, made[0].secret),
            lambda: authority.verify_basic(made[0].pat.id, made[0].secret),
            lambda: authority.update(made[0].pat.id, name="other"),
            lambda: authority.delete(made[0].pat.id),
        ]
        return [commands_of(step) for step in steps]

    costs("few"), costs("many")  # a server that lacks a script is sent it once
    assert costs("few") == costs("many")


def test_no_script_touches_more_than_a_piece(make_at: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the keys nor the arguments of one script grow with the PATs of an owner."""
    authority = make_at(max_pats_per_owner=10_000)
    for number in range(350):
        issue(authority, f"n{number}", scope=["a"])
    most = 0

    def run(
        real: Callable[..., Any], scripts: Scripts, script: Script, keys: Any, *given: Any, **named: Any
    ) -> Any:
        nonlocal most
        most = max(most, len(keys))
        return real(scripts, script, keys, *given, **named)

    with standing_in(Scripts, "run", run), standing_in(Scripts, "run_durably", run):
        assert authority.disable_owner("alice") == authority.enable_owner("alice") == 350
        assert authority.revoke_owner("alice") == 350
    assert most <= 6 + 3 * 100
