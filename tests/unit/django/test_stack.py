"""Where patauth stands in MIDDLEWARE: each mistake is found, and a wrong place stops the server."""

from __future__ import annotations

import pytest
from django.core.asgi import get_asgi_application
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

from patauth import Authority
from tests.support.django_site import instead, site
from tests.support.tables import each

OURS, AUTH = "patauth.django.PatAuthMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware"
REMOTE = "django.contrib.auth.middleware.RemoteUserMiddleware"
UPDATE, FETCH = (f"django.middleware.cache.{name}CacheMiddleware" for name in ("Update", "FetchFrom"))


@each(
    "found, starts, middleware",
    [
        ([], True, instead("nothing")),
        (["E001"], True, instead("PatAuthMiddleware")),
        (["E002"], False, instead("PatAuthMiddleware", OURS, OURS)),
        (["E003"], False, instead("AuthenticationMiddleware", OURS, AUTH)[:-1]),
        (["E003"], False, instead("PatAuthMiddleware", OURS, REMOTE)),
        (["E005"], False, [UPDATE, *instead("nothing")]),
        (["E005"], False, [FETCH, *instead("nothing")]),
        (["W003"], True, [*instead("nothing"), UPDATE]),
    ],
)
def test_each_mistake_is_found_and_a_wrong_place_stops_the_server(
    real: Authority, found: list[str], starts: bool, middleware: list[str]
) -> None:
    with site(real, MIDDLEWARE=middleware):
        assert [one.id.removeprefix("patauth.") for one in run_checks() if "patauth" in one.id] == found
        for application in (get_wsgi_application, get_asgi_application):
            if starts:
                application()
            else:
                with pytest.raises(ImproperlyConfigured, match=f"patauth.{found[0]}"):
                    application()
