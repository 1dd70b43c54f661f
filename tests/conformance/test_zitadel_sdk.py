"""ZITADEL's own SDK, unmodified (`zitadel-client`, pinned), over a socket on a real engine."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from patauth import Authority, IssuedPat, Owner
from patauth.wsgi.service.app import Standalone
from tests.support.authorities import ALICE, Make, issue
from tests.support.processes import free_port
from tests.support.tables import each
from tests.support.wsgi import App, serving

with warnings.catch_warnings(action="ignore"):  # of authlib, which it uses, about a part of authlib
    from zitadel_client import TransportOptions, Zitadel
    from zitadel_client.auth.authenticator import Token
    from zitadel_client.exceptions import ApiError, ZitadelError
    from zitadel_client.models import (
        UserServiceAddPersonalAccessTokenRequest,
        UserServiceConnectError,
        UserServiceIDFilter,
        UserServiceListPersonalAccessTokensRequest,
        UserServicePaginationRequest,
        UserServicePersonalAccessTokenFieldName,
        UserServicePersonalAccessTokensSearchFilter,
        UserServiceRemovePersonalAccessTokenRequest,
        UserServiceTimestampFilter,
        UserServiceTimestampFilterMethod,
    )

MY, ALL = "idn:my-personal-access-tokens:manage", "idn:all-personal-access-tokens:manage"
NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)

Column = UserServicePersonalAccessTokenFieldName
Filter = UserServicePersonalAccessTokensSearchFilter
Method = UserServiceTimestampFilterMethod


class Counted:
    """An application, and which of its paths were asked for."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.paths: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.paths.append(environ["PATH_INFO"])
        return self.app(environ, start_response)


class Service:
    """What is served, and where."""

    def __init__(self, make: Make, **given: Any) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        settings = {
            "surfaces": ["oauth", "zitadel"],
            "max_pats_per_owner": 50,
            "issuer": self.url,
            "request_quota": "1000000/1",
        }
        self.authority = make(**{**settings, **given})
        self.app = Counted(Standalone(self.authority))


@pytest.fixture
def service(make_at: Make) -> Iterator[Service]:
    """Its issuer is the URL that it is served at, since clients read the token endpoint there."""
    service = Service(make_at)
    with serving(service.app, port=service.port):
        yield service


@pytest.fixture
def authority(service: Service) -> Authority:
    return service.authority


@pytest.fixture
def maker(authority: Authority) -> IssuedPat:
    return authority.create(owner=ALICE, name="maker", scope=["reports:read", MY], never_expires=True)


@pytest.fixture
def admin(authority: Authority) -> IssuedPat:
    return authority.create(
        owner=Owner("root"), name="admin", scope=["reports:read", ALL], never_expires=True
    )


Client = Callable[[IssuedPat], Zitadel]


@pytest.fixture
def by_token(service: Service) -> Client:
    return lambda issued: Zitadel.with_access_token(service.url, issued.token)


@pytest.fixture
def by_secret(service: Service) -> Client:
    return lambda issued: Zitadel.with_client_credentials(service.url, issued.pat.id, issued.secret)


@pytest.fixture(params=["access token", "client credentials"])
def client(request: pytest.FixtureRequest, by_token: Client, by_secret: Client) -> Client:
    return by_token if request.param == "access token" else by_secret


def add(client: Zitadel, user_id: str = "alice", expires: datetime | None = None) -> Any:
    request = UserServiceAddPersonalAccessTokenRequest(user_id=user_id, expiration_date=expires)
    return client.users.add_personal_access_token(request)


def remove(client: Zitadel, user_id: str, token_id: str) -> Any:
    request = UserServiceRemovePersonalAccessTokenRequest(user_id=user_id, token_id=token_id)
    return client.users.remove_personal_access_token(request)


def search(
    client: Zitadel, *filters: Filter, sort: Column | None = None, **pagination: Any
) -> tuple[list[Any], str | None]:
    """PATs, and how many there are in all."""
    answer = client.users.list_personal_access_tokens(
        UserServiceListPersonalAccessTokensRequest(
            filters=list(filters) or None,
            sorting_column=sort,
            pagination=UserServicePaginationRequest(**pagination) if pagination else None,
        )
    )
    return answer.result or [], answer.pagination.total_result


def user(user_id: str) -> Filter:
    return Filter(user_id_filter=UserServiceIDFilter(id=user_id))


def created(method: Method | None, moment: datetime) -> Filter:
    return Filter(created_date_filter=UserServiceTimestampFilter(timestamp=moment, method=method))


def expiring(method: Method | None, moment: datetime) -> Filter:
    return Filter(expiration_date_filter=UserServiceTimestampFilter(timestamp=moment, method=method))


def refused(call: Callable[[], object]) -> ApiError:
    with pytest.raises(ApiError) as refusal:
        call()
    return refusal.value


class TestAdd:
    def test_the_token_is_ready_to_use(
        self, client: Client, maker: IssuedPat, authority: Authority, by_token: Client
    ) -> None:
        date = datetime.now(UTC) + timedelta(days=30)
        made = add(client(maker), expires=date)
        pat = authority.get(made.token_id)
        assert (made.creation_date, pat.expires_at) == (pat.created, cut(date))
        assert (pat.owner.id, pat.scope) == ("alice", (MY, "reports:read")), "its maker's scopes"
        assert pat.name == f"zitadel-{pat.id[-8:]}"
        assert authority.authenticate("Bearer " + made.token).pat_id == made.token_id
        with_it = by_token(IssuedPat(pat, "", made.token))
        assert {shown.id for shown in search(with_it, user("alice"))[0]} == {maker.pat.id, made.token_id}

    def test_without_a_date_it_never_expires(self, by_token: Client, maker: IssuedPat) -> None:
        client = by_token(maker)
        made = add(client)
        (shown, *_), _ = search(client, user("alice"))
        assert (shown.id, shown.expiration_date) == (made.token_id, NEVER)

    @each(
        ("user_id", "date", "code", "named"),
        [
            ("alice", datetime(2020, 1, 1, tzinfo=UTC), 400, "expirationDate: "),
            ("alice", datetime(2040, 1, 1), 400, "expirationDate: "),  # without an offset
            ("me", None, 400, "userId: "),
            ("bob", None, 403, "all-personal-access-tokens"),
        ],
    )
    def test_what_is_wrong_is_told_and_nothing_is_made(
        self,
        by_token: Client,
        maker: IssuedPat,
        authority: Authority,
        user_id: str,
        date: Any,
        code: int,
        named: str,
    ) -> None:
        error = refused(lambda: add(by_token(maker), user_id, date))
        assert error.code == code
        told = UserServiceConnectError.from_dict(error.response_body)
        assert told is not None
        assert told.code == {400: "invalid_argument", 403: "permission_denied"}[code]
        assert named in (told.message or "")
        assert len(authority.list()) == 1

    def test_for_others_it_takes_the_right_to_it(
        self, client: Client, admin: IssuedPat, authority: Authority
    ) -> None:
        made = add(client(admin), "bob")
        assert authority.get(made.token_id).owner == Owner("bob")


def cut(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class TestList:
    @pytest.fixture
    def pats(self, authority: Authority, admin: IssuedPat) -> dict[str, Any]:
        """Four PATs of three users; made at different milliseconds."""
        found = {"admin": admin.pat}
        for name, owner, days in (("one", "alice", 30), ("two", "bob", 10), ("three", "alice", 20)):
            time.sleep(0.002)
            found[name] = issue(authority, name, owner=Owner(owner), expires_in=timedelta(days=days)).pat
        return found

    @pytest.fixture
    def names(self, pats: dict[str, Any], by_secret: Client, admin: IssuedPat) -> Callable[..., list[str]]:
        client = by_secret(admin)
        by_id = {pat.id: name for name, pat in pats.items()}

        def names(*filters: Filter, **given: Any) -> list[str]:
            found, total = search(client, *filters, **given)
            if not given.keys() & {"limit", "offset"}:
                assert total == (str(len(found)) if found else None)
            return [by_id[shown.id] for shown in found]

        return names

    def test_everything_newest_first(self, names: Callable[..., list[str]]) -> None:
        assert names() == ["three", "two", "one", "admin"]
        assert names(asc=True) == ["admin", "one", "two", "three"]

    def test_a_page_and_how_many_there_are_in_all(
        self, pats: dict[str, Any], by_token: Client, admin: IssuedPat
    ) -> None:
        client = by_token(admin)
        found, total = search(client, offset=1, limit=2)
        assert ([shown.id for shown in found], total) == ([pats["two"].id, pats["one"].id], "4")
        assert search(client, offset=9) == ([], "4")
        answer = client.users.list_personal_access_tokens(UserServiceListPersonalAccessTokensRequest())
        assert answer.pagination.applied_limit == "100"
        assert refused(lambda: search(client, limit=1001)).code == 400

    def test_all_of_a_pat_but_its_secret(
        self, pats: dict[str, Any], by_token: Client, admin: IssuedPat
    ) -> None:
        (shown,), _ = search(by_token(admin), user("bob"))
        pat = pats["two"]
        assert shown.to_dict() == {
            "creationDate": pat.created,
            "changeDate": pat.created,
            "id": pat.id,
            "userId": "bob",
            "organizationId": "default",
            "expirationDate": pat.expires_at,
        }

    def test_each_filter_by_id(self, names: Callable[..., list[str]], pats: dict[str, Any]) -> None:
        by_token_id = Filter(token_id_filter=UserServiceIDFilter(id=pats["one"].id))
        here = Filter(organization_id_filter=UserServiceIDFilter(id="default"))
        elsewhere = Filter(organization_id_filter=UserServiceIDFilter(id="other"))
        assert names(user("alice")) == ["three", "one"]
        assert names(user("root")) == ["admin"]
        assert names(user("nobody")) == []
        assert names(by_token_id) == ["one"]
        assert names(Filter(token_id_filter=UserServiceIDFilter(id="0" * 32))) == []
        assert names(here) == ["three", "two", "one", "admin"]
        assert names(elsewhere) == []
        assert names(here, user("alice"), by_token_id) == ["one"]
        assert names(user("bob"), by_token_id) == []
        assert names(user("bob"), user("alice")) == []
        assert names(user("bob"), user("bob")) == ["two"]

    @each("whose", [[], [user("alice")]])
    @each("field", ["created", "expiration"])
    def test_each_filter_by_time(
        self, names: Callable[..., list[str]], pats: dict[str, Any], whose: list[Filter], field: str
    ) -> None:
        by, there = (created, "created") if field == "created" else (expiring, "expires_at")
        instants = {name: getattr(pat, there) or NEVER for name, pat in pats.items()}
        mine = [name for name in instants if not whose or pats[name].owner.id == "alice"]
        compare: dict[Method | None, Callable[[datetime, datetime], bool]] = {
            None: lambda a, b: a == b,
            Method.TIMESTAMP_FILTER_METHOD_EQUALS: lambda a, b: a == b,
            Method.TIMESTAMP_FILTER_METHOD_AFTER: lambda a, b: a > b,
            Method.TIMESTAMP_FILTER_METHOD_AFTER_OR_EQUALS: lambda a, b: a >= b,
            Method.TIMESTAMP_FILTER_METHOD_BEFORE: lambda a, b: a < b,
            Method.TIMESTAMP_FILTER_METHOD_BEFORE_OR_EQUALS: lambda a, b: a <= b,
        }
        assert set(compare) == {None, *Method}
        millisecond = timedelta(milliseconds=1)
        near = [at + step for at in instants.values() for step in (-millisecond, timedelta(), millisecond)]
        for moment in [*near, datetime(1969, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)]:
            for method, holds in compare.items():
                # To a client, never is the last second that can be written.
                expected = {name for name in mine if holds(instants[name], min(moment, NEVER))}
                assert set(names(by(method, moment), *whose)) == expected, (method, moment)

    @each("whose", [[], [user("alice")]])
    def test_each_sorting_column_both_ways(
        self, names: Callable[..., list[str]], pats: dict[str, Any], whose: list[Filter]
    ) -> None:
        keys: dict[Column | None, Callable[[str], Any]] = {
            None: lambda name: pats[name].created,
            Column.PERSONAL_ACCESS_TOKEN_FIELD_NAME_UNSPECIFIED: lambda name: pats[name].created,
            Column.PERSONAL_ACCESS_TOKEN_FIELD_NAME_CREATED_DATE: lambda name: pats[name].created,
            Column.PERSONAL_ACCESS_TOKEN_FIELD_NAME_ID: lambda name: pats[name].id,
            Column.PERSONAL_ACCESS_TOKEN_FIELD_NAME_USER_ID: lambda name: pats[name].owner.id,
            Column.PERSONAL_ACCESS_TOKEN_FIELD_NAME_ORGANIZATION_ID: lambda name: pats[name].tenant,
            Column.PERSONAL_ACCESS_TOKEN_FIELD_NAME_EXPIRATION_DATE: lambda name: (
                pats[name].expires_at or NEVER
            ),
        }
        assert set(keys) == {None, *Column}
        mine = [name for name in pats if not whose or pats[name].owner.id == "alice"]
        for column, key in keys.items():
            for asc in (None, False, True):
                found = names(*whose, sort=column, asc=asc)
                assert sorted(found) == sorted(mine)
                values = [key(name) for name in found]
                assert values == sorted(values, reverse=not asc), (column, asc)

    def test_ones_own_take_only_the_right_to_ones_own(self, by_token: Client, maker: IssuedPat) -> None:
        client = by_token(maker)
        assert [shown.id for shown in search(client, user("alice"))[0]] == [maker.pat.id]
        for call in (lambda: search(client), lambda: search(client, user("bob"))):
            assert refused(call).code == 403

    def test_an_odd_filter_is_named(self, by_token: Client, maker: IssuedPat) -> None:
        client = by_token(maker)
        error = refused(lambda: search(client, user("alice"), Filter()))
        assert (error.code, "filters[1]" in error.response_body["message"]) == (400, True)


class TestRemove:
    def test_what_is_removed_is_gone_and_so_is_a_second_removal(
        self, client: Client, maker: IssuedPat, authority: Authority, by_token: Client
    ) -> None:
        api = client(maker)
        made = add(api)
        gone = remove(api, "alice", made.token_id)
        assert abs(gone.deletion_date - datetime.now(UTC)) < timedelta(minutes=1)
        assert [pat.name for pat in authority.list()] == ["maker"]
        error = refused(lambda: remove(api, "alice", made.token_id))
        assert (error.code, error.response_body["code"]) == (404, "not_found")
        without = by_token(IssuedPat(maker.pat, "", made.token))
        error = refused(lambda: search(without, user("alice")))
        assert (error.code, error.response_body["code"]) == (401, "unauthenticated")

    def test_another_users_pat_is_not_found_under_this_user(
        self, client: Client, admin: IssuedPat, maker: IssuedPat, authority: Authority
    ) -> None:
        assert refused(lambda: remove(client(admin), "bob", maker.pat.id)).code == 404
        assert authority.get(maker.pat.id) == maker.pat
        remove(client(admin), "alice", maker.pat.id)


class TestCredentials:
    def test_it_finds_the_token_endpoint_and_exchanges_once_for_many_calls(
        self, service: Service, by_secret: Client, maker: IssuedPat
    ) -> None:
        client = by_secret(maker)
        for _ in range(3):
            search(client, user("alice"))
        assert service.app.paths.count("/.well-known/openid-configuration") == 1
        assert service.app.paths.count("/oauth/token") == 1

    def test_it_exchanges_again_when_a_short_lifetime_is_over(
        self, service: Service, by_secret: Client
    ) -> None:
        """Its own record of the lifetime is moved into the past; it then asks by itself."""
        short = service.authority.create(
            owner=ALICE, name="short", scope=[MY], never_expires=True, access_token_ttl=15
        )
        client = by_secret(short)
        search(client, user("alice"))
        authenticator: Any = client.configuration.authenticator
        token = authenticator.token
        life = token.expires_at - datetime.now(UTC)
        assert timedelta(seconds=10) < life <= timedelta(seconds=15), "it knows expires_in"
        authenticator.token = Token(token.access_token, datetime.now(UTC) - timedelta(seconds=1))
        search(client, user("alice"))
        assert service.app.paths.count("/oauth/token") == 2
        assert authenticator.token.access_token != token.access_token

    def test_a_wrong_secret_gives_it_no_token(
        self, by_secret: Client, maker: IssuedPat, admin: IssuedPat
    ) -> None:
        client = by_secret(IssuedPat(maker.pat, admin.secret, ""))
        with pytest.raises(ZitadelError, match="invalid_client"):
            search(client, user("alice"))

    def test_a_used_up_quota_says_when_to_come_back(self, by_token: Client, authority: Authority) -> None:
        client = by_token(issue(authority, "few", scope=[MY], request_quota="1/60"))
        search(client, user("alice"))
        error = refused(lambda: add(client))
        assert error.code == 429
        assert error.response_body == {"code": "resource_exhausted", "message": " Rate Limit Exceeded "}
        assert 1 <= int(error.response_headers["Retry-After"]) <= 60


def test_the_field_for_an_organisation_goes_through_its_transport_options(
    service: Service, admin: IssuedPat
) -> None:
    for organisation, code in (("default", None), ("other", 403), ("a b", 400)):
        options = TransportOptions(default_headers={"x-zitadel-orgid": organisation})
        client = Zitadel.with_access_token(service.url, admin.token, transport_options=options)
        if code is None:
            assert len(search(client)[0]) == 1
        else:
            assert refused(lambda client=client: search(client)).code == code
