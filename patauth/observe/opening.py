"""Choose the parts of an Authority: the plain ones, unless a setting wants an observer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from ..settings import Settings
from .parts import Parts

if TYPE_CHECKING:
    from .observer import Observer

# What only observed parts need is imported with them, and the extras may be missing.

_log = logging.getLogger("patauth")


def parts_of(settings: Settings) -> Parts:
    """Return the parts that the settings want. Raise `ConfigurationError` if an extra is not installed."""
    observers: list[Observer] = []
    if settings.metrics and (metrics := _metrics()) is not None:
        observers.append(metrics)
    if settings.traces:
        observers.append(_traces())
    if not observers:
        return Parts()
    from .observed_parts import ObservedParts
    from .observer import Observers

    return ObservedParts(Observers(*observers))


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
