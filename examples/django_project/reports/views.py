"""Views of Django."""

from django.http import HttpRequest, JsonResponse

from patauth.django import require_scope


def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"ok": True})


def index(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"hello": request.user.get_username() or "nobody"})


@require_scope("reports:read")
def reports(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"reports": ["Q1", "Q2"], "for": request.principal.subject.name})


@require_scope("reports:read")
async def reports_later(request: HttpRequest) -> JsonResponse:
    user = await request.auser()
    return JsonResponse({"reports": ["Q1", "Q2"], "for": user.get_username()})
