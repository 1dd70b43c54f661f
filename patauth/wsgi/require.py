"""`require_scope`: demands scopes at a single WSGI application behind the gate.

The adapters of frameworks have their own for views, from the same parts.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from ..errors import MissingCredentials, PatAuthError
from ..model.caller import Principal
from ..model.scopes import check, covers
from .answers import Answer
from .site import Site

_F = TypeVar("_F", bound=Callable[..., Any])

# By the framework of the request that a view gets.
_FOR_VIEWS = {
    "rest_framework": "patauth.django.rest.HasScopes",
    "django": "patauth.django.require_scope",
    "fastapi": "patauth.fastapi.requires",
    "starlette": "patauth.fastapi.requires",
    "flask": "patauth.flask.require_scope",
}


def require_scope(*scopes: str) -> Callable[[_F], _F]:
    """Return a decorator that answers 401 or 403 unless the caller holds all of these scopes.

    It decorates a WSGI application that stands behind `PatAuthMiddleware`, which verifies the credentials. On
    a route that the middleware leaves public there is no principal, so the answer is 401. Views have their
    own: `patauth.flask.require_scope`, `patauth.django.require_scope` and `patauth.fastapi.requires`. Raise
    `InvalidScope` for a malformed scope, and `TypeError` for a view.
    """
    demanded = check(scopes)

    def decorate(wrapped: _F) -> _F:
        if inspect.iscoroutinefunction(wrapped):
            raise misused("patauth.require_scope", "an async function")

        @wraps(wrapped)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            # An application is called with an environ and start_response; a method has `self` before them.
            if kwargs or len(args) < 2 or not isinstance(args[-2], dict) or not callable(args[-1]):
                raise misused("patauth.require_scope", "a view", *args)
            environ = args[-2]
            site, principal = environ.get("patauth.site"), environ.get("patauth.principal")
            refusal = missing(site, principal, environ, demanded)
            return wrapped(*args) if refusal is None else refusal(*args[-2:])

        return guarded  # type: ignore[return-value]

    return decorate


def missing(
    site: Site | None, principal: Principal | None, environ: dict[str, Any], demanded: tuple[str, ...]
) -> Answer | None:
    """Return the refusal of a caller who lacks one of these scopes; None: the caller holds them all.

    Raise `RuntimeError` without a site: the request has not passed patauth.
    """
    if site is None:
        raise not_passed("wrap the application: patauth.PatAuthMiddleware(app, authority)")
    error = lack(site, principal, demanded)
    return None if error is None else site.refusal(error, environ)


def lack(site: Site, principal: Principal | None, demanded: tuple[str, ...]) -> PatAuthError | None:
    """Return the error for a caller who lacks one of these scopes, and emit its event; None: no lack."""
    if principal is None:
        return MissingCredentials()
    if not covers(principal.scopes, demanded, site.settings.scopes or ()):
        return site.lacking(principal, demanded)
    return None


def not_passed(how: str = "put its middleware before the application") -> RuntimeError:
    """Return the error for a request that no middleware of patauth has seen. It says how to install one."""
    return RuntimeError(f"this request has not passed patauth: {how}")


def misused(name: str, what: str, *args: object) -> TypeError:
    """Return the error for a decorator on the wrong kind of callable, which was called with `args`."""
    frameworks = {type(one).__module__.partition(".")[0] for one in args}
    flask = sys.modules.get("flask")
    if flask is not None and flask.has_request_context():
        frameworks.add("flask")
    meant = [right for framework, right in _FOR_VIEWS.items() if framework in frameworks]
    if not meant:
        meant = ["patauth.require_scope", *dict.fromkeys(_FOR_VIEWS.values())]
        meant.remove(name)
    return TypeError(f"{name} does not decorate {what}; use {' or '.join(meant)}")
