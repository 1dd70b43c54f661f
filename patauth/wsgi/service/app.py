"""The token service alone, as a WSGI application: patauth's own routes, its health, and nothing else.

    GET /verify     for forward-auth: who calls, or why not; `?scope=a+b` demands scopes
    GET /healthz    200 while this process answers; the store is not asked
    GET /readyz     200 when the store answers and its key is right, else 503 with Retry-After
    ...             the surfaces of the settings; every other path is 404

The setting `path_prefix` stands before all of them. `patauth serve` runs this on gunicorn (serve.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ...authority import Authority
from ...errors import Overloaded, PatAuthError, StoreUnavailable
from ..answers import Answer, gate_error, json_answer
from ..middleware import PatAuthMiddleware
from .forward import verify

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_log = logging.getLogger("patauth")


class Standalone:
    """A WSGI application without an app behind it."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        prefix = authority.settings.path_prefix
        self._health: dict[str, Callable[[], Answer]] = {
            f"{prefix}/healthz": _alive,
            f"{prefix}/readyz": self._ready,
        }
        self._verify = f"{prefix}/verify"
        self._rest = PatAuthMiddleware(_not_found, authority, protect=(), public=("/*",))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """A request (PEP 3333)."""
        path = environ.get("PATH_INFO", "")
        check = self._health.get(path)
        if check is None and path != self._verify:
            return self._rest(environ, start_response)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _not_allowed()(environ, start_response)
        answer = check() if check is not None else verify(environ, self._authority)
        return answer(environ, start_response)

    def _ready(self) -> Answer:
        try:
            self._authority.ping()
        except PatAuthError as problem:  # a wrong configuration of the store, too: not ready
            _log.warning("not ready: %s", problem.detail or problem)
            busy = problem if isinstance(problem, Overloaded) else StoreUnavailable()
            return gate_error(busy, self._authority.settings.realm)
        return json_answer(200, {"status": "ready"})


def _alive() -> Answer:
    return json_answer(200, {"status": "alive"})


def _not_allowed() -> Answer:
    content = {"error": "invalid_request", "error_description": "this takes GET and HEAD only"}
    return json_answer(405, content, [("Allow", "GET, HEAD")])


def _not_found(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    content = {"error": "not_found", "error_description": "there is nothing here"}
    return json_answer(404, content)(environ, start_response)
