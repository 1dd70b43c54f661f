"""The contract of an Authority, the same on fakeredis, Valkey and Redis. Time is the test's."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import pytest

from patauth import (
    Authority,
    Conflict,
    InvalidCredentials,
    InvalidRequest,
    InvalidScope,
    InvalidToken,
    NotFound,
    Owner,
    PatAuthError,
    PersonalAccessToken,
    RateLimited,
    StoreUnavailable,
)
from patauth.model.address import UNKNOWN
from tests.support.authorities import ALICE, Make, admit, basic_of, bearer, issue, wrong_secret
from tests.support.clocks import DAY, MINUTE, NOW, Clock
from tests.support.internals import hasher_of
from tests.support.servers import one_engine, shared_engines
from tests.support.tables import each
from tests.support.tenants import owners_of_one_tag

SECOND = 1000


def test_a_pat_opens_by_basic_by_pat_token_and_through_an_access_token(authority: Authority) -> None:
    issued = issue(authority)
    access = authority.exchange(issued.pat.id, issued.secret)
    found = {
        "basic": authority.authenticate(basic_of(issued)),
        "pat": authority.authenticate(bearer(issued.token)),
        "access_token": authority.authenticate(bearer(access.value)),
    }
    for method, principal in found.items():
        assert principal.method == method
        assert principal.subject == ALICE
        assert principal.scopes == {"reports:read", "reports:write"}
        assert principal.pat_id == issued.pat.id
        assert principal.tenant == "default"
    assert found["basic"].expires_at == issued.pat.expires_at
    assert access.token_type == "Bearer"
    assert access.expires_in == 900
    assert access.scope == ("reports:read", "reports:write")


def test_what_create_answers_is_what_get_and_list_read(authority: Authority) -> None:
    issued = issue(authority, access_token_ttl=60, request_quota="7/3")
    assert authority.get(issued.pat.id) == issued.pat
    assert authority.list(owner_id="alice") == [issued.pat]
    pat = issued.pat
    assert (pat.name, pat.scope, pat.owner) == ("ci", ("reports:read", "reports:write"), ALICE)
    assert pat.created == datetime(2030, 1, 1, tzinfo=UTC)
    assert pat.expires_at == datetime(2030, 1, 31, tzinfo=UTC)
    assert (pat.state, pat.last_used, pat.access_token_ttl) == ("active", None, 60)
    assert str(pat.request_quota) == "7/3"


def test_a_deleted_pat_and_its_access_tokens_are_refused_at_once(authority: Authority) -> None:
    issued = issue(authority)
    access = authority.exchange(issued.pat.id, issued.secret)
    authority.authenticate(basic_of(issued))
    authority.delete(issued.pat.id)
    with pytest.raises(InvalidCredentials):
        authority.authenticate(basic_of(issued))
    with pytest.raises(InvalidCredentials):
        authority.authenticate(bearer(issued.token))
    with pytest.raises(InvalidToken):
        authority.authenticate(bearer(access.value))
    with pytest.raises(InvalidCredentials):
        authority.exchange(issued.pat.id, issued.secret)
    with pytest.raises(NotFound):
        authority.get(issued.pat.id)
    with pytest.raises(NotFound):
        authority.delete(issued.pat.id)
    assert authority.list(owner_id="alice") == []


def test_unknown_wrong_and_deleted_are_told_apart_by_nothing(authority: Authority) -> None:
    kept, gone = issue(authority), issue(authority, "gone")
    authority.delete(gone.pat.id)
    wrong = wrong_secret(authority)
    said = set()
    for pat_id, secret in [
        (kept.pat.id, wrong),
        ("0" * 32, wrong),
        (gone.pat.id, gone.secret),
        ("ffff", wrong),
    ]:
        with pytest.raises(InvalidCredentials) as caught:
            authority.verify_basic(pat_id, secret)
        said.add((type(caught.value), str(caught.value), caught.value.detail))
    assert len(said) == 1


def test_a_pat_expires_at_the_very_millisecond(authority: Authority, clock: Clock) -> None:
    issued = issue(authority, expires_in=timedelta(milliseconds=7_001))
    access = authority.exchange(issued.pat.id, issued.secret)
    assert access.expires_in == 7, "an access token never outlives its PAT"
    clock.now = NOW + 7_000
    authority.authenticate(basic_of(issued))
    authority.authenticate(bearer(access.value))
    assert authority.get(issued.pat.id).state == "active"
    clock.now = NOW + 7_001
    for refused in (basic_of(issued), bearer(issued.token), bearer(access.value)):
        with pytest.raises(InvalidCredentials):
            authority.authenticate(refused)
    with pytest.raises(InvalidCredentials, match="expired"):
        authority.exchange(issued.pat.id, issued.secret)
    assert authority.get(issued.pat.id).state == "expired"


@one_engine
def test_a_condition_that_only_the_process_knows_holds_for_secrets_and_access_tokens_alike(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scripts know nothing of it, as they would know nothing of the networks of a PAT."""
    issued = issue(authority)
    access = authority.exchange(issued.pat.id, issued.secret)
    monkeypatch.setattr(PersonalAccessToken, "state_at", lambda *_: "disabled")
    for authorization in (basic_of(issued), bearer(issued.token), bearer(access.value)):
        with pytest.raises(InvalidCredentials):
            authority.authenticate(authorization)
    assert not authority.introspect(access.value).active


def test_only_the_right_secret_is_told_that_a_pat_has_expired(authority: Authority, clock: Clock) -> None:
    issued = issue(authority, expires_in=timedelta(seconds=5))
    clock.advance(5 * SECOND)
    with pytest.raises(InvalidCredentials, match="has expired"):
        authority.authenticate(basic_of(issued))
    with pytest.raises(InvalidCredentials) as caught:
        authority.verify_basic(issued.pat.id, wrong_secret(authority))
    assert "expired" not in str(caught.value)


def test_an_access_token_ends_after_its_ttl_to_the_millisecond(authority: Authority, clock: Clock) -> None:
    issued = issue(authority, access_token_ttl=15)
    access = authority.exchange(issued.pat.id, issued.secret)
    assert access.expires_in == 15
    clock.now = NOW + 14_999
    principal = authority.authenticate(bearer(access.value))
    assert principal.expires_ms == NOW + 15_000
    clock.now = NOW + 15_000
    with pytest.raises(InvalidToken):
        authority.authenticate(bearer(access.value))


@one_engine
def test_an_exchange_grants_what_was_asked_for_and_never_more_than_the_pat_holds(
    authority: Authority,
) -> None:
    issued = issue(authority)
    access = authority.exchange(issued.pat.id, issued.secret, scope="openid reports:read")
    assert access.scope == ("reports:read",)
    assert authority.verify_bearer(access.value).scopes == {"reports:read"}
    for scope in ("reports:delete", "reports:read reports:delete", "sp:scopes:all", "a  b", '"'):
        with pytest.raises(InvalidScope):
            authority.exchange(issued.pat.id, issued.secret, scope=scope)
    assert authority.exchange(issued.pat.id, issued.secret, scope="openid").scope == issued.pat.scope


@one_engine
def test_a_pat_token_is_no_client_secret(authority: Authority) -> None:
    issued = issue(authority)
    with pytest.raises(InvalidCredentials):
        authority.exchange(issued.pat.id, issued.token)
    with pytest.raises(InvalidCredentials):
        authority.verify_bearer(issued.secret)


@one_engine
@each(
    "expiry",
    [
        {},
        {"expires_in": timedelta(days=1), "never_expires": True},
        {"expires_in": timedelta(0)},
        {"expires_in": timedelta(days=-1)},
        {"expires_in": timedelta(days=3_000_000)},
        {"expires_at": datetime(2029, 12, 31, tzinfo=UTC)},
        {"expires_at": datetime(2031, 1, 1)},
    ],
)
def test_an_expiry_is_given_once_in_the_future_with_a_zone(
    authority: Authority, expiry: dict[str, object]
) -> None:
    with pytest.raises(InvalidRequest, match="expir"):
        authority.create(owner=ALICE, name="x", scope=["a"], **expiry)  # type: ignore[arg-type]
    assert authority.list(owner_id="alice") == []


@one_engine
@each("address", [b"203.0.113.9", 5, ("203.0.113.9", 5), ["203.0.113.9"]])
def test_an_address_that_is_no_text_is_refused_by_name(authority: Authority, address: Any) -> None:
    issued = issue(authority, repr(address))
    calls: list[Callable[[], object]] = [
        lambda: authority.authenticate(basic_of(issued), address=address),
        lambda: authority.verify_basic(issued.pat.id, issued.secret, address=address),
        lambda: authority.verify_bearer(issued.token, address=address),
        lambda: authority.exchange(issued.pat.id, issued.secret, address=address),
        lambda: authority.introspect(issued.token, address=address),
        lambda: authority.revoke(issued.token, address=address),
    ]
    for call in calls:
        with pytest.raises(InvalidRequest) as refused:
            call()
        assert refused.value.field == "address"
    assert authority.get(issued.pat.id).last_used is None


@one_engine
def test_an_address_may_be_an_object_of_ipaddress(authority: Authority) -> None:
    issued = issue(authority, networks=["203.0.113.9"])
    address: Any = ip_address("::ffff:203.0.113.9")
    assert authority.authenticate(basic_of(issued), address=address).pat_id == issued.pat.id
    assert authority.introspect(issued.token, client_address=address).active
    assert authority.get(issued.pat.id).last_used_from == "203.0.113.9"


@one_engine
@each(
    ("given", "error"),
    [
        ({"name": ""}, InvalidRequest),
        ({"name": "  "}, InvalidRequest),
        ({"name": "a" * 129}, InvalidRequest),
        ({"name": "a\nb"}, InvalidRequest),
        ({"name": "\ud800"}, InvalidRequest),
        ({"name": None}, InvalidRequest),
        ({"scope": []}, InvalidScope),
        ({"scope": "reports:read"}, InvalidScope),
        ({"scope": ["a b"]}, InvalidScope),
        ({"scope": [1]}, InvalidScope),
        ({"scope": None}, InvalidScope),
        ({"owner": "alice"}, InvalidRequest),
        ({"access_token_ttl": 14}, InvalidRequest),
        ({"access_token_ttl": 43_201}, InvalidRequest),
        ({"access_token_ttl": True}, InvalidRequest),
        ({"request_quota": "0/1"}, InvalidRequest),
        ({"request_quota": 5}, InvalidRequest),
        ({"networks": 5}, InvalidRequest),
        ({"networks": [5]}, InvalidRequest),
        ({"expires_in": 30}, InvalidRequest),
        ({"expires_at": "2031-01-01T00:00:00Z"}, InvalidRequest),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_made(
    authority: Authority, given: dict[str, object], error: type[PatAuthError]
) -> None:
    with pytest.raises(error):
        issue(authority, **given)  # type: ignore[arg-type]
    assert authority.list(owner_id="alice") == []


def test_a_name_is_unique_per_owner_whatever_its_unicode_spelling(authority: Authority) -> None:
    issue(authority, "caf\u00e9")
    with pytest.raises(Conflict, match="name"):
        issue(authority, "cafe\u0301")
    issue(authority, "caf\u00e9", owner=Owner("bob"))
    assert len(authority.list(owner_id="alice")) == 1


def test_a_name_is_free_again_once_its_pat_is_deleted(authority: Authority) -> None:
    authority.delete(issue(authority).pat.id)
    issue(authority)


def test_expired_pats_keep_their_name_and_place_until_their_retention_is_over(
    make: Make, clock: Clock
) -> None:
    authority = make(clock=clock, retention="2d")
    expired = issue(authority, expires_in=timedelta(days=1)).pat
    clock.now = NOW + 3 * DAY - 1
    with pytest.raises(Conflict, match="name"):
        issue(authority)
    assert [pat.state for pat in authority.list(owner_id="alice")] == ["expired"]
    clock.now = NOW + 3 * DAY
    assert authority.list(owner_id="alice") == []
    with pytest.raises(NotFound):
        authority.get(expired.id)
    fresh = issue(authority)
    assert authority.list(owner_id="alice") == [fresh.pat]


def test_an_owner_has_at_most_the_configured_number_and_expired_ones_do_not_count(
    make: Make, clock: Clock
) -> None:
    authority = make(clock=clock, max_pats_per_owner=2)
    issue(authority, "a", expires_in=timedelta(seconds=1))
    issue(authority, "b")
    with pytest.raises(Conflict, match="2 PATs"):
        issue(authority, "c")
    clock.advance(SECOND)
    issue(authority, "c")
    with pytest.raises(Conflict):
        issue(authority, "d")


def test_an_owners_pats_are_listed_by_creation_in_pages(authority: Authority, clock: Clock) -> None:
    for name in "cab":
        issue(authority, name)
        clock.advance(1)
    assert [pat.name for pat in authority.list(owner_id="alice")] == ["c", "a", "b"]
    assert [pat.name for pat in authority.list(owner_id="alice", offset=1, limit=1)] == ["a"]
    assert authority.list(owner_id="alice", limit=0) == []
    assert authority.list(owner_id="nobody") == []
    for wrong in ({"offset": -1}, {"limit": -1}):
        with pytest.raises(InvalidRequest):
            authority.list(owner_id="alice", **wrong)


@one_engine
@each("pat_id", ["", "x", "0" * 31, "G" * 32, "0" * 33, None, 7, "0" * 32])
def test_an_id_that_is_not_there_is_not_found(authority: Authority, pat_id: str) -> None:
    with pytest.raises(NotFound):
        authority.get(pat_id)
    with pytest.raises(NotFound):
        authority.delete(pat_id)


@shared_engines
def test_an_authority_refuses_the_credentials_of_another_tenant(
    make: Make, clock: Clock, engine: str
) -> None:
    ours, theirs = make(clock=clock), make(clock=clock, tenant="other")
    issued = issue(ours)
    access = ours.exchange(issued.pat.id, issued.secret)
    for refused in (basic_of(issued), bearer(issued.token), bearer(access.value)):
        with pytest.raises(InvalidCredentials):
            theirs.authenticate(refused)
    with pytest.raises(InvalidCredentials):
        theirs.exchange(issued.pat.id, issued.secret)
    for operation in (theirs.get, theirs.delete):
        with pytest.raises(NotFound):
            operation(issued.pat.id)
    assert theirs.list(owner_id="alice") == []
    ours.authenticate(basic_of(issued))


def test_two_owners_of_one_tag_stay_apart(make: Make, clock: Clock) -> None:
    """32 bits of a MAC meet after some ten thousand owners; these two are found, not made up."""
    pair = owners_of_one_tag()
    authority = make(clock=clock, secret_key=bytes(32), max_pats_per_owner=1)
    first, second = (issue(authority, owner=Owner(owner_id)) for owner_id in pair)
    assert first.pat.id[:8] == second.pat.id[:8]
    for owner_id, issued in zip(pair, (first, second), strict=True):
        assert authority.list(owner_id=owner_id) == [issued.pat]
        assert authority.authenticate(basic_of(issued)).subject.id == owner_id
    with pytest.raises(InvalidCredentials):
        authority.verify_basic(first.pat.id, second.secret)
    authority.delete(first.pat.id)
    assert [pat.id for pat in authority.list(owner_id=pair[1])] == [second.pat.id]
    authority.authenticate(basic_of(second))


def test_a_use_is_written_once_per_utc_day_by_secrets_and_never_by_access_tokens(
    authority: Authority, clock: Clock
) -> None:
    clock.now = NOW + DAY - 1  # 23:59:59.999
    issued = issue(authority)
    pat_id = issued.pat.id
    access = authority.exchange(pat_id, issued.secret)
    assert authority.get(pat_id).last_used_ms == NOW + DAY - 1
    clock.now = NOW + DAY  # the next day's first millisecond
    authority.authenticate(bearer(access.value))
    assert authority.get(pat_id).last_used_ms == NOW + DAY - 1
    authority.authenticate(bearer(issued.token))
    assert authority.get(pat_id).last_used_ms == NOW + DAY
    clock.advance(DAY - 1)
    authority.authenticate(basic_of(issued))
    assert authority.get(pat_id).last_used_ms == NOW + DAY
    clock.advance(1)
    authority.authenticate(basic_of(issued))
    assert authority.get(pat_id).last_used_ms == NOW + 2 * DAY


def test_a_use_that_a_wrong_clock_wrote_for_the_future_is_written_over(
    authority: Authority, clock: Clock
) -> None:
    """A server's clock that is 30 days ahead for a moment must not end `lastUsed` for 30 days."""
    for ahead, then in ((30 * DAY, NOW), (DAY + 1, NOW), (DAY, NOW + DAY)):
        issued = issue(authority, f"{ahead} ms", expires_in=timedelta(days=90))
        clock.now = NOW + ahead
        authority.authenticate(basic_of(issued))
        assert authority.get(issued.pat.id).last_used_ms == NOW + ahead
        clock.now = NOW
        authority.exchange(
            issued.pat.id, issued.secret
        )  # which has a quota of its own, for that clock left one
        assert authority.get(issued.pat.id).last_used_ms == then
    clock.now = NOW + 1
    authority.authenticate(basic_of(issue(authority)))
    listed = authority.list(sort="-lastUsed,name")
    assert [pat.name for pat in listed] == [f"{DAY} ms", "ci", f"{30 * DAY} ms", f"{DAY + 1} ms"]


def test_a_use_at_an_instant_that_no_record_can_hold_is_not_written_and_fails_no_request(
    authority: Authority, clock: Clock
) -> None:
    issued = issue(authority, never_expires=True)
    clock.now = -1
    assert authority.authenticate(basic_of(issued)).pat_id == issued.pat.id
    clock.now = NOW
    assert authority.get(issued.pat.id).last_used is None


@one_engine
@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
def test_an_authority_is_neither_copied_nor_pickled(
    authority: Authority, way: Callable[[object], object]
) -> None:
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        way(authority)


def test_a_refused_use_is_not_written(authority: Authority, clock: Clock) -> None:
    issued = issue(authority, expires_in=timedelta(seconds=1))
    with pytest.raises(InvalidCredentials):
        authority.verify_basic(issued.pat.id, wrong_secret(authority))
    clock.advance(SECOND)
    with pytest.raises(InvalidCredentials):
        authority.authenticate(basic_of(issued))
    assert authority.get(issued.pat.id).last_used is None


def test_requests_share_one_quota_per_pat_and_exchanges_have_their_own(
    authority: Authority, clock: Clock
) -> None:
    issued = issue(authority)
    operations = authority.operations
    access, decision, _ = operations.exchange(
        operations.format.basic(issued.pat.id, issued.secret), None, UNKNOWN
    )
    assert (decision.name, decision.remaining) == ("exchanges", 59)
    for number in range(100):
        value = (basic_of(issued), bearer(issued.token), bearer(access.value))[number % 3]
        admission = admit(authority, value)
        assert admission.decision.remaining == 99 - number
    with pytest.raises(RateLimited) as caught:
        admit(authority, bearer(access.value))
    assert caught.value.retry_after == 1
    authority.exchange(issued.pat.id, issued.secret)
    authority.authenticate(basic_of(issue(authority, "another")))
    clock.advance(caught.value.retry_after * SECOND)
    for _ in range(10):
        admit(authority, bearer(access.value))
    with pytest.raises(RateLimited):
        admit(authority, basic_of(issued))


def test_a_pat_may_have_a_request_quota_of_its_own(authority: Authority, clock: Clock) -> None:
    issued = issue(authority, request_quota="2/60")
    assert admit(authority, basic_of(issued)).decision.remaining == 1
    admit(authority, basic_of(issued))
    with pytest.raises(RateLimited) as caught:
        admit(authority, basic_of(issued))
    assert caught.value.retry_after == 30
    clock.advance(30 * SECOND)
    admit(authority, basic_of(issued))


def test_a_pat_is_exchanged_sixty_times_a_minute(authority: Authority, clock: Clock) -> None:
    issued = issue(authority)
    for _ in range(60):
        authority.exchange(issued.pat.id, issued.secret)
    with pytest.raises(RateLimited) as caught:
        authority.exchange(issued.pat.id, issued.secret)
    assert caught.value.retry_after == 1
    clock.advance(SECOND)
    authority.exchange(issued.pat.id, issued.secret)


def test_refused_secrets_are_limited_by_address_and_never_the_right_one(authority: Authority) -> None:
    issued = issue(authority)
    wrong = wrong_secret(authority)
    for _ in range(20):
        with pytest.raises(InvalidCredentials):
            authority.verify_basic(issued.pat.id, wrong, address="203.0.113.9")
    with pytest.raises(RateLimited) as caught:
        authority.verify_basic("0" * 32, wrong, address="203.0.113.9")
    assert caught.value.retry_after == 3
    assert authority.authenticate(basic_of(issued), address="203.0.113.9").subject == ALICE
    for address in ("203.0.113.10", None):
        with pytest.raises(InvalidCredentials):
            authority.verify_basic(issued.pat.id, wrong, address=address)


def test_wrong_secrets_cost_no_hash_and_nothing_of_the_owners_quota(make: Make) -> None:
    """10 000 of them, from a thousand addresses (REQUIREMENTS C4, F14)."""
    authority = make()
    issued = issue(authority)
    authority.authenticate(basic_of(issued))
    hashes = hasher_of(authority).computed
    refusals = 0
    wrong = wrong_secret(authority)
    for number in range(10_000 if authority.settings.store_url != "memory:" else 500):
        try:
            authority.verify_basic(
                issued.pat.id, wrong, address=f"10.0.{number % 1000 // 250}.{number % 250}"
            )
        except (InvalidCredentials, RateLimited):
            refusals += 1
    assert refusals == (10_000 if authority.settings.store_url != "memory:" else 500)
    assert hasher_of(authority).computed == hashes
    assert admit(authority, basic_of(issued)).decision.remaining >= 98


@one_engine
def test_one_secret_is_hashed_once_and_then_remembered(authority: Authority) -> None:
    issued = issue(authority)
    hashes = hasher_of(authority).computed
    for _ in range(5):
        authority.authenticate(basic_of(issued))
        authority.exchange(issued.pat.id, issued.secret)
    assert hasher_of(authority).computed == hashes + 1


def test_never_expiring_and_far_expiries_hold(authority: Authority) -> None:
    never = issue(authority, never_expires=True)
    far = issue(authority, "far", expires_at=datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC))
    for issued in (never, far):
        authority.authenticate(basic_of(issued))
    assert never.pat.expires_at is None
    assert authority.get(far.pat.id).expires_at == far.pat.expires_at


@one_engine
def test_policy_bounds_lifetime_and_scopes(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, max_lifetime="30d", scopes={"reports:read": "Read reports"})
    issue(authority, scope=["reports:read", "idn:my-personal-access-tokens:read"])
    with pytest.raises(InvalidRequest, match="expire within"):
        issue(authority, "b", scope=["reports:read"], expires_in=timedelta(days=30, milliseconds=1))
    with pytest.raises(InvalidRequest, match="expire within"):
        issue(authority, "b", scope=["reports:read"], never_expires=True)
    with pytest.raises(InvalidScope, match="catalogue"):
        issue(authority, "b", scope=["reports:write"])


@one_engine
def test_a_pat_with_every_scope_exchanges_for_any_of_the_catalogue_and_nothing_else(make: Make) -> None:
    authority = make(scopes={"reports:read": ""})
    issued = issue(authority, scope=["sp:scopes:all"])
    assert authority.exchange(issued.pat.id, issued.secret, scope="reports:read").scope == ("reports:read",)
    assert authority.exchange(issued.pat.id, issued.secret).scope == ("sp:scopes:all",)
    with pytest.raises(InvalidScope):
        authority.exchange(issued.pat.id, issued.secret, scope="reports:write")


@shared_engines
def test_an_authority_with_another_key_refuses_every_call(make: Make) -> None:
    first = make(secret_key="11" * 32)
    issued = issue(first)
    for other in (make(secret_key="22" * 32), make()):
        for call in (
            lambda other=other: other.authenticate(basic_of(issued)),
            lambda other=other: issue(other, "x"),
            lambda other=other: other.ping(),
        ):
            with pytest.raises(StoreUnavailable) as caught:
                call()
            assert "secret_key" in (caught.value.detail or "")
    first.authenticate(basic_of(issued))


@shared_engines
def test_a_wiped_store_refuses_and_gets_its_key_back(
    make: Make, engine: str, servers: object, prefix: str
) -> None:
    authority = make()
    issued = issue(authority)
    client = servers[engine].client()  # type: ignore[index]
    keys = list(client.scan_iter(f"{prefix}:*"))
    assert f"{prefix}:{{store}}:key".encode() in keys
    client.delete(*keys)
    with pytest.raises(InvalidCredentials):
        authority.authenticate(basic_of(issued))
    again = issue(authority)
    assert again.pat.id[:8] == issued.pat.id[:8], "the same store key makes the same owner tag"
    assert make().authenticate(basic_of(again)).subject == ALICE


@shared_engines
def test_no_counter_and_no_access_token_lives_for_ever(
    make: Make, engine: str, servers: object, prefix: str
) -> None:
    authority = make()
    issued = issue(authority)
    authority.exchange(issued.pat.id, issued.secret)
    authority.authenticate(basic_of(issued))
    client = servers[engine].client()  # type: ignore[index]
    kept = {key.split(b"}:")[1][:1] for key in client.scan_iter(f"{prefix}:*") if client.pttl(key) == -1}
    assert kept == {b"k", b"c", b"u", b"e", b"s"}, "store key, check, indexes of the tenant, sequence"


@one_engine
def test_minutes_pass_without_anything_else_changing(authority: Authority, clock: Clock) -> None:
    issued = issue(authority)
    authority.authenticate(basic_of(issued))
    clock.advance(MINUTE)
    before = authority.get(issued.pat.id)
    authority.authenticate(basic_of(issued))
    assert authority.get(issued.pat.id) == before


def test_the_warning_about_a_store_in_memory_names_the_line_that_asked_for_it() -> None:
    with pytest.warns(UserWarning, match="vanish") as caught, Authority.from_url("memory:"):
        pass
    assert [one.filename for one in caught] == [__file__]
