"""Views of Django REST framework."""

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from patauth.django.rest import HasScopes


class Reports(APIView):
    """Lists reports, and makes one for who may write."""

    def get_permissions(self) -> list[object]:
        scope = "reports:read" if self.request.method == "GET" else "reports:write"
        return [*super().get_permissions(), HasScopes(scope)]

    def get(self, request: Request) -> Response:
        return Response({"reports": ["Q1", "Q2"], "for": request.auth.subject.name})

    def post(self, request: Request) -> Response:
        return Response({"made by": request.user.get_username()}, status=201)
