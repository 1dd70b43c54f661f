"""How every management dialect answers a request."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from patauth import Authority, InvalidRequest
from patauth.errors import PatAuthError
from patauth.model.caller import Caller
from patauth.wsgi.answers import Answer, json_answer
from patauth.wsgi.api.respond import respond
from patauth.wsgi.errors import MethodNotAllowed
from patauth.wsgi.site import Site
from tests.support.authorities import basic_of, issue, maker
from tests.support.clocks import Clock


@pytest.fixture
def authority(prefix: str, clock: Clock) -> Iterator[Authority]:
    with maker("memory:", prefix) as make:
        yield make(clock=clock)


class Rendered:
    """A renderer that keeps the error that it was given."""

    def __init__(self) -> None:
        self.error: PatAuthError | None = None

    def __call__(self, error: PatAuthError) -> Answer:
        self.error = error
        return json_answer(418, [])


def ask(authority: Authority, method: str, operation: Any, call: Any = lambda caller: caller) -> Any:
    environ = {"REQUEST_METHOD": method, "HTTP_AUTHORIZATION": basic_of(issue(authority)), "PATH_INFO": "/"}
    rendered = Rendered()
    operations = {"GET": operation, "POST": operation}
    return respond(environ, Site(authority), operations, call, rendered), rendered


def done(caller: Caller) -> Answer:
    return json_answer(200, [caller.tenant], [("X-Own", "1")])


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_an_answer_has_the_operations_fields_and_then_the_quotas(authority: Authority, method: str) -> None:
    answer, rendered = ask(authority, method, done)
    assert (answer.status, answer.body, rendered.error) == (200, b'["default"]', None)
    names = [name for name, _ in answer.fields]
    assert names[-3:] == ["X-Own", "RateLimit-Policy", "RateLimit"]


def test_a_method_comes_before_credentials(authority: Authority) -> None:
    rendered = Rendered()
    operations = {"GET": done, "POST": done}
    answer = respond({"REQUEST_METHOD": "PUT"}, Site(authority), operations, lambda by: by, rendered)
    assert isinstance(rendered.error, MethodNotAllowed)
    assert rendered.error.allow == "GET, HEAD, POST"
    assert "RateLimit" not in dict(answer.fields), "no quota was charged"


@pytest.mark.parametrize("where", ["operation", "call"])
def test_what_is_raised_is_rendered_with_the_fields_of_the_quota(authority: Authority, where: str) -> None:
    def refuse(_: Any) -> Any:
        raise InvalidRequest("no", field="name")

    given = (refuse,) if where == "operation" else (done, refuse)
    answer, rendered = ask(authority, "GET", *given)
    assert (answer.status, str(rendered.error)) == (418, "name: no")
    assert [name for name, _ in answer.fields][-2:] == ["RateLimit-Policy", "RateLimit"]


@pytest.mark.parametrize("where", ["operation", "call"])
def test_a_fault_of_ours_is_logged_without_its_words(
    authority: Authority, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Any) -> Any:
        raise RuntimeError(" ".join(["secret", "words"]))

    with caplog.at_level(logging.INFO):
        answer, rendered = ask(authority, "GET", *((broken,) if where == "operation" else (done, broken)))
    assert (type(rendered.error), rendered.error.detail) == (PatAuthError, "RuntimeError")
    assert "RateLimit" in dict(answer.fields)
    assert "in broken" in caplog.text
    assert "secret words" not in caplog.text
