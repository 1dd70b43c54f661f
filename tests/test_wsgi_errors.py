"""The one place that renders errors: nothing of a request gets into a field unharmed."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth import errors
from patauth.quota import Decision, Quota
from patauth.wsgi.errors import gate_error, oauth_error

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
        limited = render(errors.RateLimited(3, decision=refused), "x")
        assert dict(limited.fields)["Retry-After"] == "3"
        assert dict(limited.fields)["RateLimit"] == '"requests";r=0;t=3'
        assert limited.body == b'{"message":" Rate Limit Exceeded "}'
