"""The one place that renders errors: nothing of a request gets into a field unharmed."""

from __future__ import annotations

import json
import logging
import re
from datetime import timedelta
from typing import Any

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth import Authority, errors
from patauth.model.quota import Decision, Quota
from patauth.wsgi.answers import (
    ISC_NAMES,
    ZITADEL_NAMES,
    Answer,
    MethodNotAllowed,
    TooLarge,
    UnsupportedGrantType,
    UnsupportedMediaType,
    gate_error,
    isc_error,
    json_answer,
    oauth_error,
    quota_fields,
    zitadel_error,
)
from patauth.wsgi.isc.languages import LOCALES, text
from tests.support.authorities import Make, admit, basic, basic_of, issue, wrong_secret
from tests.support.clocks import Clock
from tests.support.wsgi import request

TREE = [
    errors.InvalidRequest,
    errors.InvalidScope,
    errors.InvalidCredentials,
    errors.MissingCredentials,
    errors.InvalidToken,
    errors.Forbidden,
    errors.NotFound,
    errors.Conflict,
    errors.Overloaded,
    errors.StoreUnavailable,
    errors.PatAuthError,
]


@given(st.sampled_from(TREE), st.text(min_size=1))
def test_a_description_keeps_to_its_characters_whatever_it_echoes(
    kind: type[errors.PatAuthError], text: str
) -> None:
    """RFC 6750 section 3.1; no CR, LF or NUL in any field (REQUIREMENTS B8, R7)."""
    for render in (gate_error, oauth_error):
        told = kind(description=text) if issubclass(kind, errors.Overloaded) else kind(text)
        answer = render(told, "patauth")
        for name, value in answer.fields:
            assert re.fullmatch(r"[\x20-\x7e]+", name + value)
        content = json.loads(answer.body)
        assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]*", content.get("error_description", ""))
        assert dict(answer.fields)["Content-Length"] == str(len(answer.body))
        assert answer.status == kind.status


@pytest.mark.parametrize("kind", TREE)
def test_the_operators_detail_is_for_the_log_alone(
    kind: type[errors.PatAuthError], caplog: pytest.LogCaptureFixture
) -> None:
    for render in (gate_error, oauth_error):
        answer = render(kind(detail="db7.internal refused"), "patauth")
        assert b"db7" not in answer.body
        assert "db7" not in str(answer.fields)
    assert ("db7" in caplog.text) == (kind.status >= 500)


def test_a_503_and_a_429_say_when_to_come_back() -> None:
    for render in (gate_error, oauth_error):
        assert dict(render(errors.Overloaded(retry_after=3), "x").fields)["Retry-After"] == "3"
        refused = Decision(False, "requests", Quota(5, 10), 0, 2_500_000)
        limited = render(refused.refusal(), "x")
        assert dict(limited.fields)["Retry-After"] == "3"
        assert dict(limited.fields)["RateLimit"] == '"requests";r=0;t=3'
        assert limited.body == b'{"message":" Rate Limit Exceeded "}'


# -- the management API's own -------------------------------------------------------------------------------

ALLOWED = Decision(True, "requests", Quota(5, 10), 2_000_000, 0)
BAD = "400.1 Bad Request Content"
# error, status, detailCode, the text of its cause
ISC: list[tuple[errors.PatAuthError, int, str, str | None]] = [
    (errors.InvalidRequest("give a text", field="name"), 400, BAD, "name: give a text"),
    (errors.InvalidScope("scope 3 is empty"), 400, BAD, "scope 3 is empty"),
    (errors.Conflict("is in use", field="owner id"), 400, BAD, "owner.id: is in use"),
    (UnsupportedGrantType(), 400, BAD, "the grant type must be client_credentials"),
    (errors.Forbidden("not that"), 403, "403 Forbidden", "not that"),
    (
        errors.InsufficientScope(["b", "a"]),
        403,
        "403 Forbidden",
        "the credentials do not carry the scope that this needs: a b",
    ),
    (errors.NotFound(), 404, "404 Not found", "there is no such personal access token"),
    (MethodNotAllowed("GET, POST"), 405, "405 Method not allowed", "this takes GET, POST only"),
    (TooLarge(), 413, "413 Content too large", "the request body is too large"),
    (UnsupportedMediaType("send x/y"), 415, "415 Unsupported media type", "send x/y"),
    (errors.PatAuthError("inner"), 500, "500.0 Internal Fault", None),
    (errors.ConfigurationError("inner"), 500, "500.0 Internal Fault", None),
    (errors.Overloaded(), 503, "503 Service unavailable", None),
    (errors.StoreUnavailable(detail="db7"), 503, "503 Service unavailable", None),
]
IDS = [type(row[0]).__name__ for row in ISC]


def isc(error: errors.PatAuthError, language: str | None = None, **given: Any) -> Answer:
    environ = {} if language is None else {"HTTP_ACCEPT_LANGUAGE": language}
    return isc_error(error, environ, **given)


@pytest.mark.parametrize(("error", "status", "code", "cause"), ISC, ids=IDS)
def test_the_management_api_says_what_was_wrong_in_its_own_form(
    error: errors.PatAuthError, status: int, code: str, cause: str | None
) -> None:
    answer = isc(error, "fr-CA, de;q=0.5")
    content, fields = json.loads(answer.body), dict(answer.fields)
    assert list(content) == ["detailCode", "trackingId", "messages", "causes"]
    assert (answer.status, content["detailCode"]) == (status, code)
    assert re.fullmatch("[0-9a-f]{32}", content["trackingId"])
    assert content["messages"] == [{"locale": "fr", "localeOrigin": "REQUEST", "text": text(status, "fr")}]
    said = [] if cause is None else [{"locale": "en-US", "localeOrigin": "DEFAULT", "text": cause}]
    assert content["causes"] == said
    assert (fields["Cache-Control"], fields["X-Content-Type-Options"]) == ("no-store", "nosniff")
    assert (fields["Content-Language"], fields["Vary"]) == ("fr", "Accept-Language")
    assert ("Retry-After" in fields) == (status == 503)


@pytest.mark.parametrize("locale", LOCALES)
def test_messages_are_in_the_language_of_the_request_and_causes_in_english(locale: str) -> None:
    content = json.loads(isc(errors.NotFound(), locale).body)
    assert content["messages"] == [{"locale": locale, "localeOrigin": "REQUEST", "text": text(404, locale)}]
    assert content["causes"][0]["locale"] == "en-US"


def test_without_a_language_it_is_english_by_default() -> None:
    answer = isc(errors.Forbidden())
    assert json.loads(answer.body)["messages"] == [
        {"locale": "en-US", "localeOrigin": "DEFAULT", "text": text(403, "en-US")}
    ]
    assert dict(answer.fields)["Content-Language"] == "en-US"


@pytest.mark.parametrize(("ours", "wire"), [*ISC_NAMES.items(), ("name", "name"), ("/odd", "/odd")])
def test_a_cause_names_the_field_as_the_wire_does(ours: str, wire: str) -> None:
    cause = json.loads(isc(errors.InvalidRequest("is wrong", field=ours)).body)["causes"][0]
    assert cause["text"] == f"{wire}: is wrong"
    own = isc(errors.InvalidRequest("is wrong", field=ours), names={ours: "else"})
    assert json.loads(own.body)["causes"][0]["text"] == "else: is wrong"


def test_each_answer_has_a_tracking_id_of_its_own_which_is_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "patauth")
    ids = []
    for error in (
        errors.NotFound(),
        errors.PatAuthError(detail="inner"),
        errors.StoreUnavailable(detail="db7 refused"),
    ):
        ids.append(json.loads(isc(error).body)["trackingId"])
        assert ids[-1] in caplog.text
    assert len(set(ids)) == 3
    assert [record.levelno for record in caplog.records] == [logging.INFO, logging.WARNING, logging.WARNING]
    for words in ("404 not_found", "503 temporarily_unavailable", "db7 refused"):
        assert words in caplog.text


@given(st.text(), st.text(max_size=20))
def test_nothing_that_an_error_echoes_forges_a_log_line_or_a_field(said: str, language: str) -> None:
    """REQUIREMENTS S2."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, handler = logging.getLogger("patauth"), Keep()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        answer = isc(errors.InvalidRequest(said, field=said or None), language)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    (line,) = lines
    assert re.fullmatch(r"[\x20-\x7e]+", line)
    assert all(re.fullmatch(r"[\x20-\x7e]+", name + value) for name, value in answer.fields)
    cause = json.loads(answer.body)["causes"][0]["text"]
    assert cause == (f"{ISC_NAMES.get(said, said)}: {said}" if said else errors.InvalidRequest.default)


@pytest.mark.parametrize(
    "error",
    [
        errors.PatAuthError("inner words"),
        errors.PatAuthError(detail="inner words"),
        errors.ConfigurationError("inner words"),
        errors.StoreUnavailable(detail="inner words"),
    ],
)
def test_an_inner_fault_shows_nothing_of_itself(error: errors.PatAuthError) -> None:
    answer = isc(error)
    assert b"inner" not in answer.body
    assert "inner" not in str(answer.fields)


def test_a_405_a_415_and_a_503_say_what_would_do() -> None:
    assert dict(isc(MethodNotAllowed("GET, POST")).fields)["Allow"] == "GET, POST"
    assert dict(isc(errors.Overloaded(7)).fields)["Retry-After"] == "7"
    patch = isc(UnsupportedMediaType("send a/b", accept_patch="a/b"))
    assert dict(patch.fields)["Accept-Patch"] == "a/b"
    assert "Accept-Patch" not in dict(isc(UnsupportedMediaType("send a/b")).fields)


def test_a_429_has_the_body_that_all_dialects_share() -> None:
    refused = Decision(False, "requests", Quota(5, 10), 0, 2_500_000)
    limited = refused.refusal()
    assert isc(limited) == gate_error(limited, "patauth")


@pytest.mark.parametrize("error", [errors.NotFound(), errors.InvalidCredentials(), errors.PatAuthError()])
def test_a_quota_that_was_charged_is_told(error: errors.PatAuthError) -> None:
    assert set(quota_fields(ALLOWED)) <= set(isc(error, decision=ALLOWED).fields)
    assert "RateLimit" not in dict(isc(error).fields)


def test_refused_credentials_have_one_text_and_none_at_all_another() -> None:
    texts = {
        isc(error).body
        for error in (
            errors.InvalidCredentials(),
            errors.InvalidToken(),
            errors.InvalidCredentials("the Authorization value is too long"),
            errors.InvalidCredentials("a PAT token is not exchanged"),
        )
    }
    assert texts == {b'{"error": "the credentials are not valid"}'}
    assert isc(errors.MissingCredentials()).body == b'{"error": "credentials are required"}'


def test_what_the_right_secret_alone_is_told_stays(authority: Authority, clock: Clock) -> None:
    """REQUIREMENTS S3: an expired or disabled PAT says so to its right secret, and to no other."""
    expiring = issue(authority, name="expiring", expires_in=timedelta(hours=1))
    issued, wrong = issue(authority), wrong_secret(authority)
    authority.disable_owner("alice")

    def answer(authorization: str) -> Any:
        with pytest.raises(errors.InvalidCredentials) as refused:
            admit(authority, authorization)
        return json.loads(isc(refused.value).body)

    assert answer(basic_of(issued)) == {"error": "the personal access token is disabled"}
    assert answer(basic(issued.pat.id, wrong)) == {"error": "the credentials are not valid"}
    authority.enable_owner("alice")
    clock.advance(2 * 3_600_000)
    assert answer(basic_of(expiring)) == {"error": "the personal access token has expired"}
    assert answer(basic(expiring.pat.id, wrong)) == {"error": "the credentials are not valid"}


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidCredentials(),
        errors.InvalidToken(),
        errors.MissingCredentials(),
        errors.InsufficientScope("a"),
    ],
)
def test_its_challenges_are_those_of_the_gate(error: errors.PatAuthError) -> None:
    def challenges(answer: Answer) -> list[str]:
        return [value for name, value in answer.fields if name == "WWW-Authenticate"]

    assert challenges(isc(error, realm="My API")) == challenges(gate_error(error, "My API"))
    assert len(challenges(isc(error))) == (2 if error.status == 401 else 1)


def test_the_realm_is_that_of_the_authority_in_the_environ(make_at: Make) -> None:
    answer = isc_error(errors.InvalidCredentials(), {"patauth.authority": make_at(realm="Elsewhere")})
    assert ("WWW-Authenticate", 'Basic realm="Elsewhere", charset="UTF-8"') in answer.fields


@pytest.mark.parametrize("error", [row[0] for row in ISC], ids=IDS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_each_of_its_errors_is_a_wsgi_response(error: errors.PatAuthError, method: str) -> None:
    response = request(lambda environ, start: isc_error(error, environ)(environ, start), method=method)
    assert response.headers["Content-Type"] == "application/json"
    assert bool(response.data) == (method == "GET")


def test_an_answer_may_be_a_list() -> None:
    answer = json_answer(200, [{"id": 1}, {"id": 2}])
    assert (answer.status, json.loads(answer.body)) == (200, [{"id": 1}, {"id": 2}])
    assert json_answer(200, []).body == b"[]"


# -- ZITADEL's ----------------------------------------------------------------------------------------------

# error, status, code, its word for Connect, message
ZITADEL: list[tuple[errors.PatAuthError, int, int, str, str]] = [
    (
        errors.InvalidRequest("give a text", field="expiry"),
        400,
        3,
        "invalid_argument",
        "expirationDate: give a text",
    ),
    (errors.InvalidScope("scope 3 is empty"), 400, 3, "invalid_argument", "scope 3 is empty"),
    (errors.Conflict("is in use", field="name"), 409, 6, "already_exists", "name: is in use"),
    (errors.Conflict("there are 10"), 400, 9, "failed_precondition", "there are 10"),
    (errors.MissingCredentials(), 401, 16, "unauthenticated", "credentials are required"),
    (errors.InvalidToken("in other words"), 401, 16, "unauthenticated", "the credentials are not valid"),
    (errors.Forbidden("not that"), 403, 7, "permission_denied", "not that"),
    (
        errors.InsufficientScope(["b", "a"]),
        403,
        7,
        "permission_denied",
        "the credentials do not carry the scope that this needs: a b",
    ),
    (errors.NotFound(), 404, 5, "not_found", "there is no such personal access token"),
    (MethodNotAllowed("GET, POST"), 405, 12, "unimplemented", "this takes GET, POST only"),
    (TooLarge(), 413, 3, "invalid_argument", "the request body is too large"),
    (UnsupportedMediaType("send x/y"), 415, 3, "invalid_argument", "send x/y"),
    (errors.RateLimited(3), 429, 8, "resource_exhausted", " Rate Limit Exceeded "),
    (errors.PatAuthError("inner"), 500, 13, "internal", "something went wrong"),
    (errors.ConfigurationError("inner"), 500, 13, "internal", "something went wrong"),
    (errors.Overloaded(), 503, 14, "unavailable", "too busy at the moment; try again shortly"),
    (
        errors.StoreUnavailable(description="inner", detail="db7"),
        503,
        14,
        "unavailable",
        "the token store is not reachable; try again shortly",
    ),
]
ZITADEL_IDS = [type(row[0]).__name__ for row in ZITADEL]


@pytest.mark.parametrize(("error", "status", "number", "word", "message"), ZITADEL, ids=ZITADEL_IDS)
def test_zitadel_says_it_in_two_shapes_with_one_status(
    error: errors.PatAuthError,
    status: int,
    number: int,
    word: str,
    message: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "patauth")
    rest, connect = zitadel_error(error, {}, ALLOWED), zitadel_error(error, {}, ALLOWED, True)
    assert rest.status == connect.status == status
    assert json.loads(connect.body) == {"code": word, "message": message}
    content = json.loads(rest.body)
    (detail,) = content.pop("details")
    assert content == {"code": number, "message": message}
    assert detail.pop("id") in caplog.text
    assert detail == {"@type": "type.googleapis.com/zitadel.v1.ErrorDetail", "message": message}
    for answer in (rest, connect):
        fields = dict(answer.fields)
        assert (fields["Cache-Control"], fields["X-Content-Type-Options"]) == ("no-store", "nosniff")
        assert ("Retry-After" in fields) == (status in (429, 503))
        assert ("RateLimit" in fields) == (status != 429), "a refusal tells of its own quota, if it has one"
        assert fields.get("Allow") == ("GET, POST" if status == 405 else None)
        assert b"inner" not in answer.body + str(answer.fields).encode()


@pytest.mark.parametrize(("ours", "wire"), [*ZITADEL_NAMES.items(), ("query.limit", "query.limit")])
def test_its_message_names_the_field_as_its_wire_does(ours: str, wire: str) -> None:
    answer = zitadel_error(errors.InvalidRequest("is wrong", field=ours), {})
    assert json.loads(answer.body)["message"] == f"{wire}: is wrong"


def test_its_429_says_when_to_come_back() -> None:
    refused = Decision(False, "requests", Quota(5, 10), 0, 2_500_000)
    for connect in (False, True):
        fields = dict(zitadel_error(refused.refusal(), {}, None, connect).fields)
        assert (fields["Retry-After"], fields["RateLimit"]) == ("3", '"requests";r=0;t=3')


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidCredentials(),
        errors.InvalidToken(),
        errors.MissingCredentials(),
        errors.InsufficientScope("a"),
        errors.Forbidden(),
    ],
)
def test_zitadels_challenges_are_those_of_the_other_dialect(
    error: errors.PatAuthError, make_at: Make
) -> None:
    def challenges(answer: Answer) -> list[str]:
        return [value for name, value in answer.fields if name == "WWW-Authenticate"]

    environ = {"patauth.authority": make_at(realm="Elsewhere")}
    for connect in (False, True):
        given, own = zitadel_error(error, {}, None, connect, realm="My API"), zitadel_error(error, environ)
        assert challenges(given) == challenges(isc(error, realm="My API"))
        assert challenges(own) == challenges(isc_error(error, environ))


@given(st.text(), st.booleans())
def test_nothing_that_it_echoes_gets_into_a_field(said: str, connect: bool) -> None:
    for error in (errors.InvalidRequest(said, field=said or None), errors.Forbidden(said)):
        answer = zitadel_error(error, {}, None, connect)
        assert all(re.fullmatch(r"[\x20-\x7e]+", name + value) for name, value in answer.fields)
        assert answer.body.isascii()


@pytest.mark.parametrize("error", [row[0] for row in ZITADEL], ids=ZITADEL_IDS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_each_of_zitadels_errors_is_a_wsgi_response(error: errors.PatAuthError, method: str) -> None:
    response = request(lambda environ, start: zitadel_error(error, environ)(environ, start), method=method)
    assert response.headers["Content-Type"] == "application/json"
    assert bool(response.data) == (method == "GET")


# -- the fields of a quota ----------------------------------------------------------------------------------


def test_the_fields_of_a_quota_are_those_of_the_draft() -> None:
    assert quota_fields(Decision(True, "requests", Quota(100, 10), 100_000, 0)) == [
        ("RateLimit-Policy", '"requests";q=100;w=10'),
        ("RateLimit", '"requests";r=99;t=1'),
    ]


@given(
    st.integers(1, 10**6), st.integers(1, 86_400), st.integers(0, 10**9), st.booleans(),
    st.sampled_from(["requests", "exchanges", "failures"]),
)  # fmt: skip
def test_an_independent_parser_of_structured_fields_reads_them(
    count: int, seconds: int, micros: int, allowed: bool, name: str
) -> None:
    of = Quota(count, seconds)
    backlog = min(micros, of.tolerance_us)
    decision = Decision(allowed, name, of, backlog if allowed else 0, 0 if allowed else micros)
    expected = {
        "RateLimit-Policy": [(name, {"q": count, "w": seconds})],
        "RateLimit": [(name, {"r": decision.remaining, "t": decision.reset_seconds})],
    }
    for one in (decision, *([] if allowed else [decision.refusal()])):
        fields = {field: http_sf.parse(value.encode(), tltype="list") for field, value in quota_fields(one)}
        assert fields == expected
