"""The views of the Django project in `django_site`, and what they have changed."""

from __future__ import annotations

import asyncio
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from rest_framework.permissions import IsAdminUser, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from patauth.django import require_scope
from patauth.django.rest import HasScopes

changes: list[str] = []


def told(request: Any, user: Any) -> dict[str, Any]:
    """Who a view is told calls, and what is left of the credentials."""
    request = getattr(request, "_request", request)
    principal = request.principal
    return {
        "principal": None if principal is None else principal.subject.id,
        "user": user.get_username(),
        "session": request.session.get("_auth_user_id"),
        "left": sorted(
            {"HTTP_AUTHORIZATION", "REMOTE_USER", "AUTH_TYPE", "HTTP_X_API_KEY", "HTTP_PATAUTH_X"}
            & request.META.keys()
        )
        + [name for name in request.headers if name.lower() == "authorization"],
    }


def who(request: Any) -> HttpResponse:
    return JsonResponse(told(request, request.user), headers={"Vary": "Accept"})


async def who_later(request: Any) -> HttpResponse:
    await asyncio.sleep(0)
    user = await request.auser()
    session = await request.session.aget("_auth_user_id")
    return JsonResponse({**await asyncio.to_thread(told, request, user), "session": session})


def change(request: Any) -> HttpResponse:
    changes.append(request.user.get_username())
    request.session["changed"] = True
    return JsonResponse({"changed": True})


def path_info(request: HttpRequest, rest: str = "") -> HttpResponse:
    return JsonResponse(
        {"path": request.path, "method": request.method, "query": request.META["QUERY_STRING"]}
    )


def preflight(request: Any) -> HttpResponse:
    seen = sorted(name for name in request.META if name.startswith("HTTP_") and name != "HTTP_HOST")
    assert not request.session.keys()
    changes.append(f"{request.method} {seen} {request.user.is_anonymous} {request.principal}")
    fields = {"Access-Control-Allow-Origin": "https://a.example", "X-Secret": "s"}
    return HttpResponse("the data", headers=fields)


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(iter([b"a", b"b"]))


@require_scope("reports:read", "reports:admin")
def scoped(request: HttpRequest) -> HttpResponse:
    return HttpResponse("in")


@require_scope("reports:read", "reports:admin")
async def scoped_later(request: HttpRequest) -> HttpResponse:
    return HttpResponse("in")


@require_scope("reports:read", "reports:admin")
class Scoped(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("in")


@require_scope("reports:read", "reports:admin")
class ScopedLater(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("in")


@method_decorator(require_scope("reports:read", "reports:admin"), name="dispatch")
class Decorated(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("in")


@method_decorator(require_scope("reports:read", "reports:admin"), name="dispatch")
class DecoratedLater(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("in")


class Method(View):
    @require_scope("reports:read", "reports:admin")
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("in")


class MethodLater(View):
    @require_scope("reports:read", "reports:admin")
    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("in")


class RestMethod(APIView):
    @require_scope("reports:read", "reports:admin")
    def get(self, request: Request) -> Response:
        return Response("in")


@require_scope("reports:read", "reports:admin")
class RestClass(APIView):
    def get(self, request: Request) -> Response:
        return Response("in")


SCOPED = {
    "scoped": scoped,
    "scoped-later": scoped_later,
    "class": Scoped.as_view(),
    "class-later": ScopedLater.as_view(),
    "decorated": Decorated.as_view(),
    "decorated-later": DecoratedLater.as_view(),
    "method": Method.as_view(),
    "method-later": MethodLater.as_view(),
    "rest-method": RestMethod.as_view(),
    "rest-class": RestClass.as_view(),
}


class RestWho(APIView):
    def get(self, request: Request) -> Response:
        principal = request.auth
        owner = None if principal is None else principal.subject.id
        return Response({**told(request, request.user), "auth": owner})

    def post(self, request: Request) -> Response:
        changes.append(request.user.get_username())
        return Response({"changed": True})


def permitted(*permissions: Any, **more: Any) -> Any:
    class Permitted(APIView):
        permission_classes = permissions

        def get(self, request: Request) -> Response:
            return Response("in")

    return Permitted.as_view(**more)


# What a test gives in its place.
view: Any = who

urlpatterns = [
    path("any", csrf_exempt(lambda request: view(request))),
    path("who", who),
    path("feed", who),
    path("public", who),
    path("public/change", change),
    path("who-later", who_later),
    path("feed-later", who_later),
    path("change", change),
    path("exempt", csrf_exempt(change)),
    path("path/<path:rest>", path_info),
    path("preflight", preflight),
    path("stream", stream),
    *(path(name, view) for name, view in SCOPED.items()),
    path("api/who", RestWho.as_view()),
    path("api/feed", RestWho.as_view()),
    path("api/scoped", permitted(HasScopes("reports:admin"))),
    path("api/both", permitted(HasScopes("reports:read") & HasScopes("reports:write"))),
    path("api/either", permitted(HasScopes("reports:admin") | IsAdminUser)),
    path("api/user", permitted(IsAuthenticated)),
]
