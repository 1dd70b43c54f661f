"""`patauth.django.principal_of`: the caller of a request, in the words of type checkers."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpRequest, JsonResponse
from django.test import Client, RequestFactory
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from patauth import Authority, IssuedPat
from patauth.django import principal_of
from tests.support.authorities import bearer
from tests.support.django_site import site


def named(request: HttpRequest | Request) -> str:
    principal = principal_of(request)
    return "nobody" if principal is None else principal.subject.id


class Rest(APIView):
    def get(self, request: Request) -> Response:
        return Response(named(request))


def test_it_is_the_caller_of_a_request_of_either_kind(real: Authority, issued: IssuedPat) -> None:
    from tests.support import django_views

    views: list[Any] = [lambda request: JsonResponse(named(request), safe=False), Rest.as_view()]
    for view in views:
        django_views.view = view
        with site(real, optional=["/any"]):
            assert Client().get("/any", headers={"Authorization": bearer(issued.token)}).json() == "alice"
            assert Client().get("/any").json() == "nobody"


def test_what_has_not_passed_patauth_has_no_caller() -> None:
    request: Any = RequestFactory().get("/")
    request.principal = "root"
    with pytest.raises(RuntimeError, match="has not passed patauth"):
        principal_of(request)
    with pytest.raises(TypeError, match="give a request of Django's, not dict"):
        principal_of({})
