"""`patauth.django.require_scope` on every kind of view, for both clients, and on what is none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.test import AsyncClient, Client, RequestFactory
from django.views import View

from patauth import Authority, InvalidScope
from patauth.django import require_scope
from tests.support.authorities import bearer, issue
from tests.support.django_site import instead, site
from tests.support.tables import each


def test_a_view_of_each_kind_refuses_as_the_gate_does(real: Authority) -> None:
    from tests.support.django_views import SCOPED

    lacking, holding = issue(real), issue(real, "admin", scope=["reports:read", "reports:admin"])
    with site(real, optional=["/*"]):
        for name in SCOPED:
            for later in (False, True):
                verdicts = []
                for headers in (
                    {},
                    {"Authorization": bearer(lacking.token)},
                    {"Authorization": bearer(holding.token)},
                ):
                    client: Any = AsyncClient() if later else Client()
                    answer = client.get(f"/{name}", headers=headers)
                    answer = asyncio.run(answer) if later else answer
                    challenge = answer.headers.get("WWW-Authenticate", "")
                    verdicts.append((answer.status_code, challenge.rpartition(", ")[2]))
                assert verdicts == [
                    (401, 'Bearer realm="patauth"'),
                    (403, 'scope="reports:admin reports:read"'),
                    (200, ""),
                ], (name, later)


def test_a_refusal_is_an_event_and_in_the_hosts_words(real: Authority, events: Any) -> None:
    issued = issue(real)
    words = lambda request, error: (f"{request.path}: {error.status}", "text/plain")  # noqa: E731
    with site(real, on_refusal=words):
        events()
        answer = Client().get("/scoped", headers={"Authorization": bearer(issued.token)})
        assert (answer.status_code, answer.content) == (403, b"/scoped: 403")
        assert "scope.refused" in [event["type"] for event in events()]


@each("path", ["/scoped", "/class", "/rest-method", "/api/who", "/api/scoped"])
def test_a_request_that_has_not_passed_patauth_is_an_error(real: Authority, path: str) -> None:
    with (
        site(real, MIDDLEWARE=instead("PatAuthMiddleware")),
        pytest.raises(RuntimeError, match=r"has not passed patauth: add .* to MIDDLEWARE"),
    ):
        Client().get(path, headers={"Authorization": "Bearer x"})


def test_what_is_no_view_of_djangos_is_told_what_to_use() -> None:
    with pytest.raises(TypeError, match=r"use patauth\.require_scope or "):
        require_scope("a")(lambda environ, start_response: [])({}, print)
    with pytest.raises(TypeError, match="the class int"):
        require_scope("a")(int)
    with pytest.raises(InvalidScope):
        require_scope("a b")


def test_a_decorated_class_keeps_its_name_and_a_base_class_stays_open() -> None:
    class Base(View):
        def get(self, request: Any) -> Any:
            raise AssertionError

    guarded = require_scope("a")(type("Guarded", (Base,), {}))
    assert guarded.__name__ == "Guarded"
    with pytest.raises(AssertionError):
        Base.as_view()(RequestFactory().get("/"))
    with pytest.raises(RuntimeError, match="not passed"):
        guarded.as_view()(RequestFactory().get("/"))
