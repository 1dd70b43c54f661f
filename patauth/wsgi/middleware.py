"""The gate before a WSGI application.

    patauth's own routes (surfaces.py) -> odd path 400 -> public -> CORS preflight -> credentials 400/401
    -> quota 429 -> scope or method 403 -> the application, with `patauth.principal` in its environ

`__init__` prepares everything; a request runs straight down `__call__`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ..authority import Authority
from ..errors import ConfigurationError, InsufficientScope, InvalidRequest, PatAuthError
from ..model.quota import Decision
from ..model.scopes import check, covers
from ..settings import read_surfaces
from .answers import gate_error, quota_fields, with_quota
from .gate import Gate, Kind, Requirement
from .request import authorization, client_address
from .surfaces import open_routes

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from .api.caller import Identify

_log = logging.getLogger("patauth")

RequireCallable = Callable[[dict[str, Any]], "Iterable[str] | None"]

_OURS = (
    "REMOTE_USER", "AUTH_TYPE", "HTTP_REMOTE_USER", "HTTP_AUTH_TYPE", "patauth.principal", "patauth.scopes",
)  # fmt: skip


class PatAuthMiddleware:
    """Passes requests with good credentials on to `app`, and answers all others.

    `protect` lists the patterns of paths that need credentials, and `public` the exceptions. A pattern is an
    exact path or ends in `*`. `require` maps `"METHOD /path"` or `"/path"` to the scopes that are needed, or
    is a callable of the environ that returns scopes, `()` for none, or None for 403. `surfaces` lists the
    groups of patauth's own routes; None means the setting. `identify` is a callable of the environ that
    returns the host's signed-in `Person`, or None for nobody. It is called when a request to patauth's own
    API brings no Authorization, and opens nothing of the application's. An exception in it is a 500. It must
    not read `wsgi.input`. Raise `ConfigurationError` for an argument that cannot be used.

    The application finds `patauth.principal`, `patauth.scopes`, `REMOTE_USER` (the owner's id) and
    `AUTH_TYPE` in its environ. Whatever a client or a front server put there is removed on every route.
    """

    def __init__(
        self,
        app: WSGIApplication,
        authority: Authority,
        *,
        protect: Iterable[str] = ("/*",),
        public: Iterable[str] = (),
        require: Mapping[str, Requirement] | RequireCallable | None = None,
        surfaces: Iterable[str] | None = None,
        identify: Identify | None = None,
    ) -> None:
        if identify is not None and not callable(identify):
            raise ConfigurationError("identify: give a callable that takes the environ, or None")
        settings = authority.settings
        self._app = app
        self._authority = authority
        self._operations = authority.operations
        self._require = require if callable(require) else None
        self._gate = Gate(protect, public, {} if callable(require) else require or {})
        self._catalogue = settings.scopes or ()
        self._realm = settings.realm
        self._keep_authorization = settings.keep_authorization
        self._trusted_proxies = settings.trusted_proxies
        enabled = settings.surfaces if surfaces is None else _surfaces(surfaces)
        self._routes = open_routes(authority, enabled, identify)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request (PEP 3333)."""
        _forget_identity(environ)
        environ["patauth.authority"] = self._authority
        path = environ.get("PATH_INFO", "")
        route = self._routes.find(path)
        if route is not None:
            return route(environ)(environ, start_response)

        method = environ["REQUEST_METHOD"]
        rule = self._gate.decide(method, environ.get("SCRIPT_NAME", ""), path)
        if rule.kind is Kind.ODD:
            problem = InvalidRequest("the path can be read in more than one way; send it in its plain form")
            return gate_error(problem, self._realm)(environ, start_response)
        if rule.kind is Kind.PUBLIC or (method == "OPTIONS" and _is_preflight(environ)):
            return self._app(environ, start_response)

        decision = None
        try:
            principal, decision = self._operations.authenticate(
                authorization(environ), client_address(environ, self._trusted_proxies)
            )
            required = rule.scopes if self._require is None else _ask(self._require, environ)
            if required is None or not covers(principal.scopes, required, self._catalogue):
                raise InsufficientScope(required or ())
        except PatAuthError as error:
            return with_quota(gate_error(error, self._realm), decision)(environ, start_response)

        environ["patauth.principal"] = principal
        environ["patauth.scopes"] = principal.scopes
        environ["REMOTE_USER"] = principal.subject.id
        environ["AUTH_TYPE"] = "Basic" if principal.method == "basic" else "Bearer"
        if not self._keep_authorization:
            del environ["HTTP_AUTHORIZATION"]
        return self._app(environ, partial(_start_with, decision, start_response))


def _ask(require: RequireCallable, environ: WSGIEnvironment) -> Iterable[str] | None:
    try:
        required = require(environ)
        return None if required is None else check([required] if isinstance(required, str) else required)
    except Exception as problem:
        _log.exception("the callable `require` failed; the request is refused")
        raise PatAuthError from problem


def _surfaces(names: Iterable[str]) -> tuple[str, ...]:
    try:
        return read_surfaces(names)
    except ValueError as problem:
        raise ConfigurationError(f"surfaces: {problem}") from None


def _forget_identity(environ: WSGIEnvironment) -> None:
    for name in _OURS:
        if name in environ:
            del environ[name]
    # One search through all names joined is cheaper than a test of each name.
    if "HTTP_PATAUTH" in "\n".join(environ):
        for name in [name for name in environ if name.startswith("HTTP_PATAUTH")]:
            del environ[name]


def _is_preflight(environ: WSGIEnvironment) -> bool:
    return "HTTP_ORIGIN" in environ and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ


def _start_with(
    decision: Decision,
    start_response: StartResponse,
    status: str,
    headers: list[tuple[str, str]],
    exc_info: Any = None,
) -> Callable[[bytes], object]:
    """Call `start_response` with the application's fields and those of the quota."""
    return start_response(status, [*headers, *quota_fields(decision)], exc_info)
