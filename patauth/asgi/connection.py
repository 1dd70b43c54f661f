"""A connection that has passed the gate, and whose caller the application may still refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ..errors import PatAuthError
from ..model.caller import Principal
from ..wsgi.answers import Answer
from ..wsgi.require import lack
from ..wsgi.site import Site

CONNECTION = "patauth.connection"  # in the scope that the application sees


class Connection:
    """Knows the caller of a connection, and how to refuse that caller.

    If `refusal` is set, the middleware sends it in place of what the application sends. So no error handler
    of the application can change its status, fields or body.
    """

    def __init__(self, site: Site, environ: dict[str, Any], principal: Principal | None) -> None:
        self.principal = principal
        self.refusal: Answer | None = None
        self._site = site
        self._environ = environ

    async def demand(self, scopes: tuple[str, ...]) -> Answer | None:
        """Return the refusal of a caller who lacks one of these scopes; None: the caller holds them all."""
        error = lack(self._site, self.principal, scopes)
        if error is not None:
            self.refusal = await worded(self._site, self._site.refusal, error, self._environ)
        return self.refusal


async def worded(
    site: Site,
    refusal: Callable[[PatAuthError, dict[str, Any]], Answer],
    error: PatAuthError,
    environ: dict[str, Any],
) -> Answer:
    """Return the refusal for an error. If a function of the host words refusals, call it in a thread."""
    if site.words_refusals:
        return await asyncio.to_thread(refusal, error, environ)
    return refusal(error, environ)
