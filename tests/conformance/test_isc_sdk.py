"""The vendor's own SDK, as published and unmodified (`sailpoint`, pinned), over a socket on a real engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sailpoint.configuration import Configuration, ConfigurationParams
from sailpoint.personal_access_tokens import (
    ApiException,
    BulkUpdatePersonalAccessTokensRequest,
    CreatePersonalAccessTokenRequest,
    JsonPatchOperation,
    JsonPatchOperationValue,
    PersonalAccessTokensApi,
)
from sailpoint.personal_access_tokens.api_client import ApiClient
from sailpoint.personal_access_tokens.exceptions import (
    BadRequestException,
    ForbiddenException,
    NotFoundException,
    UnauthorizedException,
)

from patauth import Authority, IssuedPat, Owner
from patauth.wsgi.service.app import Standalone
from tests.support.authorities import ALICE, Make, issue
from tests.support.tables import each
from tests.support.wsgi import serving

MANAGE = "idn:my-personal-access-tokens:manage"
RIGHTS = ["reports:read", "reports:write", "sp:scopes:all", MANAGE]

Client = Callable[[IssuedPat], PersonalAccessTokensApi]


@pytest.fixture
def authority(make_at: Make) -> Authority:
    return make_at(surfaces=["oauth", "isc"], max_pats_per_owner=50)


@pytest.fixture
def url(authority: Authority) -> Iterator[str]:
    with serving(Standalone(authority)) as at:
        yield at


@pytest.fixture
def client(url: str, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Makes the SDK's API object of a PAT, configured by the environment as the vendor documents it."""

    def made(issued: IssuedPat) -> PersonalAccessTokensApi:
        monkeypatch.setenv("SAIL_BASE_URL", url)
        monkeypatch.setenv("SAIL_CLIENT_ID", issued.pat.id)
        monkeypatch.setenv("SAIL_CLIENT_SECRET", issued.secret)
        configuration = Configuration()
        assert configuration.access_token, "its constructor fetches a token"
        return PersonalAccessTokensApi(ApiClient(configuration))

    return made


@pytest.fixture
def maker(authority: Authority) -> IssuedPat:
    return authority.create(owner=ALICE, name="maker", scope=RIGHTS, never_expires=True)


@pytest.fixture
def api(client: Client, maker: IssuedPat) -> PersonalAccessTokensApi:
    return client(maker)


def new(**given: Any) -> CreatePersonalAccessTokenRequest:
    values = {"name": "sdk", "scope": ["reports:read"], "expiration_date": in_days(30), **given}
    return CreatePersonalAccessTokenRequest(**values)


def in_days(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def operation(op: str, path: str, *value: Any) -> JsonPatchOperation:
    wrapped = JsonPatchOperationValue.model_construct(actual_instance=value[0]) if value else None
    return JsonPatchOperation(op=op, path=path, value=wrapped)


class TestCreate:
    def test_with_a_date_the_pat_works_at_once_and_expires_then(
        self, api: PersonalAccessTokensApi, authority: Authority
    ) -> None:
        date = in_days(30)
        made = api.create_personal_access_token_v1(
            new(expiration_date=date, access_token_validity_seconds=60)
        )
        assert made.owner.id == "alice"
        assert made.expiration_date == date.replace(microsecond=date.microsecond // 1000 * 1000)
        access = authority.exchange(made.id, made.secret)
        assert (access.scope, access.expires_in) == (("reports:read",), 60)

    def test_one_that_never_expires_is_returned_with_its_secret(
        self, api: PersonalAccessTokensApi, authority: Authority
    ) -> None:
        made = api.create_personal_access_token_v1(
            new(expiration_date=None, user_aware_token_never_expires=True)
        )
        assert made.expiration_date.year == 9999, "the vendor's model allows no null here"
        assert authority.get(made.id).expires_ms is None
        assert authority.verify_basic(made.id, made.secret).subject == ALICE

    def test_without_scopes_it_has_all_and_the_longest_access_tokens(
        self, api: PersonalAccessTokensApi
    ) -> None:
        made = api.create_personal_access_token_v1(new(scope=None))
        assert (made.scope, made.access_token_validity_seconds) == (["sp:scopes:all"], 43_200)

    @each(
        ("given", "field"),
        [
            ({"name": ""}, "name"),
            ({"name": "maker"}, "name"),
            ({"scope": ["other:scope"]}, "scope"),
            ({"scope": []}, "scope"),
            ({"expiration_date": datetime(2020, 1, 1, tzinfo=UTC)}, "expirationDate"),
            ({"expiration_date": None}, "userAwareTokenNeverExpires"),
        ],
    )
    def test_what_is_wrong_is_told_by_the_name_of_the_field(
        self, api: PersonalAccessTokensApi, authority: Authority, given: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(BadRequestException) as refusal:
            api.create_personal_access_token_v1(new(**given))
        assert refusal.value.data.detail_code == "400.1 Bad Request Content"
        assert refusal.value.data.causes[0].text.startswith(f"{field}: ")
        assert len(authority.list()) == 1, "only the maker's own"


class TestList:
    def test_ones_own_with_and_without_filters(
        self, api: PersonalAccessTokensApi, authority: Authority
    ) -> None:
        made = api.create_personal_access_token_v1(new())
        assert {pat.name for pat in api.list_personal_access_tokens_v1(owner_id="me")} == {"maker", "sdk"}
        (unused,) = api.list_personal_access_tokens_v1(owner_id="me", filters="lastUsed isnull")
        assert (unused.id, unused.last_used, unused.managed) == (made.id, None, False)
        tomorrow = in_days(1).isoformat(timespec="milliseconds")
        (used,) = api.list_personal_access_tokens_v1(owner_id="me", filters=f"lastUsed le {tomorrow}")
        assert used.name == "maker"
        assert used.last_used is not None
        assert used.expiration_date is None

    def test_everybodys_takes_the_right_to_it(self, client: Client, authority: Authority) -> None:
        issue(authority, owner=Owner("bob"), name="other")
        admin = issue(authority, scope=["idn:all-personal-access-tokens:read"], name="admin")
        listed = client(admin).list_personal_access_tokens_v1()
        assert {pat.owner.id for pat in listed} == {"alice", "bob"}
        plain = issue(authority, scope=["idn:my-personal-access-tokens:read"], name="plain")
        with pytest.raises(ForbiddenException) as refusal:
            client(plain).list_personal_access_tokens_v1()
        assert refusal.value.data.detail_code == "403 Forbidden"

    def test_an_unknown_filter_is_refused_by_name(self, api: PersonalAccessTokensApi) -> None:
        with pytest.raises(BadRequestException) as refusal:
            api.list_personal_access_tokens_v1(owner_id="me", filters='color eq "red"')
        assert "color" in refusal.value.data.causes[0].text


class TestPatch:
    @pytest.fixture
    def made(self, api: PersonalAccessTokensApi) -> Any:
        return api.create_personal_access_token_v1(new())

    def test_name_and_scope(self, api: PersonalAccessTokensApi, authority: Authority, made: Any) -> None:
        changed = api.patch_personal_access_token_v1(
            made.id,
            [
                operation("replace", "/name", "renamed"),
                operation("replace", "/scope", ["reports:write", "reports:read"]),
            ],
        )
        assert (changed.name, changed.scope) == ("renamed", ["reports:write", "reports:read"])
        assert authority.exchange(made.id, made.secret).scope == ("reports:write", "reports:read")

    def test_the_expiry_and_never(
        self, api: PersonalAccessTokensApi, authority: Authority, made: Any
    ) -> None:
        date = "2031-05-06T07:08:09.123456+00:00"
        changed = api.patch_personal_access_token_v1(made.id, [operation("replace", "/expirationDate", date)])
        assert changed.expiration_date == datetime(2031, 5, 6, 7, 8, 9, 123000, tzinfo=UTC)
        # The SDK drops a null value on its way.
        never = [
            operation("replace", "/userAwareTokenNeverExpires", True),
            operation("replace", "/expirationDate"),
        ]
        changed = api.patch_personal_access_token_v1(made.id, never)
        assert (changed.expiration_date, changed.user_aware_token_never_expires) == (None, True)
        assert authority.get(made.id).expires_ms is None

    def test_anything_else_is_refused_and_nothing_changes(
        self, api: PersonalAccessTokensApi, authority: Authority, made: Any
    ) -> None:
        before = authority.get(made.id)
        patch = [operation("replace", "/name", "renamed"), operation("replace", "/owner", "bob")]
        with pytest.raises(BadRequestException):
            api.patch_personal_access_token_v1(made.id, patch)
        assert authority.get(made.id) == before

    def test_in_bulk(self, api: PersonalAccessTokensApi, client: Client, authority: Authority) -> None:
        pats = [api.create_personal_access_token_v1(new(name=f"bulk {number}")) for number in range(3)]
        admin = authority.create(
            owner=Owner("admin"),
            name="admin",
            scope=["reports:read", "idn:all-personal-access-tokens:manage"],
            never_expires=True,
        )
        patch = [operation("replace", "/expirationDate", "2032-01-01T00:00:00Z")]
        ids = [pat.id for pat in pats]
        request = BulkUpdatePersonalAccessTokensRequest(ids=ids, patch=patch)
        changed = client(admin).update_bulk_personal_access_tokens_v1(request)
        assert [(pat.id, pat.expiration_date.year) for pat in changed] == [(one, 2032) for one in ids]


def test_a_deleted_pat_is_gone_and_so_is_a_second_deletion(
    api: PersonalAccessTokensApi, authority: Authority
) -> None:
    made = api.create_personal_access_token_v1(new())
    api.delete_personal_access_token_v1(made.id)
    assert [pat.name for pat in authority.list(owner_id="alice")] == ["maker"]
    with pytest.raises(NotFoundException) as refusal:
        api.delete_personal_access_token_v1(made.id)
    assert refusal.value.data.detail_code == "404 Not found"


def test_deleting_the_pat_that_calls_ends_its_access_token(
    api: PersonalAccessTokensApi, maker: IssuedPat
) -> None:
    api.delete_personal_access_token_v1(maker.pat.id)
    with pytest.raises(UnauthorizedException) as refusal:
        api.list_personal_access_tokens_v1(owner_id="me")
    assert refusal.value.data.error


def test_a_wrong_secret_gives_it_no_token(
    url: str, maker: IssuedPat, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    parameters = ConfigurationParams()
    parameters.base_url = url
    parameters.client_id = maker.pat.id
    parameters.client_secret = issue(authority, owner=Owner("bob")).secret
    assert Configuration(parameters).access_token is None
    assert "Unauthorized" in capsys.readouterr().out


def test_it_obeys_retry_after_and_then_succeeds(client: Client, authority: Authority) -> None:
    """One unit a second: the SDK sleeps for as long as it is told, and comes back to a 200."""
    limited = issue(authority, name="limited", scope=[MANAGE], request_quota="1/1")
    api = client(limited)
    started = time.monotonic()
    for _ in range(2):
        assert [pat.name for pat in api.list_personal_access_tokens_v1(owner_id="me")] == ["limited"]
    assert 0.7 < time.monotonic() - started < 10, "it waited, and was not frozen by a wrong value"


def test_a_limited_creation_is_told_so_and_nothing_is_made(client: Client, authority: Authority) -> None:
    """POST is not repeated by the SDK."""
    limited = issue(authority, name="limited", scope=["reports:read", MANAGE], request_quota="1/60")
    api = client(limited)
    api.list_personal_access_tokens_v1(owner_id="me")
    with pytest.raises(ApiException) as refusal:
        api.create_personal_access_token_v1(new())
    assert refusal.value.status == 429
    assert refusal.value.data.message == " Rate Limit Exceeded "
    assert int(refusal.value.headers["Retry-After"]) >= 1
    assert len(authority.list()) == 1
