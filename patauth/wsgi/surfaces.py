"""patauth's own routes: which request is answered here, and which is the application's.

    oauth   /oauth/token, introspect, revoke;         oauth.py, discovery.py
            /.well-known/...
    isc     /personal-access-tokens/v1..., /v2025...  dialects/isc.py
    zitadel /management/v1/users/{id}/pats..., /v2/users/..., /zitadel.user.v2.UserService/...
                                                      dialects/zitadel.py, zitadel_v2.py
    openapi /openapi.json                             openapi.py

Paths match exactly and under the setting `path_prefix`; a surface that is off, and whatever only looks like
one of these paths, belongs to the application. Each route renders its own errors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ..authority import Authority
from ..errors import PatAuthError
from .answers import Answer, oauth_error

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from .api.caller import Identify

Route = Callable[["WSGIEnvironment"], Answer]


class Dialect(Protocol):
    """A management API: routes by path, and by path for what begins with one of `beginnings`."""

    fixed: dict[str, Route]
    beginnings: tuple[str, ...]

    def find(self, path: str) -> Route | None:
        """The route of a path with an id in it, or None."""


class Routes:
    """The routes of the surfaces that are on. Immutable; safe among threads."""

    def __init__(self, authority: Authority, surfaces: Collection[str], identify: Identify | None) -> None:
        settings = authority.settings
        prefix = settings.path_prefix
        self._fixed: dict[str, Route] = {}
        # By the beginnings of their paths.
        self._dialects: dict[tuple[str, ...], Dialect] = {}
        # Imported late: an app that is only wrapped does without most of them.
        if "oauth" in surfaces:
            from .oauth import endpoints, metadata

            for endpoint in (endpoints.token, endpoints.introspect, endpoints.revoke):
                self._fixed[f"{prefix}/oauth/{endpoint.__name__}"] = partial(_oauth, endpoint, authority)
            if authority.operations.publishes_keys:
                self._fixed[f"{prefix}/oauth/jwks"] = partial(_oauth, endpoints.jwks, authority)
            self._fixed.update(metadata.routes(settings))
        if "isc" in surfaces:
            from .isc import routes

            self._add(routes.Dialect(authority, identify))
        if "zitadel" in surfaces:
            from .zitadel import v1

            self._add(v1.Dialect(authority, identify))
        if "openapi" in surfaces:
            from .openapi import document

            self._fixed.update(document.routes(authority, surfaces))
        self._beginnings = tuple(one for beginnings in self._dialects for one in beginnings)
        # The route of a PATH_INFO, or None: the application's. All requests to the application come by here.
        self.find: Callable[[str], Route | None] = self._find if self._dialects else self._fixed.get

    def _add(self, dialect: Dialect) -> None:
        self._fixed.update(dialect.fixed)
        self._dialects[dialect.beginnings] = dialect

    def _find(self, path: str) -> Route | None:
        route = self._fixed.get(path)
        if route is None and path.startswith(self._beginnings):
            for beginnings, dialect in self._dialects.items():
                if path.startswith(beginnings):
                    return dialect.find(path)
        return route


def _oauth(
    endpoint: Callable[[WSGIEnvironment, Authority], Answer], authority: Authority, environ: WSGIEnvironment
) -> Answer:
    try:
        return endpoint(environ, authority)
    except PatAuthError as error:
        return oauth_error(error, authority.settings.realm)
