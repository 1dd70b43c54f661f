"""patauth for Flask: an extension over `PatAuthMiddleware`.

    from flask import Flask
    from patauth.flask import PatAuth, current_principal, require_scope

    app = Flask(__name__)
    app.config["PATAUTH_STORE_URL"] = "local:./patauth-data"
    app.config["PATAUTH_PUBLIC"] = ["/healthz", "/static/*"]
    PatAuth(app)                     # or, with an app factory: pat_auth = PatAuth(); pat_auth.init_app(app)

    @app.get("/reports")
    @require_scope("reports:read")
    def reports():
        return {"hello": current_principal.subject.name}

`init_app` reads the configuration once:

    PATAUTH_PROTECT, PATAUTH_PUBLIC, PATAUTH_OPTIONAL,
    PATAUTH_REQUIRE, PATAUTH_CORS                      arguments of `patauth.PatAuthMiddleware`
    PATAUTH_ON_REFUSAL,
    PATAUTH_IDENTIFY, PATAUTH_REAUTHENTICATE           callables, or the names of the last two; they run in a
                                                       request context of the app, so that `identify` can use
                                                       `flask.session`, and `on_refusal` templates
    PATAUTH_<NAME>                                     each setting of `patauth.Settings`

A setting that the configuration does not have, or sets to None, comes from the environment
(`PATAUTH_<NAME>`). So an app can say what it protects, and a deployment can add the store and the secret key.
If both have a setting, the configuration wins. A `PATAUTH_*` name that is no setting causes a warning, in
either place.

A request that reaches the app without passing patauth gets 500 and a line in the log, whatever its path. This
happens if something took `app.wsgi_app` before `PatAuth(app)` wrapped it, or if it changes method or path
between the two.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar

from .authority import Authority
from .errors import ConfigurationError
from .model.caller import Principal
from .model.scopes import check
from .wsgi.drain import answered
from .wsgi.frameworks import configured, of_extra
from .wsgi.guard import check_authority
from .wsgi.hooks import load
from .wsgi.middleware import PatAuthMiddleware
from .wsgi.require import missing, misused, not_passed

with of_extra("flask"):
    from flask import Flask, Response, current_app, has_request_context, request, request_started
    from werkzeug.exceptions import InternalServerError
    from werkzeug.local import LocalProxy

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

T = TypeVar("T")
_F = TypeVar("_F", bound=Callable[..., Any])

__all__ = ["PatAuth", "current_principal", "require_scope"]

_PASSED = "patauth.flask"  # in the environ: what the gate has let through

_log = logging.getLogger("patauth")


class PatAuth:
    """Puts a Flask app behind patauth. One object may serve several apps, because it keeps no state.

    The app's `Authority` is `app.extensions["patauth"]`. It connects at the first request.
    """

    def __init__(self, app: Flask | None = None, authority: Authority | None = None) -> None:
        if app is not None:
            self.init_app(app, authority)

    def init_app(self, app: Flask, authority: Authority | None = None) -> None:
        """Wrap `app.wsgi_app`. Middleware that wraps it later sees requests before patauth does.

        Without `authority`, make one with the settings of the configuration and the environment. With it,
        these settings still decide about the gate: surfaces, challenges, token headers, hooks. Raise
        `ConfigurationError` if a setting is missing or wrong, or if the app is behind patauth already.
        """
        if "patauth" in app.extensions:
            raise ConfigurationError("this app is behind patauth already; call init_app once")
        given, gate = configured(app.config)
        authority = Authority.from_env(**given) if authority is None else check_authority(authority)
        for name in ("identify", "reauthenticate"):
            gate[name] = load(name, gate.get(name, getattr(authority.settings, name)))
        for name in ("identify", "reauthenticate", "on_refusal"):
            if callable(gate.get(name)):
                gate[name] = _in_context(app, gate[name])
        passed = object()  # nobody else has it
        inner = app.wsgi_app

        def marked(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            environ[_PASSED] = (passed, *_target(environ))
            return inner(environ, start_response)

        app.wsgi_app = PatAuthMiddleware(marked, authority, **gate)  # type: ignore[method-assign]
        app.extensions["patauth"] = authority
        # Flask sends this signal before it calls anything else of the application.
        request_started.connect(partial(_check_passed, passed), app, weak=False)


def _check_passed(passed: object, app: Flask) -> None:
    """Answer 500 to a request that did not pass the gate for this method and path."""
    environ = request.environ
    if environ.get(_PASSED) != (passed, *_target(environ)):
        _log.error(
            "a request reached the Flask app %r without passing patauth, so it was refused: something took"
            " app.wsgi_app before PatAuth(app), or changed method or path after it",
            app.name,
        )
        raise InternalServerError


def _target(environ: WSGIEnvironment) -> tuple[str, str]:
    return environ["REQUEST_METHOD"], environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")


def _in_context(app: Flask, function: Callable[..., T]) -> Callable[..., T]:
    """Return a function of an environ that runs in a request context. Flask makes its own only later."""

    def run(environ: WSGIEnvironment, *more: Any) -> T:
        with app.request_context(environ):
            return function(environ, *more)

    return run


def require_scope(*scopes: str) -> Callable[[_F], _F]:
    """Return a decorator of a view that answers 401 or 403 unless the caller holds all of these scopes.

    Where the app leaves a route public there is no principal, so the answer is 401. Raise `InvalidScope` for
    a malformed scope, and `TypeError` for anything but a view of Flask.
    """
    demanded = check(scopes)

    def decorate(view: _F) -> _F:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if not has_request_context():
                raise misused("patauth.flask.require_scope", "what is called outside of Flask", *args)
            environ = request.environ
            site, principal = environ.get("patauth.site"), environ.get("patauth.principal")
            if site is None:
                raise not_passed("call patauth.flask.PatAuth(app)")
            refusal = missing(site, principal, environ, demanded)
            if refusal is None:
                return current_app.ensure_sync(view)(*args, **kwargs)
            return Response(answered([refusal.body], environ), refusal.status, refusal.fields)

        return guarded  # type: ignore[return-value]

    return decorate


def _principal() -> Principal | None:
    if not has_request_context():
        return None
    principal: Principal | None = request.environ.get("patauth.principal")
    return principal


current_principal: Principal = LocalProxy(_principal)  # type: ignore[assignment]
"""The verified caller of the current request. Where there is none, it is false and equal to `None`."""
"""The verified caller of the current request: a proxy of `patauth.Principal`.

On public routes and outside of a request it is false and equal to None. But it is a proxy, so `is None` is
never true of it.
"""
