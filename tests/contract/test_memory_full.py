"""What still works when the server has no memory left: each end of a credential, over HTTP too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from patauth import (
    Authority,
    InvalidCredentials,
    IssuedPat,
    Owner,
    PatAuthMiddleware,
    Person,
    StoreUnavailable,
)
from patauth.model.address import UNKNOWN
from patauth.operations.sweep import sweep
from patauth.wsgi.api.caller import identify_caller
from patauth.wsgi.site import Site
from tests.support.authorities import Make, basic_of, bearer, issue
from tests.support.servers import Server, binaries
from tests.support.signing import access_of
from tests.support.tables import each
from tests.support.wsgi import Echo, request

MANAGE = "idn:my-personal-access-tokens:manage"
PATHS = "/personal-access-tokens/v1/"
SELF = PATHS + "self"


@pytest.fixture(params=list(binaries()))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    server = Server(binaries()[request.param], tmp_path, "--maxmemory-policy", "noeviction")
    yield server
    server.stop()


@pytest.fixture
def authority(make_at: Make, server: Server) -> Authority:
    return make_at(url=server.url, surfaces=["oauth", "isc", "zitadel"])


def fill(server: Server, memory: int = 1) -> None:
    server.client().config_set("maxmemory", memory)


def answers(authority: Authority, value: str) -> bool:
    try:
        return bool(authority.authenticate(value))
    except InvalidCredentials:
        return False


def sent(authority: Authority, method: str, path: str, value: str, **given: Any) -> int:
    app = PatAuthMiddleware(Echo(), authority)
    return request(app, path, method=method, authorization=value, **given).status_code


WAYS: dict[str, Callable[[Authority, IssuedPat, str], int]] = {
    "DELETE of itself by Basic": lambda authority, issued, _: sent(
        authority, "DELETE", SELF, basic_of(issued)
    ),
    "DELETE of itself as a bearer": lambda authority, issued, _: sent(
        authority, "DELETE", SELF, bearer(issued.token)
    ),
    "DELETE by its id": lambda authority, issued, _: sent(
        authority, "DELETE", PATHS + issued.pat.id, basic_of(issued)
    ),
    "DELETE by its id with its access token": lambda authority, issued, access: sent(
        authority, "DELETE", PATHS + issued.pat.id, bearer(access)
    ),
    "ZITADEL's DELETE": lambda authority, issued, _: sent(
        authority, "DELETE", f"/management/v1/users/alice/pats/{issued.pat.id}", bearer(issued.token)
    ),
    "ZITADEL's method": lambda authority, issued, _: sent(
        authority,
        "POST",
        "/zitadel.user.v2.UserService/RemovePersonalAccessToken",
        bearer(issued.token),
        data=json.dumps({"userId": "alice", "tokenId": issued.pat.id}),
        content_type="application/json",
    ),
    "revocation of its token": lambda authority, issued, _: sent(
        authority, "POST", "/oauth/revoke", basic_of(issued), data={"token": issued.token}
    ),
}


@each("way", WAYS)
def test_a_pat_ends_itself_over_http(authority: Authority, server: Server, way: str) -> None:
    issued = issue(authority, scope=[MANAGE, "x"])
    access = authority.exchange(issued.pat.id, issued.secret).value
    assert answers(authority, basic_of(issued))
    fill(server)
    with pytest.raises(StoreUnavailable):
        authority.authenticate(basic_of(issued))
    assert WAYS[way](authority, issued, access) in (200, 204)
    fill(server, 0)
    assert not answers(authority, basic_of(issued))
    assert not answers(authority, bearer(access))
    assert authority.list() == []


def test_a_pat_with_networks_ends_or_pauses_itself_over_http_from_inside_alone(
    authority: Authority, server: Server
) -> None:
    here, elsewhere = ["203.0.113.9"], ["198.51.100.1"]
    ending, away = (
        issue(authority, name, scope=[MANAGE], networks=here, not_before=datetime.now(UTC))
        for name in ("ending", "away")
    )
    paused = issue(authority, "paused", scope=[MANAGE], networks=here)
    authority.update(away.pat.id, networks=elsewhere)
    fill(server)
    assert sent(authority, "DELETE", SELF, basic_of(away)) == 401
    assert sent(authority, "DELETE", SELF, basic_of(ending)) == 204
    assert sent(authority, "POST", f"{PATHS}{paused.pat.id}/disable", bearer(paused.token)) == 200
    fill(server, 0)
    assert {pat.name: pat.state for pat in authority.list()} == {"away": "active", "paused": "disabled"}


def test_an_access_token_ends_itself_over_http_and_its_pat_lives(
    authority: Authority, server: Server
) -> None:
    issued = issue(authority)
    access = authority.exchange(issued.pat.id, issued.secret).value
    fill(server)
    assert sent(authority, "POST", "/oauth/revoke", bearer(access), data={"token": access}) == 200
    fill(server, 0)
    assert not answers(authority, bearer(access))
    assert answers(authority, basic_of(issued))


def test_a_person_ends_something_without_a_charge_and_nothing_else(
    authority: Authority, server: Server
) -> None:
    site = Site(authority, identify=lambda _: Person(Owner("alice"), [MANAGE]))
    environ = {"REQUEST_METHOD": "GET", "HTTP_SEC_FETCH_SITE": "same-origin"}
    token = identify_caller(environ, site).csrf_token
    environ |= {"REQUEST_METHOD": "POST", "HTTP_X_CSRF_TOKEN": str(token)}
    fill(server)
    with pytest.raises(StoreUnavailable):
        identify_caller(environ, site)
    assert identify_caller(environ, site, ending=True).decision is None
    fill(server, 0)
    assert identify_caller(environ, site, ending=True).decision is not None


def test_what_ends_something_is_charged_nothing_whether_its_credential_is_known_or_not(
    authority: Authority, make_at: Make, server: Server
) -> None:
    """And what such a request has left in a process charges the next one."""
    issued = issue(authority)
    values = [basic_of(issued), bearer(issued.token), bearer(access_of(authority, issued))]
    for value in values:
        for _ in range(2):
            assert authority.authenticate(value)
    ways = [
        (one.operations.authenticate, value)
        for one in (authority, make_at(url=server.url))
        for value in values
    ]
    fill(server)
    for admit, value in ways:
        for _ in range(2):
            assert admit(value, UNKNOWN, ending=True).decision is None
        with pytest.raises(StoreUnavailable):
            admit(value, UNKNOWN)
    fill(server, 0)
    for admit, value in ways:
        backlogs = [
            decision.backlog_us for decision in (admit(value, UNKNOWN).decision for _ in range(2)) if decision
        ]
        assert len(backlogs) == 2
        assert min(backlogs) > 0


def test_without_memory_the_wrong_secret_ends_nothing_and_what_is_no_end_is_503(
    authority: Authority, server: Server
) -> None:
    issued, other = issue(authority, scope=[MANAGE]), issue(authority, "other")
    fill(server)
    wrong = basic_of(issued).replace("Basic ", "Basic AA")
    assert sent(authority, "DELETE", SELF, wrong) == 401
    assert sent(authority, "DELETE", SELF, bearer(other.token + "x")) == 401
    path = PATHS + issued.pat.id
    assert sent(authority, "DELETE", path, basic_of(other)) == 403
    assert sent(authority, "GET", path, basic_of(issued)) == 503
    assert sent(authority, "GET", "/", basic_of(issued)) == 503
    fill(server, 0)
    assert answers(authority, basic_of(issued))


def test_what_is_removed_without_memory_is_kept_and_a_sweep_lists_it(
    authority: Authority, server: Server
) -> None:
    """A script that has deleted first may write on every engine; the tenant's index is in another slot."""
    asks = 'state eq "revoked"'
    made = [issue(authority, f"n{number}") for number in range(3)]
    fill(server)
    authority.delete(made[0].pat.id, "no room")
    assert authority.revoke_owner("alice", "no room") == 2
    fill(server, 0)
    assert not any(answers(authority, basic_of(one)) for one in made)
    kept = authority.list(owner_id="alice", filters=asks)
    assert {(pat.name, pat.revoked_reason) for pat in kept} == {(f"n{n}", "no room") for n in range(3)}
    for part in sweep(authority.operations.actor(None)):
        assert sum(part) == 0
    assert {pat.id for pat in authority.list(filters=asks)} == {pat.id for pat in kept}


def test_an_operator_takes_away_what_they_want(authority: Authority, server: Server) -> None:
    made = [issue(authority, f"n{number}") for number in range(4)]
    access = authority.exchange(made[3].pat.id, made[3].secret).value
    fill(server)
    authority.disable(made[0].pat.id)
    authority.update(made[2].pat.id, scope=["reports:read"])
    authority.update(made[2].pat.id, expires_in=timedelta(days=1))
    authority.delete(made[1].pat.id)
    authority.disable_owner("alice")
    fill(server, 0)
    authority.enable_owner("alice")
    assert [answers(authority, basic_of(one)) for one in made] == [False, False, True, True]
    narrowed = authority.get(made[2].pat.id)
    assert narrowed.scope == ("reports:read",)
    assert narrowed.expires_at < made[2].pat.expires_at  # type: ignore[operator]
    first, *_ = authority.list(sort="expirationDate")
    assert first.id == narrowed.id, "its entry was met, and mended"
    fill(server)
    assert authority.revoke_owner("alice") == 3
    fill(server, 0)
    assert not answers(authority, bearer(access))
    assert authority.list() == []
