"""The parts of an Authority, where metrics or traces are on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from . import authentication
from .events import ObservedEvents
from .hashing import ObservedHasher, ObservedProofCache
from .observer import Observers
from .parts import F, Parts
from .store import ObservedScripts


class ObservedParts(Parts):
    """Makes parts that tell observers what they do."""

    def __init__(self, observers: Observers) -> None:
        self.observers: Observers = observers
        self.scripts = partial(ObservedScripts, observers)
        self.events = partial(ObservedEvents, observers)
        self.hasher = partial(ObservedHasher, observers)
        self.proofs = partial(ObservedProofCache, observers)

    def by_text(self, authenticate: F, read: Callable[[str], Any]) -> F:
        """Return what authenticates by a text, which `read` reads, and tells the observers."""
        identify = authentication.by_text(read)
        return authentication.observed(self.observers, authenticate, identify)  # type: ignore[return-value]

    def by_credentials(self, authenticate: F) -> F:
        """Return what authenticates by credentials that were read already, and tells the observers."""
        identify = authentication.by_credentials
        return authentication.observed(self.observers, authenticate, identify)  # type: ignore[return-value]

    def reading(self, read: F) -> F:
        """Return what reads credentials for such an authentication, and tells the observers."""
        return authentication.observed_reading(self.observers, read)  # type: ignore[return-value]
