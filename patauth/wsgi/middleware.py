"""The gate before a WSGI application.

    patauth's own routes (surfaces.py) -> odd path 400 -> public -> CORS preflight, if `cors` answers it
    -> credentials 400/401 -> quota 429 -> scope or method 403
    -> the application, with `patauth.principal` in its environ

`__init__` prepares everything; a request runs straight down `__call__`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from ..authority import Authority
from ..errors import (
    ConfigurationError,
    InvalidRequest,
    MissingCredentials,
    PatAuthError,
)
from ..events.request import REQUEST, CurrentRequest
from ..model.hooks import Hook
from ..model.quota import Decision
from ..model.scopes import check, covers
from ..settings import read_named, read_surfaces
from .answers import Answer, expiry_field, quota_fields, with_caller_fields
from .cors import Cors, ask_app, is_preflight, preflight, with_cors
from .gate import Gate, Kind, Requirement
from .request import carried, client_address
from .routing import SameOrigin
from .site import OnRefusal, Site
from .surfaces import open_routes

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

RequireCallable = Callable[[dict[str, Any]], "Iterable[str] | None"]

_OURS = (
    "REMOTE_USER", "AUTH_TYPE", "HTTP_REMOTE_USER", "HTTP_AUTH_TYPE", "patauth.principal", "patauth.scopes",
)  # fmt: skip
_ODD = "the path can be read in more than one way; send it in its plain form"


class PatAuthMiddleware:
    """Passes requests with good credentials on to `app`, and answers all others.

    `protect` lists the patterns of paths that need credentials; `public` and `optional` list the exceptions.
    A pattern is an exact path or ends in `*`. On an optional path, a request without credentials reaches the
    application without a principal, and credentials that are sent must be good. `require` maps
    `"METHOD /path"` or `"/path"` to the scopes that are needed, or is a callable of the environ that returns
    scopes, `()` for none, or None for 403. `surfaces` lists the groups of patauth's own routes; None means
    the setting.

    `identify` is a callable of the environ that returns the host's signed-in `Person`, or None for nobody. It
    is called when a request to patauth's own API brings no credentials, and opens nothing of the
    application's. An exception in it or in `require` is a 500. `reauthenticate` is a callable of the
    environ. It is called before a person makes, rotates, enables or widens a PAT, and raises or returns False
    unless they have just confirmed who they are: the answer is a 403 then. Both get a copy of the environ,
    with an empty body. Either may be given by its name, "package.module:function", and None means the
    setting.

    `cors` is a `Cors`: patauth answers preflights, and adds the fields of CORS to answers that allow no
    origin. With "app", the application answers preflights of its own protected paths, without credentials.
    None means the setting `cors_origins`. Without it, a preflight is a request like any other.

    `challenges` are those of a 401 in their order, "basic" and "bearer". `token_headers` are header fields
    that may hold a token instead of Authorization. None means the setting, for each of the two.

    `on_refusal` is a callable of the environ (without body, query, cookies and credentials) and the error. It
    returns a body and its content type for a refusal of the gate or of `require_scope`, or None for the usual
    one.

    The application finds `patauth.principal`, `patauth.scopes`, `REMOTE_USER` (the owner's id) and
    `AUTH_TYPE` in its environ. Whatever a client or a front server put there is removed on every route.

    Raise `ConfigurationError` for an argument that cannot be used.
    """

    def __init__(
        self,
        app: WSGIApplication,
        authority: Authority,
        *,
        protect: Iterable[str] = ("/*",),
        public: Iterable[str] = (),
        optional: Iterable[str] = (),
        require: Mapping[str, Requirement] | RequireCallable | None = None,
        surfaces: Iterable[str] | None = None,
        identify: Hook | None = None,
        reauthenticate: Hook | None = None,
        cors: Cors | Literal["app"] | None = None,
        challenges: Iterable[str] | None = None,
        token_headers: Iterable[str] | None = None,
        on_refusal: OnRefusal | None = None,
    ) -> None:
        if cors is not None and cors != "app" and not isinstance(cors, Cors):
            raise ConfigurationError(
                "cors: give a patauth.Cors, 'app' or None; a list of origins is the setting cors_origins"
                " (PATAUTH_CORS_ORIGINS)"
            )
        settings = authority.settings
        self._app = app
        self._authenticate = authority.operations.authenticate
        self.site = site = Site(
            authority,
            identify=identify,
            reauthenticate=reauthenticate,
            challenges=challenges,
            token_headers=token_headers,
            on_refusal=on_refusal,
        )
        self._address_of = site.client_address
        self._require = partial(_required, require) if callable(require) else None
        rules = {} if callable(require) else require or {}
        self._gate = Gate(protect, public, rules, optional, unknown_rules=callable(require))
        self._token_keys = site.token_keys
        self._trusted_proxies, self._proxy_networks = settings.trusted_proxies, settings.proxy_networks
        self._catalogue = settings.scopes or ()
        self._keep_authorization = settings.keep_authorization
        if cors is None and settings.cors_origins:
            cors = Cors(settings.cors_origins)
        self._cors = cors if isinstance(cors, Cors) else None
        self._app_answers_preflights = cors == "app"
        enabled = settings.surfaces if surfaces is None else read_named("surfaces", read_surfaces, surfaces)
        self._routes = open_routes(site, enabled)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request (PEP 3333)."""
        token = REQUEST.set(CurrentRequest(environ, self._address_of))
        try:
            _forget_identity(environ)
            environ["patauth.site"] = self.site
            # WSGI libraries read an environ without a method as GET.
            method = environ.setdefault("REQUEST_METHOD", "GET")
            path = environ.get("PATH_INFO", "")
            route = self._routes.find(path)
            if self._cors is not None and not isinstance(route, SameOrigin):
                start_response = with_cors(self._cors, environ, start_response)
            if route is not None:
                is_asked = method == "OPTIONS" and not isinstance(route, SameOrigin)
                own = self._preflight(environ, None) if is_asked else None
                return (own or route(environ))(environ, start_response)

            rule = self._gate.decide(method, environ.get("SCRIPT_NAME", ""), path)
            if rule.kind is Kind.ODD:
                return self.site.refusal(InvalidRequest(_ODD), environ)(environ, start_response)
            if rule.kind is Kind.PUBLIC:
                return self._app(environ, start_response)
            if method == "OPTIONS" and (answer := self._preflight(environ, self._app)):
                return answer(environ, start_response)

            # From here on these are the steps of `Site.authenticate`, without its calls.
            principal = decision = expires_ms = None
            try:
                authorization = carried(environ, self._token_keys)
                if authorization:
                    address = client_address(environ, self._trusted_proxies, self._proxy_networks)
                    principal, decision, expires_ms = self._authenticate(authorization, address)
                elif rule.kind is not Kind.OPTIONAL:
                    raise MissingCredentials
                required = (
                    rule.scopes if self._require is None else self.site.ask("require", self._require, environ)
                )
                if principal is None:
                    if required is None or required:
                        raise MissingCredentials
                elif required is None or not covers(principal.scopes, required, self._catalogue):
                    raise self.site.lacking(principal, required or ())
            except PatAuthError as error:
                refusal = with_caller_fields(self.site.refusal(error, environ), decision, expires_ms)
                return refusal(environ, start_response)
            if principal is None or decision is None:
                return self._app(environ, start_response)

            environ["patauth.principal"] = principal
            environ["patauth.scopes"] = principal.scopes
            environ["REMOTE_USER"] = principal.subject.id
            environ["AUTH_TYPE"] = "Basic" if authorization[:5].lower() == "basic" else "Bearer"
            if not self._keep_authorization:
                environ.pop("HTTP_AUTHORIZATION", None)
            for name in self._token_keys:
                environ.pop(name, None)
            return self._app(environ, partial(_start_with, decision, expires_ms, start_response))
        finally:
            REQUEST.reset(token)

    def _preflight(self, environ: WSGIEnvironment, app: WSGIApplication | None) -> Answer | None:
        """Return the answer to a CORS preflight. None: the request is one like any other.

        `app`: who may answer it with `cors="app"`.
        """
        if not is_preflight(environ):
            return None
        if self._cors is not None:
            return preflight(self._cors, environ, self.site.token_headers)
        return ask_app(app, environ) if app is not None and self._app_answers_preflights else None


def _required(require: RequireCallable, environ: WSGIEnvironment) -> Iterable[str] | None:
    required = require(environ)
    return None if required is None else check([required] if isinstance(required, str) else required)


def _forget_identity(environ: WSGIEnvironment) -> None:
    for name in _OURS:
        if name in environ:
            del environ[name]
    # One search through all names joined is cheaper than a test of each name.
    if "HTTP_PATAUTH" in "\n".join(environ):
        for name in [name for name in environ if name.startswith("HTTP_PATAUTH")]:
            del environ[name]


def _start_with(
    decision: Decision,
    expires_ms: int | None,
    start_response: StartResponse,
    status: str,
    headers: list[tuple[str, str]],
    exc_info: Any = None,
) -> Callable[[bytes], object]:
    """Call `start_response` with the application's fields and those about the caller."""
    fields = [*headers, *quota_fields(decision)]
    if expires_ms is not None:
        fields.append(expiry_field(expires_ms))
    return start_response(status, fields, exc_info)
