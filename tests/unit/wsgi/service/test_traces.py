"""The trace that a request of `patauth serve` belongs to, whatever client and operator do."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.propagators.textmap import TextMapPropagator

from patauth import Settings
from patauth.wsgi.service.traces import within_trace_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
HOSTILE = "pats_hush\x9b31m\u2028" * 500

within = within_trace_of(Settings.of(store_url="memory:", traces=True))


def current() -> trace.SpanContext:
    return trace.get_current_span().get_span_context()


def test_a_well_formed_traceparent_is_the_parent_and_afterwards_no_more() -> None:
    for given in (PARENT, f"cc{PARENT[2:]}-{HOSTILE}"):
        with within({"HTTP_TRACEPARENT": given}):
            found = current()
            assert (f"{found.trace_id:032x}", f"{found.span_id:016x}") == (TRACE, SPAN)
            assert found.is_remote
            assert found.trace_flags == 1
        assert not current().is_valid


@pytest.mark.parametrize("given", ["", "00-0", HOSTILE, PARENT + HOSTILE, PARENT.upper(), None])
def test_without_one_the_request_stays_in_the_span_around_it(given: str | None) -> None:
    outer = trace.NonRecordingSpan(trace.SpanContext(7, 8, is_remote=False))
    with trace.use_span(outer), within({} if given is None else {"HTTP_TRACEPARENT": given}):
        assert trace.get_current_span() is outer


def test_nothing_else_of_a_client_reaches_opentelemetry(caplog: pytest.LogCaptureFixture) -> None:
    """OpenTelemetry's own log repeats values of these fields that it cannot read."""
    environ = {"HTTP_TRACEPARENT": PARENT, "HTTP_TRACESTATE": HOSTILE, "HTTP_BAGGAGE": f"k={HOSTILE}"}
    with caplog.at_level(logging.DEBUG), within(environ):
        assert not current().trace_state
        assert baggage.get_all() == {}
    assert caplog.records == []


class Broken(TextMapPropagator):
    """A propagator of the operator's that fails."""

    fields = {"traceparent"}  # noqa: RUF012 - as the API declares it

    def extract(self, *_: Any, **__: Any) -> Any:
        raise ValueError("hush")

    def inject(self, *_: Any, **__: Any) -> None:
        raise ValueError("hush")


def test_a_propagator_of_the_operators_fails_no_request() -> None:
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(Broken())
    try:
        with within({"HTTP_TRACEPARENT": PARENT}):
            assert current().is_valid
    finally:
        propagate.set_global_textmap(before)


def test_a_context_that_fails_fails_no_request_and_the_log_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The operator chooses what keeps the context, by OTEL_PYTHON_CONTEXT."""

    def fail(_: object) -> None:
        raise RuntimeError("hush")

    monkeypatch.setattr(context, "attach", fail)
    one = within_trace_of(Settings.of(store_url="memory:", traces=True))
    answered = []
    for number in range(2):
        with one({"HTTP_TRACEPARENT": PARENT}):
            answered.append(number)
    assert answered == [0, 1]
    assert [record.getMessage() for record in caplog.records] == [
        "traces: a request was not put into the trace of its client; others may be missing too: RuntimeError"
    ]


def test_what_the_request_raises_is_raised_and_the_trace_is_over() -> None:
    with pytest.raises(LookupError), within({"HTTP_TRACEPARENT": PARENT}):
        raise LookupError
    assert not current().is_valid
