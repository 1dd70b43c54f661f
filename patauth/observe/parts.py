"""The parts of an Authority that can be observed, and that nobody observes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..crypto.hashing import Hasher
from ..crypto.proof_cache import ProofCache
from ..events.events import Events
from ..store.scripts import MakeScripts, Scripts

if TYPE_CHECKING:
    from .observer import Observers

F = TypeVar("F", bound=Callable[..., Any])


class Parts:
    """Makes the parts of an Authority, with the arguments of the classes here. `observers` hear them."""

    observers: Observers | None = None
    scripts: MakeScripts = Scripts
    events: Callable[..., Events] = Events
    hasher: Callable[..., Hasher] = Hasher
    proofs: Callable[..., ProofCache] = ProofCache

    def by_text(self, authenticate: F, read: Callable[[str], Any]) -> F:
        """Return what authenticates by a text, which `read` reads."""
        return authenticate

    def by_credentials(self, authenticate: F) -> F:
        """Return what authenticates by credentials that were read already."""
        return authenticate

    def reading(self, read: F) -> F:
        """Return what reads credentials for such an authentication."""
        return read
