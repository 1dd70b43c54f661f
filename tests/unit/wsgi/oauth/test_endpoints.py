"""`POST /oauth/token`: its forms, its refusals and their order (RFC 6749; REQUIREMENTS rows O)."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from patauth import Authority, IssuedPat, PatAuthMiddleware
from patauth.model.credentials import Format
from tests.support.authorities import Make, basic, basic_of, issue, wrong_secret
from tests.support.clocks import Clock
from tests.support.tables import each
from tests.support.wsgi import Echo, request

WRONG = {
    "grant_type": "client_credentials",
    "client_id": "0" * 32,
    "client_secret": Format().secret_text(bytes(32)),
}
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def authority(make_at: Make, clock: Clock) -> Authority:
    return make_at(clock=clock)


@pytest.fixture
def issued(authority: Authority) -> IssuedPat:
    return issue(authority)


@pytest.fixture
def app(authority: Authority) -> PatAuthMiddleware:
    return PatAuthMiddleware(Echo(), authority)


def post(app: PatAuthMiddleware, form: dict[str, str] | None = None, **given: Any) -> Any:
    values = {"grant_type": "client_credentials"} if form is None else form
    return request(app, "/oauth/token", method="POST", **{"data": values, **given})


def body_of(issued: IssuedPat, **more: str) -> dict[str, str]:
    return {
        "grant_type": "client_credentials",
        "client_id": issued.pat.id,
        "client_secret": issued.secret,
        **more,
    }


@each("form", ["body", "multipart", "basic", "basic escaped", "basic and client_id", "chunked"])
def test_each_form_that_clients_send_gets_a_token(
    app: PatAuthMiddleware, issued: IssuedPat, form: str
) -> None:
    values = body_of(issued)
    escaped = basic(issued.pat.id, issued.secret.replace("_", "%5F"))
    encoded = urlencode(values).encode()
    response = {
        "body": lambda: post(app, values),
        "multipart": lambda: post(app, values, content_type="multipart/form-data"),
        "basic": lambda: post(app, authorization=basic_of(issued)),
        "basic escaped": lambda: post(app, authorization=escaped),
        "basic and client_id": lambda: post(
            app,
            {"grant_type": "Client_Credentials", "client_id": issued.pat.id},
            authorization=basic_of(issued),
        ),
        "chunked": lambda: post(
            app,
            input_stream=io.BytesIO(encoded),
            data=None,
            content_type=FORM,
            environ={"wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
        ),
    }[form]()
    assert response.status_code == 200, response.data
    assert set(response.json) == {"access_token", "token_type", "expires_in", "scope"}, "and no refresh_token"
    assert (response.json["token_type"], response.json["expires_in"]) == ("Bearer", 900)
    assert response.json["scope"] == "reports:read reports:write"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Pragma"] == "no-cache"
    assert response.headers["RateLimit-Policy"] == '"exchanges";q=60;w=60'
    allowed = request(app, "/x", authorization="Bearer " + response.json["access_token"])
    assert allowed.json["who"] == "alice"


def test_the_escaped_spelling_of_basic_is_for_this_endpoint_alone(
    app: PatAuthMiddleware, issued: IssuedPat
) -> None:
    escaped = basic(issued.pat.id, issued.secret.replace("_", "%5F"))
    assert request(app, "/x", authorization=escaped).status_code == 401


@each(
    ("scope", "granted"),
    [
        ("reports:read", "reports:read"),
        ("reports:write reports:read", "reports:write reports:read"),
        ("openid urn:zitadel:iam:org:project:id:zitadel:aud", "reports:read reports:write"),
        ("sp:scopes:default", "reports:read reports:write"),
        ("", "reports:read reports:write"),
    ],
)
def test_the_answer_lists_what_was_granted(
    app: PatAuthMiddleware, issued: IssuedPat, scope: str, granted: str
) -> None:
    assert post(app, body_of(issued, scope=scope)).json["scope"] == granted


@each("scope", ["admin", "reports:read admin", "a  b", " a", 'a"b', "a\tb", "\u00e9", "sp:scopes:all"])
def test_a_scope_that_is_not_held_or_not_one_is_invalid_scope(
    app: PatAuthMiddleware, issued: IssuedPat, scope: str
) -> None:
    response = post(app, body_of(issued, scope=scope))
    assert (response.status_code, response.json["error"]) == (400, "invalid_scope")
    assert set(response.json) == {"error", "error_description"}


@each("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "PATCH"])
def test_it_takes_post_only(app: PatAuthMiddleware, method: str) -> None:
    response = request(app, "/oauth/token", method=method)
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


def refusals() -> list[tuple[str, int, str, dict[str, Any]]]:
    big = "grant_type=client_credentials&x=" + "a" * 8192
    half, multipart = "grant_type=client_credentials&client_id=a", "multipart/form-data; boundary=b"
    form = {"content_type": FORM}
    return [
        ("a large body", 413, "invalid_request", {"data": big, **form}),
        ("JSON", 415, "invalid_request", {"data": "{}", "content_type": "application/json"}),
        ("no type", 415, "invalid_request", {"data": "x", "content_type": ""}),
        ("gRPC", 415, "invalid_request", {"data": "x", "content_type": "application/grpc-web+proto"}),
        ("no grant", 400, "invalid_request", {"data": "x=1", **form}),
        ("empty grant", 400, "invalid_request", {"data": "grant_type=", **form}),
        ("password", 400, "unsupported_grant_type", {"data": "grant_type=password", **form}),
        ("twice", 400, "invalid_request", {"data": "grant_type=a&grant_type=a", **form}),
        ("unknown twice", 400, "invalid_request", {"data": "grant_type=client_credentials&q=1&q=2", **form}),
        ("bad escape", 400, "invalid_request", {"data": "grant_type=%ff", **form}),
        ("not ASCII", 400, "invalid_request", {"data": b"grant_type=\xff", **form}),
        ("65 fields", 400, "invalid_request", {"data": "&".join(f"a{n}=1" for n in range(65)), **form}),
        ("no client", 401, "invalid_client", {"data": "grant_type=client_credentials", **form}),
        ("half a client", 401, "invalid_client", {"data": half, **form}),
        ("no boundary", 400, "invalid_request", {"data": "x", "content_type": "multipart/form-data"}),
        ("bad multipart", 400, "invalid_request", {"data": "x", "content_type": multipart}),
    ]  # fmt: skip


@each(("label", "status", "code", "given"), refusals())
def test_malformed_requests_are_refused_with_what_was_wrong(
    app: PatAuthMiddleware, label: str, status: int, code: str, given: dict[str, Any]
) -> None:
    response = request(app, "/oauth/token", method="POST", **given)
    assert (response.status_code, response.json["error"]) == (status, code)
    assert response.json["error_description"]
    assert response.headers["Cache-Control"] == "no-store"


def test_refusals_come_in_a_fixed_order(app: PatAuthMiddleware, authority: Authority) -> None:
    """Each request has all the faults that come later, too."""
    steps = [
        (405, {"method": "PUT", "data": "x" * 9000, "query_string": "client_secret=x"}),
        (413, {"data": "x" * 9000, "query_string": "client_secret=x"}),
        (415, {"data": "x", "query_string": "client_secret=x"}),
        (400, {"data": "grant_type=password", "content_type": FORM, "query_string": "client_secret=x"}),
        (400, {"data": "grant_type=password&scope=%22", "content_type": FORM}),
        (401, {"data": "grant_type=client_credentials&scope=%22", "content_type": FORM}),
        (401, {"data": {**WRONG, "scope": '"'}}),
    ]
    for status, given in steps:
        assert request(app, "/oauth/token", **{"method": "POST", **given}).status_code == status


def test_a_chunked_body_is_measured_as_a_whole(app: PatAuthMiddleware, issued: IssuedPat) -> None:
    """What lies behind the limit is not cut off and forgotten: it is what makes the body too large."""
    good = urlencode(body_of(issued))
    for size, status in ((8192, 200), (8193, 413), (20_000, 413)):
        padding = "a" * (size - len(good) - len("&pad="))
        chunked = {"wsgi.input_terminated": True, "CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}
        stream = io.BytesIO(f"{good}&pad={padding}".encode())
        response = post(app, data=None, input_stream=stream, content_type=FORM, environ=chunked)
        assert response.status_code == status


@each("name", ["client_id", "client_secret", "access_token"])
def test_credentials_in_the_url_are_refused(app: PatAuthMiddleware, issued: IssuedPat, name: str) -> None:
    response = post(app, body_of(issued), query_string={name: "x"})
    assert (response.status_code, response.json["error"]) == (400, "invalid_request")


def test_one_client_authentication_per_request(app: PatAuthMiddleware, issued: IssuedPat) -> None:
    for more in ({"client_secret": issued.secret}, {"client_id": "0" * 32}):
        form = {"grant_type": "client_credentials", **more}
        response = post(app, form, authorization=basic_of(issued))
        assert (response.status_code, response.json["error"]) == (400, "invalid_request")
    combined = post(app, authorization=basic_of(issued) + "," + basic_of(issued))
    assert (combined.status_code, combined.json["error"]) == (400, "invalid_request")


def test_a_file_or_many_parts_are_too_large(app: PatAuthMiddleware, issued: IssuedPat) -> None:
    for more in ({"f": (io.BytesIO(b"x"), "x.txt")}, {f"p{number}": "x" for number in range(8)}):
        response = post(app, {**body_of(issued), **more}, content_type="multipart/form-data")
        assert response.status_code == 413


def test_refused_clients_get_one_answer_and_a_challenge(
    app: PatAuthMiddleware, authority: Authority, issued: IssuedPat
) -> None:
    """O7: unknown, wrong, deleted and malformed alike, by Basic and in the body."""
    gone = issue(authority, "gone")
    authority.delete(gone.pat.id)
    wrong = wrong_secret(authority)
    answers = set()
    for pat_id, secret in [("0" * 32, wrong), (issued.pat.id, wrong), (gone.pat.id, gone.secret), ("x", "y")]:
        form = {"grant_type": "client_credentials", "client_id": pat_id, "client_secret": secret}
        for response in (post(app, form), post(app, authorization=basic(pat_id, secret))):
            assert (response.status_code, response.json["error"]) == (401, "invalid_client")
            assert response.headers["WWW-Authenticate"] == 'Basic realm="patauth", charset="UTF-8"'
            answers.add(response.data)
    assert len(answers) == 1


def test_a_pat_token_or_an_access_token_is_no_client(
    app: PatAuthMiddleware, authority: Authority, issued: IssuedPat
) -> None:
    access = authority.exchange(issued.pat.id, issued.secret).value
    for value in ("Bearer " + issued.token, "Bearer " + access, basic(issued.pat.id, issued.token)):
        assert post(app, authorization=value).json["error"] == "invalid_client"
    form = {**body_of(issued), "client_secret": issued.token}
    assert post(app, form).json["error"] == "invalid_client"


def test_an_expired_client_is_told_so_with_its_right_secret_alone(
    app: PatAuthMiddleware, authority: Authority, clock: Clock
) -> None:
    issued = issue(authority, expires_in=timedelta(seconds=1))
    clock.advance(1000)
    response = post(app, body_of(issued))
    assert response.status_code == 401
    assert response.json == {
        "error": "invalid_client",
        "error_description": "the personal access token has expired",
    }
    assert b"expired" not in post(app, {**body_of(issued), "client_secret": wrong_secret(authority)}).data


def test_a_token_never_outlives_its_pat(app: PatAuthMiddleware, authority: Authority) -> None:
    issued = issue(authority, expires_in=timedelta(seconds=7))
    assert post(app, body_of(issued)).json["expires_in"] <= 7


def test_past_the_exchange_quota_429_has_its_own_body(
    app: PatAuthMiddleware, issued: IssuedPat, clock: Clock
) -> None:
    for _ in range(60):
        assert post(app, body_of(issued)).status_code == 200
    response = post(app, body_of(issued))
    assert (response.status_code, response.data) == (429, b'{"message":" Rate Limit Exceeded "}')
    assert response.headers["Retry-After"] == "1"
    assert response.headers["RateLimit"] == '"exchanges";r=0;t=1'
    assert request(app, "/x", authorization=basic_of(issued)).status_code == 200, "nothing else is charged"
    clock.advance(1000)
    assert post(app, body_of(issued)).status_code == 200


def test_a_refused_scope_is_charged_to_the_exchange_quota(app: PatAuthMiddleware, issued: IssuedPat) -> None:
    """The charge is at the tag match, whatever comes of it."""
    for _ in range(60):
        assert post(app, body_of(issued, scope="admin")).status_code == 400
    assert post(app, body_of(issued)).status_code == 429


def test_wrong_secrets_here_and_at_the_gate_share_one_counter(
    app: PatAuthMiddleware, authority: Authority
) -> None:
    wrong = wrong_secret(authority)
    form = {"grant_type": "client_credentials", "client_id": "0" * 32, "client_secret": wrong}
    statuses = []
    for number in range(22):
        if number % 2:
            statuses.append(post(app, form).status_code)
        else:
            statuses.append(request(app, "/x", authorization=basic("0" * 32, wrong)).status_code)
    assert statuses == [401] * 20 + [429] * 2


def test_the_route_moves_with_path_prefix(make_at: Make) -> None:
    authority = make_at(path_prefix="/auth")
    issued = issue(authority)
    app = PatAuthMiddleware(Echo(), authority)
    assert request(app, "/auth/oauth/token", method="POST", data=body_of(issued)).status_code == 200
    assert request(app, "/oauth/token", method="POST", data=body_of(issued)).status_code == 401


def test_a_secret_never_stands_in_an_error(app: PatAuthMiddleware, issued: IssuedPat) -> None:
    """Whatever is wrong with the rest of the request."""
    secret = quote(issued.secret)
    for given in (
        {"data": f"grant_type=x&client_secret={secret}", "content_type": FORM},
        {"data": f"client_secret={secret}&client_secret={secret}", "content_type": FORM},
        {"data": f"grant_type=client_credentials&scope={secret}%22", "content_type": FORM},
        {"data": json.dumps(body_of(issued)), "content_type": "application/json"},
        {"data": "", "query_string": f"client_secret={secret}", "content_type": FORM},
    ):
        response = request(app, "/oauth/token", method="POST", **given)
        assert response.status_code >= 400
        assert issued.secret.encode() not in response.data
        assert issued.secret not in str(response.headers)


def test_broken_lengths_and_streams_are_a_refusal(app: PatAuthMiddleware) -> None:
    class Broken(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise OSError("connection reset")

    for environ in (
        {"CONTENT_LENGTH": "x"},
        {"CONTENT_LENGTH": "-1"},
        {"CONTENT_LENGTH": "99999999999999999999"},
        {"CONTENT_LENGTH": "50"},
        {"CONTENT_LENGTH": "50", "wsgi.input": Broken()},
    ):
        response = request_unchecked(app, {"CONTENT_TYPE": FORM, **environ})
        assert 400 <= response < 500, environ


def request_unchecked(app: PatAuthMiddleware, environ: dict[str, Any]) -> int:
    """Without the validator, which would refuse such an environ itself."""
    statuses = []
    values = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/oauth/token",
        "wsgi.input": io.BytesIO(b"grant_type=client_credentials"),
        **environ,
    }
    app(values, lambda status, *_: statuses.append(int(status[:3])))
    return statuses[0]


def test_basic_with_trailing_bits_is_refused(app: PatAuthMiddleware, issued: IssuedPat) -> None:
    good = b64encode(f"{issued.pat.id}:{issued.secret}".encode()).decode()
    assert post(app, authorization="Basic " + good.rstrip("=") + "===").status_code == 401
