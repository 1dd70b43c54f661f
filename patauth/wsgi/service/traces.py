"""The trace of a client's to which a request of `patauth serve` belongs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from ...events.request import TRACEPARENT
from ...settings import Settings

Within = Callable[[dict[str, Any]], AbstractContextManager[object]]

_log = logging.getLogger("patauth")

_LENGTH = 55  # characters of a `traceparent` that are known in every version


def within_trace_of(settings: Settings) -> Within:
    """Return what makes the trace that an environ names by a well-formed `traceparent` the current one.

    It raises nothing of its own. Where the setting `traces` is off, it does nothing. OpenTelemetry sees no
    other field of a client's: its log repeats values that it cannot read.
    """
    if not settings.traces:
        return nullcontext
    from opentelemetry import context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    extract = TraceContextTextMapPropagator().extract
    has_failed = False

    @contextmanager
    def within(environ: dict[str, Any]) -> Iterator[None]:
        nonlocal has_failed
        parent, token = environ.get("HTTP_TRACEPARENT"), None
        if isinstance(parent, str) and TRACEPARENT.fullmatch(parent):
            try:
                token = context.attach(extract({"traceparent": parent[:_LENGTH]}, context.get_current()))
            except Exception as problem:  # what keeps the context is the operator's choice
                if not has_failed:
                    has_failed = True
                    _log.warning(
                        "traces: a request was not put into the trace of its client; others may be missing"
                        " too: %s",
                        type(problem).__name__,
                    )
        try:
            yield
        finally:
            if token is not None:
                context.detach(token)  # it logs what fails

    return within
