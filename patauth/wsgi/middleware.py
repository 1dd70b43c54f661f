"""The middleware before a WSGI application. Its guard decides what it does to a request (guard.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError
from ..events.request import REQUEST, CurrentRequest
from .answers import Answer, Fields
from .cors import ask_app
from .guard import Guard, Passed, takes

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_enter, _leave = REQUEST.set, REQUEST.reset


class PatAuthMiddleware(Guard["WSGIApplication"]):
    """Passes requests with good credentials on to `app`, and answers all others.

    `protect` lists the patterns of paths that need credentials; `public` and `optional` list the exceptions.
    A pattern is an exact path or ends in `*`. On an optional path, a request without credentials reaches the
    application without a principal, and credentials that are sent must be good. `require` maps
    `"METHOD /path"` or `"/path"` to the scopes that are needed, or is a callable of the environ that returns
    scopes, `()` for none, or None for 403. `surfaces` lists the groups of patauth's own routes; None means
    the setting.

    `identify` is a callable of the environ that returns the host's signed-in `Person`, or None for nobody. It
    is called when a request to patauth's own API has no credentials. It never opens a route of the
    application. An exception in it or in `require` is a 500. `reauthenticate` is a callable of the environ.
    It is called before a person makes, rotates, enables or widens a PAT. It raises or returns False unless
    they have just confirmed who they are; then the answer is 403. Both get a copy of the environ with an
    empty body. Either can be a name, "package.module:function". None means the setting.

    `cors` is a `Cors`: patauth answers preflights, and adds the CORS fields to answers that allow no
    origin. With "app", the application answers preflights of its own protected paths, without credentials.
    None means the setting `cors_origins`. Without it, a preflight is a request like any other.

    `challenges` has the challenges of a 401 in order, "basic" and "bearer". `token_headers` are header fields
    that may hold a token instead of Authorization. For both, None means the setting.

    `on_refusal` is a callable of the environ (without body, query, cookies and credentials) and the error. It
    returns a body and its content type for a refusal of the gate or of `require_scope`, or None for the usual
    one.

    The environ of the application has `patauth.principal`, `patauth.scopes`, `REMOTE_USER` (the owner's id)
    and `AUTH_TYPE`. On every route, patauth removes what a client or a front server put there.

    Raise `ConfigurationError` for an argument that cannot be used.
    """

    def _check_app(self, app: WSGIApplication) -> None:
        if not takes(app, 2):
            raise ConfigurationError(
                "app: this is no WSGI application; for ASGI, with Starlette or FastAPI, there is"
                " patauth.asgi.PatAuthMiddleware"
            )

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request (PEP 3333)."""
        app = self.app
        token = _enter(CurrentRequest(environ, self._address_of))
        try:
            ruling = self._decide(environ)
            if isinstance(ruling, Answer):
                return ruling(environ, start_response)
            if ruling.is_preflight:
                return ask_app(self.app, environ)(environ, start_response)
            if ruling.decision is not None or ruling.cors is not None:  # else there is no field to add
                start_response = partial(_start_with, ruling, start_response)
            return app(environ, start_response)
        finally:
            _leave(token)


def _start_with(
    passed: Passed,
    start_response: StartResponse,
    status: str,
    fields: Fields,
    exc_info: Any = None,
) -> Callable[[bytes], object]:
    """Call `start_response` with the application's fields, those about the caller, and those of CORS."""
    return start_response(status, passed.fields(fields), exc_info)
