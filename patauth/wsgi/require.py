"""`require_scope`: demands scopes at a single WSGI application or Flask view behind the gate."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from ..errors import MissingCredentials
from ..model.scopes import check, covers
from .answers import Answer
from .drain import answered
from .site import Site

_F = TypeVar("_F", bound=Callable[..., Any])


def require_scope(*scopes: str) -> Callable[[_F], _F]:
    """Return a decorator that answers 401 or 403 unless the caller holds all of these scopes.

    It decorates a WSGI application or a Flask view that stands behind `PatAuthMiddleware`, which verifies the
    credentials. On a route that the middleware leaves public there is no principal, so the answer is 401.
    Raise `InvalidScope` for a malformed scope.
    """
    demanded = check(scopes)

    def decorate(wrapped: _F) -> _F:
        @wraps(wrapped)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            # A WSGI application is called with an environ and start_response, a view with the values of its
            # URL. A method has `self` before them.
            if len(args) >= 2 and not kwargs and isinstance(args[-2], dict) and callable(args[-1]):
                refusal = _refusal(args[-2], demanded)
                return wrapped(*args) if refusal is None else refusal(*args[-2:])
            from flask import Response, current_app, request  # an extra: only a view needs it

            refusal = _refusal(request.environ, demanded)
            if refusal is None:
                return current_app.ensure_sync(wrapped)(*args, **kwargs)
            body = answered([refusal.body], request.environ)
            return Response(body, refusal.status, refusal.fields)

        return guarded  # type: ignore[return-value]

    return decorate


def _refusal(environ: dict[str, Any], demanded: tuple[str, ...]) -> Answer | None:
    site: Site | None = environ.get("patauth.site")
    if site is None:
        raise RuntimeError("require_scope: wrap the application in patauth.PatAuthMiddleware first")
    principal = environ.get("patauth.principal")
    if principal is None:
        return site.refusal(MissingCredentials(), environ)
    if not covers(principal.scopes, demanded, site.settings.scopes or ()):
        return site.refusal(site.lacking(principal, demanded), environ)
    return None
