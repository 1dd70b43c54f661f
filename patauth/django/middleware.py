"""The middleware for Django. Its guard decides what it does to a request (wsgi/guard.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from ..asgi.guard import AsyncGuard
from ..asgi.scope import kept
from ..events.request import REQUEST, CurrentRequest
from ..wsgi.answers import Answer, challenges
from ..wsgi.api.csrf import ForeignRequest, check_change_by_basic
from ..wsgi.cors import answer_of_app, bare_preflight
from ..wsgi.guard import Passed
from ..wsgi.hooks import load
from .callers import sign_out, users
from .configuration import authority, gate_arguments
from .requests import LACKING, SITE, PatAuthResponse, environ_of_request, set_fields
from .stack import check_stack

_SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")  # the methods for which Django checks no CSRF
_FUNCTION_SECONDS = 60.0  # that a function of the host may take, under ASGI


class _Asked(NamedTuple):
    """Holds the request that functions of the host are asked about, and under ASGI the event loop."""

    request: HttpRequest
    loop: asyncio.AbstractEventLoop | None


_ASKED: ContextVar[_Asked] = ContextVar("patauth_django_request")


class PatAuthMiddleware(AsyncGuard[Callable[[HttpRequest], Any]]):
    """Passes requests with good credentials on to the views, and answers all others.

    Put it into MIDDLEWARE after AuthenticationMiddleware. It reads Django's settings (`patauth.django`) when
    Django loads it. In a view, `request.principal` is the `Principal` of the caller, or None. If credentials
    were good, `request.user` is what PATAUTH_USER returns, or anonymous, and the session is empty. CSRF is
    checked only for Basic, since pages of other sites can make a browser send that.

    Raise `ConfigurationError`, and `ImproperlyConfigured` for a wrong place in MIDDLEWARE.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        ours, gate = authority(), gate_arguments()
        for name in ("identify", "reauthenticate"):
            if function := load(name, gate.get(name, getattr(ours.settings, name))):
                gate[name] = _of_request(function)
        self._users = users()
        if callable(require := gate.get("require")):
            gate["require"] = _of_request(require, self._hide_session)
        if callable(on_refusal := gate.get("on_refusal")):
            gate["on_refusal"] = lambda environ, error: on_refusal(WSGIRequest(environ), error)
        super().__init__(get_response, ours, **gate)
        check_stack()
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer a request."""
        if self._is_async:
            return self._answer(request)
        environ = environ_of_request(request)
        with self._asking(_Asked(request, None), environ):
            ruling = self._decide(environ)
            inner = self._inner(request, environ, ruling)
            return self._response(request, ruling, self.app(inner) if inner else None)

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        environ = environ_of_request(request)
        with self._asking(_Asked(request, asyncio.get_running_loop()), environ):
            ruling = await self._ruling(environ, self._decide)
            inner = self._inner(request, environ, ruling)
            return self._response(request, ruling, await self.app(inner) if inner else None)

    @contextmanager
    def _asking(self, asked: _Asked, environ: dict[str, Any]) -> Iterator[None]:
        """Let functions of the host, and events, find the request."""
        token = _ASKED.set(asked)
        current = REQUEST.set(CurrentRequest(environ, self.site.client_address))
        try:
            yield
        finally:
            REQUEST.reset(current)
            _ASKED.reset(token)

    def _decide(self, environ: dict[str, Any]) -> Answer | Passed:
        ruling = super()._decide(environ)
        if isinstance(ruling, Answer) or environ.get("AUTH_TYPE") != "Basic":
            return ruling
        # Django checks no view that is exempt, as those of Django REST framework are.
        try:
            if environ["REQUEST_METHOD"] not in _SAFE:
                check_change_by_basic(environ, self.site.cors)
        except ForeignRequest as error:
            return ruling.refused(self.site.refusal(error, environ))
        return ruling

    # Middleware gives a request attributes that its class does not have.
    def _inner(self, request: Any, environ: dict[str, Any], ruling: Answer | Passed) -> Any:
        """Return the request that the views get; None if they get none."""
        request.principal = None
        if isinstance(ruling, Answer):
            return None
        if ruling.is_preflight:
            bare: Any = WSGIRequest(bare_preflight(environ))
            bare.session = bare.principal = None
            sign_out(bare, None, None)
            return bare
        # REMOTE_USER is for WSGI: here it would sign in the Django user of that name.
        environ.pop("REMOTE_USER", None)
        by_basic = environ.pop("AUTH_TYPE", None) == "Basic"
        _hide(request, environ)
        request.META[SITE] = self.site
        request.principal = ruling.principal
        if ruling.principal is not None:
            sign_out(request, ruling.principal, self._users)
            if not by_basic:  # which no browser sends by itself
                request.csrf_processing_done = True
        return request

    def _response(
        self, request: HttpRequest, ruling: Answer | Passed, response: HttpResponseBase | None
    ) -> HttpResponseBase:
        if isinstance(ruling, Answer):
            return PatAuthResponse(ruling, request)
        assert response is not None
        if ruling.is_preflight:
            return PatAuthResponse(answer_of_app(list(response.items())), request)
        fields = list(response.items())
        demanded = request.META.get(LACKING)
        if demanded is not None and ruling.principal is not None and response.status_code == 403:
            fields += challenges(self.site.lacking(ruling.principal, demanded), self.site.challenges)
        set_fields(response, ruling.fields(fields))
        return response

    def _hide_session(self, request: HttpRequest) -> None:
        """Sign the session's user out before `require` is asked about a request with credentials."""
        if self.site.carried(request.META):
            sign_out(request, None, None)


def _of_request(
    function: Callable[[HttpRequest], Any], before: Callable[[HttpRequest], None] | None = None
) -> Callable[[dict[str, Any]], Any]:
    """Return a function of an environ that calls one of Django's request.

    Under ASGI it runs in the thread where Django runs synchronous code, because Django closes the database
    connections of that thread in time.
    """

    def ask(_: dict[str, Any]) -> Any:
        request, loop = _ASKED.get()
        if before is not None:
            before(request)
        if loop is None:
            return function(request)
        asked = asyncio.run_coroutine_threadsafe(sync_to_async(function)(request), loop)
        return asked.result(_FUNCTION_SECONDS)

    return ask


def _hide(request: HttpRequest, environ: dict[str, Any]) -> None:
    """Remove from a request what its environ no longer has: credentials and clients' claims about callers."""
    gone = request.META.keys() - environ.keys()
    for name in gone:
        del request.META[name]
    if not gone:
        return
    vars(request).pop("headers", None)  # made of META
    scope = getattr(request, "scope", None)
    if scope is not None:
        request.scope = {**scope, "headers": kept(scope["headers"], request.META)}  # type: ignore[attr-defined]
