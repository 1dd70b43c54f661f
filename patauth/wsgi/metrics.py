"""Metrics as Prometheus reads them: those of this process, or of all processes that share a folder."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING

from ..authority import Authority
from ..errors import ConfigurationError, PatAuthError
from ..observe.shared import folder_of_environment
from ..operations.expiring import count_expiring

if TYPE_CHECKING:  # an extra, and it takes long to import
    from _typeshed.wsgi import WSGIApplication
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import GaugeMetricFamily

_log = logging.getLogger("patauth")

WITHIN = {"1d": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400}  # s by label
KEPT = 60.0  # s for which the store is not asked again


def metrics_app(authority: Authority) -> WSGIApplication:
    """Return a WSGI application that answers GET with metrics, as Prometheus and OpenMetrics want them.

    It answers with all that prometheus-client has in this process, and with how many PATs of the Authority's
    tenant expire soon. Where `PROMETHEUS_MULTIPROC_DIR` names a folder, it is all that the processes with
    that folder have counted. It asks for no credentials: serve it where only operators reach it. Raise
    `ConfigurationError` if the setting `metrics` is off.
    """
    registry = open_registry(authority)
    from prometheus_client import make_wsgi_app

    app: WSGIApplication = make_wsgi_app(registry)
    return app


def open_registry(authority: Authority) -> CollectorRegistry:
    """Return the metrics that `metrics_app` answers with. Raise `ConfigurationError`."""
    if not authority.settings.metrics:
        raise ConfigurationError("metrics: they are off; set metrics=True (PATAUTH_METRICS=true)")
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    if (folder := folder_of_environment()) is not None:
        MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    else:
        registry.register(REGISTRY)
    actor = authority.operations.actor(None)
    registry.register(Expiring(lambda: count_expiring(actor, list(WITHIN.values()))))
    return registry


class Expiring:
    """Tells how many PATs expire soon, by `count`, which is asked once in `KEPT` seconds.

    While the store does not answer, it tells nothing. `timer` returns seconds that never step back.
    """

    def __init__(self, count: Callable[[], Sequence[int]], timer: Callable[[], float] = monotonic) -> None:
        self._count = count
        self._timer = timer
        self._lock = threading.Lock()
        self._counts: Sequence[int] = ()
        self._ask_at = timer()

    def describe(self) -> list[GaugeMetricFamily]:
        """Return the metric without values."""
        from prometheus_client.core import GaugeMetricFamily

        return [GaugeMetricFamily("patauth_pats_expiring", "PATs that expire soon.", labels=["within"])]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metric. prometheus-client calls this for each scrape."""
        with self._lock:
            now = self._timer()
            if now >= self._ask_at:
                self._ask_at = now + KEPT
                try:
                    self._counts = self._count()
                except PatAuthError as problem:
                    self._counts = ()
                    _log.warning("metrics: PATs that expire are not counted: %s", problem.detail or problem)
            counts = self._counts
        if counts:
            (metric,) = self.describe()
            for within, count in zip(WITHIN, counts, strict=True):
                metric.add_metric([within], count)
            yield metric
