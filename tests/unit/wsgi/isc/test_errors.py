"""Errors in the form of Identity Security Cloud's API."""

from __future__ import annotations

import json
import logging
import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth import Authority, errors
from patauth.model.http_names import CHALLENGES
from patauth.model.quota import Decision, Quota
from patauth.wsgi.answers import Answer, Challenges, gate_error
from patauth.wsgi.errors import MethodNotAllowed, TooLarge, UnsupportedMediaType
from patauth.wsgi.isc.errors import NAMES, isc_error
from patauth.wsgi.isc.messages import text
from patauth.wsgi.languages import LOCALES
from patauth.wsgi.oauth.endpoints import UnsupportedGrantType
from tests.support.authorities import admit, basic, basic_of, issue, wrong_secret
from tests.support.clocks import Clock
from tests.support.tables import each
from tests.support.wsgi import request

BAD = "400.1 Bad Request Content"
# error, status, detailCode, the text of its cause
ERRORS: list[tuple[errors.PatAuthError, int, str, str | None]] = [
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
    (
        MethodNotAllowed("GET, POST"),
        405,
        "405 Method not allowed",
        "this method is not allowed here; use GET or POST",
    ),
    (TooLarge(), 413, "413 Content too large", "the request body is too large"),
    (UnsupportedMediaType("send x/y"), 415, "415 Unsupported media type", "send x/y"),
    (errors.PatAuthError("inner"), 500, "500.0 Internal Fault", None),
    (errors.ConfigurationError("inner"), 500, "500.0 Internal Fault", None),
    (errors.Overloaded(), 503, "503 Service unavailable", None),
    (errors.StoreUnavailable(detail="db7"), 503, "503 Service unavailable", None),
]
each_error = each("row", [pytest.param(row, id=type(row[0]).__name__) for row in ERRORS])


def isc(error: errors.PatAuthError, language: str | None = None, realm: str = "patauth") -> Answer:
    return isc_error(
        error, {} if language is None else {"HTTP_ACCEPT_LANGUAGE": language}, Challenges(realm, CHALLENGES)
    )


@each_error
def test_it_says_what_was_wrong_in_its_own_form(
    row: tuple[errors.PatAuthError, int, str, str | None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "patauth")
    caplog.clear()
    error, status, code, cause = row
    answer = isc(error, "fr-CA, de;q=0.5")
    content, fields = json.loads(answer.body), dict(answer.fields)
    assert list(content) == ["detailCode", "trackingId", "messages", "causes"]
    assert (answer.status, content["detailCode"]) == (status, code)
    assert re.fullmatch("[0-9a-f]{32}", content["trackingId"])
    assert content["trackingId"] in caplog.text
    assert content["messages"] == [{"locale": "fr", "localeOrigin": "REQUEST", "text": text(status, "fr")}]
    said = [] if cause is None else [{"locale": "en-US", "localeOrigin": "DEFAULT", "text": cause}]
    assert content["causes"] == said
    assert (fields["Cache-Control"], fields["X-Content-Type-Options"]) == ("no-store", "nosniff")
    assert (fields["Content-Language"], fields["Vary"]) == ("fr", "Accept-Language")
    assert ("Retry-After" in fields) == (status == 503)


@each_error
def test_each_error_is_a_wsgi_response(row: tuple[errors.PatAuthError, int, str, str | None]) -> None:
    for method in ("GET", "HEAD"):
        response = request(lambda environ, start: isc(row[0])(environ, start), method=method)
        assert response.headers["Content-Type"] == "application/json"
        assert bool(response.data) == (method == "GET")


@each("locale", LOCALES)
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


def test_a_cause_names_the_field_as_the_wire_does() -> None:
    for ours, wire in [*NAMES.items(), ("name", "name"), ("/odd", "/odd")]:
        cause = json.loads(isc(errors.InvalidRequest("is wrong", field=ours)).body)["causes"][0]
        assert cause["text"] == f"{wire}: is wrong"


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
    assert cause == (f"{NAMES.get(said, said)}: {said}" if said else errors.InvalidRequest.default)


def test_an_inner_fault_shows_nothing_of_itself() -> None:
    for error in (
        errors.PatAuthError("inner words"),
        errors.PatAuthError(detail="inner words"),
        errors.ConfigurationError("inner words"),
        errors.StoreUnavailable(detail="inner words"),
    ):
        answer = isc(error)
        assert b"inner" not in answer.body
        assert "inner" not in str(answer.fields)


def test_a_405_a_415_and_a_503_say_what_would_do() -> None:
    assert dict(isc(MethodNotAllowed("GET, POST")).fields)["Allow"] == "GET, POST"
    assert dict(isc(errors.Overloaded(7)).fields)["Retry-After"] == "7"
    patch = isc(UnsupportedMediaType("send a/b", accept_patch="a/b"))
    assert dict(patch.fields)["Accept-Patch"] == "a/b"
    assert "Accept-Patch" not in dict(isc(UnsupportedMediaType("send a/b")).fields)


def test_a_429_has_the_body_that_all_forms_share() -> None:
    limited = Decision(False, "requests", Quota(5, 10), 0, 2_500_000).refusal()
    assert isc(limited) == gate_error(limited, Challenges("patauth", CHALLENGES))


def test_refused_credentials_have_a_form_of_their_own() -> None:
    for error in (errors.InvalidCredentials("the value is too long"), errors.InvalidToken()):
        assert isc(error).body == b'{"error": "the credentials are not valid"}'
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


def test_its_challenges_are_those_of_the_gate() -> None:
    def challenges(answer: Answer) -> list[str]:
        return [value for name, value in answer.fields if name == "WWW-Authenticate"]

    for error, count in (
        (errors.InvalidCredentials(), 2),
        (errors.InvalidToken(), 2),
        (errors.MissingCredentials(), 2),
        (errors.InsufficientScope("a"), 1),
        (errors.Forbidden(), 0),
    ):
        found = challenges(isc(error, realm="My API"))
        assert len(found) == count, error
        assert found == (challenges(gate_error(error, Challenges("My API", CHALLENGES))) if count else []), (
            error
        )
