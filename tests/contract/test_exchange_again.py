"""A secret that is exchanged again: in one round trip, and with the outcome of a first exchange."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from patauth import Authority, InvalidCredentials, IssuedPat, Owner, PatAuthError, RateLimited
from patauth.model import dates
from patauth.model.address import Address
from patauth.model.pat_id import PatId
from patauth.operations.exchange import Exchanged
from patauth.wsgi.service.app import Standalone
from tests.benchmarks.counts import functions_of
from tests.support.authorities import Make, basic_of, bearer, issue
from tests.support.children import told_by_child
from tests.support.clocks import DAY, NOW, Clock
from tests.support.internals import empty, hasher_of, kept_in, store_of
from tests.support.servers import ALONE, Server
from tests.support.signing import access_of
from tests.support.tables import each
from tests.support.tenants import keys_of, send
from tests.support.wsgi import request

# Of functions written in Python, without comprehensions: from Python 3.12 on, these are no functions. Change
# the number only with a reason.
CALLS = 42
TO_FIND_THE_SERVER = 10  # more at most, in a cluster or behind Sentinels
MINUTE = 60_000
INSIDE, OUTSIDE = "203.0.113.9", "198.51.100.9"
SCOPES = (
    None,
    "",
    "reports:read",
    "reports:write reports:read",
    "reports:read openid",
    "admin",
    "two  blanks",
)


NONE = timedelta(0)


def at(ms: int) -> datetime:
    return dates.to_datetime(ms)


@each("most", [1_000_000, 50])
def test_an_exchange_that_is_repeated_is_one_round_trip(make_at: Make, server: Server, most: int) -> None:
    """The secret tag is not asked for, the hash is not checked, and the record is not sent."""
    authority = make_at(exchange_quota="900000/86400", max_tokens_per_secret=most, access_token_ttl=15)
    issued = issue(authority, f"most-{most}")
    exchange = partial(authority.exchange, issued.pat.id, issued.secret, scope="reports:read")
    for _ in range(3):
        exchange()

    before = server.calls()
    for _ in range(20):
        exchange()
    after = server.calls()
    asked = {name: after[name] - before.get(name, 0) for name in after}
    index = {} if most > 900_000 + 200 else {"zcard": 20, "zadd": 20, "pttl": 20}
    assert {name: count for name, count in asked.items() if count >= 20} == {
        "evalsha": 20, "get": 40, "set": 40, "time": 20, **index
    }  # fmt: skip
    functions, _ = functions_of(exchange)
    calls = sum(often for name, often in functions.items() if not name.endswith("comp>"))
    assert 0 <= calls - CALLS <= (TO_FIND_THE_SERVER if ALONE else 0), functions.most_common()


def outcome(authority: Authority, call: Callable[[], Exchanged]) -> object:
    """What a client gets: the token's worth and all that is told with it, or the refusal."""
    try:
        exchanged = call()
    except PatAuthError as error:
        return type(error), str(error), {name: vars(error)[name] for name in vars(error) if name != "detail"}
    access, principal = exchanged.access, None
    with suppress(PatAuthError):  # it may be used elsewhere
        principal = authority.authenticate(bearer(access.value), address=INSIDE)
    told = exchanged._replace(access=replace(access, value=""))
    return told, principal and (principal.scopes, principal.expires_at)


def forget(authority: Authority) -> None:
    empty(authority.operations._exchanger._memo)


@each("seed", range(12))
def test_a_repeated_exchange_has_the_outcome_of_a_first_one(make_at: Make, clock: Clock, seed: int) -> None:
    """For random changes, clocks, addresses and scopes, who remembers agrees with who does not."""
    chance = random.Random(seed)
    settings: dict[str, Any] = {
        "clock": clock, "exchange_quota": "1000/86400", "request_quota": "1000000/1",
        "failure_quota": "1000000/1", "max_tokens_per_secret": 1_000_000, "expiry_warning": "1d",
    }  # fmt: skip
    warm, cold = make_at(**settings), make_at(**settings)
    owner = Owner(f"owner-{seed}")
    issued = issue(cold, owner=owner, expires_in=timedelta(days=3))
    pat_id, secrets = issued.pat.id, [issued.secret]
    quota = keys_of(cold).exchanges(PatId(pat_id))

    def rotate(overlap: int) -> None:
        secrets.append(cold.rotate(pat_id, overlap=timedelta(seconds=overlap)).secret)

    changes: list[Callable[[], object]] = [
        lambda: rotate(0),
        lambda: rotate(300),
        lambda: cold.disable(pat_id),
        lambda: cold.enable(pat_id),
        lambda: cold.disable_owner(owner.id),
        lambda: cold.enable_owner(owner.id),
        lambda: cold.update(pat_id, scope=["reports:read"]),
        lambda: cold.update(pat_id, scope=["reports:read", "reports:write"]),
        lambda: cold.update(pat_id, networks=["203.0.113.0/24"]),
        lambda: cold.update(pat_id, networks=[]),
        lambda: cold.update(pat_id, not_before=at(clock.now + chance.choice([-MINUTE, MINUTE]))),
        lambda: cold.update(pat_id, expires_in=timedelta(minutes=chance.choice([2, 2000]))),
        lambda: clock.advance(chance.choice([1, MINUTE, 10 * MINUTE, DAY])),
        lambda: clock.advance(-chance.choice([1, MINUTE, 10 * MINUTE])),
        lambda: cold.exchange(pat_id, secrets[-1], address=OUTSIDE),
        lambda: cold.delete(pat_id),
    ]
    likely = [5] * (len(changes) - 1) + [1]
    for _ in range(60):
        for _ in range(chance.randrange(3)):
            with suppress(PatAuthError):
                chance.choices(changes, likely)[0]()
        secret, scope = chance.choice(secrets[-2:]), chance.choice([None, None, chance.choice(SCOPES)])
        address = chance.choice([None, INSIDE, INSIDE, OUTSIDE])
        forget(cold)

        def exchange(of: Authority) -> object:
            credentials = of.operations.format.basic(pat_id, secret)  # noqa: B023
            where = Address(address, address)  # noqa: B023
            return outcome(cold, lambda: of.operations.exchange(credentials, scope, where))  # noqa: B023

        (charged,) = send(cold, ("GET", quota))
        found = exchange(warm)
        send(cold, ("DEL", quota) if charged is None else ("SET", quota, charged, "PX", DAY))
        assert found == exchange(cold)


def test_each_token_of_a_site_that_signs_is_signed(signing: Make, clock: Clock) -> None:
    """Unless its PAT has networks."""
    authority = signing(clock=clock)
    for networks, is_signed in ([], True), ([f"{INSIDE}/32"], False):
        issued = issue(authority, f"signed: {is_signed}", networks=networks)
        values = {access_of(authority, issued, address=INSIDE) for _ in range(3)}
        assert len(values) == 3
        for value in values:
            assert (value.count(".") == 2) == is_signed
            assert authority.authenticate(bearer(value), address=INSIDE).pat_id == issued.pat.id


@each("is_remembered", [True, False])
def test_each_answer_says_what_is_left_of_the_quota_and_when_the_secret_expires(
    fresh: Make, is_remembered: bool
) -> None:
    authority = fresh(exchange_quota="5/3600")
    issued = issue(authority, expires_in=timedelta(days=1))
    app = Standalone(authority)
    told = []
    for _ in range(5):
        if not is_remembered:
            forget(authority)
        answer = request(
            app,
            "/oauth/token",
            method="POST",
            data={"grant_type": "client_credentials"},
            authorization=basic_of(issued),
        )
        assert answer.status_code == 200
        told.append([answer.headers[name] for name in ("RateLimit", "PatAuth-Expires")])
    assert told == [
        [f'"exchanges";r={left};t=720', "Wed, 02 Jan 2030 00:00:00 GMT"] for left in (4, 3, 2, 1, 0)
    ]


def test_a_forked_child_exchanges_nothing_by_what_its_parent_knew(make_at: Make) -> None:
    authority = make_at()
    issued = issue(authority)

    def hashes() -> list[int]:
        computed = [hasher_of(authority).computed]
        for _ in range(3):
            access_of(authority, issued)
            computed.append(hasher_of(authority).computed)
        return [after - before for before, after in itertools.pairwise(computed)]

    assert hashes() == [1, 0, 0]
    assert told_by_child(lambda: str(hashes())) == "[1, 0, 0]"
    assert hashes() == [0, 0, 0]


@each("is_remembered", [True, False])
@each(
    ("most", "refusals"),
    [
        (3, [("tokens", 897), ("tokens", 896), ("exchanges", 715), ("exchanges", 714)]),
        (9, [None, None, ("exchanges", 715), ("exchanges", 714)]),
    ],
)
def test_quota_and_bound_of_tokens_refuse_it_as_a_first_one(
    make: Make,
    clock: Clock,
    is_remembered: bool,
    most: int,
    refusals: list[Any],
    events: Callable[[], list[dict[str, Any]]],
) -> None:
    """A refusal for too many tokens charges the exchange quota, and one by that quota charges nothing."""
    authority = make(clock=clock, exchange_quota="5/3600", max_tokens_per_secret=most, events="log")
    issued = issue(authority, f"{is_remembered}-{most}")
    told: list[Any] = []
    events()
    for _ in range(7):
        if not is_remembered:
            forget(authority)
        clock.advance(1000)
        try:
            authority.exchange(issued.pat.id, issued.secret)
        except RateLimited as limited:
            told.append((limited.quota, limited.retry_after))
        else:
            told.append(None)
    assert told == [None] * 3 + refusals
    kinds = ["token.issued" if one is None else "quota.exceeded" for one in told]
    assert [event["type"] for event in events()] == kinds


def test_the_record_of_its_token_is_that_of_a_first_one(make: Make, clock: Clock) -> None:
    authority = make(clock=clock)
    issued = issue(authority, scope=["reports:read", "100%"], expires_in=timedelta(seconds=90))
    tokens = store_of(authority).tokens
    read = []
    for _ in range(3):  # the first writes the last use, the second remembers
        access = authority.exchange(issued.pat.id, issued.secret)
        credentials = authority.operations.format.bearer(access.value)
        found = tokens.read(PatId(issued.pat.id), credentials.digest)
        assert found is not None
        read.append(found[1])
    assert len(kept_in(authority.operations._exchanger._memo)) == 1
    assert read[0] == read[1] == read[2]
    assert (read[2].expires_ms, read[2].scopes) == (clock.now + 90_000, ("reports:read", "100%"))


Ends = Callable[[Authority, IssuedPat, Clock], object]


@each(
    ("given", "end", "address", "state"),
    [
        ({}, lambda authority, issued, _: authority.delete(issued.pat.id), INSIDE, None),
        ({}, lambda authority, issued, _: authority.rotate(issued.pat.id, overlap=NONE), INSIDE, None),
        ({}, lambda authority, issued, _: authority.disable(issued.pat.id), INSIDE, "disabled"),
        (
            {"expires_in": timedelta(hours=1)},
            lambda _, __, clock: clock.advance(3_600_000),
            INSIDE,
            "expired",
        ),
        ({"not_before": at(NOW + 1000)}, lambda _, __, clock: clock.advance(-1), INSIDE, "not_yet"),
        ({"networks": [f"{INSIDE}/32"]}, lambda *_: None, OUTSIDE, "outside"),
    ],
)
def test_a_secret_that_is_remembered_is_refused_from_the_next_exchange_on(
    make: Make, given: dict[str, Any], end: Ends, address: str, state: str | None
) -> None:
    """A change is seen by the version of the record; the rest is judged at each exchange."""
    clock = Clock()
    authority = make(clock=clock)
    issued = issue(authority, f"{state} {end.__code__.co_names}", **given)
    clock.advance(1000)
    for _ in range(3):
        authority.exchange(issued.pat.id, issued.secret, address=INSIDE)
    end(authority, issued, clock)
    with pytest.raises(InvalidCredentials) as refused:
        authority.exchange(issued.pat.id, issued.secret, address=address)
    assert refused.value.state == state


def test_a_secret_in_its_overlap_is_remembered_until_its_end(make: Make, clock: Clock) -> None:
    authority = make(clock=clock)
    issued = issue(authority)
    authority.rotate(issued.pat.id, overlap=timedelta(seconds=60))
    assert [authority.exchange(issued.pat.id, issued.secret).expires_in for _ in range(3)] == [60, 60, 60]
    clock.advance(60_000)
    with pytest.raises(InvalidCredentials):
        authority.exchange(issued.pat.id, issued.secret)


def test_its_uses_are_written_once_a_day_and_with_a_new_address(make: Make, clock: Clock) -> None:
    authority = make(clock=clock)
    issued = issue(authority)

    def last_use() -> tuple[int | None, str | None]:
        pat = authority.get(issued.pat.id)
        return pat.last_used_ms, pat.last_used_from

    def exchange(address: str) -> None:
        for _ in range(3):
            authority.exchange(issued.pat.id, issued.secret, address=address)

    exchange(INSIDE)
    began = clock.now
    assert last_use() == (began, INSIDE)
    exchange(OUTSIDE)
    assert last_use() == (began, OUTSIDE)
    clock.advance(DAY)
    exchange(OUTSIDE)
    assert last_use() == (clock.now, OUTSIDE)


def test_a_proof_that_is_over_is_made_again(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = make(clock=clock, proof_ttl=60)
    issued = issue(authority)
    for _ in range(3):
        authority.exchange(issued.pat.id, issued.secret)
    hashed = authority.operations._hasher.computed
    proofs = authority.operations._authenticator.proofs
    later = proofs.timer() + 61
    monkeypatch.setattr(proofs, "timer", lambda: later)
    monkeypatch.setattr(proofs._verdicts, "_timer", lambda: later)
    for _ in range(3):
        authority.exchange(issued.pat.id, issued.secret)
    assert authority.operations._hasher.computed == hashed + 1
