"""Turn Django's requests into what the gate reads, and patauth's answers into what Django sends."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from ..asgi.scope import environ_of, spelled
from ..model.caller import Principal
from ..wsgi.answers import Answer, Fields
from ..wsgi.drain import answered
from ..wsgi.require import not_passed
from ..wsgi.site import Site

# In META:
SITE = "patauth.site"  # the request has passed the gate
LACKING = "patauth.lacking"  # the scopes that a permission of Django REST framework has missed


def environ_of_request(request: HttpRequest) -> dict[str, Any]:
    """Return the environ (PEP 3333) of a request: with the method and path by which Django finds the view.

    The body is the unread part of the request's body.
    """
    environ = dict(request.META)
    scope = getattr(request, "scope", None)  # under ASGI
    if scope is not None:
        # Its headers are read here, because some releases of Django take `_` for `-` in their names.
        others = {name: value for name, value in environ.items() if not name.startswith("HTTP_")}
        environ = {**environ_of({**scope, "query_string": b""}), **others}
        environ["QUERY_STRING"] = spelled(environ["QUERY_STRING"])
        environ["wsgi.input_terminated"] = True
    environ["REQUEST_METHOD"] = request.method
    environ["SCRIPT_NAME"] = spelled(request.META.get("SCRIPT_NAME", ""))
    environ["PATH_INFO"] = spelled(request.path_info)
    environ["wsgi.input"] = request
    return environ


class Passage(NamedTuple):
    """Holds a request of Django, the site that it has passed, and its caller."""

    request: HttpRequest
    site: Site
    principal: Principal | None


def passage(given: object) -> Passage | None:
    """Return the passage of a request of Django or of Django REST framework; None for anything else.

    Raise `RuntimeError` for a request that has not passed patauth.
    """
    request = getattr(given, "_request", given)
    if not isinstance(request, HttpRequest):
        return None
    site: Site | None = request.META.get(SITE)
    if site is None:
        raise not_passed(
            'add "patauth.django.PatAuthMiddleware" to MIDDLEWARE, after AuthenticationMiddleware'
        )
    return Passage(request, site, getattr(request, "principal", None))


def principal_of(request: object) -> Principal | None:
    """Return the caller of a request of Django or of Django REST framework; None without credentials.

    This is `request.principal` with a type. Raise `RuntimeError` if the request has not passed patauth, and
    `TypeError` for anything but a request.
    """
    found = passage(request)
    if found is None:
        raise TypeError(f"principal_of: give a request of Django's, not {type(request).__name__}")
    return found.principal


class PatAuthResponse(HttpResponse):
    """Sends an answer of patauth.

    A view class may be asynchronous without being an `async def`. Then its caller awaits what it returns, so
    this object can be awaited, and returns itself.
    """

    def __init__(self, answer: Answer, request: HttpRequest) -> None:
        super().__init__(b"" if request.method == "HEAD" else answer.body, status=answer.status)
        set_fields(self, answer.fields)
        refused = answer.status >= 400 or answer.refused
        self._rest = answered([], request.META) if refused else []

    def __await__(self) -> Generator[None, None, PatAuthResponse]:
        return self
        yield

    def close(self) -> None:
        """Close the answer, and read the rest of a refused upload."""
        super().close()
        close = getattr(self._rest, "close", None)
        if close is not None:
            close()


def set_fields(response: HttpResponseBase, fields: Fields) -> None:
    """Give a response these fields and no others. Join several fields of one name (RFC 9110 §5.2)."""
    headers = response.headers
    for name in list(headers):
        del headers[name]
    for name, value in fields:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
