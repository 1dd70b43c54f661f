"""The parts of an Authority that can be observed: the plain ones, unless a setting wants an observer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

from ..crypto.hashing import Hasher
from ..crypto.proof_cache import ProofCache
from ..errors import ConfigurationError
from ..events.events import Events
from ..settings import Settings
from ..store.scripts import MakeScripts, Scripts
from .observer import Observer, Observers

_log = logging.getLogger("patauth")

F = TypeVar("F", bound=Callable[..., Any])


class Parts(NamedTuple):
    """Makes the parts of an Authority, with the arguments of the classes here. `observer` hears them."""

    observer: Observer | None = None
    scripts: MakeScripts = Scripts
    events: Callable[..., Events] = Events
    hasher: Callable[..., Hasher] = Hasher
    proofs: Callable[..., ProofCache] = ProofCache

    def by_text(self, authenticate: F, read: Callable[[str], Any]) -> F:
        """Return what authenticates by a text, which `read` reads."""
        if self.observer is None:
            return authenticate
        from .authentication import method_by, observed

        return observed(self.observer, authenticate, method_by(read))  # type: ignore[return-value]

    def by_credentials(self, authenticate: F) -> F:
        """Return what authenticates by credentials that were read already."""
        if self.observer is None:
            return authenticate
        from .authentication import method_in, observed

        return observed(self.observer, authenticate, method_in)  # type: ignore[return-value]

    def reading(self, read: F) -> F:
        """Return what reads credentials for such an authentication."""
        if self.observer is None:
            return read
        from .authentication import observed_reading

        return observed_reading(self.observer, read)  # type: ignore[return-value]


def _metrics() -> Observer | None:
    from .shared import prepare

    try:
        prepare()
        from .metrics import Metrics
    except OSError as problem:
        _log.warning("metrics: this process counts nothing: %s", problem.strerror)
        return None
    except ImportError as problem:
        if (problem.name or "").partition(".")[0] != "prometheus_client":
            raise
        raise ConfigurationError(
            "metrics: they need prometheus-client: pip install 'patauth[metrics]'"
        ) from None
    return Metrics()


def _traces() -> Observer:
    try:
        from .traces import Traces
    except ImportError as problem:
        if (problem.name or "").partition(".")[0] != "opentelemetry":
            raise
        raise ConfigurationError("traces: they need opentelemetry-api: pip install 'patauth[otel]'") from None
    return Traces()


def parts_of(settings: Settings) -> Parts:
    """Return the parts that the settings want. Raise `ConfigurationError` if an extra is not installed."""
    observers: list[Observer] = []
    if settings.metrics and (metrics := _metrics()) is not None:
        observers.append(metrics)
    if settings.traces:
        observers.append(_traces())
    if not observers:
        return Parts()
    from .events import ObservedEvents
    from .hashing import ObservedHasher, ObservedProofCache
    from .store import ObservedScripts

    observer = observers[0] if len(observers) == 1 else Observers(observers)
    return Parts(
        observer,
        scripts=partial(ObservedScripts, observer),
        events=partial(ObservedEvents, observer),
        hasher=partial(ObservedHasher, observer),
        proofs=partial(ObservedProofCache, observer),
    )
