"""CORS: preflights never open anything, and pages of chosen origins may read the answers."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import pytest

from patauth import Authority, ConfigurationError, Cors, IssuedPat, PatAuthMiddleware, require_scope
from tests.support.authorities import Make, basic_of, issue
from tests.support.wsgi import Echo, request

HERE, ELSEWHERE = "https://app.example", "https://evil.example"
EXPOSED = "Retry-After, RateLimit, RateLimit-Policy, WWW-Authenticate, PatAuth-Expires"


def preflight(origin: str = HERE, method: str = "GET") -> dict[str, str]:
    return {"Origin": origin, "Access-Control-Request-Method": method}


def cors_of(response: Any) -> dict[str, str]:
    return {
        name.removeprefix("Access-Control-"): value
        for name, value in response.headers
        if name.startswith("Access-Control-")
    }


@pytest.fixture
def issued(authority: Authority) -> IssuedPat:
    return issue(authority)


@pytest.fixture
def app() -> Echo:
    return Echo()


RULES: dict[str, Any] = {
    "public": ["/healthz"],
    "optional": ["/feed"],
    "require": {"GET /reports/*": "reports:read", "/admin": "admin"},
    "surfaces": ["oauth", "isc"],
}
GUARDED = ("/", "/reports/1", "/admin", "/feed", "/nothing/here")
OWN = ("/oauth/token", "/personal-access-tokens/v1")


class TestWithout:
    def test_a_preflight_is_a_request_like_any_other(
        self, authority: Authority, app: Echo, issued: IssuedPat
    ) -> None:
        """FINDINGS A1: 0.1.0 let it pass, whatever the application made of its method."""
        gate = PatAuthMiddleware(app, authority, **RULES)
        for path in ("/", "/reports/1", "/admin", "/nothing/here"):
            response = request(gate, path, method="OPTIONS", headers=preflight())
            assert (response.status_code, cors_of(response)) == (401, {}), path
        for path in OWN:
            response = request(gate, path, method="OPTIONS", headers=preflight())
            assert (response.status_code, cors_of(response)) == (405, {}), path
        known = {"headers": preflight(), "authorization": basic_of(issued), "method": "OPTIONS"}
        assert request(gate, "/admin", **known).status_code == 403
        assert app.seen == []
        assert request(gate, "/", **known).json["who"] == "alice"


class TestAnswered:
    @pytest.fixture
    def gate(self, authority: Authority, app: Echo) -> PatAuthMiddleware:
        return PatAuthMiddleware(app, authority, **RULES, cors=Cors([HERE], max_age=60))

    def test_patauth_answers_preflights_and_the_app_sees_none(
        self, gate: PatAuthMiddleware, app: Echo, issued: IssuedPat
    ) -> None:
        for path in (*GUARDED, *OWN):
            for authorization in (None, basic_of(issued), "Bearer x"):
                response = request(
                    gate, path, method="OPTIONS", headers=preflight(), authorization=authorization
                )
                assert (response.status_code, response.data) == (204, b""), path
                assert cors_of(response) == {
                    "Allow-Origin": HERE,
                    "Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
                    "Allow-Headers": "Authorization, Content-Type",
                    "Expose-Headers": EXPOSED,
                    "Max-Age": "60",
                }
                assert response.headers["Vary"] == "Origin"
        assert app.seen == []

    def test_an_unknown_origin_gets_no_field(
        self, gate: PatAuthMiddleware, app: Echo, issued: IssuedPat
    ) -> None:
        for origin in (
            ELSEWHERE,
            "null",
            "http://app.example",
            f"{HERE}:8443",
            f"{HERE}.evil.example",
            "*",
            "",
        ):
            for path in GUARDED:
                response = request(gate, path, method="OPTIONS", headers=preflight(origin))
                assert (response.status_code, cors_of(response)) == (204, {}), origin
                refused = request(gate, path, headers={"Origin": origin})
                assert cors_of(refused) == {}
                assert refused.headers["Vary"] == "Origin"
        assert (
            cors_of(request(gate, "/", headers={"Origin": ELSEWHERE}, authorization=basic_of(issued))) == {}
        )

    def test_every_answer_can_be_read_from_a_known_origin(
        self, gate: PatAuthMiddleware, app: Echo, authority: Authority, issued: IssuedPat
    ) -> None:
        limited = issue(authority, name="limited", request_quota="1/60")
        answers = {
            401: request(gate, "/reports/1", headers={"Origin": HERE}),
            403: request(gate, "/admin", headers={"Origin": HERE}, authorization=basic_of(issued)),
            400: request(gate, raw_path="/a\n", headers={"Origin": HERE}),
            405: request(gate, "/oauth/token", headers={"Origin": HERE}),
            200: request(gate, "/reports/1", headers={"Origin": HERE}, authorization=basic_of(issued)),
        }
        for _ in range(2):
            answers[429] = request(gate, "/", headers={"Origin": HERE}, authorization=basic_of(limited))
        for status, answer in answers.items():
            assert answer.status_code == status
            assert cors_of(answer) == {"Allow-Origin": HERE, "Expose-Headers": EXPOSED}, status
            assert "Origin" in answer.headers["Vary"]
        assert answers[429].headers["Retry-After"]
        assert cors_of(request(gate, "/healthz", headers={"Origin": HERE})) == {
            "Allow-Origin": HERE, "Expose-Headers": EXPOSED,
        }  # fmt: skip

    def test_a_public_path_answers_its_own_preflights(self, gate: PatAuthMiddleware, app: Echo) -> None:
        assert request(gate, "/healthz", method="OPTIONS", headers=preflight()).json["path"] == "/healthz"

    def test_only_a_preflight_is_answered(
        self, gate: PatAuthMiddleware, app: Echo, issued: IssuedPat
    ) -> None:
        for method, headers in (
            ("OPTIONS", {"Origin": HERE}),
            ("OPTIONS", {"Access-Control-Request-Method": "GET"}),
            ("GET", preflight()),
            ("POST", preflight()),
        ):
            assert request(gate, "/reports/1", method=method, headers=headers).status_code == 401
        odd = request(gate, raw_path="/a\n", method="OPTIONS", headers=preflight())
        assert odd.status_code == 400
        assert app.seen == []

    def test_fields_of_the_apps_own_stay_as_they_are(self, authority: Authority, issued: IssuedPat) -> None:
        def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            fields = [("Content-Type", "text/plain"), ("access-control-allow-origin", ELSEWHERE)]
            start_response("200 OK", fields)
            return [b""]

        gate = PatAuthMiddleware(app, authority, cors=Cors([HERE]))
        response = request(gate, "/", headers={"Origin": HERE}, authorization=basic_of(issued))
        assert response.headers.getlist("Access-Control-Allow-Origin") == [ELSEWHERE]
        assert "Access-Control-Expose-Headers" not in response.headers

    def test_where_patauth_allows_an_origin_the_app_allows_nothing_more(
        self, authority: Authority, issued: IssuedPat
    ) -> None:
        """An app that always allows credentials would let the page read with the visitor's cookies."""

        def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            start_response("200 OK", [
                ("Access-Control-Allow-Credentials", "true"), ("access-control-expose-headers", "X-Mine"),
                ("Content-Type", "text/plain"), ("X-Mine", "1"),
            ])  # fmt: skip
            return [b""]

        for allowed in ([HERE], ["*"]):
            gate = PatAuthMiddleware(app, authority, public=["/healthz"], cors=Cors(allowed))
            for path in ("/healthz", "/"):
                known = {"headers": {"Origin": HERE}, "authorization": basic_of(issued)}
                response = request(gate, path, **known)  # type: ignore[arg-type]
                origin = response.headers["Access-Control-Allow-Origin"]
                assert response.headers.getlist("Access-Control-Allow-Origin") == [origin]
                assert response.headers.getlist("Access-Control-Expose-Headers") == [EXPOSED]
                assert "Access-Control-Allow-Credentials" not in response.headers
                assert response.headers["X-Mine"] == "1"

    def test_every_origin_may_be_allowed_and_never_with_the_credentials_mode(
        self, authority: Authority, app: Echo
    ) -> None:
        gate = PatAuthMiddleware(app, authority, cors=Cors(["*"]))
        for response in (
            request(gate, "/", headers={"Origin": ELSEWHERE}),
            request(gate, "/", method="OPTIONS", headers=preflight(ELSEWHERE)),
        ):
            assert cors_of(response)["Allow-Origin"] == "*"
            assert "Allow-Credentials" not in cors_of(response)

    def test_a_page_may_send_the_token_headers(self, authority: Authority, app: Echo) -> None:
        gate = PatAuthMiddleware(
            app,
            authority,
            cors=Cors([HERE], headers=["Authorization", "X-Mine"]),
            token_headers=["X-API-Key"],
        )
        response = request(gate, "/", method="OPTIONS", headers=preflight())
        assert cors_of(response)["Allow-Headers"] == "Authorization, X-Mine, X-API-Key"

    def test_the_setting_allows_origins_too(self, make: Make, app: Echo) -> None:
        gate = PatAuthMiddleware(app, make(cors_origins=HERE))
        assert request(gate, "/", method="OPTIONS", headers=preflight()).status_code == 204


class TestOfTheApp:
    """With `cors="app"` the application answers preflights of its own paths."""

    def test_the_app_sees_a_bare_options_and_only_its_fields_of_cors_go_out(
        self, authority: Authority, issued: IssuedPat
    ) -> None:
        seen: list[dict[str, Any]] = []

        def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            seen.append(dict(environ))
            fields = [
                ("Access-Control-Allow-Origin", HERE), ("Access-Control-Allow-Methods", "GET"),
                ("Vary", "Origin"), ("Set-Cookie", "a=b"), ("X-Data", "salaries"),
                ("Content-Type", "text/plain"),
            ]  # fmt: skip
            start_response("302 Found", fields)
            return [b"salaries"]

        gate = PatAuthMiddleware(app, authority, **RULES, cors="app", token_headers=["X-API-Key"])
        headers = {
            **preflight(), "Access-Control-Request-Headers": "authorization", "Cookie": "session=1",
            "X-HTTP-Method-Override": "POST", "X-HTTP-Method": "POST", "X-Method-Override": "POST",
            "X-Forwarded-Proto": "https", "X-Forwarded-Uri": "/?_method=POST", "X-Forwarded-Method": "POST",
            "Access-Control-Request-Method-Override": "POST",
            "X-API-Key": issued.token, "Authorization": basic_of(issued), "Content-Type": "text/plain",
        }  # fmt: skip
        response = request(
            gate, "/admin?_method=POST", method="OPTIONS", headers=headers, data="_method=POST",
            environ={
                "REMOTE_USER": "admin", "RAW_URI": "/admin?_method=POST",
                "UNENCODED_URL": "/admin?_method=POST", "REDIRECT_URL": "/admin?_method=POST",
                "REDIRECT_QUERY_STRING": "_method=POST", "REDIRECT_HTTP_AUTHORIZATION": basic_of(issued),
            },
        )  # fmt: skip
        assert (response.status_code, response.data) == (204, b"")
        assert cors_of(response) == {"Allow-Origin": HERE, "Allow-Methods": "GET"}
        assert response.headers["Vary"] == "Origin"
        assert {"Set-Cookie", "X-Data", "Content-Type"}.isdisjoint(response.headers.keys())
        (environ,) = seen
        assert (environ["REQUEST_METHOD"], environ["PATH_INFO"]) == ("OPTIONS", "/admin")
        assert (environ["QUERY_STRING"], environ["wsgi.input"].read()) == ("", b"")
        assert {name for name in environ if name.startswith(("HTTP_", "CONTENT_", "REMOTE_U", "RAW"))} == {
            "HTTP_HOST", "HTTP_ORIGIN", "HTTP_ACCESS_CONTROL_REQUEST_METHOD",
            "HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "HTTP_X_FORWARDED_PROTO",
        }  # fmt: skip
        assert not any("_method" in value for value in environ.values() if isinstance(value, str))
        assert basic_of(issued) not in environ.values()

    def test_require_scope_inside_of_the_app_refuses_a_preflight(self, authority: Authority) -> None:
        gate = PatAuthMiddleware(require_scope("admin")(Echo()), authority, cors="app")
        response = request(gate, "/", method="OPTIONS", headers=preflight())
        assert (response.status_code, cors_of(response)) == (204, {})

    def test_nothing_else_passes(self, authority: Authority, app: Echo) -> None:
        gate = PatAuthMiddleware(app, authority, **RULES, cors="app")
        for path in ("/", "/admin"):
            assert request(gate, path, headers=preflight()).status_code == 401
            assert request(gate, path, method="OPTIONS", headers={"Origin": HERE}).status_code == 401
        for path in OWN:
            assert request(gate, path, method="OPTIONS", headers=preflight()).status_code == 405
        assert request(gate, raw_path="/a\n", method="OPTIONS", headers=preflight()).status_code == 400
        assert app.seen == []

    def test_an_app_that_starts_its_answer_late_is_asked_too(self, authority: Authority) -> None:
        closed = []

        class Body:
            def __init__(self, start_response: Any) -> None:
                self.start_response = start_response

            def __iter__(self) -> Any:
                self.start_response("200 OK", [("Access-Control-Allow-Origin", HERE)])
                yield b"x"

            def close(self) -> None:
                closed.append(True)

        gate = PatAuthMiddleware(lambda _, start_response: Body(start_response), authority, cors="app")
        environ = {
            "REQUEST_METHOD": "OPTIONS", "PATH_INFO": "/", "HTTP_ORIGIN": HERE, "wsgi.input": io.BytesIO(),
            "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "GET",
        }  # fmt: skip
        fields: dict[str, str] = {}
        assert list(gate(environ, lambda _, found, *__: fields.update(found))) == [b""]  # type: ignore[func-returns-value]
        assert fields["Access-Control-Allow-Origin"] == HERE
        assert closed == [True]


def test_the_argument_is_named_with_what_to_do() -> None:
    for given, message in (
        ({"origins": 5}, "cors: origins: give a list of texts"),
        ({"origins": []}, "cors: origins: give at least one"),
        ({"origins": "none"}, "cors: origins: give at least one"),
        ({"origins": ["*", HERE]}, r"cors: origins: give '\*' alone"),
        ({"origins": [HERE], "headers": ["*"]}, r"cors: headers: '\*' .* each"),
        ({"origins": [HERE], "headers": 5}, "cors: headers: give a list of texts"),
        ({"origins": [HERE], "headers": ["A", "a"]}, "cors: headers: .* once"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            Cors(**given)  # type: ignore[arg-type]


def test_what_cannot_be_an_origin_or_a_header_is_refused_at_the_start(
    authority: Authority, app: Echo
) -> None:
    wrong: list[dict[str, Any]] = [
        {"origins": [f"{HERE}/"]}, {"origins": ["app.example"]}, {"origins": ["https://App.example"]},
        {"origins": ["https://*.example"]}, {"origins": ["null"]}, {"origins": ["*", HERE]},
        {"origins": [f"{HERE}:443"]}, {"origins": ["http://a:80"]}, {"origins": [7]}, {"origins": None},
        {"origins": ["https://a b"]}, {"origins": ["https://a\0b"]}, {"origins": ["https://a,https://b"]},
        {"origins": [HERE], "headers": ["a b"]}, {"origins": [HERE], "max_age": -1},
        {"origins": [HERE], "max_age": 86_401}, {"origins": [HERE], "max_age": True},
    ]  # fmt: skip
    for given in wrong:
        with pytest.raises(ConfigurationError, match="cors: "):
            Cors(**given)
    for cors in (True, "everything", [HERE]):
        with pytest.raises(ConfigurationError, match="cors: "):
            PatAuthMiddleware(app, authority, cors=cors)  # type: ignore[arg-type]
    for good in (HERE, "http://localhost:3000", "capacitor://localhost", "https://[::1]:8443"):
        assert Cors([good]).allows(good)
