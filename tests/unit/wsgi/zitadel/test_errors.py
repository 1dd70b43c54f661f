"""Errors in the two forms of ZITADEL's API."""

from __future__ import annotations

import json
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth import errors
from patauth.model.http_names import CHALLENGES
from patauth.model.quota import Decision, Quota
from patauth.wsgi.answers import Answer, Challenges
from patauth.wsgi.errors import MethodNotAllowed, TooLarge, UnsupportedMediaType
from patauth.wsgi.isc.errors import isc_error
from patauth.wsgi.zitadel.errors import NAMES, refusal
from patauth.wsgi.zitadel.forms import CONNECT, REST
from tests.support.tables import each
from tests.support.wsgi import request

# error, status, code, its word for Connect, message
Row = tuple[errors.PatAuthError, int, int, str, str]
ERRORS: list[Row] = [
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
    (
        MethodNotAllowed("GET, POST"),
        405,
        12,
        "unimplemented",
        "this method is not allowed here; use GET or POST",
    ),
    (TooLarge(), 413, 8, "resource_exhausted", "the request body is too large"),
    (UnsupportedMediaType("send x/y"), 415, 12, "unimplemented", "send x/y"),
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
each_error = each("row", [pytest.param(row, id=type(row[0]).__name__) for row in ERRORS])


def zitadel(error: errors.PatAuthError, connect: bool = False, realm: str = "patauth") -> Answer:
    return (CONNECT if connect else REST).refused(refusal(error, Challenges(realm, CHALLENGES)))


@each_error
def test_it_says_it_in_two_forms_with_one_status(row: Row, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "patauth")
    caplog.clear()
    error, status, number, word, message = row
    rest, connect = zitadel(error), zitadel(error, connect=True)
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
        assert fields.get("Allow") == ("GET, POST" if status == 405 else None)
        assert b"inner" not in answer.body + str(answer.fields).encode()


@each_error
def test_each_error_is_a_wsgi_response(row: Row) -> None:
    for method in ("GET", "HEAD"):
        response = request(lambda environ, start: zitadel(row[0])(environ, start), method=method)
        assert response.headers["Content-Type"] == "application/json"
        assert bool(response.data) == (method == "GET")


def test_its_message_names_the_field_as_its_wire_does() -> None:
    for ours, wire in [*NAMES.items(), ("query.limit", "query.limit")]:
        answer = zitadel(errors.InvalidRequest("is wrong", field=ours))
        assert json.loads(answer.body)["message"] == f"{wire}: is wrong"


def test_its_429_says_when_to_come_back() -> None:
    refused = Decision(False, "requests", Quota(5, 10), 0, 2_500_000)
    for connect in (False, True):
        fields = dict(zitadel(refused.refusal(), connect).fields)
        assert (fields["Retry-After"], fields["RateLimit"]) == ("3", '"requests";r=0;t=3')


def test_its_challenges_are_those_of_the_other_dialect() -> None:
    def challenges(answer: Answer) -> list[str]:
        return [value for name, value in answer.fields if name == "WWW-Authenticate"]

    for error in (
        errors.InvalidCredentials(),
        errors.InvalidToken(),
        errors.MissingCredentials(),
        errors.InsufficientScope("a"),
        errors.Forbidden(),
    ):
        for connect in (False, True):
            found = challenges(zitadel(error, connect, realm="My API"))
            assert found == challenges(isc_error(error, {}, Challenges("My API", CHALLENGES))), error


@given(st.text(), st.booleans())
def test_nothing_that_it_echoes_gets_into_a_field(said: str, connect: bool) -> None:
    for error in (errors.InvalidRequest(said, field=said or None), errors.Forbidden(said)):
        answer = zitadel(error, connect)
        assert all(re.fullmatch(r"[\x20-\x7e]+", name + value) for name, value in answer.fields)
        assert answer.body.isascii()
