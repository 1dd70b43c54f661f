"""`PatAuth-Expires`: answers to a PAT that expires soon say when, on every surface, and no others do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from werkzeug.http import http_date
from werkzeug.test import TestResponse

from patauth import Authority, IssuedPat, Owner, PatAuthMiddleware, Person
from patauth.wsgi.service.app import Standalone
from tests.support.authorities import Make, basic, basic_of, bearer, issue, wrong_secret
from tests.support.clocks import DAY, MINUTE, Clock
from tests.support.tables import each
from tests.support.wsgi import Echo, request

MY = "idn:my-personal-access-tokens:manage"
SURFACES = ["oauth", "isc", "zitadel", "openapi"]
OF_ALICE = {"filters": [{"userIdFilter": {"id": "alice"}}]}
API = "/personal-access-tokens/v1"
Asks = Callable[[str], TestResponse]


def said(answer: TestResponse) -> list[str]:
    return answer.headers.getlist("PatAuth-Expires")


def date_of(expires_ms: int) -> str:
    return http_date(datetime.fromtimestamp(expires_ms // 1000, UTC))


def surfaces(authority: Authority) -> dict[str, tuple[int, Asks]]:
    """Requests by the surface and what comes of them, each with the status of its answer."""
    gate = PatAuthMiddleware(Echo(), authority, require={"/admin": "admin"}, optional=["/feed"])
    alone = Standalone(authority)

    def asks(app: Any, path: str, **given: Any) -> Asks:
        return lambda authorization: request(app, path, authorization=authorization, **given)

    connect = "/zitadel.user.v2.UserService/ListPersonalAccessTokens"
    return {
        "the app": (200, asks(gate, "/reports")),
        "the app, optional": (200, asks(gate, "/feed")),
        "a scope that is missing": (403, asks(gate, "/admin")),
        "forward-auth": (200, asks(alone, "/verify")),
        "forward-auth, a scope": (403, asks(alone, "/verify?scope=admin")),
        "a list": (200, asks(alone, f"{API}?owner-id=me")),
        "another's": (404, asks(alone, f"{API}/{'0' * 32}")),
        "no such method": (405, asks(alone, f"{API}/self", method="PUT")),
        "ZITADEL v1": (200, asks(alone, "/management/v1/users/alice/pats/_search", method="POST", json={})),
        "ZITADEL v2": (200, asks(alone, connect, method="POST", json=OF_ALICE)),
        "introspection": (200, asks(alone, "/oauth/introspect", method="POST", data={"token": "x"})),
        "revocation": (200, asks(alone, "/oauth/revoke", method="POST", data={"token": "x"})),
    }


def ways(authority: Authority, issued: IssuedPat) -> dict[str, str]:
    access = authority.exchange(issued.pat.id, issued.secret).value
    return {
        "basic": basic_of(issued),
        "a PAT token": bearer(issued.token),
        "an access token": bearer(access),
    }


def exchanged(authority: Authority, authorization: str) -> TestResponse:
    form = {"grant_type": "client_credentials"}
    return request(
        Standalone(authority), "/oauth/token", method="POST", data=form, authorization=authorization
    )


@pytest.fixture
def world(make: Make, clock: Clock) -> Authority:
    return make(clock=clock, surfaces=SURFACES, request_quota="1000000/10")


def test_every_surface_says_once_when_the_pat_expires(world: Authority) -> None:
    issued = issue(world, scope=[MY], expires_in=timedelta(days=6))
    date = date_of(issued.pat.expires_ms)
    for way, authorization in ways(world, issued).items():
        for surface, (status, ask) in surfaces(world).items():
            answer = ask(authorization)
            if surface == "no such method":  # it comes before the credentials
                assert (answer.status_code, said(answer)) == (status, [])
                continue
            assert (answer.status_code, said(answer)) == (status, [date]), (way, surface)
            assert "RateLimit" in answer.headers
    answer = exchanged(world, basic_of(issued))
    assert (answer.status_code, said(answer)) == (200, [date])


def test_a_pat_that_lives_longer_is_not_warned(world: Authority) -> None:
    for name, given in (("long", {"expires_in": timedelta(days=8)}), ("ever", {"never_expires": True})):
        issued = issue(world, name, scope=[MY], **given)
        for way, authorization in ways(world, issued).items():
            for surface, (_, ask) in surfaces(world).items():
                assert said(ask(authorization)) == [], (name, way, surface)
        assert said(exchanged(world, basic_of(issued))) == []


@each(
    "setting, before, warned",
    [
        ("7d", 7 * DAY, True),
        ("7d", 7 * DAY + 1, False),
        ("7d", MINUTE, True),
        (3600, 60 * MINUTE, True),
        (3600, 60 * MINUTE + 1, False),
        ("none", MINUTE, False),
        (0, MINUTE, False),
        ("0", MINUTE, False),
    ],
)
def test_it_begins_at_the_very_millisecond(
    fresh: Make, clock: Clock, setting: Any, before: int, warned: bool
) -> None:
    authority = fresh(surfaces=SURFACES, expiry_warning=setting)
    issued = issue(authority, expires_in=timedelta(days=30))
    gate = PatAuthMiddleware(Echo(), authority)
    clock.now = issued.pat.expires_ms - before
    # A token whose own expiry is the same instant or an earlier one says when the PAT expires.
    for authorization in ways(authority, issued).values():
        answer = request(gate, authorization=authorization)
        assert answer.status_code == 200
        assert said(answer) == ([date_of(issued.pat.expires_ms)] if warned else [])
    assert bool(said(exchanged(authority, basic_of(issued)))) == warned


@each(
    "expires_in, overlap, end",
    [(None, 60, 60), (timedelta(days=30), 60, 60), (timedelta(minutes=30), 60, 30), (None, 8 * 1440, None)],
)
def test_in_an_overlap_the_previous_secret_is_told_when_that_ends(
    fresh: Make, clock: Clock, expires_in: timedelta | None, overlap: int, end: int | None
) -> None:
    authority = fresh(expiry_warning="7d")
    given: dict[str, Any] = {"never_expires": True} if expires_in is None else {"expires_in": expires_in}
    old = issue(authority, **given)
    began, previous = clock.now, ways(authority, old)
    new = authority.rotate(old.pat.id, overlap=timedelta(minutes=min(overlap, 7 * 1440)))
    gate = PatAuthMiddleware(Echo(), authority)
    date = date_of(began + (7 * DAY if end is None else end * MINUTE))
    for authorization in previous.values():
        assert said(request(gate, authorization=authorization)) == [date]
    assert said(exchanged(authority, basic_of(old))) == [date]
    current = [date] if expires_in == timedelta(minutes=30) else []
    for authorization in ways(authority, new).values():
        assert said(request(gate, authorization=authorization)) == current


def test_an_access_token_of_a_pat_that_was_prolonged_is_warned_no_longer(
    world: Authority, clock: Clock
) -> None:
    issued = issue(world, expires_in=timedelta(days=1))
    values = ways(world, issued).values()
    world.update(issued.pat.id, expires_in=timedelta(days=90))
    gate = PatAuthMiddleware(Echo(), world)
    assert [said(request(gate, authorization=one)) for one in values] == [[], [], []]
    changed = world.update(issued.pat.id, expires_in=timedelta(days=2))
    assert [said(request(gate, authorization=one)) for one in values] == [[date_of(changed.expires_ms)]] * 3


def test_who_is_refused_learns_nothing(fresh: Make, clock: Clock) -> None:
    authority = fresh(request_quota="1/100", failure_quota="100/1")
    issued = issue(authority, expires_in=timedelta(days=1))
    gate = PatAuthMiddleware(Echo(), authority)
    wrong = basic(issued.pat.id, wrong_secret(authority))
    answers = [request(gate, authorization=one) for one in (wrong, basic_of(issued), basic_of(issued), None)]
    assert [answer.status_code for answer in answers] == [401, 200, 429, 401]
    assert [bool(said(answer)) for answer in answers] == [False, True, False, False]
    clock.now = issued.pat.expires_ms
    late = request(gate, authorization=basic_of(issued))
    assert (late.status_code, said(late)) == (401, [])


def test_a_signed_in_person_has_nothing_that_expires(world: Authority) -> None:
    issue(world, expires_in=timedelta(days=1))
    person = Person(Owner("alice"), [MY])
    app = PatAuthMiddleware(Echo(), world, surfaces=SURFACES, identify=lambda environ: person)
    answer = request(app, f"{API}?owner-id=me")
    assert (answer.status_code, said(answer)) == (200, [])


@pytest.fixture
def grpc_client(make_at: Make) -> Iterator[tuple[Authority, Any]]:
    port = pytest.importorskip("tests.support.grpc_port")
    authority = make_at()
    with port.client_of(authority) as client:
        yield authority, client


def test_a_call_over_grpc_is_told_in_its_trailers(grpc_client: tuple[Authority, Any]) -> None:
    authority, client = grpc_client
    soon = issue(authority, scope=[MY], expires_in=timedelta(days=1))
    far = issue(authority, "far", scope=[MY], expires_in=timedelta(days=10))
    method = "/zitadel.user.v2.UserService/ListPersonalAccessTokens"
    told = [client(method, OF_ALICE, basic_of(one)).fields.get("patauth-expires") for one in (soon, far)]
    assert told == [date_of(soon.pat.expires_ms), None]
