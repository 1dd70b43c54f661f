"""The token service alone, as a WSGI application: patauth's own routes, its health, and forward-auth.

    /verify         forward-auth: who calls, or why not; any method (forward.py)
    GET /healthz    200 while this process answers; the store is not asked
    GET /readyz     200 when the store answers and its key is right, else 503 with Retry-After
    ...             the surfaces of the settings; every other path is 404

The setting `path_prefix` stands before all of them. `patauth serve` runs this application (gunicorn.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from ...authority import Authority
from ...errors import Overloaded, PatAuthError, StoreUnavailable
from ...events.request import REQUEST, CurrentRequest, request_id
from ..answers import Answer, Fields, gate_error, json_answer
from ..middleware import PatAuthMiddleware
from ..routing import Route, get_only
from .forward import verify
from .traces import within_trace_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_log = logging.getLogger("patauth")

_NOT_FOUND = {"error": "not_found", "error_description": "nothing is served at this path"}


class Standalone:
    """Serves the token endpoint and the management API without an application behind them."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._within_trace = within_trace_of(authority.settings)
        self._gate = PatAuthMiddleware(_not_found, authority, protect=(), public=("/*",))
        prefix = authority.settings.path_prefix
        self._routes: dict[str, Route] = {
            f"{prefix}/healthz": get_only(_alive),
            f"{prefix}/readyz": get_only(self._ready),
            # Any method: Traefik's `preserveRequestMethod` asks with the client's own.
            f"{prefix}/verify": partial(verify, site=self._gate.site),
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request (PEP 3333). The field X-Request-ID of the answer names it as the log does."""
        start_response = partial(_start_with_id, environ, start_response)
        with self._within_trace(environ):
            route = self._routes.get(environ.get("PATH_INFO", ""))
            if route is None:
                return self._gate(environ, start_response)
            token = REQUEST.set(CurrentRequest(environ, self._gate.site.client_address))
            try:
                return route(environ)(environ, start_response)
            finally:
                REQUEST.reset(token)

    def _ready(self) -> Answer:
        try:
            self._authority.ping()
        except PatAuthError as problem:  # a wrong configuration of the store means not ready, too
            _log.warning("not ready: %s", problem.detail or problem)
            busy = problem if isinstance(problem, Overloaded) else StoreUnavailable()
            return gate_error(busy, self._gate.site.challenges)
        return json_answer(200, {"status": "ready"})


def _start_with_id(
    environ: WSGIEnvironment,
    start_response: StartResponse,
    status: str,
    fields: Fields,
    exc_info: Any = None,
) -> Callable[[bytes], object]:
    return start_response(status, [*fields, ("X-Request-ID", request_id(environ))], exc_info)


def _alive() -> Answer:
    return json_answer(200, {"status": "alive"})


def _not_found(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    return json_answer(404, _NOT_FOUND)(environ, start_response)
