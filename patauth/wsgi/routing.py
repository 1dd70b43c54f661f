"""Routes: find what answers a request for one of patauth's own paths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import PatAuthError
from ..settings import Settings
from .answers import Answer, oauth_error
from .errors import MethodNotAllowed

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

Route = Callable[["WSGIEnvironment"], Answer]  # renders its own errors, and raises none
Find = Callable[[str], Route | None]  # the route of a path or of its rest; None: the application's


@dataclass(frozen=True, slots=True)
class SameOrigin:
    """A route for pages of its own origin: no CORS fields, and no answer to a preflight."""

    route: Route

    def __call__(self, environ: WSGIEnvironment) -> Answer:
        """Answer a request."""
        return self.route(environ)


class Routes:
    """Finds the route of a path of one surface or of several. It never changes, and threads may share it.

    `fixed` has the routes of whole paths. `below` maps the beginning of a path to a function that finds the
    route of the rest, which contains ids. If one beginning is also the beginning of another, the first one
    that finds a route counts.
    """

    def __init__(self, fixed: Mapping[str, Route], below: Mapping[str, Find] | None = None) -> None:
        self.fixed = dict(fixed)
        self.below = dict(below or {})
        self._beginnings = tuple(self.below)
        # Every request of the application passes here, so the common case is one look-up without a frame.
        self.find: Find = self._find if self.below else self.fixed.get

    @classmethod
    def joined(cls, parts: Iterable[Routes]) -> Routes:
        """Return the routes of all parts."""
        fixed: dict[str, Route] = {}
        below: dict[str, Find] = {}
        for part in parts:
            fixed |= part.fixed
            below |= part.below
        return cls(fixed, below)

    def _find(self, path: str) -> Route | None:
        route = self.fixed.get(path)
        if route is None and path.startswith(self._beginnings):
            for beginning, find in self.below.items():
                if path.startswith(beginning) and (route := find(path[len(beginning) :])) is not None:
                    break
        return route


def get_only(make: Callable[[], Answer]) -> Route:
    """Return a route that answers GET and HEAD with what `make` returns, and other methods with 405.

    They need no credentials, and errors look like those of the OAuth endpoints.
    """

    def respond(environ: WSGIEnvironment) -> Answer:
        try:
            if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
                raise MethodNotAllowed("GET, HEAD")
            return make()
        except PatAuthError as error:
            return oauth_error(error)

    return respond


def issuer_base(issuer: str, settings: Settings) -> str:
    """Return the URL below which `path_prefix` begins, as clients see it.

    An issuer whose path ends in `path_prefix` is the URL of patauth's routes. Any other issuer is the URL at
    which the application is mounted.
    """
    prefix = settings.path_prefix
    return issuer.removesuffix(prefix) if urlsplit(issuer).path.endswith(prefix) else issuer
