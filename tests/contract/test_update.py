"""Changes to PATs through an Authority: patches, bulk patches, rotations, and a new hash of a secret.

What is read and written is the same on fakeredis, Valkey and Redis; time is the test's.
"""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from patauth import (
    Authority,
    Conflict,
    Forbidden,
    InvalidCredentials,
    InvalidRequest,
    InvalidScope,
    InvalidToken,
    IssuedPat,
    NotFound,
    Overloaded,
    Owner,
    PatAuthError,
    PersonalAccessToken,
    RateLimited,
    StoreUnavailable,
)
from patauth.crypto.hashing import Hasher
from patauth.crypto.profiles import PROFILES, Profile
from patauth.crypto.proof_cache import ProofCache
from patauth.model.caller import Person, Principal
from patauth.model.dates import format_ms
from patauth.model.pat_id import PatId
from patauth.operations.update import patch
from patauth.store.keys import Keys
from patauth.store.pats import Pats
from patauth.store.record import PatRecord, pack
from patauth.store.scripts import NotDurable
from patauth.store.tokens import Tokens
from patauth.store.transport.protocol import Unanswered
from tests.support.authorities import (
    ALICE,
    Make,
    basic,
    basic_of,
    bearer,
    issue,
    patch_many,
    patient,
    wrong_secret,
)
from tests.support.clocks import DAY, MINUTE, NOW, Clock
from tests.support.internals import VERSION, hasher_of, transport_of
from tests.support.interventions import Before, standing_in
from tests.support.servers import Server, one_engine, shared_engines
from tests.support.tables import each
from tests.support.tenants import keys_of, owners_of_one_tag, put, record_of, send
from tests.support.threads import all_at_once

SECOND, HOUR = 1000, 3_600_000
RETENTION = 30 * DAY
DATE, SURE = "/expirationDate", "/userAwareTokenNeverExpires"
MY_MANAGE = "idn:my-personal-access-tokens:manage"
ALL_MANAGE = "idn:all-personal-access-tokens:manage"
AT_ONCE = timedelta(0)


def add(scope: str) -> dict[str, Any]:
    return {"op": "add", "path": "/scope/-", "value": scope}


def expire(ms: int | None) -> list[dict[str, Any]]:
    """The operations that set an expiry; None: never."""
    return [put(DATE, None), put(SURE, True)] if ms is None else [put(DATE, format_ms(ms))]


def bytes_of(authority: Authority, pat_id: str) -> bytes:
    """Its record, without the version that each write draws."""
    packed = record_of(authority, pat_id).packed
    return packed[:46] + packed[54:]


def ttl_of(authority: Authority, pat_id: str) -> int:
    """The ms that its record is still kept, by the engine's own clock; -1: for good."""
    (left,) = send(authority, ("PTTL", keys_of(authority).pat(PatId(pat_id))))
    return int(left)


def passes(authority: Authority, authorization: str) -> bool:
    try:
        return bool(authority.authenticate(authorization))
    except InvalidCredentials:
        return False


def follow(authority: Authority, **policy: Any) -> None:
    """Have changes follow another policy than PATs were made under."""
    authority.operations.settings = replace(authority.settings, **policy)


def patch_of(authority: Authority, pat_id: str, operations: object, fields: Any) -> PersonalAccessToken:
    """Patch as a dialect does that has these members alone."""
    return patch(authority.operations.actor(None), pat_id, operations, fields)


_interventions = ExitStack()


@pytest.fixture(autouse=True)
def undisturbed() -> Iterator[None]:
    """What a test let happen in between ends with it."""
    yield
    _interventions.close()


def before_first(verb: str, act: Callable[[], object]) -> Before:
    """Do something just before a verb of the store is called for the first time."""
    return _interventions.enter_context(Before(Tokens if verb == "issue" else Pats, verb, act))


@contextmanager
def failing(error: PatAuthError, *, times: int = 1) -> Iterator[None]:
    """The first updates are written, and then said to have failed."""
    calls = []

    def update(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        outcome = real(*given, **named)
        calls.append(outcome)
        if len(calls) <= times:
            raise error
        return outcome

    with standing_in(Pats, "update", update):
        yield
    assert calls


class TestPatch:
    def test_the_answer_is_what_is_read_from_then_on(self, authority: Authority, clock: Clock) -> None:
        issued = issue(authority, access_token_ttl=60, request_quota="7/3")
        clock.advance(MINUTE)
        operations = [put("/name", "deploy"), put("/scope", ["reports:read"]), *expire(NOW + 40 * DAY)]
        after = authority.patch(issued.pat.id, operations)
        assert after == authority.get(issued.pat.id)
        assert (after.name, after.scope, after.expires_ms) == ("deploy", ("reports:read",), NOW + 40 * DAY)
        assert (after.changed_ms, after.sequence, after.state) == (NOW + MINUTE, 2, "active")
        kept = ("id", "owner", "tenant", "created_ms", "access_token_ttl", "request_quota", "last_used_ms")
        for name in kept:
            assert getattr(after, name) == getattr(issued.pat, name)
        assert authority.list(owner_id="alice") == [after]
        assert passes(authority, basic_of(issued))

    @one_engine
    @each(
        "second",
        [
            put("/name", ""),
            put("/owner", {"id": "bob"}),
            put("/scope/7", "x"),
            {"op": "test", "path": "/name", "value": "other"},
            {"op": "move", "from": "/nothing", "path": "/name"},
            {"op": "spin", "path": "/name"},
            {"op": "remove", "path": DATE},
            put(DATE, "2029-01-01T00:00:00Z"),
            None,
        ],
    )
    def test_when_one_operation_cannot_be_done_nothing_is(
        self, fresh: Make, events: Any, second: Any
    ) -> None:
        """P1: not a byte of the record."""
        authority = fresh()
        issued = issue(authority)
        before = bytes_of(authority, issued.pat.id)
        events()
        with pytest.raises(InvalidRequest):
            authority.patch(issued.pat.id, [put("/name", "changed"), add("more"), second])
        assert bytes_of(authority, issued.pat.id) == before
        assert events() == []
        issue(authority, "changed")

    @one_engine
    @each("member", ["owner", "owner/id", "id", "secret", "created", "lastUsed", "state"])
    def test_there_are_no_other_members_than_the_four(self, fresh: Make, member: str) -> None:
        """P4: neither to write nor to look at."""
        authority = fresh()
        issued = issue(authority)
        before = bytes_of(authority, issued.pat.id)
        path = f"/{member}"
        for operation in [
            {"op": "add", "path": path, "value": "x"},
            put(path, "x"),
            {"op": "remove", "path": path},
            {"op": "test", "path": path, "value": "x"},
            {"op": "copy", "from": path, "path": "/name"},
            {"op": "move", "from": path, "path": "/name"},
            {"op": "copy", "from": "/name", "path": path},
            {"op": "move", "from": "/name", "path": path},
        ]:
            with pytest.raises(InvalidRequest, match="members that can be patched"):
                authority.patch(issued.pat.id, [operation])
        assert bytes_of(authority, issued.pat.id) == before

    @one_engine
    def test_the_whole_is_no_member_either(self, authority: Authority) -> None:
        issued = issue(authority)
        for operation in [
            put("", {"name": "x", "scope": ["a"]}),
            {"op": "remove", "path": ""},
            {"op": "test", "path": "", "value": {}},
            {"op": "copy", "from": "", "path": "/name"},
            put("/", "x"),
        ]:
            with pytest.raises(InvalidRequest):
                authority.patch(issued.pat.id, [operation])

    @one_engine
    @each(
        ("operation", "scope"),
        [
            (put("/scope/0", "c"), ("c", "b~/1")),
            (put("/scope/01", "c"), None),
            (put("/scope/00", "c"), None),
            (put("/scope/2", "c"), None),
            (put("/scope/-1", "c"), None),
            (put("/scope/-", "c"), None),
            ({"op": "add", "path": "/scope/2", "value": "c"}, ("a", "b~/1", "c")),
            ({"op": "add", "path": "/scope/0", "value": "c"}, ("c", "a", "b~/1")),
            ({"op": "add", "path": "/scope/3", "value": "c"}, None),
            (add("c"), ("a", "b~/1", "c")),
            (add("a"), ("a", "b~/1")),
            ({"op": "move", "from": "/scope/1", "path": "/scope/0"}, ("b~/1", "a")),
            ({"op": "copy", "from": "/scope/1", "path": "/name"}, ("a", "b~/1")),
            (put("/~01", "c"), None),
            (put("/scope~10", "c"), None),
            (put("/scope/~", "c"), None),
            (put("scope", ["c"]), None),
        ],
    )
    def test_pointers_are_those_of_rfc_6901(
        self, fresh: Make, operation: dict[str, Any], scope: tuple[str, ...] | None
    ) -> None:
        """P3"""
        authority = fresh()
        issued = issue(authority, scope=["a", "b~/1"])
        if scope is None:
            with pytest.raises(InvalidRequest):
                authority.patch(issued.pat.id, [operation])
        else:
            assert authority.patch(issued.pat.id, [operation]).scope == scope

    @one_engine
    @each("operations", [None, {}, put("/name", "x"), [], "x", [[]], [None]])
    def test_what_is_no_patch_is_refused(self, fresh: Make, operations: Any) -> None:
        authority = fresh()
        with pytest.raises(InvalidRequest):
            authority.patch(issue(authority).pat.id, operations)

    @one_engine
    @each("before", ["dated", "never"])
    @each("sure", [None, False, True])
    def test_it_never_expires_only_if_that_is_said_in_the_same_patch(
        self, fresh: Make, before: str, sure: bool | None
    ) -> None:
        """P5: 2x2x2. A missing value means null: clients that never send a null mean one."""
        authority = fresh()
        life = {"never_expires": True} if before == "never" else {}
        for number, way in enumerate(
            [put(DATE, None), {"op": "remove", "path": DATE}, {"op": "replace", "path": DATE}]
        ):
            issued = issue(authority, str(number), **life)
            operations = [way] if sure is None else [way, put(SURE, sure)]
            if sure:
                after = authority.patch(issued.pat.id, operations)
                assert (after.expires_ms, after.never_acknowledged) == (None, True)
            else:
                with pytest.raises(InvalidRequest, match="in the same patch"):
                    authority.patch(issued.pat.id, operations)
                assert authority.get(issued.pat.id) == issued.pat

    @one_engine
    def test_only_the_fields_that_are_let_are_touched(self, authority: Authority) -> None:
        issued = issue(authority)
        fields = ("name", "scope")
        for path in (DATE, SURE):
            with pytest.raises(InvalidRequest, match="members that can be patched: name, scope"):
                patch_of(authority, issued.pat.id, [put(path, None)], fields)
        assert patch_of(authority, issued.pat.id, [put("/name", "x")], fields).name == "x"
        with pytest.raises(InvalidRequest):
            patch_of(authority, issued.pat.id, [put("/owner", "x")], ("owner",))

    @one_engine
    def test_a_test_compares_instants_and_holds_the_rest_back(self, authority: Authority) -> None:
        issued = issue(authority, expires_in=timedelta(days=30))
        for text in ("2030-01-31T00:00:00.000000+00:00", "2030-01-31t00:00:00z", "2030-01-31T01:00:00+01:00"):
            operations = [{"op": "test", "path": DATE, "value": text}, put("/name", text[-9:])]
            assert authority.patch(issued.pat.id, operations).name == text[-9:]
        with pytest.raises(InvalidRequest, match="the test failed"):
            authority.patch(
                issued.pat.id,
                [{"op": "test", "path": DATE, "value": "2030-01-31T00:00:00.001Z"}, put("/name", "x")],
            )
        assert authority.get(issued.pat.id).name != "x"

    @one_engine
    def test_what_changes_nothing_writes_nothing_and_is_no_event(
        self, authority: Authority, clock: Clock, events: Any
    ) -> None:
        issued = issue(authority)
        calls = before_first("update", lambda: None)
        events()
        clock.advance(MINUTE)
        for operations in (
            [put("/name", "ci")],
            [put("/scope", list(issued.pat.scope))],
            [put("/name", "x"), put("/name", "ci")],
            [{"op": "test", "path": "/name", "value": "ci"}],
            expire(issued.pat.expires_ms),
        ):
            assert authority.patch(issued.pat.id, operations) == issued.pat
        assert (calls.count, events()) == (0, [])

    @one_engine
    def test_each_change_is_one_event_that_says_what_changed_and_by_whom(
        self, authority: Authority, events: Any
    ) -> None:
        issued, maker = issue(authority), issue(authority, "maker", scope=[MY_MANAGE], never_expires=True)
        principal = authority.verify_basic(maker.pat.id, maker.secret)
        events()
        about = {"patId": issued.pat.id, "ownerId": "alice"}
        by = {"byOwnerId": "alice", "byPatId": maker.pat.id}
        authority.patch(issued.pat.id, [put("/name", "x")], by=principal)
        assert events() == [{"type": "pat.updated", "outcome": "done", **about, "name": "x", **by}]
        authority.patch(issued.pat.id, [put("/scope", ["reports:read"]), *expire(NOW + DAY)])
        facts = {"scope": ["reports:read"], "expires": "2030-01-02T00:00:00.000Z"}
        assert events() == [{"type": "pat.updated", "outcome": "done", **about, **facts}]
        authority.patch(issued.pat.id, expire(None))
        assert events() == [{"type": "pat.updated", "outcome": "done", **about, "expires": "never"}]
        authority.rotate(issued.pat.id, overlap=timedelta(minutes=5))
        assert events() == [{"type": "pat.rotated", "outcome": "done", "overlapSeconds": 300, **about}]

    @one_engine
    @each("pat_id", ["", "x", "0" * 31, "G" * 32, None, 7, "0" * 32])
    def test_an_id_that_is_not_there_is_not_found(self, authority: Authority, pat_id: Any) -> None:
        with pytest.raises(NotFound):
            authority.patch(pat_id, [put("/name", "x")])
        with pytest.raises(NotFound):
            authority.rotate(pat_id)

    def test_a_deleted_one_does_not_come_back(self, authority: Authority) -> None:
        """Not even when it goes between being read and being written."""
        for change in (
            lambda one: authority.patch(one.pat.id, [put("/name", "x")]),
            lambda one: authority.rotate(one.pat.id),
        ):
            issued = issue(authority)
            between = Before(Pats, "update", lambda one=issued: authority.delete(one.pat.id))
            with between as calls, pytest.raises(NotFound):
                change(issued)
            assert calls.count == 1
            assert authority.list(owner_id="alice") == []
            assert not passes(authority, basic_of(issued))

    def test_an_expired_one_is_neither_patched_nor_rotated(self, authority: Authority, clock: Clock) -> None:
        issued = issue(authority, expires_in=timedelta(seconds=2))
        clock.advance(2 * SECOND - 1)
        authority.patch(issued.pat.id, [put("/name", "in time")])
        clock.advance(1)
        before = bytes_of(authority, issued.pat.id)
        for operations in ([put("/name", "x")], expire(NOW + DAY), expire(None)):
            with pytest.raises(InvalidRequest, match="expired"):
                authority.patch(issued.pat.id, operations)
        with pytest.raises(InvalidRequest, match="expired"):
            authority.rotate(issued.pat.id)
        assert bytes_of(authority, issued.pat.id) == before

    def test_it_may_expire_while_it_is_being_changed(self, authority: Authority, clock: Clock) -> None:
        issued = issue(authority, expires_in=timedelta(milliseconds=200))
        before_first("update", lambda: clock.advance(200))
        with pytest.raises(InvalidRequest, match="expired"):
            authority.patch(issued.pat.id, expire(NOW + DAY))
        assert authority.get(issued.pat.id).state == "expired"

    def test_a_disabled_one_is_patched_and_stays_disabled(self, authority: Authority) -> None:
        issued = issue(authority)
        authority.disable_owner("alice")
        assert authority.patch(issued.pat.id, [put("/name", "x"), *expire(None)]).state == "disabled"
        assert not passes(authority, basic_of(issued))
        authority.enable_owner("alice")
        assert passes(authority, basic_of(issued))

    def test_one_that_is_disabled_between_reading_and_writing_stays_disabled(
        self, authority: Authority
    ) -> None:
        issued = issue(authority)
        before_first("update", lambda: authority.disable_owner("alice"))
        assert authority.patch(issued.pat.id, [put("/name", "x")]).state == "disabled"
        assert authority.get(issued.pat.id).state == "disabled"
        assert not passes(authority, basic_of(issued))

    def test_a_use_between_reading_and_writing_stays_written(
        self, authority: Authority, clock: Clock
    ) -> None:
        issued = issue(authority)
        clock.advance(DAY)
        calls = before_first("update", lambda: authority.authenticate(basic_of(issued)))
        authority.patch(issued.pat.id, [put("/name", "x")])
        assert calls.count == 2, "the last use is part of the record that was read"
        after = authority.get(issued.pat.id)
        assert (after.name, after.last_used_ms) == ("x", NOW + DAY)

    def test_a_change_between_reading_and_writing_is_built_upon(self, authority: Authority) -> None:
        issued = issue(authority)
        theirs = [add("theirs")]
        calls = before_first("update", lambda: authority.patch(issued.pat.id, theirs))
        after = authority.patch(issued.pat.id, [add("ours")])
        assert after.scope[-2:] == ("theirs", "ours")
        assert (after.sequence, calls.count) == (3, 3)


class TestNames:
    def test_a_name_in_use_is_a_conflict_and_nothing_is_changed(self, authority: Authority) -> None:
        first, second = issue(authority, "caf\u00e9"), issue(authority, "b")
        before = bytes_of(authority, second.pat.id)
        for name in ("caf\u00e9", "cafe\u0301"):
            with pytest.raises(Conflict, match="name"):
                authority.patch(second.pat.id, [put("/name", name), add("x")])
        assert bytes_of(authority, second.pat.id) == before
        issue(authority, "caf\u00e9", owner=Owner("bob"))
        assert {pat.id for pat in authority.list(owner_id="alice")} == {first.pat.id, second.pat.id}

    def test_a_name_that_was_given_up_is_free_and_the_new_one_is_not(self, authority: Authority) -> None:
        first = issue(authority, "old")
        authority.patch(first.pat.id, [put("/name", "new")])
        second = issue(authority, "old")
        with pytest.raises(Conflict):
            issue(authority, "new")
        authority.patch(second.pat.id, [put("/name", "third")])
        assert authority.patch(first.pat.id, [put("/name", "old")]).name == "old"
        assert {pat.name for pat in authority.list(owner_id="alice")} == {"old", "third"}
        authority.delete(first.pat.id)
        authority.delete(second.pat.id)
        for name in ("old", "new", "third"):
            issue(authority, name)

    def test_an_expired_ones_name_is_taken_until_its_retention_is_over(
        self, make: Make, clock: Clock
    ) -> None:
        authority = make(clock=clock, retention="2d")
        issue(authority, "old", expires_in=timedelta(days=1))
        issued = issue(authority, "new")
        clock.now = NOW + 3 * DAY - 1
        with pytest.raises(Conflict):
            authority.patch(issued.pat.id, [put("/name", "old")])
        clock.now = NOW + 3 * DAY
        authority.patch(issued.pat.id, [put("/name", "old")])
        assert [pat.id for pat in authority.list(owner_id="alice")] == [issued.pat.id]
        issue(authority, "new")

    @shared_engines
    def test_of_many_who_want_one_name_one_gets_it(self, make: Make, engine: str) -> None:
        authority = make()
        pats = [issue(authority, str(number)).pat for number in range(8)]
        outcomes = all_at_once(
            [lambda pat=pat: authority.patch(pat.id, [put("/name", "the name")]) for pat in pats]
        )
        assert sorted(type(one).__name__ for one in outcomes) == ["Conflict"] * 7 + ["PersonalAccessToken"]
        names = sorted(pat.name for pat in authority.list(owner_id="alice"))
        assert names.count("the name") == 1
        assert len(set(names)) == 8


class TestExpiry:
    def test_the_most_that_an_owner_may_have_counts_by_the_new_expiry(self, make: Make, clock: Clock) -> None:
        authority = make(clock=clock, max_pats_per_owner=2)
        shortened, prolonged = issue(authority, "a"), issue(authority, "b", expires_in=timedelta(seconds=1))
        authority.patch(shortened.pat.id, expire(NOW + SECOND))
        authority.patch(prolonged.pat.id, expire(NOW + DAY))
        with pytest.raises(Conflict, match="2 PATs"):
            issue(authority, "c")
        clock.advance(SECOND)
        issue(authority, "c")
        with pytest.raises(Conflict, match="2 PATs"):
            issue(authority, "d")

    def test_a_record_is_kept_for_its_retention_after_the_expiry_that_it_has_now(
        self, authority: Authority, clock: Clock
    ) -> None:
        issued = issue(authority)

        def kept_for(ms: int) -> bool:
            return ms - 60 * SECOND < ttl_of(authority, issued.pat.id) <= ms

        clock.advance(DAY)
        authority.patch(issued.pat.id, expire(NOW + 2 * DAY))
        assert kept_for(DAY + RETENTION)
        authority.patch(issued.pat.id, [put("/name", "x")])
        assert kept_for(DAY + RETENTION)
        authority.rotate(issued.pat.id)
        assert kept_for(DAY + RETENTION)
        authority.patch(issued.pat.id, expire(None))
        assert ttl_of(authority, issued.pat.id) == -1
        authority.rotate(issued.pat.id)
        assert ttl_of(authority, issued.pat.id) == -1
        authority.patch(issued.pat.id, expire(NOW + 90 * DAY))
        assert kept_for(89 * DAY + RETENTION)

    def test_an_earlier_expiry_ends_secret_and_access_tokens_with_it(
        self, authority: Authority, clock: Clock
    ) -> None:
        issued = issue(authority)
        access = authority.exchange(issued.pat.id, issued.secret).value
        authority.patch(issued.pat.id, expire(NOW + 5 * SECOND))
        assert authority.verify_bearer(access).expires_ms == NOW + 5 * SECOND, "and it says so"
        clock.advance(5 * SECOND - 1)
        assert passes(authority, bearer(access))
        assert passes(authority, basic_of(issued))
        clock.advance(1)
        with pytest.raises(InvalidToken):
            authority.verify_bearer(access)
        with pytest.raises(InvalidCredentials, match="has expired"):
            authority.authenticate(basic_of(issued))

    def test_a_later_expiry_prolongs_no_access_token_that_is_out(
        self, authority: Authority, clock: Clock
    ) -> None:
        issued = issue(authority, expires_in=timedelta(seconds=5))
        access = authority.exchange(issued.pat.id, issued.secret).value
        authority.patch(issued.pat.id, expire(None))
        assert authority.verify_bearer(access).expires_ms == NOW + 5 * SECOND
        clock.advance(5 * SECOND)
        assert not passes(authority, bearer(access))
        assert passes(authority, basic_of(issued))
        assert authority.exchange(issued.pat.id, issued.secret).expires_in == 900

    def test_an_earlier_expiry_cuts_the_overlap_of_a_rotation(
        self, authority: Authority, clock: Clock
    ) -> None:
        issued = issue(authority)
        authority.rotate(issued.pat.id)
        authority.patch(issued.pat.id, expire(NOW + MINUTE))
        assert record_of(authority, issued.pat.id).overlap_end_ms == NOW + MINUTE
        authority.patch(issued.pat.id, expire(None))
        clock.advance(MINUTE)
        assert not passes(authority, basic_of(issued)), "moving it later opens nothing again"

    @one_engine
    def test_the_longest_life_bounds_a_new_expiry_and_hinders_no_other_change(
        self, authority: Authority, clock: Clock
    ) -> None:
        issued = issue(authority, never_expires=True)
        follow(authority, max_lifetime=10 * 86_400)
        clock.advance(5 * DAY)
        for ms in (NOW + 10 * DAY + 1, NOW + 15 * DAY):
            with pytest.raises(InvalidRequest, match="expire within"):
                authority.patch(issued.pat.id, expire(ms))
        assert authority.patch(issued.pat.id, [put("/name", "x"), add("more")]).expires_ms is None
        assert authority.patch(issued.pat.id, expire(NOW + 10 * DAY)).expires_ms == NOW + 10 * DAY
        with pytest.raises(InvalidRequest, match="expire within"):
            authority.patch(issued.pat.id, expire(None))


@one_engine
class TestScopes:
    def test_the_next_access_token_has_the_new_scopes_and_no_old_one_ever(self, authority: Authority) -> None:
        issued = issue(authority)
        old = authority.exchange(issued.pat.id, issued.secret).value
        authority.patch(issued.pat.id, [put("/scope", ["reports:read", "admin"])])
        assert authority.authenticate(basic_of(issued)).scopes == {"reports:read", "admin"}
        assert authority.exchange(issued.pat.id, issued.secret).scope == ("reports:read", "admin")
        assert authority.verify_bearer(old).scopes == {"reports:read", "reports:write"}
        with pytest.raises(InvalidScope):
            authority.exchange(issued.pat.id, issued.secret, scope="reports:write")

    def test_an_exchange_under_way_gets_the_scopes_of_the_moment_it_is_written(
        self, authority: Authority
    ) -> None:
        issued = issue(authority)
        narrow = [put("/scope", ["reports:read"])]
        before_first("issue", lambda: authority.patch(issued.pat.id, narrow))
        assert authority.exchange(issued.pat.id, issued.secret).scope == ("reports:read",)

    def test_the_catalogue_is_asked_for_what_is_added_and_hinders_no_other_change(
        self, authority: Authority
    ) -> None:
        issued = issue(authority)
        follow(authority, scopes={"reports:list": ""})
        assert authority.patch(issued.pat.id, [put("/name", "x")]).name == "x"
        assert authority.patch(issued.pat.id, [add("reports:list")]).scope[-1] == "reports:list"
        with pytest.raises(InvalidScope, match="catalogue"):
            authority.patch(issued.pat.id, [add("reports:delete")])


class TestConcurrency:
    """P8: concurrent patches lose nothing, and none fails for it."""

    WRITERS = 50

    def check(self, authority: Authority, pat_id: str, outcomes: list[Any]) -> None:
        assert [one for one in outcomes if not isinstance(one, PersonalAccessToken)] == []
        after = authority.get(pat_id)
        assert set(after.scope) == {"reports:read", "reports:write"} | {
            f"scope:{number}" for number in range(self.WRITERS)
        }
        assert after.sequence == 1 + self.WRITERS, "each was written once"
        assert {one.sequence for one in outcomes} == set(range(2, self.WRITERS + 2))

    def test_50_threads_of_one_process(self, authority: Authority) -> None:
        issued = issue(authority)
        works = [
            lambda number=number: authority.patch(issued.pat.id, [add(f"scope:{number}")])
            for number in range(self.WRITERS)
        ]
        self.check(authority, issued.pat.id, all_at_once(works))

    @shared_engines
    def test_50_threads_of_five_authorities(self, make: Make, engine: str) -> None:
        authorities = [make() for _ in range(5)]
        issued = issue(authorities[0])
        works = [
            lambda number=number: authorities[number % 5].patch(issued.pat.id, [add(f"scope:{number}")])
            for number in range(self.WRITERS)
        ]
        self.check(authorities[0], issued.pat.id, all_at_once(works))

    def test_5_processes_of_10_threads(self, make_at: Make, server: Server, prefix: str) -> None:
        context = multiprocessing.get_context("fork")
        authority = make_at()
        issued = issue(authority)
        results = context.SimpleQueue()

        def process(first: int) -> None:
            mine = patient(server.url, key_prefix=prefix, hash_profile=PROFILES["testing"])
            works = [
                lambda number=number: mine.patch(issued.pat.id, [add(f"scope:{number}")])
                for number in range(first, first + 10)
            ]
            results.put(all_at_once(works))

        processes = [context.Process(target=process, args=(first,)) for first in range(0, self.WRITERS, 10)]
        for one in processes:
            one.start()
        outcomes = [outcome for _ in processes for outcome in results.get()]
        for one in processes:
            one.join()
        self.check(authority, issued.pat.id, outcomes)

    def test_patches_rotations_and_uses_at_once_leave_nothing_of_each_other_out(
        self, make: Make, clock: Clock
    ) -> None:
        authority = make(clock=clock, hash_slots=32)
        issued = issue(authority)
        works: list[Callable[[], Any]] = [
            lambda number=number: authority.patch(issued.pat.id, [add(f"scope:{number}")])
            for number in range(10)
        ]
        works += [lambda: authority.rotate(issued.pat.id)] * 3
        works += [lambda: passes(authority, basic_of(issued))] * 5
        outcomes = all_at_once(works)
        assert not [one for one in outcomes if isinstance(one, Exception)]
        after = authority.get(issued.pat.id)
        assert {f"scope:{number}" for number in range(10)} < set(after.scope)
        assert after.sequence == 14
        assert record_of(authority, issued.pat.id).secrets[0].generation == 4


class TestPatchMany:
    LATER = NOW + 60 * DAY

    def test_1_to_25_are_changed_and_answered_in_the_order_that_was_asked(
        self, make: Make, clock: Clock, events: Any
    ) -> None:
        authority = make(clock=clock, max_pats_per_owner=30)
        owners = [Owner(f"owner-{number % 3}") for number in range(25)]
        pats = [issue(authority, str(number), owner=owner).pat for number, owner in enumerate(owners)]
        events()
        ids = [pat.id for pat in reversed(pats)]
        after = patch_many(authority, ids, expire(self.LATER))
        assert [pat.id for pat in after] == ids
        assert {pat.expires_ms for pat in after} == {self.LATER}
        assert list(after) == [authority.get(pat_id) for pat_id in ids]
        found = events()
        assert {(one["type"], one["patId"]) for one in found} == {("pat.updated", one) for one in ids}
        assert len(found) == 25
        assert patch_many(authority, ids[:1], expire(None))[0].expires_ms is None

    def test_two_owners_of_one_tag_are_changed_each_in_their_own_index(
        self, make: Make, clock: Clock
    ) -> None:
        authority = make(clock=clock, secret_key=bytes(32), max_pats_per_owner=1)
        first, second = (issue(authority, owner=Owner(one)).pat for one in owners_of_one_tag())
        assert first.id[:8] == second.id[:8]
        after = patch_many(authority, [second.id, first.id], expire(NOW + DAY))
        assert [pat.owner.id for pat in after] == [second.owner.id, first.owner.id]
        clock.advance(DAY)
        for pat in (first, second):
            assert [one.state for one in authority.list(owner_id=pat.owner.id)] == ["expired"]
            issue(authority, "another", owner=pat.owner)

    @one_engine
    @each("count", [0, 26])
    def test_no_fewer_and_no_more(self, authority: Authority, count: int) -> None:
        with pytest.raises(InvalidRequest, match="1 to 25"):
            patch_many(authority, ["0" * 32] * count, expire(None))

    @one_engine
    def test_ids_that_are_no_list_of_different_ids_that_are_there_are_refused(
        self, authority: Authority
    ) -> None:
        pat = issue(authority).pat
        other = issue(authority, "other").pat
        wrong: list[Any] = [
            [pat.id, pat.id],
            [pat.id, "0" * 32],
            [pat.id, pat.id.upper()],
            [pat.id, ""],
            [pat.id, None],
            [pat.id, [other.id]],
            pat.id,
            {pat.id: 1},
            {pat.id},
            None,
            7,
        ]
        for ids in wrong:
            with pytest.raises(InvalidRequest) as caught:
                patch_many(authority, ids, expire(self.LATER))
            assert str(caught.value.field).startswith("ids")
        assert authority.get(pat.id) == pat

    @one_engine
    @each(
        "operation",
        [
            put("/name", "x"),
            put("/scope", ["x"]),
            put("", {}),
            {"op": "copy", "from": "/name", "path": DATE},
            {"op": "test", "path": "/name", "value": "ci"},
        ],
    )
    def test_only_the_expiry_is_changed_in_bulk(self, fresh: Make, operation: dict[str, Any]) -> None:
        authority = fresh()
        pat = issue(authority).pat
        with pytest.raises(InvalidRequest, match="members that can be patched"):
            patch_many(authority, [pat.id], [*expire(self.LATER), operation])
        assert authority.get(pat.id) == pat

    def test_when_one_cannot_be_changed_none_is(self, make: Make, clock: Clock, events: Any) -> None:
        authority = make(clock=clock)
        good = [issue(authority, owner=Owner(one)).pat for one in ("alice", "bob", "carol")]
        expired = issue(authority, owner=Owner("dave"), expires_in=timedelta(seconds=1)).pat
        clock.advance(SECOND)
        dated = [{"op": "test", "path": DATE, "value": format_ms(NOW + 30 * DAY)}, *expire(self.LATER)]
        other = issue(authority, owner=Owner("erin")).pat
        events()
        for bad, operations in [(expired, expire(self.LATER)), (other, dated)]:
            for ids in ([pat.id for pat in [*good, bad]], [pat.id for pat in [bad, *good]]):
                with pytest.raises(InvalidRequest):
                    patch_many(authority, ids, operations)
        assert [authority.get(pat.id) for pat in good] == good
        assert events() == []

    def test_those_of_one_owner_change_together_or_not_at_all(self, authority: Authority) -> None:
        pats = [issue(authority, str(number)).pat for number in range(3)]
        bob = issue(authority, owner=Owner("bob")).pat
        ids = [pats[0].id, bob.id, pats[1].id, pats[2].id]
        with Before(Pats, "update", lambda: None) as calls:
            patch_many(authority, ids, expire(NOW + DAY))
        assert calls.count == 2, "in whatever order they come"
        before = [authority.get(pat.id) for pat in (pats[0], pats[2])]
        before_first("update", lambda: authority.delete(pats[1].id))
        with pytest.raises(NotFound):
            patch_many(authority, [pat.id for pat in pats], expire(self.LATER))
        assert [authority.get(pat.id) for pat in (pats[0], pats[2])] == before

    def test_another_tenants_are_not_there(self, make: Make, clock: Clock, engine: str) -> None:
        ours, theirs = make(clock=clock), make(clock=clock, tenant="other")
        ids = [issue(ours).pat.id, issue(theirs).pat.id]
        with pytest.raises(InvalidRequest, match=r"ids\[1\]: there is no such"):
            patch_many(ours, ids, expire(self.LATER))
        for operation in (lambda one: ours.patch(one, [put("/name", "x")]), ours.rotate):
            with pytest.raises(NotFound):
                operation(ids[1])


def pat_token(authority: Authority, pat_id: str, secret: str) -> str:
    form = authority.operations.format
    return form.token_text(pat_id, form.basic(pat_id, secret).secret)


Use = Callable[[Authority, str, str], object]  # takes a PAT id and a secret
# Each way to show a secret.
USES: dict[str, Use] = {
    "Basic": lambda a, i, s: a.authenticate(basic(i, s), address="203.0.113.9"),
    "a PAT token": lambda a, i, s: a.authenticate(bearer(pat_token(a, i, s)), address="203.0.113.9"),
    "an exchange": lambda a, i, s: a.exchange(i, s, address="203.0.113.9"),
    "introspection": lambda a, i, s: a.introspect(pat_token(a, i, s), address="203.0.113.9"),
    "revocation": lambda a, i, s: a.revoke(pat_token(a, i, s), address="203.0.113.9"),
}


def answered(use: Use, authority: Authority, pat_id: str, secret: str) -> object:
    try:
        return use(authority, pat_id, secret)
    except InvalidCredentials as refusal:
        return type(refusal), str(refusal), refusal.detail, refusal.state


class TestRotate:
    def test_id_name_scopes_and_expiry_stay_and_the_secret_is_new(
        self, authority: Authority, clock: Clock
    ) -> None:
        issued = issue(authority, access_token_ttl=60)
        clock.advance(MINUTE)
        again = authority.rotate(issued.pat.id)
        assert again.pat == authority.get(issued.pat.id)
        assert (again.pat.changed_ms, again.pat.sequence) == (NOW + MINUTE, 2)
        for name in ("id", "name", "scope", "owner", "expires_ms", "created_ms", "access_token_ttl"):
            assert getattr(again.pat, name) == getattr(issued.pat, name)
        assert again.secret != issued.secret
        assert again.secret not in repr(again)
        for value in (basic_of(again), bearer(again.token)):
            assert authority.authenticate(value).pat_id == issued.pat.id
        with pytest.raises(Conflict):
            issue(authority)

    def test_both_secrets_pass_until_the_overlap_ends_to_the_millisecond(
        self, authority: Authority, clock: Clock
    ) -> None:
        issued = issue(authority)
        again = authority.rotate(issued.pat.id, overlap=timedelta(milliseconds=1_500))
        old = authority.exchange(issued.pat.id, issued.secret).value
        new = authority.exchange(issued.pat.id, again.secret).value
        clock.advance(1_499)
        for value in (basic_of(issued), bearer(issued.token), bearer(old)):
            assert authority.authenticate(value)
        clock.advance(1)
        for value in (basic_of(issued), bearer(issued.token), bearer(old)):
            with pytest.raises(InvalidCredentials):
                authority.authenticate(value)
        with pytest.raises(InvalidCredentials):
            authority.exchange(issued.pat.id, issued.secret)
        for value in (basic_of(again), bearer(again.token), bearer(new)):
            assert authority.authenticate(value)

    def test_access_tokens_end_with_the_secret_that_they_came_from(
        self, authority: Authority, clock: Clock
    ) -> None:
        issued = issue(authority)
        before = authority.exchange(issued.pat.id, issued.secret).value
        authority.rotate(issued.pat.id, overlap=timedelta(minutes=1))
        assert passes(authority, bearer(before))
        clock.advance(MINUTE)
        with pytest.raises(InvalidToken):
            authority.verify_bearer(before)

    def test_a_second_rotation_ends_the_oldest_secret_at_once(self, authority: Authority) -> None:
        first = issue(authority)
        token = authority.exchange(first.pat.id, first.secret).value
        second = authority.rotate(first.pat.id)
        third = authority.rotate(first.pat.id)
        assert [passes(authority, basic_of(one)) for one in (first, second, third)] == [False, True, True]
        assert not passes(authority, bearer(token))
        assert len(record_of(authority, first.pat.id).secrets) == 2

    def test_without_an_overlap_the_old_secret_and_its_tokens_end_at_once(self, authority: Authority) -> None:
        issued = issue(authority)
        token = authority.exchange(issued.pat.id, issued.secret).value
        again = authority.rotate(issued.pat.id, overlap=AT_ONCE)
        for value in (basic_of(issued), bearer(issued.token), bearer(token)):
            assert not passes(authority, value)
        assert passes(authority, basic_of(again))

    def test_an_exchange_under_way_by_a_secret_that_ends_leaves_no_token_that_passes(
        self, authority: Authority, clock: Clock
    ) -> None:
        issued = issue(authority)

        def rotate() -> None:
            clock.advance(1)
            authority.rotate(issued.pat.id, overlap=AT_ONCE)

        before_first("issue", rotate)
        try:
            token = authority.exchange(issued.pat.id, issued.secret).value
        except InvalidCredentials:
            return
        assert not passes(authority, bearer(token))

    def test_the_overlap_is_cut_to_the_expiry(self, authority: Authority) -> None:
        for name, life, end in [
            ("soon", {"expires_in": timedelta(seconds=5)}, NOW + 5 * SECOND),
            ("later", {"expires_in": timedelta(days=30)}, NOW + 7 * DAY),
            ("never", {"never_expires": True}, NOW + 7 * DAY),
        ]:
            issued = issue(authority, name, **life)
            authority.rotate(issued.pat.id, overlap=timedelta(days=7))
            assert record_of(authority, issued.pat.id).overlap_end_ms == end

    @one_engine
    @each(
        "overlap",
        [timedelta(days=7, microseconds=1), timedelta(microseconds=-1), timedelta.max, 3600, None, "1h"],
    )
    def test_other_overlaps_than_0_to_7_days_are_refused(self, fresh: Make, overlap: Any) -> None:
        authority = fresh()
        issued = issue(authority)
        before = bytes_of(authority, issued.pat.id)
        with pytest.raises(InvalidRequest, match="7 days"):
            authority.rotate(issued.pat.id, overlap=overlap)
        assert bytes_of(authority, issued.pat.id) == before

    @each("use", USES)
    def test_a_secret_that_is_used_after_it_was_rotated_away_is_an_event_of_its_own(
        self, fresh: Make, clock: Clock, events: Any, use: str
    ) -> None:
        """To the caller it is like an unknown one. A thief who rotates may leave no other trace."""
        ask = USES[use]
        authority, answers = fresh(clock=clock), []
        issued = issue(authority)
        about = {"patId": issued.pat.id, "address": "203.0.113.9"}
        authority.rotate(issued.pat.id, overlap=timedelta(minutes=1))
        assert passes(authority, basic_of(issued))
        clock.advance(MINUTE)
        events()
        for secret, expected in (
            (issued.secret, [{"type": "secret.reused", "outcome": "refused", **about, "ownerId": "alice"}]),
            (
                wrong_secret(authority),
                [{"type": "credentials.refused", "outcome": "refused", **about, "reason": "invalid"}],
            ),
        ):
            answers.append(answered(ask, authority, issued.pat.id, secret))
            assert events() == expected, "one for each request"
        assert answers[0] == answers[1]
        for _ in range(2):
            authority.rotate(issued.pat.id, overlap=AT_ONCE)
        events()
        answered(ask, authority, issued.pat.id, issued.secret)
        assert [one["type"] for one in events()] == ["credentials.refused"], "it is forgotten"

    def test_an_access_token_of_a_secret_that_was_rotated_away_is_plainly_refused(
        self, authority: Authority, events: Any
    ) -> None:
        """Its client has not been wrong: it exchanged the secret in time."""
        issued = issue(authority)
        token = authority.exchange(issued.pat.id, issued.secret).value
        authority.rotate(issued.pat.id, overlap=AT_ONCE)
        events()
        assert not passes(authority, bearer(token))
        assert events() == [
            {
                "type": "credentials.refused",
                "outcome": "refused",
                "patId": issued.pat.id,
                "reason": "access_token",
            }
        ]

    @each("use", USES)
    def test_a_secret_that_is_rotated_away_while_it_is_hashed_is_reused_too(
        self, fresh: Make, events: Any, use: str
    ) -> None:
        ask = USES[use]
        authority = fresh()
        issued = issue(authority)
        events()
        with Before(ProofCache, "check", lambda: authority.rotate(issued.pat.id, overlap=AT_ONCE)):
            answered(ask, authority, issued.pat.id, issued.secret)
        rotated, *others = events()
        assert rotated["type"] == "pat.rotated"
        about = {"patId": issued.pat.id, "ownerId": "alice", "address": "203.0.113.9"}
        assert others == [{"type": "secret.reused", "outcome": "refused", **about}]

    def test_it_is_charged_to_the_addresss_quota_and_costs_no_hash(self, authority: Authority) -> None:
        issued = issue(authority)
        again = authority.rotate(issued.pat.id, overlap=AT_ONCE)
        hashes = hasher_of(authority).computed
        for _ in range(20):
            with pytest.raises(InvalidCredentials):
                authority.verify_basic(issued.pat.id, issued.secret, address="203.0.113.9")
        with pytest.raises(RateLimited):
            authority.verify_basic(issued.pat.id, issued.secret, address="203.0.113.9")
        assert hasher_of(authority).computed == hashes
        assert authority.verify_basic(issued.pat.id, again.secret, address="203.0.113.9")

    def test_the_pat_of_a_disabled_owner_is_not_rotated(self, authority: Authority) -> None:
        issued = issue(authority)
        authority.disable_owner("alice")
        before = bytes_of(authority, issued.pat.id)
        with pytest.raises(Forbidden, match="enable the owner"):
            authority.rotate(issued.pat.id)
        assert bytes_of(authority, issued.pat.id) == before
        authority.enable_owner("alice")
        before_first("update", lambda: authority.disable_owner("alice"))
        with pytest.raises(Forbidden, match="enable the owner"):
            authority.rotate(issued.pat.id)
        assert len(record_of(authority, issued.pat.id).secrets) == 1

    def test_of_eight_rotations_at_once_the_last_two_secrets_pass(self, make: Make, clock: Clock) -> None:
        authority = make(clock=clock, hash_slots=32)
        issued = issue(authority, request_quota="1000/1")
        outcomes = all_at_once([lambda: authority.rotate(issued.pat.id)] * 8)
        assert all(isinstance(one, IssuedPat) for one in outcomes)
        in_order = sorted(outcomes, key=lambda one: one.pat.sequence)
        assert [passes(authority, basic_of(one)) for one in in_order] == [False] * 6 + [True] * 2
        assert not passes(authority, basic_of(issued))

    def test_it_is_rotated_as_often_as_its_generations_can_be_counted(self, authority: Authority) -> None:
        issued = issue(authority)
        old = record_of(authority, issued.pat.id)
        last = (type(old.secrets[0])(2**24 - 2, old.secrets[0].tag, old.secrets[0].digest),)
        key = Keys(authority.settings.key_prefix, "default").pat(PatId(issued.pat.id))
        send(authority, ("SET", key, pack(PatRecord(old.pat, last), VERSION)))
        again = authority.rotate(issued.pat.id)
        assert record_of(authority, issued.pat.id).secrets[0].generation == 2**24 - 1
        with pytest.raises(Conflict, match="make a new one"):
            authority.rotate(issued.pat.id)
        assert passes(authority, basic_of(again))
        assert passes(authority, basic_of(issued))

    def test_a_token_of_the_old_secret_says_that_it_ends_with_the_overlap(
        self, authority: Authority, clock: Clock
    ) -> None:
        issued = issue(authority)
        again = authority.rotate(issued.pat.id, overlap=timedelta(seconds=60))
        clock.advance(10 * SECOND)
        lives = [authority.exchange(one.pat.id, one.secret).expires_in for one in (issued, again)]
        assert lives == [50, 900]

    @each("error", [Unanswered(detail="no answer"), NotDurable("made", detail="no answer")])
    @each("overlap", [AT_ONCE, timedelta(hours=1)])
    def test_a_rotation_of_unknown_outcome_is_undone(
        self, fresh: Make, events: Any, error: PatAuthError, overlap: timedelta
    ) -> None:
        """Nobody was shown the new secret, so none remains that nobody knows."""
        authority = fresh()
        first = issue(authority)
        second = authority.rotate(first.pat.id)
        before, kept = bytes_of(authority, first.pat.id), ttl_of(authority, first.pat.id)
        events()
        with failing(error), pytest.raises(StoreUnavailable):
            authority.rotate(first.pat.id, overlap=overlap)
        assert bytes_of(authority, first.pat.id) == before
        assert abs(ttl_of(authority, first.pat.id) - kept) < 60 * SECOND
        assert events() == []
        assert passes(authority, basic_of(first))
        assert passes(authority, basic_of(second))

    def test_what_changes_before_it_is_undone_stays(self, authority: Authority, events: Any) -> None:
        """The PAT is renamed between the write whose answer is lost and its undoing."""
        issued = issue(authority)

        def update(real: Callable[..., Any], *changes: Any, new_secret: bool = False, **given: Any) -> Any:
            outcome = real(*changes, new_secret=new_secret, **given)
            if new_secret:
                authority.patch(issued.pat.id, [put("/name", "renamed")])
                raise Unanswered(detail="no answer")
            return outcome

        events()
        with standing_in(Pats, "update", update), pytest.raises(StoreUnavailable):
            authority.rotate(issued.pat.id, overlap=AT_ONCE)
        assert passes(authority, basic_of(issued))
        record = record_of(authority, issued.pat.id)
        assert (record.pat.name, len(record.secrets)) == ("renamed", 1)
        assert [one["type"] for one in events()] == ["pat.updated"]

    def test_one_that_cannot_be_undone_is_an_outage_that_the_trail_tells_of(
        self, authority: Authority, events: Any
    ) -> None:
        """The old secret has its overlap, and the operator knows which PAT to look at."""
        issued = issue(authority)
        events()
        with failing(Unanswered(), times=2), pytest.raises(StoreUnavailable):
            authority.rotate(issued.pat.id)
        (event,) = events()
        assert (event["type"], event["patId"], event["outcome"]) == ("pat.rotated", issued.pat.id, "unknown")
        assert passes(authority, basic_of(issued))


@one_engine
class TestUnknownOutcome:
    """A patch that may have been written: it is safe to repeat, and the trail has what is known."""

    def test_a_patch_that_is_not_yet_durable_is_an_event_all_the_same(
        self, authority: Authority, events: Any
    ) -> None:
        issued = issue(authority)
        events()
        operations = [put("/scope", ["reports:read"])]
        with failing(NotDurable("made", detail="late")), pytest.raises(StoreUnavailable):
            authority.patch(issued.pat.id, operations)
        assert [(one["type"], one["outcome"]) for one in events()] == [("pat.updated", "unknown")]
        assert authority.patch(issued.pat.id, operations).scope == ("reports:read",)
        assert events() == []

    def test_one_that_was_not_written_is_none(self, authority: Authority, events: Any) -> None:
        issued = issue(authority)
        events()
        with failing(NotDurable("changed", detail="late")), pytest.raises(StoreUnavailable):
            authority.patch(issued.pat.id, [put("/name", "late")])
        assert events() == []

    def test_one_that_may_have_been_written_is_an_event_that_says_so(
        self, authority: Authority, events: Any
    ) -> None:
        issued = issue(authority)
        events()
        with failing(Unanswered(detail="no answer")), pytest.raises(StoreUnavailable):
            authority.patch(issued.pat.id, [put("/name", "late")])
        assert [(one["type"], one["outcome"]) for one in events()] == [("pat.updated", "unknown")]


OTHER = Profile("other", memory_kib=16, time_cost=2, parallelism=1)


def costs(authority: Authority, pat_id: str) -> list[int]:
    """The memory of each slot's digest: 8 under the profile of tests, 16 under the other."""
    return [slot.digest.memory_kib for slot in record_of(authority, pat_id).secrets]


class TestRehash:
    """C6: the first success under another profile hashes again, by compare-and-set."""

    @pytest.fixture
    def issued(self, authority: Authority) -> IssuedPat:
        """A PAT of one profile; the Authority has another since."""
        made = issue(authority)
        hasher_of(authority).profile = OTHER
        return made

    @pytest.mark.parametrize("by", ["basic", "pat", "exchange"])
    def test_the_first_success_hashes_again_and_the_second_not_at_all(
        self, authority: Authority, issued: IssuedPat, by: str
    ) -> None:
        def use() -> object:
            if by == "exchange":
                return authority.exchange(issued.pat.id, issued.secret)
            return authority.authenticate(basic_of(issued) if by == "basic" else bearer(issued.token))

        hashes, kept = hasher_of(authority).computed, ttl_of(authority, issued.pat.id)
        use()
        assert costs(authority, issued.pat.id) == [16]
        assert hasher_of(authority).computed == hashes + 2, "to verify, and to hash again"
        assert kept - 60 * SECOND < ttl_of(authority, issued.pat.id) <= kept
        use()
        authority.authenticate(basic_of(issued))
        assert hasher_of(authority).computed == hashes + 2
        found = authority.get(issued.pat.id)
        assert (found.sequence, found.changed_ms) == (1, NOW), "it is no change of the PAT"
        with pytest.raises(InvalidCredentials):
            authority.verify_basic(issued.pat.id, wrong_secret(authority))

    def test_a_pat_without_a_ttl_gets_none(self, authority: Authority) -> None:
        issued = issue(authority, never_expires=True)
        hasher_of(authority).profile = OTHER
        authority.authenticate(basic_of(issued))
        assert (costs(authority, issued.pat.id), ttl_of(authority, issued.pat.id)) == ([16], -1)

    @shared_engines
    def test_each_secret_of_a_rotated_pat_is_hashed_again_by_its_own_use(
        self, make: Make, clock: Clock, engine: str
    ) -> None:
        authority = make(clock=clock)
        first = issue(authority)
        second = authority.rotate(first.pat.id)
        make(clock=clock, hash_profile=OTHER).authenticate(basic_of(first))
        assert costs(authority, first.pat.id) == [8, 16]
        make(clock=clock, hash_profile=OTHER).authenticate(basic_of(second))
        assert costs(authority, first.pat.id) == [16, 16]
        for one in (first, second):
            assert passes(authority, basic_of(one))

    @one_engine
    def test_a_refused_use_hashes_nothing_again(self, authority: Authority, clock: Clock) -> None:
        disabled, expired = issue(authority), issue(authority, "b", expires_in=timedelta(seconds=1))
        authority.disable_owner("alice")
        clock.advance(SECOND)
        hasher_of(authority).profile = OTHER
        for one in (disabled, expired):
            assert not passes(authority, basic_of(one))
            with pytest.raises(InvalidCredentials):
                authority.verify_basic(one.pat.id, wrong_secret(authority))
            assert costs(authority, one.pat.id) == [8]

    def test_a_pat_that_is_deleted_meanwhile_does_not_come_back(
        self, authority: Authority, issued: IssuedPat, caplog: pytest.LogCaptureFixture
    ) -> None:
        calls = before_first("rehash", lambda: authority.delete(issued.pat.id))
        authority.authenticate(basic_of(issued))
        assert calls.count == 1
        with pytest.raises(NotFound):
            authority.get(issued.pat.id)
        assert ttl_of(authority, issued.pat.id) == -2, "there is no such key"
        assert "not hashed again" not in caplog.text, "nothing went wrong"
        assert not passes(authority, basic_of(issued))

    def test_one_that_is_patched_meanwhile_stays_as_it_was_patched(
        self, authority: Authority, issued: IssuedPat
    ) -> None:
        operations = [put("/name", "patched"), put("/scope", ["a"]), *expire(None)]
        before_first("rehash", lambda: authority.patch(issued.pat.id, operations))
        authority.authenticate(basic_of(issued))
        found = authority.get(issued.pat.id)
        assert (found.name, found.scope, found.expires_ms, found.sequence) == ("patched", ("a",), None, 2)
        assert ttl_of(authority, issued.pat.id) == -1
        assert passes(authority, basic_of(issued))

    def test_one_that_is_disabled_meanwhile_stays_disabled(
        self, authority: Authority, issued: IssuedPat
    ) -> None:
        before_first("rehash", lambda: authority.disable_owner("alice"))
        authority.authenticate(basic_of(issued))
        assert authority.get(issued.pat.id).state == "disabled"
        assert not passes(authority, basic_of(issued))

    @pytest.mark.parametrize("times", [1, 2])
    def test_one_that_is_rotated_meanwhile_stays_rotated(
        self, authority: Authority, issued: IssuedPat, times: int
    ) -> None:
        rotated: list[IssuedPat] = []

        def rotate() -> None:
            rotated.extend(authority.rotate(issued.pat.id) for _ in range(times))

        before_first("rehash", rotate)
        authority.authenticate(basic_of(issued))
        generations = [slot.generation for slot in record_of(authority, issued.pat.id).secrets]
        assert generations == [times + 1, times]
        assert passes(authority, basic_of(issued)) == (times == 1)
        assert all(passes(authority, basic_of(one)) for one in rotated)

    def test_a_change_under_way_does_not_undo_it(self, authority: Authority, issued: IssuedPat) -> None:
        before_first("update", lambda: authority.authenticate(basic_of(issued)))
        assert authority.patch(issued.pat.id, [put("/name", "x")]).name == "x"
        assert costs(authority, issued.pat.id) == [16]
        assert passes(authority, basic_of(issued))

    @one_engine
    @pytest.mark.parametrize("error", [StoreUnavailable(detail="down"), Overloaded()], ids=repr)
    @pytest.mark.parametrize("part", ["hash", "store"])
    def test_its_failure_costs_the_request_nothing(
        self,
        authority: Authority,
        issued: IssuedPat,
        error: PatAuthError,
        part: str,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        calls = []

        def fail(*_: Any, **__: Any) -> Any:
            calls.append(1)
            raise error

        target: Any = Hasher if part == "hash" else Pats
        monkeypatch.setattr(target, "hash" if part == "hash" else "rehash", fail)
        for _ in range(3):
            assert authority.authenticate(basic_of(issued)).pat_id == issued.pat.id
            assert authority.exchange(issued.pat.id, issued.secret)
        assert len(calls) == 1, "it is not tried again and again"
        assert "not hashed again" in caplog.text
        assert issued.secret not in caplog.text
        assert costs(authority, issued.pat.id) == [8]

    @shared_engines
    def test_two_profiles_side_by_side_do_not_undo_each_other_for_ever(
        self, make: Make, clock: Clock, engine: str
    ) -> None:
        old, new = make(clock=clock), make(clock=clock, hash_profile=OTHER)
        issued = issue(old, request_quota="1000/1")
        hashes = hasher_of(old).computed + hasher_of(new).computed
        writes = before_first("rehash", lambda: None)
        for _ in range(10):
            old.authenticate(basic_of(issued))
            new.authenticate(basic_of(issued))
        assert writes.count == 2, "one each"
        # Old and new verify what each finds first and write their own; new verifies what old has written.
        assert hasher_of(old).computed + hasher_of(new).computed - hashes == 6
        assert costs(old, issued.pat.id) == [8]

    def test_of_many_threads_at_once_one_hashes_again(self, authority: Authority, issued: IssuedPat) -> None:
        hashes = hasher_of(authority).computed
        calls = before_first("rehash", lambda: None)
        outcomes = all_at_once([lambda: authority.authenticate(basic_of(issued))] * 16)
        assert all(isinstance(one, Principal) for one in outcomes)
        assert calls.count == 1
        assert hasher_of(authority).computed <= hashes + 3
        assert costs(authority, issued.pat.id) == [16]


@one_engine
class TestGrowth:
    """A3: on behalf of a caller, nothing grows past what that caller can pass on."""

    MINE = (MY_MANAGE, "reports:read")
    LIMIT = NOW + 10 * DAY

    @pytest.fixture
    def maker(self, authority: Authority) -> IssuedPat:
        """Whose PAT calls: with the right to manage her own, reports:read, and ten days."""
        return issue(authority, "maker", scope=self.MINE, expires_in=timedelta(days=10))

    @pytest.fixture
    def principal(self, authority: Authority, maker: IssuedPat) -> Principal:
        return authority.verify_basic(maker.pat.id, maker.secret)

    @pytest.fixture
    def narrowed(self, authority: Authority, maker: IssuedPat) -> Principal:
        """The same by an access token that holds the right alone."""
        access = authority.exchange(maker.pat.id, maker.secret, scope=MY_MANAGE)
        return authority.verify_bearer(access.value)

    @pytest.fixture
    def small(self, authority: Authority) -> PersonalAccessToken:
        return issue(authority, "small", scope=[MY_MANAGE], expires_in=timedelta(days=5)).pat

    @pytest.fixture
    def big(self, authority: Authority) -> PersonalAccessToken:
        return issue(authority, "big", scope=["reports:read", "admin"], never_expires=True).pat

    def test_scopes_grow_up_to_the_callers_own(
        self,
        authority: Authority,
        small: PersonalAccessToken,
        principal: Principal,
        narrowed: Principal,
    ) -> None:
        before = bytes_of(authority, small.id)
        for by, scope in [
            (principal, "admin"),
            (principal, "sp:scopes:all"),
            (principal, ALL_MANAGE),
            (narrowed, "reports:read"),
            (Person(ALICE, [MY_MANAGE]), "reports:read"),
        ]:
            with pytest.raises(InvalidScope, match="cannot pass on"):
                authority.patch(small.id, [put("/name", "x"), add(scope)], by=by)
        assert bytes_of(authority, small.id) == before
        assert "reports:read" in authority.patch(small.id, [add("reports:read")], by=principal).scope
        other = authority.patch(small.id, [put("/scope", [MY_MANAGE])], by=narrowed)
        assert other.scope == (MY_MANAGE,)
        assert authority.patch(small.id, [add("reports:read")], by=Person(ALICE, self.MINE))

    def test_the_expiry_moves_up_to_the_callers_own(
        self,
        authority: Authority,
        small: PersonalAccessToken,
        principal: Principal,
        narrowed: Principal,
    ) -> None:
        for by in (principal, narrowed):
            for ms in (self.LIMIT + 1, None):
                with pytest.raises(InvalidRequest, match="your own"):
                    authority.patch(small.id, expire(ms), by=by)
        assert authority.get(small.id) == small
        assert authority.patch(small.id, expire(self.LIMIT), by=narrowed).expires_ms == self.LIMIT
        assert authority.patch(small.id, expire(None), by=Person(ALICE, self.MINE)).expires_ms is None

    def test_nobody_prolongs_the_pat_by_which_they_call(
        self, authority: Authority, maker: IssuedPat, principal: Principal
    ) -> None:
        for operations in (expire(self.LIMIT + 1), expire(None), [add("admin")]):
            with pytest.raises(InvalidRequest):
                authority.patch(maker.pat.id, operations, by=principal)
        assert authority.rotate(maker.pat.id, by=principal), "but a new secret gives it no more"

    def test_what_is_more_than_the_caller_is_renamed_and_made_less_and_never_taken_over(
        self,
        authority: Authority,
        big: PersonalAccessToken,
        principal: Principal,
        narrowed: Principal,
    ) -> None:
        for by in (principal, narrowed):
            with pytest.raises(Forbidden, match="more scopes or a later expiry"):
                authority.rotate(big.id, by=by)
            assert authority.patch(big.id, [put("/name", by.method)], by=by).name == by.method
        with pytest.raises(InvalidScope):
            authority.patch(big.id, [put("/scope", ["admin", "reports:write"])], by=principal)
        assert authority.patch(big.id, [put("/scope", ["reports:read"])], by=principal).expires_ms is None
        with pytest.raises(Forbidden):
            authority.rotate(big.id, by=principal)
        assert authority.patch(big.id, expire(self.LIMIT + DAY), by=principal), "later than theirs, yet less"
        with pytest.raises(Forbidden):
            authority.rotate(big.id, by=principal)
        authority.patch(big.id, expire(self.LIMIT), by=principal)
        assert authority.rotate(big.id, by=principal)
        with pytest.raises(Forbidden):
            authority.rotate(big.id, by=narrowed)

    def test_a_person_rotates_what_they_could_have_made(
        self, authority: Authority, big: PersonalAccessToken
    ) -> None:
        with pytest.raises(Forbidden):
            authority.rotate(big.id, by=Person(ALICE, self.MINE))
        assert authority.rotate(big.id, by=Person(ALICE, [*self.MINE, "admin"]))

    def test_a_rotation_looks_at_the_pat_as_it_is_when_it_is_written(
        self, authority: Authority, small: PersonalAccessToken, principal: Principal
    ) -> None:
        before_first("update", lambda: authority.patch(small.id, [add("admin")]))
        with pytest.raises(Forbidden):
            authority.rotate(small.id, by=principal)
        assert len(record_of(authority, small.id).secrets) == 1

    def test_an_access_token_passes_on_nothing_that_its_pat_has_lost(
        self, authority: Authority, maker: IssuedPat, small: PersonalAccessToken
    ) -> None:
        token = authority.exchange(maker.pat.id, maker.secret).value
        authority.patch(maker.pat.id, [put("/scope", [MY_MANAGE])])
        principal = authority.verify_bearer(token)
        assert "reports:read" in principal.scopes, "its scopes are as they were issued"
        with pytest.raises(InvalidScope):
            authority.patch(small.id, [add("reports:read")], by=principal)
        authority.patch(maker.pat.id, expire(NOW + 6 * DAY))
        with pytest.raises(InvalidRequest, match="your own"):
            authority.patch(small.id, expire(NOW + 6 * DAY + 1), by=principal)
        assert authority.patch(small.id, expire(NOW + 6 * DAY), by=principal)

    def test_who_has_lost_their_pat_meanwhile_passes_on_nothing(
        self, authority: Authority, maker: IssuedPat, small: PersonalAccessToken, principal: Principal
    ) -> None:
        authority.delete(maker.pat.id)
        with pytest.raises(InvalidCredentials):
            authority.patch(small.id, [add("reports:read")], by=principal)
        with pytest.raises(InvalidCredentials):
            authority.rotate(small.id, by=principal)
        assert authority.get(small.id) == small


@one_engine
class TestRights:
    """Who may change whose; the standing of callers has tests of its own."""

    def test_without_the_right_to_ones_own_nothing_is_changed(self, authority: Authority) -> None:
        pat = issue(authority, "target", scope=["a"]).pat
        for scopes in (["a"], ["sp:scopes:all"], ["idn:all-personal-access-tokens:read"]):
            by = Person(ALICE, scopes)
            for call in (
                lambda by=by: authority.patch(pat.id, [put("/name", "x")], by=by),
                lambda by=by: authority.rotate(pat.id, by=by),
                lambda by=by: patch_many(authority, [pat.id], expire(None), by=by),
            ):
                with pytest.raises(Forbidden):
                    call()
        assert authority.get(pat.id) == pat

    def test_anothers_is_not_there_without_the_right_to_all(self, authority: Authority) -> None:
        pat = issue(authority, "target", scope=["a"]).pat
        bob = Person(Owner("bob"), [MY_MANAGE, "a"])
        with pytest.raises(NotFound):
            authority.patch(pat.id, [put("/name", "x")], by=bob)
        with pytest.raises(NotFound):
            authority.rotate(pat.id, by=bob)
        with pytest.raises(Forbidden):
            patch_many(authority, [pat.id], expire(None), by=bob)
        assert authority.get(pat.id) == pat
        admin = Person(Owner("bob"), [ALL_MANAGE, "a"])
        assert authority.patch(pat.id, [put("/name", "x")], by=admin).name == "x"
        assert authority.rotate(pat.id, by=admin)
        assert patch_many(authority, [pat.id], expire(None), by=admin)[0].expires_ms is None

    def test_bulk_is_bound_by_the_callers_own_life(self, authority: Authority) -> None:
        maker = issue(authority, "maker", scope=[ALL_MANAGE, "a"], expires_in=timedelta(days=10))
        principal = authority.verify_basic(maker.pat.id, maker.secret)
        pats = [issue(authority, scope=["a"], owner=Owner(one)).pat for one in ("bob", "carol")]
        ids = [pat.id for pat in pats]
        patch_many(authority, ids, expire(NOW + 9 * DAY), by=principal)
        with pytest.raises(InvalidRequest, match="your own"):
            patch_many(authority, ids, expire(NOW + 10 * DAY + 1), by=principal)
        assert {authority.get(one).expires_ms for one in ids} == {NOW + 9 * DAY}
        patch_many(authority, ids, expire(NOW + 10 * DAY), by=principal)


@one_engine
@each("now", [-1, 2**63, 2**70, 253_402_300_800_000])
def test_no_record_is_written_by_a_clock_that_cannot_be(fresh: Make, clock: Clock, now: int) -> None:
    authority = fresh()
    issued = issue(authority, never_expires=True)
    before = bytes_of(authority, issued.pat.id)
    clock.now = now
    for change in (
        lambda: authority.patch(issued.pat.id, [put("/name", "x")]),
        lambda: authority.rotate(issued.pat.id),
    ):
        with pytest.raises(PatAuthError):
            change()
    clock.now = NOW
    assert bytes_of(authority, issued.pat.id) == before


def test_no_change_raises_anything_but_our_errors_whatever_is_answered(make_at: Make) -> None:
    """Replies cut, lengthened, and with a value of another kind; then all is well again."""
    authority = make_at(request_quota="1000000/1", max_pats_per_owner=1000)
    issued, other = issue(authority), issue(authority, owner=Owner("bob"))
    maker = issue(authority, "maker", scope=[ALL_MANAGE, "a"], never_expires=True)
    principal = authority.verify_basic(maker.pat.id, maker.secret)
    transport = transport_of(authority)
    honest = transport.call
    chance = random.Random(11)
    kinds: list[Any] = [None, -1, 0, 5, 2**70, b"", b"1" * 200, [], [b"x"], "text", 1.5, True]

    def lie(commands: Any, deadline: float, **options: Any) -> Any:
        replies = list(honest(commands, deadline, **options))
        at = chance.randrange(len(replies))
        reply = replies[at]
        if isinstance(reply, list) and reply and chance.random() < 0.8:
            changed = list(reply)
            changed[chance.randrange(len(changed))] = chance.choice(kinds)
            replies[at] = chance.choice([changed, changed[:-1], [*changed, 1]])
        elif chance.random() < 0.8:
            replies[at] = chance.choice(kinds)
        return replies

    verbs: list[Callable[[int], Any]] = [
        lambda turn: authority.patch(issued.pat.id, [put("/name", f"n{turn}"), *expire(None)]),
        lambda turn: authority.patch(issued.pat.id, [put("/scope", ["a"])], by=principal),
        lambda turn: patch_many(authority, [other.pat.id, issued.pat.id], expire(4_000_000_000_000 + turn)),
        lambda turn: authority.rotate(other.pat.id),
        lambda turn: authority.rotate(issued.pat.id, by=principal),
    ]
    transport.call = lie
    try:
        for turn in range(150):
            for verb in verbs:
                with suppress(PatAuthError):
                    verb(turn)
    finally:
        del transport.call
    for one in (issued, other):
        again = authority.rotate(one.pat.id)
        assert passes(authority, basic_of(again))
