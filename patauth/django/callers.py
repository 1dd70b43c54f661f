"""Decide for Django who sends a request: its user, its session, and whether CSRF is checked.

A request with credentials belongs to its PAT only. It does not see the session whose cookie came with it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.utils.functional import SimpleLazyObject

from ..model.caller import Principal
from ..wsgi.hooks import load

Users = Callable[[Principal], Any]  # returns Django's user, or None


def users() -> Users | None:
    """Return the function of PATAUTH_USER; None: callers have no user. Raise `ConfigurationError`."""
    function: Users | None = load("user", getattr(settings, "PATAUTH_USER", None))
    return function


def sign_out(request: Any, principal: Principal | None, user_of: Users | None) -> None:
    """Take the session away from a request, and set its user to the principal's, or to the anonymous user."""
    if hasattr(request, "session"):
        request.session = _NoSession()
        # For an empty session, Django would delete the browser's cookie.
        request.COOKIES.pop(settings.SESSION_COOKIE_NAME, None)
    if not apps.is_installed("django.contrib.auth"):
        return
    for name in ("_cached_user", "_acached_user"):  # of the session
        vars(request).pop(name, None)

    @cache
    def user() -> Any:
        from django.contrib.auth.models import AnonymousUser

        found = None if principal is None or user_of is None else user_of(principal)
        return found if getattr(found, "is_active", False) else AnonymousUser()

    request.user = SimpleLazyObject(user)
    request.auser = sync_to_async(user)


class _NoSession(SessionBase):
    """An empty session: its content ends with the request, and the browser keeps its cookie."""

    accessed = False

    @property
    def modified(self) -> bool:
        """False: there is nothing to save."""
        return False

    @modified.setter
    def modified(self, value: bool) -> None: ...

    def is_empty(self) -> bool:
        """Return True: there is nothing to save, whatever its content is."""
        return True

    def load(self) -> dict[str, Any]:
        """Return nothing: there is no store."""
        return {}

    def exists(self, session_key: str) -> bool:
        """Return False: there is no store."""
        return False

    def create(self) -> None:
        """Store nothing."""

    def save(self, must_create: bool = False) -> None:
        """Store nothing."""

    def delete(self, session_key: str | None = None) -> None:
        """Delete nothing: the session of the cookie belongs to somebody else."""
