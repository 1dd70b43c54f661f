"""patauth's own routes: which request is answered here, and which is the application's.

    oauth   /oauth/token, /.well-known/...            oauth.py, discovery.py
    isc     /personal-access-tokens/v1..., /v2025...  dialects/isc.py

Paths match exactly and under the setting `path_prefix`; a surface that is off, and whatever only looks like
one of these paths, belongs to the application. Each route renders its own errors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING

from ..authority import Authority
from ..errors import PatAuthError
from . import discovery, oauth
from .caller import Identify
from .errors import Answer, oauth_error

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from .dialects.isc import Dialect

Route = Callable[["WSGIEnvironment"], Answer]


class Routes:
    """The routes of the surfaces that are on. Immutable; safe among threads."""

    def __init__(self, authority: Authority, surfaces: Collection[str], identify: Identify | None) -> None:
        settings = authority.settings
        prefix = settings.path_prefix
        self._fixed: dict[str, Route] = {}
        self._beginnings: tuple[str, ...] = ()
        self._dialect: Dialect | None = None
        if "oauth" in surfaces:
            self._fixed[f"{prefix}/oauth/token"] = partial(_token, authority)
            self._fixed.update(discovery.routes(settings))
        if "isc" in surfaces:
            from .dialects.isc import Dialect  # an app that is only wrapped does without it

            self._dialect = Dialect(authority, identify)
            self._fixed.update(self._dialect.fixed)
            self._beginnings = self._dialect.beginnings

    def find(self, path: str) -> Route | None:
        """The route of a PATH_INFO, or None: the application's.

        All requests to the application come by here, so for theirs this is one look-up and one comparison.
        """
        route = self._fixed.get(path)
        if route is None and path.startswith(self._beginnings) and self._dialect is not None:
            return self._dialect.find(path)
        return route


def _token(authority: Authority, environ: WSGIEnvironment) -> Answer:
    try:
        return oauth.token(environ, authority)
    except PatAuthError as error:
        return oauth_error(error, authority.settings.realm)
