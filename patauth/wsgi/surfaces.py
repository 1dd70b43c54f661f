"""The surfaces: groups of patauth's own endpoints, each with its routes and its OpenAPI description.

Paths match exactly and below the setting `path_prefix`. A surface that is off, and every path that only looks
like one of these, belongs to the application.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..authority import Authority
from ..errors import ConfigurationError
from ..model.hooks import Hook
from .routing import Routes
from .site import Site

if TYPE_CHECKING:
    from .openapi.parts import Description


class Surface(NamedTuple):
    """Names two modules below `patauth.wsgi`.

    `routes` offers `routes(site)`, which returns `Routes`. `description` offers
    `describe(authority)`, which returns a `Description`; None: OpenAPI does not describe it.
    """

    routes: str
    description: str | None


# Imported when they are needed. A wrapped app does not need the management dialects, which take a quarter of
# the time of importing patauth. Most processes never make the document, which takes an eighth.
SURFACES = {
    "oauth": Surface("oauth.endpoints", "oauth.description"),
    "isc": Surface("isc.routes", "isc.description"),
    "zitadel": Surface("zitadel.routes", "zitadel.description"),
    "page": Surface("page.routes", None),
}
PAGE = "page"  # for people; it needs `identify`, and an extra
OPENAPI = "openapi"  # GET /openapi.json, which describes the surfaces that are on and itself


def open_routes(site: Site, surfaces: Collection[str]) -> Routes:
    """Return the routes of these surfaces. Raise `ConfigurationError` as `check_page` does."""
    check_page(surfaces, site.identify)
    found: list[Routes] = [
        _load(surface.routes).routes(site) for name, surface in SURFACES.items() if name in surfaces
    ]
    if OPENAPI in surfaces:
        descriptions = partial(describe, site.authority, surfaces)
        found.append(_load("openapi.document").routes(site.settings, descriptions))
    return Routes.joined(found)


def check_page(surfaces: Collection[str], identify: Hook | None, folder: Path | None = None) -> None:
    """Raise `ConfigurationError` if the page is one of these surfaces and cannot be served.

    `folder`: templates and texts of the application's own, which are read.
    """
    if PAGE not in surfaces:
        return
    if identify is None:
        raise ConfigurationError("surfaces: page needs identify, the function that says who is signed in")
    if not is_page_installed():
        raise ConfigurationError("surfaces: page needs jinja2: pip install 'patauth[page]'")
    if folder is not None:
        _load("page.rendering").Rendering(folder)


def is_page_installed() -> bool:
    """Return whether the extra `page` is installed."""
    return find_spec("jinja2") is not None


def describe(authority: Authority, surfaces: Collection[str]) -> list[Description]:
    """Return the OpenAPI descriptions of these surfaces."""
    found: list[Description] = [
        _load(surface.description).describe(authority)
        for name, surface in SURFACES.items()
        if name in surfaces and surface.description is not None
    ]
    if OPENAPI in surfaces:
        found.append(_load("openapi.document").describe(authority.settings))
    return found


def _load(module: str) -> Any:
    return import_module(f"{__package__}.{module}")
