"""Check the place of patauth in MIDDLEWARE, for the system checks and for the middleware when it is built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Doubt
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

_NAME = f"{__package__}.PatAuthMiddleware"
_CACHES = (
    "django.middleware.cache.UpdateCacheMiddleware",
    "django.middleware.cache.FetchFromCacheMiddleware",
)
_USERS = (
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.RemoteUserMiddleware",
)
_REFUSED = ("patauth.E002", "patauth.E003", "patauth.E005")


def of_stack() -> Iterator[CheckMessage]:
    """Yield what is wrong with MIDDLEWARE."""
    stack = [loaded(path) for path in settings.MIDDLEWARE]
    places = [place for place, one in enumerate(stack) if is_a(one, loaded(_NAME))]
    if not places:
        yield Error(
            "MIDDLEWARE has no patauth, so no request is checked.",
            hint=f"Add {_NAME!r} after AuthenticationMiddleware.",
            id="patauth.E001",
        )
        return
    if len(places) > 1:
        yield Error(
            "MIDDLEWARE has patauth twice: the second one finds no credentials.",
            hint=f"Keep one {_NAME!r}, and remove the other.",
            id="patauth.E002",
        )
    signs_in = tuple(map(loaded, _USERS)) if has_users() else ()
    caches = tuple(map(loaded, _CACHES))
    for place, (path, one) in enumerate(zip(settings.MIDDLEWARE, stack, strict=True)):
        if place > places[0] and is_a(one, *signs_in):
            yield Error(
                f"{path} comes after patauth, so a caller with a PAT would have the user of a session.",
                hint=f"Put {_NAME!r} after it.",
                id="patauth.E003",
            )
        elif is_a(one, *caches) and place < places[-1]:
            yield Error(
                f"{path} comes before patauth, so the cache would answer without credentials.",
                hint=f"Put {_NAME!r} before it.",
                id="patauth.E005",
            )
        elif is_a(one, *caches):
            yield Doubt(
                f"{path} does not know who calls, so it can serve one caller's page to another.",
                hint="Cache only views that are the same for all, and mark other pages with never_cache.",
                id="patauth.W003",
            )


def check_stack() -> None:
    """Raise `ImproperlyConfigured` for a wrong place in MIDDLEWARE: a server runs no system checks."""
    for one in of_stack():
        if one.id in _REFUSED:
            raise ImproperlyConfigured(f"{one.msg} {one.hint} ({one.id})")


def has_users() -> bool:
    """Return whether the project has users: without their app, their middleware cannot be imported."""
    return apps.is_installed("django.contrib.auth")


def loaded(path: str) -> Any:
    """Return a middleware; None for one that cannot be imported, which Django itself reports."""
    try:
        return import_string(path)
    except ImportError:
        return None


def is_a(one: Any, *kinds: Any) -> bool:
    """Return whether something is a class of one of these kinds. A kind that is None matches nothing."""
    return isinstance(one, type) and issubclass(one, tuple(kind for kind in kinds if kind is not None))
