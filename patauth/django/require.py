"""`require_scope`: demands scopes at a single view of Django."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest

from ..asgi.connection import worded
from ..errors import PatAuthError
from ..model.scopes import check
from ..wsgi.require import lack, misused
from ..wsgi.site import Site
from .requests import PatAuthResponse, environ_of_request, passage

_F = TypeVar("_F", bound=Callable[..., Any])


def require_scope(*scopes: str) -> Callable[[_F], _F]:
    """Return a decorator of a view that answers 401 or 403 unless the caller holds all of these scopes.

    It takes a function, `async` or not, a method, or a class with `dispatch`. On a public path there is no
    principal, so the answer is 401. Raise `InvalidScope` for a malformed scope, `TypeError` for anything but
    a view of Django, and `RuntimeError` for a request that has not passed patauth.
    """
    demanded = check(scopes)

    def decorate(view: _F) -> _F:
        if isinstance(view, type):
            if not hasattr(view, "dispatch"):
                raise misused("patauth.django.require_scope", f"the class {view.__name__}")
            view.dispatch = decorate(view.dispatch)
            return view
        if iscoroutinefunction(view):

            @wraps(view)
            async def guarded_later(*args: Any, **kwargs: Any) -> Any:
                request, site, error = _lack(demanded, args)
                if error is None:
                    return await view(*args, **kwargs)
                answer = await worded(site, site.refusal, error, environ_of_request(request))
                return PatAuthResponse(answer, request)

            return guarded_later  # type: ignore[return-value]

        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            request, site, error = _lack(demanded, args)
            if error is None:
                return view(*args, **kwargs)
            return PatAuthResponse(site.refusal(error, environ_of_request(request)), request)

        return guarded  # type: ignore[return-value]

    return decorate


def _lack(
    demanded: tuple[str, ...], args: tuple[object, ...]
) -> tuple[HttpRequest, Site, PatAuthError | None]:
    for one in args[:2]:  # a method has `self` before the request
        if found := passage(one):
            return found.request, found.site, lack(found.site, found.principal, demanded)
    raise misused("patauth.django.require_scope", "what gets no request of Django's", *args)
