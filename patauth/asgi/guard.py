"""A guard that decides in threads: the base of the fronts that run on an event loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from ..errors import PatAuthError
from ..wsgi.answers import Answer
from ..wsgi.guard import App, Guard, Passed
from .connection import worded
from .workers import Workers


class AsyncGuard(Guard[App]):
    """Decides about a request while its event loop goes on."""

    @cached_property
    def _workers(self) -> Workers:
        return Workers(self.site.operations)

    async def _ruling(
        self, environ: dict[str, Any], decide: Callable[[dict[str, Any]], Answer | Passed]
    ) -> Answer | Passed:
        """Return what `decide` says in a thread, or what `_decide` says at once if it asks nobody."""
        if self._asks_nobody(environ):
            return self._decide(environ)
        try:
            return await self._workers.run(decide, environ)
        except PatAuthError as error:  # it got no turn in time
            return await worded(self.site, self._refusal, error, environ)
