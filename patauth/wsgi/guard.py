"""The guard of an application: it decides for each request whether patauth or the application answers.

    patauth's own routes (surfaces.py) -> odd path 400 -> public -> CORS preflight, if `cors` answers it
    -> credentials 400/401 -> quota 429 -> scope or method 403
    -> the application, with `patauth.principal` in the environ

The guard decides and calls no application. So WSGI (`middleware.py`), ASGI and Django use the same guard.
`__init__` prepares everything; a request runs straight down `_decide`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import msgspec

from ..authority import Authority
from ..errors import (
    ConfigurationError,
    InvalidRequest,
    MissingCredentials,
    PatAuthError,
)
from ..events.request import REQUEST
from ..model.caller import Principal
from ..model.hooks import Hook
from ..model.quota import Decision
from ..model.scopes import check, covers
from ..settings import read_named, read_surfaces
from .answers import Answer, Fields, expiry_field, fields_of_quota, with_caller_fields
from .cors import Cors, allowed_by, is_preflight, preflight, with_cors
from .gate import Gate, Kind, Requirement
from .hooks import check_sync
from .request import carried
from .routing import Route, SameOrigin
from .site import OnRefusal, Site
from .surfaces import open_routes

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

App = TypeVar("App")
RequireCallable = Callable[[dict[str, Any]], "Iterable[str] | None"]

_OURS = frozenset((
    "REMOTE_USER", "AUTH_TYPE", "HTTP_REMOTE_USER", "HTTP_AUTH_TYPE", "patauth.principal", "patauth.scopes",
))  # fmt: skip
_MOST_NAMES = 512  # that a guard remembers; clients choose those of their fields
_current = REQUEST.get
_ODD = "the path can be read in more than one way; send it in its plain form"


class Passed(msgspec.Struct, frozen=True):
    """Says that the application answers a request.

    `principal` is the verified caller, or None on a public or optional path. `decision` is that of the quota
    that was charged, and `expires_ms` is when the caller's PAT expires, if that is near. `cors` has the
    fields that allow the request's origin; None: there is no CORS here. With `is_preflight`, the application
    answers a preflight, and sees only that (`cors.bare_preflight`).
    """

    principal: Principal | None = None
    decision: Decision | None = None
    expires_ms: int | None = None
    cors: Fields | None = None
    is_preflight: bool = False

    def fields(self, fields: Fields) -> Fields:
        """Return the fields of the application's answer, with those about the caller and those of CORS."""
        if self.decision is not None:
            name, quota = self.decision.name, self.decision.quota
            # As `quota_fields`, without its call.
            limit = self.decision.service_limit()
            fields = [*fields, *fields_of_quota(name, quota.count, quota.seconds, *limit)]
        if self.expires_ms is not None:
            fields = [*fields, expiry_field(self.expires_ms)]
        return fields if self.cors is None else with_cors(self.cors, fields)

    def refused(self, answer: Answer) -> Answer:
        """Return a refusal that the application has caused, with these fields."""
        return Answer(answer.status, self.fields(answer.fields), answer.body)


_PREFLIGHT = Passed(is_preflight=True)
# Each request compares with these, and a look-up in an Enum takes long.
_ODD_PATH, _PUBLIC, _OPTIONAL = Kind.ODD, Kind.PUBLIC, Kind.OPTIONAL


class Guard(Generic[App]):
    """Decides on the requests to `app`, and never calls it. Fronts inherit from this and call it.

    `patauth.PatAuthMiddleware` explains the other arguments. Threads may share a guard: after it is made, it
    changes only the set of names that it has found harmless. If that set loses names, it checks them again.
    Raise `ConfigurationError`.
    """

    def __init__(
        self,
        app: App,
        authority: Authority | None = None,
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
        authority = check_authority(authority)
        self._check_app(app)
        if cors is not None and cors != "app" and not isinstance(cors, Cors):
            raise ConfigurationError(
                "cors: give a patauth.Cors, 'app' or None; a list of origins is the setting cors_origins"
                " (PATAUTH_CORS_ORIGINS)"
            )
        settings = authority.settings
        if cors is None and settings.cors_origins:
            cors = Cors(settings.cors_origins)
        self.app = app
        self._authenticate = authority.operations.authenticate
        self.site = site = Site(
            authority,
            identify=identify,
            reauthenticate=reauthenticate,
            challenges=challenges,
            token_headers=token_headers,
            on_refusal=on_refusal,
            cors=cors if isinstance(cors, Cors) else None,
        )
        self._require = partial(_required, check_sync("require", require)) if callable(require) else None
        rules = {} if callable(require) else require or {}
        self._gate = Gate(protect, public, rules, optional, unknown_rules=callable(require))
        self._token_keys = site.token_keys
        self._address_of = site.client_address
        self._catalogue = settings.scopes or ()
        self._keep_authorization = settings.keep_authorization
        self._cors = site.cors
        self._harmless: set[str] = set()  # names in an environ that say nothing about the caller
        self._app_answers_preflights = cors == "app"
        enabled = settings.surfaces if surfaces is None else read_named("surfaces", read_surfaces, surfaces)
        self._routes = open_routes(site, enabled)

    def _check_app(self, app: App) -> None:
        """Raise `ConfigurationError` for an application of another kind than this front calls."""

    def _own_route(self, environ: WSGIEnvironment) -> Route | None:
        """Return patauth's own route for this path; None if the path belongs to the application."""
        return self._routes.find(environ.get("PATH_INFO", ""))

    def _asks_nobody(self, environ: WSGIEnvironment) -> bool:
        """Return whether `_decide` needs neither the store nor a function of the host for this request."""
        path = environ.get("PATH_INFO", "")
        if self._routes.find(path) is not None:
            return False
        rule = self._gate.decide(environ["REQUEST_METHOD"], environ.get("SCRIPT_NAME", ""), path)
        if rule.kind is Kind.PUBLIC:
            return True
        carriers = ("HTTP_AUTHORIZATION", *self._token_keys)
        asks_host = self._require is not None or self.site.words_refusals
        return not asks_host and not any(name in environ for name in carriers)

    def _decide(self, environ: WSGIEnvironment) -> Answer | Passed:
        """Return patauth's own answer to a request, or that the application answers it.

        Remove from the environ what a client or a front server says about the caller. If credentials were
        good, put `patauth.principal`, `patauth.scopes`, `REMOTE_USER` and `AUTH_TYPE` into the environ, and
        remove the credentials.
        """
        if not self._harmless.issuperset(environ):
            self._forget_identity(environ)
        environ["patauth.site"] = self.site
        # WSGI libraries read an environ without a method as GET.
        method = environ.setdefault("REQUEST_METHOD", "GET")
        path = environ.get("PATH_INFO", "")
        # Here and in the fronts, what is called is a local first: a call of an attribute looks for it in the
        # type before the instance, and CPython 3.11 cannot specialise that.
        find = self._routes.find
        route = find(path)
        cors = None
        if self._cors is not None and not isinstance(route, SameOrigin):
            cors = allowed_by(self._cors, environ)
        if route is not None:
            is_asked = method == "OPTIONS" and cors is not None and is_preflight(environ)
            return self._preflight(environ) if is_asked else _readable(route(environ), cors)

        rule = self._gate.decide(method, environ.get("SCRIPT_NAME", ""), path)
        kind = rule.kind
        if kind is _ODD_PATH:
            return _readable(self.site.refusal(InvalidRequest(_ODD), environ), cors)
        if kind is _PUBLIC:
            return Passed(cors=cors)
        if method == "OPTIONS" and is_preflight(environ):
            if cors is not None:
                return self._preflight(environ)
            if self._app_answers_preflights:
                return _PREFLIGHT

        # From here on these are the steps of `Site.authenticate`, without its calls.
        authenticate = self._authenticate
        principal = decision = expires_ms = None
        try:
            authorization = carried(environ, self._token_keys)
            if authorization:
                request = _current()
                assert request is not None  # the front has set it
                admission = authenticate(authorization, request)
                principal, decision = admission.principal, admission.decision
                expires_ms = admission.expires_ms
            elif kind is not _OPTIONAL:
                raise MissingCredentials
            required = (
                rule.scopes if self._require is None else self.site.ask("require", self._require, environ)
            )
            if principal is None:
                if required is None or required:
                    raise MissingCredentials
            elif required is None or not (
                # On nearly all requests, this says what `covers` would say, without its call.
                required <= principal.scopes or covers(principal.scopes, required, self._catalogue)
            ):
                raise self.site.lacking(principal, required or ())
        except PatAuthError as error:
            refusal = with_caller_fields(self.site.refusal(error, environ), decision, expires_ms)
            return _readable(refusal, cors)
        if principal is not None:
            environ["patauth.principal"] = principal
            environ["patauth.scopes"] = principal.scopes
            environ["REMOTE_USER"] = principal.subject.id
            environ["AUTH_TYPE"] = "Basic" if authorization[:5].lower() == "basic" else "Bearer"
            if not self._keep_authorization:
                environ.pop("HTTP_AUTHORIZATION", None)
            for name in self._token_keys:
                environ.pop(name, None)
        return Passed(principal, decision, expires_ms, cors)

    def _forget_identity(self, environ: WSGIEnvironment) -> None:
        """Remove what a client or a front server says about the caller. Remember all other names."""
        for name in [name for name in environ if name in _OURS or name.startswith("HTTP_PATAUTH")]:
            del environ[name]
        if len(self._harmless) + len(environ) > _MOST_NAMES:
            self._harmless.clear()
        if len(environ) <= _MOST_NAMES:
            self._harmless.update(environ)

    def _refusal(self, error: PatAuthError, environ: WSGIEnvironment) -> Answer:
        """Return the refusal of a request for which there is no decision."""
        self._forget_identity(environ)
        own = self._own_route(environ)
        cors = None
        if self._cors is not None and not isinstance(own, SameOrigin):
            cors = allowed_by(self._cors, environ)
        return _readable(self.site.refusal(error, environ), cors)

    def _preflight(self, environ: WSGIEnvironment) -> Answer:
        assert self._cors is not None
        return preflight(self._cors, environ, self.site.token_headers)


def check_authority(authority: object) -> Authority:
    """Return an Authority. Raise `ConfigurationError` for anything else."""
    if isinstance(authority, Authority):
        return authority
    raise ConfigurationError(
        "authority: give a patauth.Authority, such as patauth.Authority.from_env(); in Django's MIDDLEWARE,"
        " which gives none, write patauth.django.PatAuthMiddleware"
    )


def takes(app: object, count: int) -> bool:
    """Return whether an application can be called with this number of arguments, by its signature."""
    try:
        signature = inspect.signature(app)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return callable(app)
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def _readable(answer: Answer, cors: Fields | None) -> Answer:
    """Return patauth's own answer with the CORS fields."""
    return answer if cors is None else answer.with_fields(with_cors(cors, []))


def _required(require: RequireCallable, environ: WSGIEnvironment) -> frozenset[str] | None:
    required = require(environ)
    if required is None:
        return None
    return frozenset(check([required] if isinstance(required, str) else required))
