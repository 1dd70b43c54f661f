"""Answers: their fields and errors. Nothing that a request sends gets into a field unchecked."""

from __future__ import annotations

import json
import logging
import re

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth import errors
from patauth.model.quota import Decision, Quota
from patauth.wsgi.answers import (
    NO_CONTENT,
    Answer,
    Challenges,
    error_fields,
    gate_error,
    json_answer,
    log_tracked,
    message,
    oauth_error,
    quota_fields,
    with_caller_fields,
)
from patauth.wsgi.errors import MethodNotAllowed, UnsupportedMediaType
from tests.support.tables import each

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
OFFERED = Challenges("x", ("basic", "bearer"))
ALLOWED = Decision(True, "requests", Quota(5, 10), 2_000_000, 0)
REFUSED = Decision(False, "requests", Quota(5, 10), 0, 2_500_000)


def test_more_fields_change_nothing_else() -> None:
    for answer in (json_answer(200, {}), Answer(200, [("A", "b")], b"c", refused=401)):
        more = with_caller_fields(answer, ALLOWED, None)
        assert more == (
            answer.status,
            [*answer.fields, *quota_fields(ALLOWED)],
            answer.body,
            answer.refused,
        )


def test_the_rest_of_a_request_is_read_after_a_refusal_alone() -> None:
    """What reads it is the `close()` of the body (drain.py)."""
    upload = {"gunicorn.socket": None, "CONTENT_LENGTH": "9", "SERVER_PROTOCOL": "HTTP/1.1"}
    for answer, reads in (
        (json_answer(200, {}), False),
        (json_answer(401, {}), True),
        (Answer(200, [], b"", refused=401), True),
    ):
        body = answer({"REQUEST_METHOD": "POST", **upload}, lambda *_: None)  # type: ignore[arg-type, return-value]
        assert hasattr(body, "close") == reads


@given(st.sampled_from(TREE), st.text(min_size=1))
def test_a_description_keeps_to_its_characters_whatever_it_echoes(
    kind: type[errors.PatAuthError], text: str
) -> None:
    """RFC 6750 section 3.1; no CR, LF or NUL in any field (REQUIREMENTS B8, R7)."""
    for render in (gate_error, oauth_error):
        told = kind(description=text) if issubclass(kind, errors.Overloaded) else kind(text)
        answer = render(told, OFFERED)
        for name, value in answer.fields:
            assert re.fullmatch(r"[\x20-\x7e]+", name + value)
        content = json.loads(answer.body)
        assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]*", content.get("error_description", ""))
        assert dict(answer.fields)["Content-Length"] == str(len(answer.body))
        assert answer.status == kind.status


@each("kind", TREE)
def test_the_operators_detail_is_for_the_log_alone(
    kind: type[errors.PatAuthError], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    for render in (gate_error, oauth_error):
        answer = render(kind(detail="db7.internal refused"), OFFERED)
        assert b"db7" not in answer.body
        assert "db7" not in str(answer.fields)
    assert ("db7" in caplog.text) == (kind.status >= 500)


def test_an_answer_says_what_would_do() -> None:
    for render in (gate_error, oauth_error):
        assert dict(render(errors.Overloaded(retry_after=3), OFFERED).fields)["Retry-After"] == "3"
        assert dict(render(MethodNotAllowed("GET, POST"), OFFERED).fields)["Allow"] == "GET, POST"
        patch = UnsupportedMediaType("send a/b", accept_patch="a/b")
        assert dict(render(patch, OFFERED).fields)["Accept-Patch"] == "a/b"
        limited = render(REFUSED.refusal(), OFFERED)
        assert dict(limited.fields)["Retry-After"] == "3"
        assert dict(limited.fields)["RateLimit"] == '"requests";r=0;t=3'
        assert limited.body == b'{"message":" Rate Limit Exceeded "}'


def test_an_answer_may_be_a_list_and_for_every_cache() -> None:
    answer = json_answer(200, [{"id": 1}, {"id": 2}])
    assert (answer.status, json.loads(answer.body)) == (200, [{"id": 1}, {"id": 2}])
    assert dict(answer.fields)["Cache-Control"] == "no-store"
    public = dict(json_answer(200, {}, public_for=300).fields)
    assert (public["Cache-Control"], "Pragma" in public) == ("public, max-age=300", False)


def test_a_204_says_nothing_of_a_body() -> None:
    """RFC 9110 section 8.6."""
    assert NO_CONTENT.body == b""
    assert {name for name, _ in NO_CONTENT.fields} == {"Cache-Control", "X-Content-Type-Options"}


# -- what the management dialects share ---------------------------------------------------------------------


def test_a_message_names_the_field_as_the_dialect_does() -> None:
    for names, text in (({}, "expiry: is wrong"), ({"expiry": "until"}, "until: is wrong")):
        assert message(errors.InvalidRequest("is wrong", field="expiry"), names) == text
    required = "the credentials do not carry the scope that this needs: a b"
    assert message(errors.InsufficientScope(["b", "a"]), {}) == required


def test_refused_credentials_have_one_text_and_none_at_all_another() -> None:
    texts = {
        message(error, {})
        for error in (
            errors.InvalidCredentials(),
            errors.InvalidToken(),
            errors.InvalidCredentials("the Authorization value is too long"),
            errors.InvalidCredentials("a PAT token is not exchanged"),
        )
    }
    assert texts == {"the credentials are not valid"}
    assert message(errors.MissingCredentials(), {}) == "credentials are required"


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
        ids.append(log_tracked(error, error.status))
        assert re.fullmatch("[0-9a-f]{32}", ids[-1])
        assert ids[-1] in caplog.text
    assert len(set(ids)) == 3
    assert [record.levelno for record in caplog.records] == [logging.INFO, logging.WARNING, logging.WARNING]
    for words in ("404 not_found", "503 temporarily_unavailable", "db7 refused"):
        assert words in caplog.text


# -- the fields of a quota ----------------------------------------------------------------------------------


def test_the_fields_of_a_quota_are_those_of_the_draft() -> None:
    assert quota_fields(Decision(True, "requests", Quota(100, 10), 100_000, 0)) == (
        ("RateLimit-Policy", '"requests";q=100;w=10'),
        ("RateLimit", '"requests";r=99;t=1'),
    )


def test_an_answer_tells_the_quota_that_was_charged_and_a_429_its_own() -> None:
    for answer in (json_answer(200, {}), gate_error(errors.NotFound(), OFFERED)):
        assert with_caller_fields(answer, None, None) is answer
        assert with_caller_fields(answer, ALLOWED, None).fields == [*answer.fields, *quota_fields(ALLOWED)]
    limited = gate_error(REFUSED.refusal(), OFFERED)
    assert with_caller_fields(limited, ALLOWED, None) == limited


def test_a_429_that_no_quota_of_patauth_has_caused_says_when_to_come_back_alone() -> None:
    for render in (gate_error, oauth_error):
        fields = dict(render(errors.RateLimited(7), OFFERED).fields)
        assert fields["Retry-After"] == "7"
        assert not [name for name in fields if name.startswith("RateLimit")]


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
    for sent in (quota_fields(decision), *([] if allowed else [error_fields(decision.refusal())[1:]])):
        assert {field: http_sf.parse(value.encode(), tltype="list") for field, value in sent} == expected
