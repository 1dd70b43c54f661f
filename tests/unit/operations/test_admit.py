"""Admission of credentials that were good before: what is looked at again each time, and what is written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from patauth import (
    Authority,
    InvalidCredentials,
    InvalidToken,
    IssuedPat,
    PatAuthMiddleware,
    StoreUnavailable,
)
from patauth.crypto.profiles import Profile
from patauth.jwt.key_files import SigningKeys
from patauth.model import dates
from patauth.store.pats import Pats
from patauth.store.verdicts import Verdicts
from tests.support.authorities import Make, basic, basic_of, bearer, issue
from tests.support.children import told_by_child
from tests.support.clocks import DAY, NOW, Clock
from tests.support.internals import hasher_of, kept_in, memo_of, proofs_of
from tests.support.interventions import Before, standing_in
from tests.support.servers import until
from tests.support.signing import JWT_MODE, access_of
from tests.support.tables import each
from tests.support.tenants import record_of
from tests.support.wsgi import Echo, request

INSIDE, OUTSIDE = "203.0.113.9", "198.51.100.9"
OTHER_PROFILE = Profile("other", memory_kib=16, time_cost=1, parallelism=1)

WAYS: dict[str, Callable[[Authority, IssuedPat], str]] = {
    "basic": lambda authority, issued: basic_of(issued),
    "PAT token": lambda authority, issued: bearer(issued.token),
    "PAT token as a password": lambda authority, issued: basic("anybody", issued.token),
    "access token": lambda authority, issued: bearer(access_of(authority, issued, address=INSIDE)),
}
SECRETS = [way for way in WAYS if way != "access token"]


def short_answers(call: Callable[[], object]) -> int:
    """How many answers of the store leave out the record while this is called."""
    short: list[bool] = []

    def again(real: Callable[..., Any], *given: Any) -> Any:
        verdict = real(*given)
        short.append(verdict.is_known)
        return verdict

    with standing_in(Verdicts, "again", again):
        call()
    return sum(short)


def warm(authority: Authority, issued: IssuedPat, way: str) -> str:
    """An Authorization value, about which the store gives a short answer."""
    value = WAYS[way](authority, issued)
    for _ in range(2):
        authority.authenticate(value, address=INSIDE)
    assert short_answers(lambda: authority.authenticate(value, address=INSIDE)) == 1
    return value


def hashes(authority: Authority, call: Callable[[], object]) -> int:
    before = hasher_of(authority).computed
    call()
    return hasher_of(authority).computed - before


# -- what ends ----------------------------------------------------------------------------------------------

ENDS: dict[str, Callable[[Authority, str], object]] = {
    "deleted": lambda authority, pat_id: authority.delete(pat_id),
    "disabled": lambda authority, pat_id: authority.disable(pat_id),
    "its owner disabled": lambda authority, pat_id: authority.disable_owner("alice"),
    "its owner revoked": lambda authority, pat_id: authority.revoke_owner("alice"),
    "rotated": lambda authority, pat_id: authority.rotate(pat_id, overlap=timedelta(0)),
    "bound to networks elsewhere": lambda authority, pat_id: authority.update(
        pat_id, networks=["192.0.2.0/24"]
    ),
}


@each("end", ENDS)
def test_what_was_remembered_ends_at_once(fresh: Make, end: str) -> None:
    authority = fresh()
    issued = issue(authority)
    values = [warm(authority, issued, way) for way in WAYS]
    ENDS[end](authority, issued.pat.id)
    for value in values:
        for _ in range(2):
            with pytest.raises(InvalidCredentials):
                authority.authenticate(value, address=INSIDE)


def test_a_revoked_access_token_is_refused_although_its_pat_is_the_same(keeper: Authority) -> None:
    issued = issue(keeper)
    kept, revoked = (warm(keeper, issued, "access token") for _ in range(2))
    keeper.revoke(revoked.removeprefix("Bearer "))
    assert keeper.authenticate(kept, address=INSIDE)
    with pytest.raises(InvalidToken):
        keeper.authenticate(revoked, address=INSIDE)


@each("way", WAYS)
def test_the_clock_is_looked_at_each_time(fresh: Make, clock: Clock, way: str) -> None:
    """It may go back before the time from which the PAT may be used."""
    authority = fresh()
    issued = issue(authority, not_before=dates.to_datetime(NOW + 1000))
    clock.advance(1000)
    value = warm(authority, issued, way)
    for later, is_open in ((-1, False), (1, True), (-1000, False), (1000, True)):
        clock.advance(later)
        if is_open:
            assert authority.authenticate(value, address=INSIDE).pat_id == issued.pat.id
        else:
            with pytest.raises(InvalidCredentials):
                authority.authenticate(value, address=INSIDE)


@each("way", WAYS)
def test_the_address_is_looked_at_each_time(fresh: Make, way: str) -> None:
    authority = fresh()
    value = warm(authority, issue(authority, networks=["203.0.113.0/24"]), way)
    for address in (OUTSIDE, None, INSIDE, OUTSIDE):
        if address == INSIDE:
            principal = authority.authenticate(value, address=address)
            assert principal.credential is not None
            assert principal.credential.address == INSIDE
        else:
            with pytest.raises(InvalidCredentials):
                authority.authenticate(value, address=address)


def test_each_principal_has_the_address_of_its_own_request(keeper: Authority) -> None:
    """So that a change by them is judged by where they are."""
    value = warm(keeper, issue(keeper, networks=["203.0.113.0/24"]), "access token")
    for address in (INSIDE, "203.0.113.10"):
        credential = keeper.authenticate(value, address=address).credential
        assert credential is not None
        assert credential.address == address


def test_tenants_of_one_process_remember_apart(make_at: Make) -> None:
    acme, other = make_at(tenant="acme"), make_at(tenant="other")
    issued = issue(acme)
    for way in WAYS:
        value = warm(acme, issued, way)
        for _ in range(2):
            with pytest.raises(InvalidCredentials):
                other.authenticate(value, address=INSIDE)
        assert acme.authenticate(value, address=INSIDE).tenant == "acme"


def test_a_forked_child_knows_nothing_of_what_its_parent_knew(make_at: Make) -> None:
    """It gives other names, too. A PAT that a child deletes is refused in the parent from then on."""
    authority = make_at()
    issued = issue(authority)
    values = [warm(authority, issued, way) for way in WAYS]
    names = [memo_of(authority).find(value)[0] for value in values]

    def all_of_them() -> None:
        for value in values:
            assert authority.authenticate(value, address=INSIDE).pat_id == issued.pat.id

    def child() -> str:
        short: list[int] = []
        hashed = [hashes(authority, lambda: short.append(short_answers(all_of_them))) for _ in range(2)]
        new = {memo_of(authority).find(value)[0] for value in values}.isdisjoint(names)
        return f"{short} short answers, {hashed} hashes, other names: {new}"

    assert told_by_child(child) == f"[0, {len(values)}] short answers, [1, 0] hashes, other names: True"
    assert short_answers(all_of_them) == len(values), "the parent knows them still"

    def deleting_child() -> str:
        authority.delete(issued.pat.id)
        return "deleted"

    assert told_by_child(deleting_child) == "deleted"
    for value in values:
        with pytest.raises(InvalidCredentials):
            authority.authenticate(value, address=INSIDE)


@each("way", WAYS)
def test_one_in_use_is_remembered_however_many_new_ones_come(fresh: Make, way: str) -> None:
    """Those that nobody uses are forgotten for them."""
    authority = fresh(proof_entries=4, request_quota="1000/1", exchange_quota="1000/1")
    issued = issue(authority)
    unused, in_use = warm(authority, issued, "access token"), warm(authority, issued, way)
    for _ in range(20):
        authority.authenticate(bearer(access_of(authority, issued)), address=INSIDE)
        assert short_answers(lambda: authority.authenticate(in_use, address=INSIDE)) == 1
    assert short_answers(lambda: authority.authenticate(unused, address=INSIDE)) == 0


def test_a_token_header_and_the_authorization_header_carry_the_same_credential(make_at: Make) -> None:
    authority = make_at(token_headers=["X-API-Key"])
    issued = issue(authority)
    app = PatAuthMiddleware(Echo(), authority)
    access = warm(authority, issued, "access token").removeprefix("Bearer ")

    def ask(**given: Any) -> int:
        return request(app, "/x", **given).status_code

    def by_both() -> None:
        for token in (access, issued.token):
            assert ask(headers={"X-API-Key": token}) == ask(authorization=bearer(token)) == 200

    by_both()
    assert short_answers(by_both) == 4
    assert ask(headers={"X-API-Key": access}, authorization=bearer(access)) == 400
    assert ask(headers={"X-API-Key": access}, query_string="access_token=x") == 400
    authority.delete(issued.pat.id)
    for token in (access, issued.token):
        assert ask(headers={"X-API-Key": token}) == 401


# -- signed tokens ------------------------------------------------------------------------------------------


@pytest.fixture
def remembered_jwt(make_at: Make, keys: Path) -> tuple[Authority, str]:
    authority = make_at(**JWT_MODE, keys=str(keys), request_quota="1000000/1")
    return authority, warm(authority, issue(authority), "access token")


def refuses(authority: Authority, value: str, refusal: type[Exception]) -> Callable[[], bool]:
    def does() -> bool:
        try:
            authority.authenticate(value)
        except refusal:
            return True
        return False

    return does


def test_a_jwt_is_refused_once_its_key_was_taken_away(
    remembered_jwt: tuple[Authority, str], keys: Path
) -> None:
    """Within a second, as one that was never seen."""
    SigningKeys(keys).rotate(retire=True)
    until(refuses(*remembered_jwt, InvalidToken), seconds=10)


def test_a_jwt_is_no_longer_believed_once_the_keys_are_out_of_reach(
    remembered_jwt: tuple[Authority, str], keys: Path
) -> None:
    keys.rename(keys.with_name("unmounted"))
    until(refuses(*remembered_jwt, StoreUnavailable), seconds=10)


def test_a_jwt_is_verified_again_with_other_keys_and_then_remembered(
    remembered_jwt: tuple[Authority, str], keys: Path
) -> None:
    authority, value = remembered_jwt
    SigningKeys(keys).rotate()

    def ask() -> object:
        return authority.authenticate(value)

    until(lambda: short_answers(ask) == 0, seconds=10)
    assert short_answers(ask) == 1


# -- hashes -------------------------------------------------------------------------------------------------


@each("way", SECRETS)
def test_without_proofs_each_use_of_a_secret_costs_a_hash(fresh: Make, way: str) -> None:
    authority = fresh(proof_ttl=0)
    value = WAYS[way](authority, issue(authority))
    for _ in range(3):
        assert hashes(authority, lambda: authority.authenticate(value)) == 1


@each("way", SECRETS)
def test_a_secret_is_hashed_again_when_its_proof_is_over(fresh: Make, way: str) -> None:
    authority = fresh(proof_ttl=60)
    seconds, proofs = [1000.0], proofs_of(authority)
    proofs.timer = lambda: seconds[0]
    proofs.after_fork()
    value = warm(authority, issue(authority), way)

    def use() -> object:
        return authority.authenticate(value, address=INSIDE)

    for later, expected in ((59.0, 0), (0.99, 0), (0.01, 1), (0.0, 0), (59.9, 0), (0.1, 1)):
        seconds[0] += later
        assert hashes(authority, use) == expected, seconds


def test_a_secret_whose_hash_is_out_of_date_is_not_remembered_until_it_was_hashed_again(
    make_at: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """It would never be hashed again otherwise, as long as it is used."""
    before, authority = make_at(), make_at(hash_profile=OTHER_PROFILE)
    issued = issue(before)
    value = warm(before, issued, "basic")

    def fail(*_: Any) -> None:
        raise StoreUnavailable(detail="down")

    with standing_in(Pats, "rehash", fail):
        authority.authenticate(value, address=INSIDE)
    assert "not hashed again: down" in caplog.text
    assert kept_in(memo_of(authority)) == {}
    proofs_of(authority).after_fork()  # it forgets that it has tried
    authority.authenticate(value, address=INSIDE)
    (slot,) = record_of(authority, issued.pat.id).secrets
    assert slot.digest.memory_kib == OTHER_PROFILE.memory_kib
    warm(authority, issued, "basic")


def test_a_hash_that_another_process_has_replaced_is_read_again(make_at: Make) -> None:
    """And it is one of the same secret."""
    authority, other = make_at(), make_at(hash_profile=OTHER_PROFILE)
    issued = issue(authority)
    value = warm(authority, issued, "basic")
    other.authenticate(value)
    assert short_answers(lambda: authority.authenticate(value)) == 0
    assert authority.authenticate(value).pat_id == issued.pat.id


# -- last use -----------------------------------------------------------------------------------------------


@each("way", SECRETS)
def test_the_first_use_of_a_day_is_written_and_no_further_one(fresh: Make, clock: Clock, way: str) -> None:
    authority = fresh()
    issued = issue(authority)
    value = warm(authority, issued, way)
    for _ in range(3):
        clock.advance(DAY)
        with Before(Pats, "touch", lambda: None) as written:
            for later in range(5):
                clock.advance(later)
                authority.authenticate(value, address=INSIDE)
        assert written.count == 1
        last = authority.get(issued.pat.id)
        assert (last.last_used_ms, last.last_used_from) == (clock.now - 10, INSIDE)


@each("way", SECRETS)
def test_a_new_address_is_written_once_a_day(
    fresh: Make, clock: Clock, way: str, events: Callable[[], list[dict[str, Any]]]
) -> None:
    authority = fresh()
    issued = issue(authority)
    value = warm(authority, issued, way)
    events()
    with Before(Pats, "touch", lambda: None) as written:
        for address, kept in (
            (INSIDE, INSIDE),
            (OUTSIDE, OUTSIDE),
            (INSIDE, OUTSIDE),
            ("192.0.2.1", OUTSIDE),
        ):
            for _ in range(2):
                authority.authenticate(value, address=address)
                assert authority.get(issued.pat.id).last_used_from == kept
    assert written.count == 1
    told = [event for event in events() if event["type"] == "pat.new_address"]
    assert [(event["address"], event["previous"]) for event in told] == [(OUTSIDE, INSIDE)]


def test_a_use_that_cannot_be_written_fails_no_request_and_is_tried_again(
    keeper: Authority, clock: Clock
) -> None:
    issued = issue(keeper)
    value = warm(keeper, issued, "basic")
    clock.advance(DAY)

    def fail(*_: Any) -> None:
        raise StoreUnavailable(detail="down")

    with standing_in(Pats, "touch", fail):
        for _ in range(2):
            assert keeper.authenticate(value, address=INSIDE)
    keeper.authenticate(value, address=INSIDE)
    assert keeper.get(issued.pat.id).last_used_ms == clock.now


def test_a_use_that_another_process_has_written_is_not_written_again(make_at: Make, clock: Clock) -> None:
    here, there = make_at(clock=clock), make_at(clock=clock)
    issued = issue(here)
    values = [warm(authority, issued, "basic") for authority in (here, there)]
    clock.advance(DAY)
    with Before(Pats, "touch", lambda: None) as written:
        for authority, value in zip((here, there), values, strict=True):
            authority.authenticate(value, address=INSIDE)
    assert written.count == 1
