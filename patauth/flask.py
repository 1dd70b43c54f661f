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

    PATAUTH_PROTECT, PATAUTH_PUBLIC, PATAUTH_REQUIRE   arguments of `patauth.PatAuthMiddleware`
    PATAUTH_IDENTIFY                                   the argument `identify`; it runs in a request context
                                                       of the app, so it can use `flask.session`
    PATAUTH_<NAME>                                     each setting of `patauth.Settings`

A setting that the configuration does not have, or sets to None, comes from the environment
(`PATAUTH_<NAME>`). So an app can say what it protects, and a deployment can add the store and the secret key.
If both have a setting, the configuration wins. A `PATAUTH_*` name that is no setting causes a warning, in
either place.
"""

from __future__ import annotations

import warnings
from dataclasses import fields
from typing import Any

from flask import Flask, has_request_context, request
from werkzeug.local import LocalProxy

from .authority import Authority
from .errors import ConfigurationError
from .model.caller import Person, Principal
from .settings import Settings
from .wsgi.api.caller import Identify
from .wsgi.middleware import PatAuthMiddleware
from .wsgi.require import require_scope

__all__ = ["PatAuth", "current_principal", "require_scope"]

_PREFIX = "PATAUTH_"
_GATE = ("protect", "public", "require", "identify")


class PatAuth:
    """Puts a Flask app behind patauth. One object may serve several apps, because it keeps no state.

    The app's `Authority` is `app.extensions["patauth"]`. It connects at the first request.
    """

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Wrap `app.wsgi_app`. Middleware that wraps it later sees requests before patauth does.

        Raise `ConfigurationError` if a setting is missing or wrong, or the app is behind patauth already.
        """
        if "patauth" in app.extensions:
            raise ConfigurationError("this app is behind patauth already; call init_app once")
        given = _given(app)
        gate = {name: given.pop(name) for name in _GATE if name in given}
        if callable(gate.get("identify")):
            gate["identify"] = _in_context(app, gate["identify"])
        authority = Authority.from_env(**given)
        app.wsgi_app = PatAuthMiddleware(app.wsgi_app, authority, **gate)  # type: ignore[method-assign]
        app.extensions["patauth"] = authority


def _in_context(app: Flask, identify: Identify) -> Identify:
    """Return `identify` for a request context of `app`. patauth runs before Flask has made one."""

    def identified(environ: dict[str, Any]) -> Person | None:
        with app.request_context(environ):
            return identify(environ)

    return identified


def _given(app: Flask) -> dict[str, Any]:
    """Return patauth's part of the app's configuration, by the names of settings."""
    known = {field.name for field in fields(Settings)} | set(_GATE)
    given = {}
    for key, value in app.config.items():
        if not key.startswith(_PREFIX) or value is None:
            continue
        name = key.removeprefix(_PREFIX).lower()
        if name in known:
            given[name] = value
        else:
            warnings.warn(f"{key} is not a setting of patauth; is it misspelt?", stacklevel=4)
    return given


def _principal() -> Principal | None:
    if not has_request_context():
        return None
    principal: Principal | None = request.environ.get("patauth.principal")
    return principal


current_principal: Principal = LocalProxy(_principal)  # type: ignore[assignment]
"""The verified caller of the current request: a proxy of `patauth.Principal`.

On public routes, and outside of a request, it stands for None: it is false and equal to None. It is a proxy,
so `is None` is never true of it.
"""
