"""`patauth.django.rest`: request.auth, challenges, CSRF for Basic, scopes as permissions."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from rest_framework.authentication import BasicAuthentication, SessionAuthentication
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.throttling import ScopedRateThrottle, UserRateThrottle
from rest_framework.views import APIView

from patauth import Authority, IssuedPat
from patauth.django.rest import HasScopes, PatAuthentication
from tests.support.authorities import basic_of, bearer, issue
from tests.support.django_site import person, site, user_of
from tests.support.tables import each


def sent(authorization: str) -> dict[str, Any]:
    return {"headers": {"Authorization": authorization}}


def test_a_view_knows_principal_and_user(real: Authority, issued: IssuedPat) -> None:
    told = {"principal": "alice", "auth": "alice", "session": None, "left": []}
    person("alice")
    for user, name in ((None, ""), (user_of, "alice")):
        with site(real, user=user):
            assert Client().get("/api/who", **sent(bearer(issued.token))).json() == {**told, "user": name}
            status = Client().get("/api/user", **sent(bearer(issued.token))).status_code
            assert status == (200 if name else 403)


def test_csrf_is_checked_for_basic_and_not_for_a_bearer(
    real: Authority, issued: IssuedPat, changes: list[str]
) -> None:
    """Views of Django REST framework are exempt from Django's own check."""
    with site(real):
        client = Client(enforce_csrf_checks=True)
        assert client.post("/api/who", **sent(bearer(issued.token))).status_code == 200
        refused = client.post("/api/who", **sent(basic_of(issued)))
        assert (refused.status_code, "CSRF" in refused.json()["detail"]) == (403, True)
        client.cookies.load({"csrftoken": "a" * 32})
        headers = {"Authorization": basic_of(issued), "X-CSRFToken": "a" * 32}
        assert client.post("/api/who", headers=headers).status_code == 200
    assert len(changes) == 2


@each(
    "path, status, challenge",
    [
        ("/api/scoped", 403, 'scope="reports:admin"'),
        ("/api/either", 403, 'scope="reports:admin"'),
        ("/api/both", 200, ""),
    ],
)
def test_scopes_are_permissions_that_can_be_combined(
    real: Authority, issued: IssuedPat, path: str, status: int, challenge: str
) -> None:
    with site(real, optional=["/api/*"]):
        answer = Client().get(path, **sent(bearer(issued.token)))
        assert (answer.status_code, answer.headers.get("WWW-Authenticate", "")[-len(challenge) or 1 :]) == (
            status, challenge,
        )  # fmt: skip
        nobody = Client().get(path)
        assert nobody.status_code == 401
        assert nobody.headers["WWW-Authenticate"] == (
            'Basic realm="patauth", charset="UTF-8", Bearer realm="patauth"'
        )


@each(
    "permissions",
    [[HasScopes], [HasScopes & IsAdminUser], [IsAdminUser & HasScopes], [IsAdminUser | HasScopes]],
)
def test_without_scopes_it_lets_no_view_answer(
    real: Authority, issued: IssuedPat, permissions: list[Any]
) -> None:
    from tests.support import django_views

    of_function = api_view(["GET"])(permission_classes(permissions)(lambda request: Response("in")))
    for view in (django_views.permitted(*permissions), of_function):
        django_views.view = view
        with site(real), pytest.raises(TypeError, match=r'as in HasScopes\("reports:read"\)'):
            Client().get("/any", **sent(bearer(issued.token)))
    with pytest.raises(TypeError, match="name the scopes"):
        HasScopes()
    with pytest.raises(TypeError, match="list it in permission_classes"):
        HasScopes("a")(of_function)


def test_another_permission_may_permit_what_a_scope_does_not(real: Authority, events: Any) -> None:
    issued = issue(real)
    admin = person("admin", is_staff=True)
    with site(real, user=lambda principal: admin, optional=["/api/*"]):
        events()
        assert Client().get("/api/either", **sent(bearer(issued.token))).status_code == 200
        assert "scope.refused" not in [event["type"] for event in events()]
        assert Client().get("/api/scoped", **sent(bearer(issued.token))).status_code == 403
        assert "scope.refused" in [event["type"] for event in events()]
        signed_in = Client()
        signed_in.force_login(admin)
        assert signed_in.get("/api/either").status_code == 200
        assert signed_in.get("/api/scoped").status_code == 403, "a session holds no scope"


@each(
    "classes",
    [
        [PatAuthentication, SessionAuthentication],
        [SessionAuthentication, PatAuthentication],
        [SessionAuthentication],
        [BasicAuthentication, PatAuthentication],
        [],
    ],
)
def test_whatever_authentication_a_view_has_nobody_is_a_sessions_user_beside_credentials(
    real: Authority, issued: IssuedPat, classes: list[Any]
) -> None:
    from tests.support import django_views

    class Scoped(APIView):
        authentication_classes = classes
        permission_classes = (HasScopes("reports:read"),)

        def get(self, request: Request) -> Response:
            return Response(request.user.get_username())

        post = get

    victim = person("victim")
    person("alice")
    django_views.view = Scoped.as_view()
    for user, name in ((None, ""), (user_of, "alice")):
        with site(real, user=user):
            client = Client(enforce_csrf_checks=True)
            client.force_login(victim)
            answer = client.get("/any", **sent(bearer(issued.token)))
            expected = "" if classes in ([], [BasicAuthentication]) else name
            assert (answer.status_code, answer.json()) == (200, expected)
            posted = client.post("/any", **sent(bearer(issued.token)))
            assert (posted.status_code, posted.json()) == (200, expected)
            if classes and name:
                assert client.post("/any", **sent(basic_of(issued))).status_code == 403


def test_throttles_and_the_browsable_api_work_with_a_caller_without_a_user(
    real: Authority, issued: IssuedPat
) -> None:
    from tests.support import django_views

    class Throttled(APIView):
        throttle_classes = (type("Users", (UserRateThrottle,), {"rate": "2/min"}), ScopedRateThrottle)

        def get(self, request: Request) -> Response:
            return Response("in")

    django_views.view = Throttled.as_view()
    with site(real):
        headers = {"Authorization": bearer(issued.token), "Accept": "text/html"}
        assert b"<html" in Client().get("/any", headers=headers).content
        assert Client().get("/any", headers=headers).status_code == 200
        assert Client().get("/any", headers=headers).status_code == 429


def test_permissions_are_closed_without_the_middleware() -> None:
    view = type("Open", (APIView,), {"permission_classes": (HasScopes("a") | IsAdminUser,)})
    with pytest.raises(RuntimeError, match="has not passed patauth"):
        view.as_view(authentication_classes=())(APIRequestFactory().get("/"))
