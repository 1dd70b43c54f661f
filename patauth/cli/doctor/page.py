"""What `patauth doctor` finds about the page for people: who is signed in, and where they sign in."""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import ConfigurationError
from ...settings import Settings
from ...wsgi.hooks import check_hooks
from ...wsgi.surfaces import PAGE, check_page
from ..context import IDENTIFY_UNKNOWN, NO_PAGE, lacks_page, served
from .finding import Finding, ok, problem, warning


def judge_page(settings: Settings) -> Iterator[Finding]:
    """Examine the settings about people, as `patauth serve` would use them.

    Without any, and without the page, there are no findings.
    """
    settings = served(settings)
    try:
        check_hooks(settings)
    except ConfigurationError as trouble:
        yield problem("page", f"{trouble}.", "Name a function as package.module:function.")
        return
    if settings.identify is None:
        if PAGE in settings.surfaces:
            yield warning("page", IDENTIFY_UNKNOWN, "For patauth serve, set identify (PATAUTH_IDENTIFY).")
        return
    if lacks_page(settings):
        yield warning("page", f"{NO_PAGE}.", "Install it, or name the surfaces without the page.")
        return
    try:
        check_page(settings.surfaces, settings.identify, settings.page_folder)
    except ConfigurationError as trouble:
        yield problem("page", f"{trouble}.", "Correct it as described, or leave the page out of surfaces.")
        return
    where = "nowhere (login_url is not set)" if settings.login_url is None else settings.login_url
    yield ok("page", f"identify is {settings.identify}. The page sends people who are signed out to {where}.")
