"""What is kept of removed PATs: who sees it and for how long, and that nothing in it opens anything."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from patauth import (
    Authority,
    Conflict,
    Forbidden,
    InvalidCredentials,
    InvalidRequest,
    IssuedPat,
    NotFound,
    Owner,
    PersonalAccessToken,
    Requester,
    StoreUnavailable,
)
from patauth.model.pat_id import PatId
from patauth.operations import listing, sweep
from patauth.store import removed as removed_pats
from patauth.store.record import pack_note
from patauth.store.removed import Removed
from patauth.store.scripts import Script, Scripts
from tests.support.authorities import Make, basic_of, issue, maker, maker_of
from tests.support.clocks import Clock
from tests.support.internals import store_of
from tests.support.interventions import Before, standing_in
from tests.support.searches import examples
from tests.support.servers import Server, commands_of, shared_engines
from tests.support.tenants import cut_after, keys_like, keys_of, put, record_of, send

REVOKED = 'state eq "revoked"'
MY, READ = "idn:my-personal-access-tokens:manage", "idn:all-personal-access-tokens:read"
RETENTION = 1000  # s
ALICE, BOB = Owner("alice", "Alice"), Owner("bob")


def removed(authority: Authority, owner_id: str | None = None, **given: Any) -> list[str]:
    """The names of removed PATs, in the order of their removal unless another one is given."""
    found = authority.list(owner_id=owner_id, **{"filters": REVOKED, "sort": "revokedAt", **given})
    return [pat.name for pat in found]


def swept(authority: Authority) -> int:
    """The number of entries of removed PATs that a sweep has taken out."""
    return sum(sweep.sweep(authority.operations.actor(None)).removed_entries)


def content(authority: Authority) -> dict[bytes, bytes]:
    """All keys of the store with what each one holds, as the server would write it to its disk."""
    found = keys_like(authority, f"{authority.settings.key_prefix}:*".encode())
    kinds = send(authority, *(("TYPE", key) for key in found))
    reads = {
        b"string": lambda key: ("GET", key),
        b"hash": lambda key: ("HGETALL", key),
        b"zset": lambda key: ("ZRANGE", key, 0, -1, "WITHSCORES"),
    }
    held = send(
        authority,
        *(
            reads[kind if isinstance(kind, bytes) else str(kind).encode()](key)
            for key, kind in zip(found, kinds, strict=True)
        ),
    )
    return {key: b"".join(_flat(value)) for key, value in zip(found, held, strict=True)}


def _flat(value: Any) -> Iterator[bytes]:
    if isinstance(value, dict):
        value = [part for pair in value.items() for part in pair]
    if not isinstance(value, list):
        yield value if isinstance(value, bytes) else str(value).encode()
        return
    for part in value:
        yield from _flat(part)


# -- what is kept --------------------------------------------------------------------------------------------


def test_a_removed_pat_is_shown_as_it_was_with_when_by_whom_and_why(
    authority: Authority, clock: Clock
) -> None:
    maker, by = maker_of(authority)
    made = issue(authority, "laptop", request_quota="7/10", access_token_ttl=60)
    authority.authenticate(basic_of(made))
    authority.update(made.pat.id, name="notebook")
    before = authority.get(made.pat.id)
    clock.advance(5)
    authority.delete(made.pat.id, reason="lost cafe\u0301 bag", by=by)
    (found,) = authority.list(filters=REVOKED)
    assert (
        found
        == authority.get(made.pat.id, removed=True)
        == authority.list(owner_id="alice", filters=REVOKED)[0]
    )
    assert (found.state, found.revoked_ms) == ("revoked", clock.now)
    assert found.revoked_by == Requester("alice", maker.pat.id)
    assert found.revoked_reason == "lost caf\u00e9 bag"
    for name in ("id", "name", "scope", "owner", "tenant", "created", "expires_at", "last_used"):
        assert getattr(found, name) == getattr(before, name), name
    assert (str(found.request_quota), found.access_token_ttl) == ("7/10", 60)


def test_it_is_unknown_to_everything_that_does_not_ask_for_it(authority: Authority, clock: Clock) -> None:
    made = issue(authority, scope=[MY, READ])
    access = authority.exchange(made.pat.id, made.secret).value
    by = authority.authenticate(basic_of(made))
    other = issue(authority, "other")
    clock.advance(1)
    authority.delete(made.pat.id)
    calls: list[Callable[[], object]] = [
        lambda: authority.get(made.pat.id),
        lambda: authority.update(made.pat.id, name="x"),
        lambda: authority.patch(made.pat.id, [put("/name", "x")]),
        lambda: authority.rotate(made.pat.id),
        lambda: authority.disable(made.pat.id),
        lambda: authority.enable(made.pat.id),
        lambda: authority.delete(made.pat.id),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            call()
    for call in (
        lambda: authority.authenticate(basic_of(made)),
        lambda: authority.verify_bearer(made.token),
        lambda: authority.exchange(made.pat.id, made.secret),
        lambda: authority.delete(other.pat.id, by=by),
    ):
        with pytest.raises(InvalidCredentials):
            call()
    assert not authority.introspect(made.token).active
    assert not authority.introspect(access).active
    assert not authority.revoke(made.token)
    for filters in (
        None,
        'name eq "ci"',
        f'id eq "{made.pat.id}"',
        'not state eq "active"',
        "lastUsed isnull",
    ):
        for owner_id in (None, "alice"):
            found = authority.list(owner_id=owner_id, filters=filters, count=True)
            assert made.pat.id not in [pat.id for pat in found]
            assert found.total == len(found)
    assert authority.disable_owner("alice") == 1
    assert authority.enable_owner("alice") == 1
    assert authority.revoke_owner("alice") == 1
    assert authority.get(made.pat.id, removed=True).revoked_by is None, "who came first has removed it"


def test_its_name_is_free_at_once_and_it_counts_for_nothing(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, max_pats_per_owner=1)
    for turn in range(3):
        made = issue(authority, "ci", never_expires=True)
        with pytest.raises(Conflict):
            issue(authority, "ci")
        clock.advance(1)
        authority.delete(made.pat.id, reason=f"turn {turn}")
    assert removed(authority) == ["ci"] * 3
    assert [pat.revoked_reason for pat in authority.list(filters=REVOKED, sort="-revokedAt")] == [
        "turn 2",
        "turn 1",
        "turn 0",
    ]


@pytest.mark.parametrize("rotated", [False, True])
def test_no_byte_of_a_secret_stays(authority: Authority, clock: Clock, rotated: bool) -> None:
    """Neither salt, digest nor tag, of the current secret or of a previous one, in any key of the store."""
    made = issue(authority, "gone")
    access = authority.exchange(made.pat.id, made.secret).value
    if rotated:
        authority.rotate(made.pat.id, overlap=timedelta(hours=1))
    record = record_of(authority, made.pat.id)
    assert len(record.secrets) == 1 + rotated
    parts = [part for slot in record.secrets for part in (slot.tag, slot.digest.salt, slot.digest.digest)]
    assert any(part in value for value in content(authority).values() for part in parts)
    authority.delete(made.pat.id, reason="why")
    held = content(authority)
    kept = held[keys_of(authority).removed(PatId(made.pat.id))]
    head, rest = record.packed[3:69], record.packed[69 + 77 * (1 + rotated) :]
    assert kept == b"2r0" + head + clock.now.to_bytes(6) + pack_note(None, "why") + rest
    for value in (*held, *held.values()):
        assert not any(part in value for part in parts)
    for text in (made.secret, made.token, access):
        assert not any(text.encode() in value for value in held.values())


def test_what_is_kept_opens_nothing_in_the_place_of_a_pat(authority: Authority) -> None:
    """Were it ever written under the key of a PAT: that is no record of one, and is refused."""
    made = issue(authority, "gone", scope=[MY])
    authority.delete(made.pat.id)
    keys, pat_id = keys_of(authority), PatId(made.pat.id)
    (kept,) = send(authority, ("GET", keys.removed(pat_id)))
    send(authority, ("SET", keys.pat(pat_id), kept))
    for value in (basic_of(made), f"Bearer {made.token}"):
        with pytest.raises((InvalidCredentials, StoreUnavailable)):
            authority.authenticate(value)
    with pytest.raises((InvalidCredentials, StoreUnavailable)):
        authority.exchange(made.pat.id, made.secret)
    for call in (authority.get, authority.rotate, authority.enable):
        with pytest.raises(StoreUnavailable):
            call(made.pat.id)


def test_each_way_to_end_a_pat_keeps_it(authority: Authority, clock: Clock) -> None:
    by_itself, shown, expired, of_owner = (
        issue(authority, name, scope=[MY], expires_in=timedelta(seconds=1))
        for name in ("by itself", "shown", "expired", "of owner")
    )
    principal = authority.authenticate(basic_of(by_itself))
    authority.delete(by_itself.pat.id, by=principal)
    clock.advance(1)
    assert authority.revoke(shown.token)
    clock.advance(1000)
    authority.delete(expired.pat.id, "too late")
    clock.advance(1)
    assert authority.revoke_owner("alice", reason="left us") == 1
    found = authority.list(filters=REVOKED, sort="revokedAt")
    assert [(pat.name, pat.revoked_reason) for pat in found] == [
        ("by itself", None),
        ("shown", None),
        ("expired", "too late"),
        ("of owner", "left us"),
    ]
    assert found[0].revoked_by == Requester("alice", by_itself.pat.id)
    assert [pat.revoked_by for pat in found[1:]] == [None] * 3
    assert of_owner.pat.id == found[3].id


def test_what_goes_by_age_or_is_undone_is_not_kept(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, max_kept_per_owner=1)
    for number in range(4):
        issue(authority, f"n{number}", expires_in=timedelta(milliseconds=1))
        clock.advance(2)
    issue(authority, "last")
    pats = store_of(authority).pats
    pats.delete(issue(authority, "undone").pat)  # as `create` does when the outcome is not known
    assert removed(authority) == []
    assert keys_like(authority, f"{authority.settings.key_prefix}:*:[dh]:*".encode()) == []


@pytest.mark.parametrize("given", [{"retention": 0}, {"max_kept_per_owner": 0}])
def test_who_wants_to_keep_nothing_keeps_nothing(make: Make, clock: Clock, given: dict[str, Any]) -> None:
    authority = make(clock=clock, **given)
    issue(authority, "one")
    authority.delete(issue(authority, "two").pat.id)
    authority.revoke_owner("alice")
    assert removed(authority) == removed(authority, "alice") == []
    found = keys_like(authority, f"{authority.settings.key_prefix}:*".encode())
    assert not [key for key in found if b"}:d:" in key or b"}:h:" in key or key.endswith(b"removed")]


@pytest.mark.parametrize("reason", ["", " ", "x" * 257, "a\nb", "\u202eabc", 7])
def test_a_reason_is_a_text_for_people(authority: Authority, reason: Any) -> None:
    made = issue(authority)
    for call in (
        lambda: authority.delete(made.pat.id, reason),
        lambda: authority.revoke_owner("alice", reason),
    ):
        with pytest.raises(InvalidRequest) as caught:
            call()
        assert caught.value.field == "reason"
    assert authority.get(made.pat.id)
    authority.delete(made.pat.id, "\u20ac" * 256)
    assert authority.get(made.pat.id, removed=True).revoked_reason == "\u20ac" * 256


# -- who sees it ---------------------------------------------------------------------------------------------


def test_who_may_read_a_pat_sees_it_once_it_is_removed_and_nobody_else(authority: Authority) -> None:
    mine, theirs = issue(authority, "mine"), issue(authority, "theirs", owner=BOB)
    by = {
        name: authority.authenticate(basic_of(issue(authority, name, scope=[scope], owner=Owner("alice"))))
        for name, scope in (("own", MY), ("all", READ), ("none", "x"))
    }
    for made in (mine, theirs):
        authority.delete(made.pat.id)
    assert authority.get(mine.pat.id, removed=True, by=by["own"]).id == mine.pat.id
    assert removed(authority, "me", by=by["own"]) == ["mine"]
    with pytest.raises(NotFound):
        authority.get(theirs.pat.id, removed=True, by=by["own"])
    with pytest.raises(Forbidden):
        removed(authority, "bob", by=by["own"])
    with pytest.raises(Forbidden):
        removed(authority, by=by["own"])
    assert sorted(removed(authority, by=by["all"])) == ["mine", "theirs"]
    assert authority.get(theirs.pat.id, removed=True, by=by["all"]).name == "theirs"
    for call in (partial(authority.get, mine.pat.id, removed=True), partial(removed, authority, "me")):
        with pytest.raises(Forbidden):
            call(by=by["none"])
    with pytest.raises(NotFound):
        authority.get("0" * 32, removed=True)
    with pytest.raises(NotFound):
        authority.get("no id", removed=True)


@shared_engines
def test_another_tenant_sees_nothing_of_it(make: Make, clock: Clock) -> None:
    authority, other = make(clock=clock), make(clock=clock, tenant="other")
    made = issue(authority)
    authority.delete(made.pat.id)
    assert removed(other) == removed(other, "alice") == []
    with pytest.raises(NotFound):
        other.get(made.pat.id, removed=True)


# -- bounds --------------------------------------------------------------------------------------------------


def test_an_owner_keeps_the_newest(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, max_kept_per_owner=3)
    made = []
    for number in range(7):
        made.append(issue(authority, f"n{number}"))
        clock.advance(1)
        authority.delete(made[-1].pat.id)
    assert send(authority, ("ZCARD", keys_of(authority).tenant_removed)) == [3], "and no listing mended it"
    for owner_id in (None, "alice"):
        assert removed(authority, owner_id) == ["n4", "n5", "n6"]
        assert authority.list(owner_id=owner_id, filters=REVOKED, limit=0, count=True).total == 3
    with pytest.raises(NotFound):
        authority.get(made[0].pat.id, removed=True)
    found = keys_like(authority, f"{authority.settings.key_prefix}:*:d:*".encode())
    assert len(found) == 3, "their records go, too"


def test_what_an_owner_removes_pushes_out_nothing_that_others_have_removed(make: Make, clock: Clock) -> None:
    """Whoever has a secret of the owner would cover their traces otherwise."""
    authority = make(clock=clock, max_kept_per_owner=3, create_quota="1000/1")
    _, by = maker_of(authority)
    for number in range(2):
        clock.advance(1)
        authority.delete(issue(authority, f"operator {number}").pat.id)
    for number in range(5):
        clock.advance(1)
        authority.delete(issue(authority, f"owner {number}").pat.id, by=by)
    assert removed(authority, "alice") == ["operator 0", "operator 1", "owner 4"]
    clock.advance(1)
    authority.delete(issue(authority, "operator 2").pat.id)
    authority.delete(issue(authority, "owner 5").pat.id, by=by)
    assert removed(authority, "alice") == ["operator 0", "operator 1", "operator 2"]
    clock.advance(1)
    authority.delete(issue(authority, "operator 3").pat.id)
    assert removed(authority, "alice") == removed(authority) == ["operator 1", "operator 2", "operator 3"]


def test_revoking_an_owner_keeps_as_many(make: Make, clock: Clock) -> None:
    """In pieces of a hundred, each of which keeps what it removes."""
    authority = make(clock=clock, max_pats_per_owner=1000, max_kept_per_owner=120)
    for number in range(250):
        issue(authority, f"n{number}", scope=["a"])
    assert authority.revoke_owner("alice", "left us") == 250
    found = authority.list(owner_id="alice", filters=REVOKED)
    assert len(found) == len(authority.list(filters=REVOKED)) == 120
    assert {pat.revoked_reason for pat in found} == {"left us"}


@shared_engines
def test_a_bound_that_is_lowered_takes_effect_by_few(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, max_pats_per_owner=100)
    for number in range(30):
        issue(authority, f"n{number}")
    authority.revoke_owner("alice")
    lower = make(clock=clock, max_kept_per_owner=2)
    for left in (21, 12, 3, 2, 2):
        authority.delete(issue(lower, "x").pat.id) if left < 0 else lower.delete(issue(lower, "x").pat.id)
        assert len(removed(lower, "alice")) == left


def test_it_goes_when_its_retention_is_over(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, retention=RETENTION)
    made = [issue(authority, f"n{number}", never_expires=True) for number in range(2)]
    authority.delete(made[0].pat.id)
    clock.advance(1)
    authority.delete(made[1].pat.id)
    keys = keys_of(authority)
    pat_id = PatId(made[0].pat.id)
    tag = store_of(authority).keyring.owner_tag("default", "alice")
    names = [keys.removed(pat_id), keys.owner(tag, "alice").removed, keys.tenant_removed]
    left = send(authority, *(("PTTL", name) for name in names))
    assert all(0 < ms <= 1000 * RETENTION for ms in left)
    clock.advance(1000 * RETENTION - 2)
    assert removed(authority) == removed(authority, "alice") == ["n0", "n1"]
    clock.advance(1)
    assert removed(authority) == removed(authority, "alice") == ["n1"]
    assert authority.list(filters=REVOKED, limit=0, count=True).total == 1
    with pytest.raises(NotFound):
        authority.get(made[0].pat.id, removed=True)
    clock.advance(1)
    assert removed(authority) == removed(authority, "alice") == []


@pytest.mark.parametrize("by_owner", [True, False])
def test_what_is_past_its_retention_takes_no_room(make: Make, clock: Clock, by_owner: bool) -> None:
    """The next removal takes its entry out, in the millisecond in which it is not listed any more."""
    authority = make(clock=clock, max_kept_per_owner=1, retention=RETENTION)
    _, by = maker_of(authority)
    authority.delete(issue(authority, "old").pat.id, by=by if by_owner else None)
    clock.advance(1000 * RETENTION)
    new = issue(authority, "new")
    authority.delete(new.pat.id, by=by)
    assert index_of(authority) == [new.pat.id]
    assert removed(authority) == removed(authority, "alice") == ["new"]


def index_of(authority: Authority) -> list[str]:
    """The PATs in the index of what alice has removed, in the order in which they have to go."""
    tag = store_of(authority).keyring.owner_tag("default", "alice")
    (entries,) = send(authority, ("ZRANGE", keys_of(authority).owner(tag, "alice").removed, 0, -1))
    return [tag + entry.hex() for entry in entries]


def test_only_what_is_too_much_is_trimmed(make: Make, clock: Clock) -> None:
    """Two removals at once may name the same entries."""
    authority = make(clock=clock, max_kept_per_owner=2)
    for number in range(2):
        authority.delete(issue(authority, f"n{number}").pat.id)
        clock.advance(1)
    entries = [PatId(pat_id).raw[4:] for pat_id in index_of(authority)]
    tag = store_of(authority).keyring.owner_tag("default", "alice")
    store_of(authority).removed.trim("alice", tag, entries, 2)
    assert removed(authority) == ["n0", "n1"]
    store_of(authority).removed.trim("alice", tag, entries, 1)
    assert removed(authority) == removed(authority, "alice") == ["n1"]


# -- listing -------------------------------------------------------------------------------------------------


def test_pages_sorters_and_filters_of_removed_pats(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, max_pats_per_owner=100)
    made, at = [], []
    for number in range(12):
        made.append(issue(authority, f"n{number:02}", owner=(ALICE, BOB)[number % 2]))
        clock.advance(1)
    for issued in reversed(made):
        clock.advance(1000)
        at.append(clock.now)
        authority.delete(issued.pat.id)
    names = [f"n{number:02}" for number in range(12)]
    for sort, expected in (
        ("revokedAt", names[::-1]),
        ("-revokedAt", names),
        ("name", names),
        ("-created", names[::-1]),
    ):
        assert removed(authority, sort=sort) == expected
        assert removed(authority, "bob", sort=sort) == [name for name in expected if int(name[1:]) % 2]
        for offset, limit in itertools.product((0, 3, 11, 12), (0, 1, 5, 20)):
            page = authority.list(filters=REVOKED, sort=sort, offset=offset, limit=limit, count=True)
            assert [pat.name for pat in page] == expected[offset : offset + limit]
            assert page.total == 12
    from_third = f"revokedAt ge {iso(at[2])}"
    for filters, expected in (
        (from_third, names[:10]),
        (f"{from_third} and revokedAt lt {iso(at[4])}", ["n08", "n09"]),
        (f'{REVOKED} and name eq "n03"', ["n03"]),
        (f'{REVOKED} and not name sw "n0"', ["n10", "n11"]),
        (f'state in ("revoked") and id eq "{made[5].pat.id}"', ["n05"]),
        (f'{REVOKED} and id eq "{"0" * 32}"', []),
        (f"{REVOKED} or {from_third}", names),
        (f'{REVOKED} and state eq "active"', []),
        (f"{REVOKED} and not {from_third}", ["n10", "n11"]),
        (f"{REVOKED} and lastUsed isnull", names),
    ):
        found = authority.list(filters=filters, sort="name", count=True)
        assert ([pat.name for pat in found], found.total) == (expected, len(expected)), filters
    for filters in (
        'state in ("revoked", "active")',
        f'{REVOKED} or name eq "n03"',
        f"revokedAt gt {iso(at[0])} or lastUsed isnull",
    ):
        for owner_id in (None, "alice"):
            with pytest.raises(InvalidRequest, match="alone"):
                authority.list(owner_id=owner_id, filters=filters)


def iso(ms: int) -> str:
    from patauth.model.dates import format_ms

    return format_ms(ms)


def test_the_other_states_are_filters_of_ordinary_lists(authority: Authority, clock: Clock) -> None:
    active, disabled, expired, gone = (issue(authority, name) for name in ("a", "d", "e", "g"))
    authority.update(expired.pat.id, expires_in=timedelta(seconds=1))
    authority.disable(disabled.pat.id)
    authority.delete(gone.pat.id)
    clock.advance(1000)
    for filters, expected in (
        ('state eq "active"', "a"),
        ('state eq "disabled"', "d"),
        ('state eq "expired"', "e"),
        ('state eq "not_yet"', ""),
        ('state in ("active", "expired")', "ae"),
        ('not state eq "active"', "de"),
        ('not state eq "revoked"', "ade"),
        (f"not revokedAt le {iso(clock.now)}", "ade"),
        ('state eq "active" and created le 2040-01-01T00:00:00Z', "a"),
        (f'state eq "active" or id eq "{disabled.pat.id}"', "ad"),
    ):
        for owner_id in (None, "alice"):
            found = authority.list(owner_id=owner_id, filters=filters, sort="name", count=True)
            assert "".join(pat.name for pat in found) == expected, filters
            assert found.total == len(expected)
            page = authority.list(owner_id=owner_id, filters=filters, sort="-created", limit=1)
            assert len(page) == min(1, len(expected))
    assert active.pat.state == "active"


def test_a_page_has_no_hole_where_records_have_gone(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, max_pats_per_owner=100)
    for number in range(20):
        issue(authority, f"n{number:02}")
    for pat in authority.list():
        clock.advance(1)
        authority.delete(pat.id)
    keys = keys_of(authority)
    gone = [pat for pat in authority.list(filters=REVOKED, sort="revokedAt") if int(pat.name[1:]) % 3]
    send(authority, *(("DEL", keys.removed(PatId(pat.id))) for pat in gone))
    page = authority.list(filters=REVOKED, sort="revokedAt", limit=4, count=True)
    assert len(page) == 4
    whole = authority.list(filters=REVOKED, sort="revokedAt", count=True)
    assert (len(whole), whole.total) == (7, 7)
    assert len(index_of(authority)) == 20
    assert len(removed(authority, "alice")) == len(index_of(authority)) == 7
    assert send(authority, ("ZCARD", keys.tenant_removed)) == [7]


def test_an_entry_that_differs_from_its_record_is_mended(authority: Authority, clock: Clock) -> None:
    """As after a failover that took back a removal, which was then repeated."""
    made = []
    for number in range(3):
        made.append(issue(authority, f"n{number}"))
        clock.advance(1)
        authority.delete(made[-1].pat.id)
    name = keys_of(authority).tenant_removed
    send(authority, ("ZADD", name, 1, PatId(made[2].pat.id).raw))
    assert removed(authority, limit=3) == ["n0", "n1", "n2"]
    assert float(send(authority, ("ZSCORE", name, PatId(made[2].pat.id).raw))[0]) == clock.now


def test_a_removal_corrects_an_entry_that_is_there(authority: Authority, clock: Clock) -> None:
    made, name = issue(authority), keys_of(authority).tenant_removed
    send(authority, ("ZADD", name, 1, PatId(made.pat.id).raw))
    authority.delete(made.pat.id)
    assert float(send(authority, ("ZSCORE", name, PatId(made.pat.id).raw))[0]) == clock.now


def test_an_entry_that_is_met_twice_is_listed_once(authority: Authority) -> None:
    """ZSCAN may find one again while others come and go."""
    for number in range(3):
        authority.delete(issue(authority, f"n{number}").pat.id)

    def twice(real: Callable[..., Any], *given: Any) -> Iterator[Any]:
        for piece in real(*given):
            yield piece
            yield piece

    with standing_in(Removed, "_entries", twice):
        assert sorted(removed(authority, "alice")) == ["n0", "n1", "n2"]


def test_a_record_of_another_pat_is_shown_to_nobody(authority: Authority) -> None:
    made = [issue(authority, f"n{number}") for number in range(2)]
    authority.revoke_owner("alice")
    keys = [keys_of(authority).removed(PatId(one.pat.id)) for one in made]
    (other,) = send(authority, ("GET", keys[1]))
    send(authority, ("SET", keys[0], other))
    with pytest.raises(StoreUnavailable):
        authority.get(made[0].pat.id, removed=True)


@pytest.mark.parametrize("count", [False, True])
def test_all_that_is_past_its_retention_is_taken_out_before_a_count(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch, count: bool
) -> None:
    """Else in bounded steps."""
    monkeypatch.setattr(removed_pats, "_GONE_AT_ONCE", 2)
    authority = make(clock=clock, retention=RETENTION, max_pats_per_owner=100)
    for number in range(7):
        issue(authority, f"n{number}")
    authority.revoke_owner("alice")
    clock.advance(1000 * RETENTION)
    authority.list(filters=REVOKED, sort="revokedAt", limit=0, count=count)
    assert send(authority, ("ZCARD", keys_of(authority).tenant_removed)) == [0 if count else 5]


def test_who_asks_for_too_many_is_told(make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST", 5)
    authority = make(clock=clock, max_pats_per_owner=100)
    for number in range(6):
        issue(authority, f"n{number}")
    authority.revoke_owner("alice")
    for owner_id, sort in ((None, "revokedAt"), (None, "name"), ("alice", "name")):
        with pytest.raises(InvalidRequest):
            authority.list(owner_id=owner_id, filters=REVOKED, sort=sort)
    assert len(authority.list(filters=REVOKED, sort="revokedAt", limit=5)) == 5
    with pytest.raises(InvalidRequest):
        authority.list(owner_id="alice", filters=REVOKED, limit=1)


# -- what goes wrong -----------------------------------------------------------------------------------------


def test_where_nothing_can_be_kept_the_end_counts(authority: Authority) -> None:
    """The key of the owner's index holds something else: a script that failed there would have done half."""
    one, other = issue(authority, "one"), issue(authority, "other")
    tag = store_of(authority).keyring.owner_tag("default", "alice")
    keys = keys_of(authority)
    send(authority, ("SET", keys.owner(tag, "alice").removed, "x"))
    authority.delete(one.pat.id)
    with pytest.raises(InvalidCredentials):
        authority.authenticate(basic_of(one))
    assert authority.revoke_owner("alice") == 1
    with pytest.raises(InvalidCredentials):
        authority.authenticate(basic_of(other))
    assert authority.list() == []
    assert send(authority, ("EXISTS", keys.removed(PatId(one.pat.id)))) == [0]
    with pytest.raises(NotFound):
        authority.get(one.pat.id, removed=True)
    issue(authority, "one")


@shared_engines
def test_a_removal_that_is_cut_short_is_in_the_tenants_list_after_a_sweep(fresh: Make, clock: Clock) -> None:
    """After each of its commands; its owner's list always has it."""
    count, was_cut, seen = 0, True, set()
    while was_cut:
        authority = fresh(max_kept_per_owner=1)
        authority.delete(issue(authority, "first").pat.id)
        made = issue(authority, "second")
        clock.advance(1)
        with cut_after(authority, count) as left:
            authority.delete(made.pat.id)
        was_cut, count = left[0] < 0, count + 1
        try:
            authority.get(made.pat.id)
        except NotFound:
            assert authority.get(made.pat.id, removed=True).revoked_ms == clock.now
            swept(authority)
            expected = removed(authority, "alice")
            assert expected in (["first", "second"], ["second"])
            assert removed(authority) == expected
            seen.add(len(expected))
        else:
            assert removed(authority) == removed(authority, "alice") == ["first"]
            seen.add(0)
        authority.revoke_owner("alice")
        clock.advance(1)
        authority.delete(issue(authority, "last").pat.id)
        assert removed(authority) == removed(authority, "alice") == ["last"], "the next removal trims"
    assert seen == {0, 1, 2}


def test_a_removal_whose_surplus_cannot_be_removed_is_done(
    make: Make, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    authority = make(clock=clock, max_kept_per_owner=1)
    first, second, third = (issue(authority, name) for name in ("first", "second", "third"))
    authority.delete(first.pat.id)
    clock.advance(1)

    def run(real: Callable[..., Any], scripts: Scripts, script: Script, *given: Any, **named: Any) -> Any:
        if script is removed_pats._TRIM:
            raise StoreUnavailable(detail="gone")
        return real(scripts, script, *given, **named)

    with standing_in(Scripts, "run", run):
        authority.delete(second.pat.id)
    assert "more removed PATs than the setting allows: gone" in caplog.text
    with pytest.raises(InvalidCredentials):
        authority.authenticate(basic_of(second))
    assert removed(authority) == removed(authority, "alice") == ["first", "second"]
    clock.advance(1)
    authority.delete(third.pat.id)
    assert removed(authority) == removed(authority, "alice") == ["third"]


@shared_engines
def test_a_sweep_enters_what_the_tenants_index_has_lost(make: Make, clock: Clock) -> None:
    authority = make(clock=clock)
    _, by = maker_of(authority)
    made = [issue(authority, f"n{number}") for number in range(4)]
    for one in made:
        clock.advance(1)
        authority.delete(one.pat.id, by=by if one is made[2] else None)
    keys = keys_of(authority)
    scores = send(authority, ("ZRANGE", keys.tenant_removed, 0, -1, "WITHSCORES"))
    send(authority, ("DEL", keys.tenant_removed), ("DEL", keys.removed(PatId(made[0].pat.id))))
    assert removed(authority) == []
    assert swept(authority) == 1, "the entry of the owner's index without a record"
    assert removed(authority) == ["n1", "n2", "n3"]
    assert send(authority, ("ZRANGE", keys.tenant_removed, 0, -1, "WITHSCORES")) == [scores[0][2:]]
    assert send(authority, ("PTTL", keys.tenant_removed))[0] > 0


@shared_engines
def test_a_sweep_takes_out_what_has_gone_by_its_ttl(make: Make, clock: Clock) -> None:
    """In both indexes, of all owners, and nothing else."""
    authority = make(clock=clock, max_pats_per_owner=300, max_kept_per_owner=300)
    made = [issue(authority, f"n{number}", owner=(ALICE, BOB)[number % 2]) for number in range(250)]
    authority.revoke_owner("alice")
    authority.revoke_owner("bob")
    keys = keys_of(authority)
    send(authority, *(("DEL", keys.removed(PatId(one.pat.id))) for one in made[:200]))
    assert swept(authority) == 2 * 200
    assert swept(authority) == 0
    assert send(authority, ("ZCARD", keys.tenant_removed)) == [50]
    left = {one.pat.id for one in made[200:]}
    assert {pat.id for pat in authority.list(filters=REVOKED)} == left


@shared_engines
def test_two_removals_at_once_keep_one_record_of_who_came_first(make: Make, clock: Clock) -> None:
    authority, other = make(clock=clock), make(clock=clock)
    made = issue(authority)
    with Before(Scripts, "run_durably", lambda: other.delete(made.pat.id, "first")):
        authority.delete(made.pat.id, "second")
    (found,) = authority.list(filters=REVOKED)
    assert found.revoked_reason == "first"


@contextmanager
def restored(authority: Authority, *made: IssuedPat) -> Iterator[None]:
    """Put the records of PATs back as they are now, after the block. Nothing else is restored."""
    names = [keys_of(authority).pat(PatId(one.pat.id)) for one in made]
    records = send(authority, *(("GET", name) for name in names))
    yield
    send(authority, *(("SET", *pair) for pair in zip(names, records, strict=True)))


@shared_engines
def test_a_pat_that_lives_again_is_not_shown_as_removed(make: Make, clock: Clock) -> None:
    """As after an older copy of its record was restored: people would take the one who gets in for ended."""
    authority = make(clock=clock, max_pats_per_owner=100)
    made = [issue(authority, f"n{number}") for number in range(6)]
    back = made[2]
    with restored(authority, back):
        for one in made:
            clock.advance(1)
            authority.delete(one.pat.id)
    keys, others = keys_of(authority), ["n0", "n1", "n3", "n4", "n5"]
    assert authority.authenticate(basic_of(back)).pat_id == back.pat.id
    assert authority.get(back.pat.id, removed=True).state == "active"
    assert authority.list(filters=f'{REVOKED} and id eq "{back.pat.id}"', count=True).total == 0
    assert back.pat.id in index_of(authority), "nothing has mended it so far"
    for owner_id in (None, "alice"):
        page = authority.list(owner_id=owner_id, filters=REVOKED, sort="revokedAt", limit=4, count=True)
        assert ([pat.name for pat in page], page.total) == (others[:4], 5)
        assert removed(authority, owner_id) == removed(authority, owner_id, sort="name") == others
    assert send(authority, ("ZCARD", keys.tenant_removed)) == [5]
    assert swept(authority) == 0, "the lists have mended what they have met"
    clock.advance(1)
    authority.delete(back.pat.id, "again")
    assert removed(authority) == removed(authority, "alice") == [*others, "n2"]
    assert authority.get(back.pat.id, removed=True).revoked_reason == "again"


@shared_engines
def test_a_sweep_takes_out_a_pat_that_lives_again(make: Make, clock: Clock) -> None:
    authority = make(clock=clock)
    back, gone = issue(authority, "back"), issue(authority, "gone")
    with restored(authority, back):
        authority.revoke_owner("alice")
    assert swept(authority) == 2, "an entry of the tenant's and one of the owner's"
    assert index_of(authority) == [gone.pat.id]
    assert send(authority, ("ZRANGE", keys_of(authority).tenant_removed, 0, -1)) == [[PatId(gone.pat.id).raw]]
    assert swept(authority) == 0


# -- cost ----------------------------------------------------------------------------------------------------


def test_a_removal_costs_as_many_commands_whatever_is_kept(make_at: Make, server: Server) -> None:
    """Commands in the server, those of scripts included, below the bound and at it."""
    authority = make_at(max_pats_per_owner=10_001, max_kept_per_owner=20_000)
    full = {
        count: make_at(max_pats_per_owner=10_001, max_kept_per_owner=count) for count in (10, 1_000, 10_000)
    }
    for count in full:
        forge_removed(authority, f"o{count}", count)

    costs = []
    for kept in (lambda _: authority, lambda count: full[count]):
        for warm in (True, False):
            for count in full:
                made = issue(authority, "one", owner=Owner(f"o{count}"), scope=["a"])
                cost = commands_of(server, partial(kept(count).delete, made.pat.id))
                if not warm:
                    costs.append(cost)
    assert costs[:3] == costs[:1] * 3, "below the bound"
    assert costs[3:] == costs[3:4] * 3, "at the bound"


def forge_removed(authority: Authority, owner_id: str, count: int) -> None:
    """So many removed PATs of an owner, as removals leave them."""
    store, keys = store_of(authority), keys_of(authority)
    tag = store.keyring.owner_tag("default", owner_id)
    template = issue(authority, "template", owner=Owner(owner_id), scope=["a"])
    authority.delete(template.pat.id)
    first = PatId(template.pat.id)
    record, index = send(
        authority, ("GET", keys.removed(first)), ("ZSCORE", keys.owner(tag, owner_id).removed, first.raw[4:])
    )
    commands: list[tuple[Any, ...]] = []
    for number in range(1, count):
        pat_id = PatId(tag + f"{number:024x}")
        commands += [
            ("SET", keys.removed(pat_id), record[:30] + pat_id.raw + record[46:], "PX", 10**8),
            ("ZADD", keys.owner(tag, owner_id).removed, int(float(index)) - number, pat_id.raw[4:]),
            ("ZADD", keys.tenant_removed, 1 + number, pat_id.raw),
        ]
    for at in range(0, len(commands), 3000):
        send(authority, *commands[at : at + 3000])


# -- a model -------------------------------------------------------------------------------------------------

MOST, STEPS, OWNERS = 3, 30, (ALICE, BOB)
NAMES = ("a", "b", "c", "d", "e")


class Kept(RuleBasedStateMachine):
    """Two owners, whose PATs are made, renamed and removed in all ways, and what must be shown of it."""

    def __init__(self, url: str, prefixes: Iterator[str]) -> None:
        super().__init__()
        self.resources = ExitStack()
        self.clock = Clock()
        make = self.resources.enter_context(maker(url, next(prefixes)))
        self.authority = make(
            clock=self.clock, max_pats_per_owner=10, max_kept_per_owner=MOST, retention=RETENTION
        )
        self.live: dict[str, IssuedPat] = {}
        self.names: dict[str, str] = {}
        # By owner, those that the owner has removed and those that others have, the oldest first.
        self.kept: dict[str, tuple[list[PersonalAccessToken], list[PersonalAccessToken]]] = {
            owner.id: ([], []) for owner in OWNERS
        }
        self.gone: list[IssuedPat] = []
        self.entered: set[str] = set()  # the PATs that the tenant's list must have
        self.known: dict[str, tuple[Requester | None, str | None, int]] = {}
        self.callers = {
            owner.id: self.authority.authenticate(
                basic_of(issue(self.authority, "caller", owner=owner, scope=[MY, "x"], never_expires=True))
            )
            for owner in OWNERS
        }

    def teardown(self) -> None:
        self.resources.close()

    # -- the model --------------------------------------------------------------------------------------

    def _lapse(self) -> None:
        for halves in self.kept.values():
            for half in halves:
                half[:] = [pat for pat in half if self.clock.now < self._removed_at(pat) + 1000 * RETENTION]

    def _removed_at(self, pat: PersonalAccessToken) -> int:
        return self.known[pat.id][2]

    def _remove(self, pat_id: str, *, by_owner: bool, reason: str | None, trim: bool = True) -> None:
        issued = self.live.pop(pat_id)
        self.gone.append(issued)
        owner_id = issued.pat.owner.id
        by = self.callers[owner_id]
        who = Requester(owner_id, by.pat_id) if by_owner else None
        self.known[pat_id] = (who, reason, self.clock.now)
        self._keep(issued.pat, by_owner=by_owner)
        if trim:
            self._trim(owner_id)

    def _keep(self, pat: PersonalAccessToken, *, by_owner: bool) -> None:
        half = self.kept[pat.owner.id][0 if by_owner else 1]
        half.append(pat)
        half.sort(key=lambda pat: (self._removed_at(pat), pat.id))
        self.entered.add(pat.id)

    def _trim(self, owner_id: str) -> None:
        mine, others = self.kept[owner_id]
        for half in (mine, others):
            while half and len(mine) + len(others) > MOST:
                half.pop(0)

    def _shown(self, owner_id: str) -> set[str]:
        return {pat.id for half in self.kept[owner_id] for pat in half}

    # -- the rules --------------------------------------------------------------------------------------

    @rule(owner=st.sampled_from(OWNERS), name=st.sampled_from(NAMES), never=st.booleans())
    def make(self, owner: Owner, name: str, never: bool) -> None:
        taken = [one for one in self.live.values() if one.pat.owner.id == owner.id]
        given = {"never_expires": True} if never else {"expires_in": timedelta(days=4000)}
        if name in [self.names[one.pat.id] for one in taken]:
            with pytest.raises(Conflict):
                issue(self.authority, name, owner=owner, **given)
            return
        issued = issue(self.authority, name, owner=owner, **given)
        self.live[issued.pat.id] = issued
        self.names[issued.pat.id] = name

    @precondition(lambda self: self.live)
    @rule(data=st.data(), by_owner=st.booleans(), reason=st.none() | st.sampled_from(["why", "\u20ac" * 256]))
    def remove(self, data: Any, by_owner: bool, reason: str | None) -> None:
        pat_id = data.draw(st.sampled_from(list(self.live)))
        self.clock.advance(1)
        by = self.callers[self.live[pat_id].pat.owner.id] if by_owner else None
        self.authority.delete(pat_id, reason, by=by)
        self._lapse()
        self._remove(pat_id, by_owner=by_owner, reason=reason)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def show_it(self, data: Any) -> None:
        pat_id = data.draw(st.sampled_from(list(self.live)))
        self.clock.advance(1)
        assert self.authority.revoke(self.live[pat_id].token)
        self._lapse()
        self._remove(pat_id, by_owner=False, reason=None)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), commands=st.integers(0, 14))
    def remove_and_die(self, data: Any, commands: int) -> None:
        """The process ends after so many commands; the owner's next removal trims what is too much."""
        pat_id = data.draw(st.sampled_from(list(self.live)))
        owner_id = self.live[pat_id].pat.owner.id
        self.clock.advance(1)
        self._lapse()
        with cut_after(self.authority, commands):
            self.authority.delete(pat_id)
        try:
            self.authority.get(pat_id)
        except NotFound:
            self._remove(pat_id, by_owner=False, reason=None, trim=False)
            found = {pat.id for pat in self.authority.list(owner_id=owner_id, filters=REVOKED)}
            if found != self._shown(owner_id):
                self._trim(owner_id)
            self.entered.discard(pat_id)

    @rule(owner=st.sampled_from(OWNERS))
    def revoke_all(self, owner: Owner) -> None:
        self.clock.advance(1)
        mine = [pat_id for pat_id, one in self.live.items() if one.pat.owner.id == owner.id]
        caller = self.authority.get(self.callers[owner.id].pat_id)
        assert self.authority.revoke_owner(owner.id, "all") == len(mine) + 1
        self._lapse()
        for pat_id in mine:
            self._remove(pat_id, by_owner=False, reason="all", trim=False)
        self.known[caller.id] = (None, "all", self.clock.now)
        self._keep(caller, by_owner=False)
        self._trim(owner.id)
        new = issue(self.authority, "caller", owner=owner, scope=[MY, "x"], never_expires=True)
        self.callers[owner.id] = self.authority.authenticate(basic_of(new))

    @precondition(lambda self: self.live)
    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def rename(self, data: Any, name: str) -> None:
        pat_id = data.draw(st.sampled_from(list(self.live)))
        try:
            self.authority.update(pat_id, name=name)
        except Conflict:
            return
        self.names[pat_id] = name

    @rule(ms=st.sampled_from([0, 1, 1000, 1000 * RETENTION // 2, 1000 * RETENTION]))
    def wait(self, ms: int) -> None:
        self.clock.advance(ms)
        self._lapse()

    @rule()
    def let_ttls_pass(self) -> None:
        """The server's own clock takes away what is past its retention, and a little more."""
        store = store_of(self.authority)
        for number, one in enumerate(self.gone):
            late = self.clock.now >= self.known[one.pat.id][2] + 1000 * RETENTION
            if late and number % 2:
                send(self.authority, ("DEL", store.pats.keys.removed(PatId(one.pat.id))))

    @rule()
    def sweep(self) -> None:
        swept(self.authority)
        self.entered = {one for owner in OWNERS for one in self._shown(owner.id)}

    # -- what must hold ---------------------------------------------------------------------------------

    @invariant()
    def every_list_shows_what_it_must(self) -> None:
        authority = self.authority
        callers = {caller.pat_id for caller in self.callers.values()}
        found = authority.list(count=True)
        assert {pat.id for pat in found} == self.live.keys() | callers
        assert found.total == len(found)
        whole: set[str] = set()
        for owner in OWNERS:
            mine = authority.list(owner_id=owner.id, filters=REVOKED, sort="revokedAt", count=True)
            assert {pat.id for pat in mine} == self._shown(owner.id)
            assert mine.total == len(mine)
            assert [pat.revoked_ms for pat in mine] == sorted(self.known[pat.id][2] for pat in mine)
            for pat in mine:
                known = (pat.revoked_by, pat.revoked_reason, pat.revoked_ms)
                assert (pat.state, known) == ("revoked", self.known[pat.id])
                assert pat.name == self.names.get(pat.id, "caller")
                assert pat == authority.get(pat.id, removed=True)
            whole |= self._shown(owner.id)
        listed = authority.list(filters=REVOKED, count=True)
        ids = {pat.id for pat in listed}
        assert whole & self.entered <= ids <= whole
        assert listed.total == len(listed) == len(ids)
        pages = [
            authority.list(filters=REVOKED, sort="-revokedAt", offset=at, limit=2)
            for at in range(0, len(ids), 2)
        ]
        assert [pat.revoked_ms for page in pages for pat in page] == sorted(
            (self.known[one][2] for one in ids), reverse=True
        )

    @invariant()
    def what_has_ended_stays_so(self) -> None:
        for one in self.gone[-3:]:
            with pytest.raises(NotFound):
                self.authority.get(one.pat.id)
            with pytest.raises(InvalidCredentials):
                self.authority.authenticate(basic_of(one))


@pytest.mark.system
def test_what_is_kept_is_what_a_model_says(store_url: str, prefix: str) -> None:
    """By anybody in any way, with a process that ends between any two commands, time that passes, sweeps."""
    prefixes = (f"{prefix}-{number}" for number in itertools.count())
    run_state_machine_as_test(
        partial(Kept, store_url, prefixes),
        settings=settings(max_examples=examples(25), stateful_step_count=STEPS, deadline=None),
    )
