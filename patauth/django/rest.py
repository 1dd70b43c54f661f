"""patauth for Django REST framework: an authentication and a permission.

    REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["patauth.django.rest.PatAuthentication"]}

    class Reports(APIView):
        permission_classes = [HasScopes("reports:read")]

The gate is the middleware (`patauth.django`). Both classes refuse a request that has not passed it.
"""

from __future__ import annotations

from typing import Any

from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import SingleOperandHolder
from rest_framework.request import Request

from ..errors import MissingCredentials
from ..model.caller import Principal
from ..model.scopes import check, covers
from ..wsgi.answers import challenges
from .requests import LACKING, Passage, passage

__all__ = ["HasScopes", "PatAuthentication"]


class PatAuthentication(SessionAuthentication):
    """Sets `request.auth` to the `Principal`, and `request.user` to what PATAUTH_USER returns, or anonymous.

    The middleware has verified the credentials. CSRF is checked for Basic, which browsers send by themselves.
    If it is the first authentication of a view, a request without a principal gets 401.
    """

    def authenticate(self, request: Request) -> tuple[Any, Principal] | None:
        """Return user and principal; None without credentials. Raise `PermissionDenied` (CSRF).

        Raise `RuntimeError` for a request that has not passed patauth.
        """
        inner, _, principal = _passage(request)
        if principal is None:
            return None
        self.enforce_csrf(request)  # the middleware has marked requests that are exempt
        return getattr(inner, "user", None), principal

    def authenticate_header(self, request: Request) -> str:
        """Return the challenges of a 401."""
        site = _passage(request).site
        return ", ".join(value for _, value in challenges(MissingCredentials(), site.challenges))


class HasScopes(SingleOperandHolder):
    """Permits callers whose PAT holds all of these scopes, whatever authentication found their user.

    Write `permission_classes = [HasScopes("a", "b")]`; combine permissions by `&` and `|`. Raise
    `InvalidScope` for a malformed scope, and `TypeError` without scopes, as for the bare class in the list.
    """

    # A holder makes a permission where it is called, so type checkers accept it in `permission_classes`.
    def __init__(self, *scopes: str) -> None:
        if not scopes:
            raise TypeError('HasScopes: name the scopes that a caller needs, as in HasScopes("reports:read")')
        self._demanded = check(scopes)

    def __call__(self, *decorated: object) -> HasScopes:
        """Return self: a view calls each of its `permission_classes`. Raise `TypeError` as a decorator."""
        if decorated:
            raise TypeError("HasScopes is no decorator: list it in permission_classes")
        return self

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return whether the caller holds the scopes. Raise `RuntimeError` if patauth was not passed."""
        inner, site, principal = _passage(request)
        if principal is None:
            return False
        if covers(principal.scopes, self._demanded, site.settings.scopes or ()):
            return True
        inner.META[LACKING] = self._demanded  # another permission may still permit it
        return False

    def has_object_permission(self, request: Request, view: Any, obj: Any) -> bool:
        """Return whether the caller holds the scopes, which are the same for all objects."""
        return self.has_permission(request, view)


def _passage(request: Request) -> Passage:
    found = passage(request)
    assert found is not None  # Django REST framework has made it of one of Django's
    return found
