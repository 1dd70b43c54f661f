"""System checks: what `manage.py check` and `runserver` report about patauth.

    E001  the middleware is missing          W001  what patauth itself warns of
    E002  it is there twice                  W002  callers have no user, and everything asks for one
    E003  it comes too early                 W003  a cache may serve one caller's page to another
    E004  a setting is wrong
    E005  a cache comes before it
    E006  a permission has no scopes

The store is not contacted.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as Doubt
from django.core.exceptions import ImproperlyConfigured

from ..errors import ConfigurationError
from .middleware import PatAuthMiddleware
from .stack import has_users, is_a, loaded, of_stack

_LOGIN = "django.contrib.auth.middleware.LoginRequiredMiddleware"


def check_patauth(app_configs: object = None, **_: Any) -> list[CheckMessage]:
    """Return what is wrong with MIDDLEWARE and the settings."""
    return [*of_stack(), *_of_settings(), *_of_permissions(), *_of_users()]


def _of_settings() -> Iterator[CheckMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            PatAuthMiddleware(_nothing)
        except ConfigurationError as problem:
            yield Error(f"patauth cannot use its settings: {problem}", id="patauth.E004")
        except ImproperlyConfigured:
            pass  # the stack is wrong, and that is said already
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        yield Doubt(text, id="patauth.W001")


def _of_permissions() -> Iterator[CheckMessage]:
    if not apps.is_installed("rest_framework"):
        return
    from rest_framework.settings import api_settings

    from .rest import HasScopes

    for one in api_settings.DEFAULT_PERMISSION_CLASSES:
        if is_a(one, HasScopes):
            try:
                one()
            except TypeError as problem:
                yield Error(
                    f"{one.__name__} in DEFAULT_PERMISSION_CLASSES lets no view answer. {problem}",
                    hint='Name a variable of yours, such as reads = HasScopes("reports:read").',
                    id="patauth.E006",
                )


def _of_users() -> Iterator[CheckMessage]:
    if getattr(settings, "PATAUTH_USER", None) is not None:
        return
    asking = []
    if has_users() and any(is_a(loaded(path), loaded(_LOGIN)) for path in settings.MIDDLEWARE):
        asking.append(_LOGIN)
    if apps.is_installed("rest_framework"):
        from rest_framework.permissions import IsAuthenticated
        from rest_framework.settings import api_settings

        if any(is_a(one, IsAuthenticated) for one in api_settings.DEFAULT_PERMISSION_CLASSES):
            asking.append("IsAuthenticated in DEFAULT_PERMISSION_CLASSES")
    for name in asking:
        yield Doubt(
            f"{name} refuses every caller with a PAT, because they have no user without PATAUTH_USER.",
            hint="Set PATAUTH_USER to a function of the principal that returns a user.",
            id="patauth.W002",
        )


def _nothing(request: object) -> None: ...
