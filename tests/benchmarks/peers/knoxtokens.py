"""django-rest-knox and a throttle of Django REST framework.

Tokens are rows of an SQLite database in memory, which is where knox keeps them; SHA-512 digests, found by
their first 15 characters. Its tokens have no scopes, so that only the user is checked, and it is let off the
scope. The throttle keeps the times of a token's requests in a cache, Django's on the same server. That list
grows with the quota, so sixteen tokens take turns, each with a quota of 500 in a second. No middleware.

It does more than the others in one thing: each request looks for expired tokens of the user, to delete them.
"""

from __future__ import annotations

import logging
from typing import Any

from ..calls import BODY, FEW, LIMITED, PATH
from . import Peer

NAME = "django-rest-knox + DRF throttle"
TOKENS = 16


def open_at(socket: str) -> Peer:
    """The peer at a server. Once in a process: Django has one configuration."""
    import django
    from django.conf import settings

    settings.configure(
        ALLOWED_HOSTS=["*"],
        CACHES={
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": f"unix://{socket}",
            }
        },
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "knox"],
        LOGGING_CONFIG=None,
        MIDDLEWARE=[],
        REST_FRAMEWORK={"UNAUTHENTICATED_USER": None},
        REST_KNOX={"AUTH_HEADER_PREFIX": "Bearer"},
        ROOT_URLCONF=__name__,
        SECRET_KEY="for a benchmark, and for nothing else",
        USE_TZ=True,
    )
    logging.getLogger("django").addHandler(logging.NullHandler())  # its check is refused on purpose
    django.setup()
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application

    call_command("migrate", verbosity=0)
    urlpatterns.extend(_routes())
    app = get_wsgi_application()
    tokens = [_token_of(f"user{number}") for number in range(TOKENS)]
    wrong = f"Bearer {'0' * 64}"
    return Peer(
        NAME,
        "bare Django app",
        app,
        lambda environ, start: app(environ | {"PATH_INFO": "/bare"}, start),
        [f"Bearer {token}" for token in tokens],
        wrong,
        share=0.05,
    )


urlpatterns: list[Any] = []  # of ROOT_URLCONF; they can be made only once Django is configured


def _routes() -> list[Any]:
    from django.http import HttpRequest, HttpResponse
    from django.urls import path
    from knox.auth import TokenAuthentication
    from rest_framework.permissions import IsAuthenticated
    from rest_framework.request import Request
    from rest_framework.throttling import SimpleRateThrottle
    from rest_framework.views import APIView

    class Throttle(SimpleRateThrottle):
        rate = "500/s"
        scope = "report"

        def get_cache_key(self, request: Request, view: APIView) -> str | None:
            return self.cache_format % {"scope": self.scope, "ident": request.auth.token_key}

    class FewThrottle(Throttle):
        rate = f"{FEW}/min"
        scope = "limited"

    class Report(APIView):
        authentication_classes = (TokenAuthentication,)
        permission_classes = (IsAuthenticated,)
        throttle_classes = (Throttle,)

        def get(self, request: Request) -> HttpResponse:
            return HttpResponse(BODY, content_type="text/plain")

    class Limited(Report):
        throttle_classes = (FewThrottle,)

    def unprotected(request: HttpRequest) -> HttpResponse:
        return HttpResponse(BODY, content_type="text/plain")

    return [
        path(PATH[1:], Report.as_view()),
        path(LIMITED[1:], Limited.as_view()),
        path("bare", unprotected),
    ]


def _token_of(name: str) -> str:
    from django.contrib.auth import get_user_model
    from knox.models import AuthToken

    user = get_user_model().objects.create_user(name)
    _, token = AuthToken.objects.create(user)
    return token
