"""A Django app behind patauth, in one file: python examples/django_wsgi.py

In a project, wrap `application` in its wsgi.py just so. The store is local:./patauth-data, or what
PATAUTH_STORE_URL says.
"""

import os
import secrets
from wsgiref.simple_server import make_server

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

import patauth

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    SECRET_KEY=secrets.token_urlsafe(),  # a project has its own
)
django.setup()


def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"ok": True})


def reports(request: HttpRequest) -> JsonResponse:
    principal = request.META["patauth.principal"]  # who calls; REMOTE_USER is its owner's id
    return JsonResponse({"for": principal.subject.name, "scopes": sorted(principal.scopes)})


urlpatterns = [path("healthz", healthz), path("reports", reports)]

application = patauth.PatAuthMiddleware(
    get_wsgi_application(),
    patauth.Authority.from_url(os.environ.get("PATAUTH_STORE_URL", "local:./patauth-data")),
    public=["/healthz"],
    require={"GET /reports": "reports:read"},
)

if __name__ == "__main__":
    with make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), application) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
