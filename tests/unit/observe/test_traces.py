"""What OpenTelemetry is told of an Authority, by the SDK's own provider and exporter."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from patauth import (
    Authority,
    ConfigurationError,
    InvalidCredentials,
    Overloaded,
    PatAuthError,
    RateLimited,
    Settings,
    StoreUnavailable,
)
from patauth.asgi import PatAuthMiddleware
from patauth.observe import traces
from patauth.observe.observer import Observer, Observers
from patauth.observe.opening import parts_of
from patauth.observe.traces import Traces
from patauth.store.local.engine import LocalEngine
from tests.support.authorities import Make, basic, basic_of, bearer, issue, wrong_secret
from tests.support.documents import blocks, read
from tests.support.processes import environment
from tests.support.servers import Server

ADDRESS = "203.0.113.9"
VERIFY = "EVALSHA authenticate"


class Spans:
    """A provider, and the spans that have ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def take(self) -> list[ReadableSpan]:
        """Return the spans in the order in which they began, and forget them."""
        found = sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
        self._exporter.clear()
        return found


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """Those of an Authority that is made in the test; the provider of the process stays unset."""
    found = Spans()
    monkeypatch.setattr(trace, "get_tracer", found.provider.get_tracer)
    return found


@pytest.fixture
def authority(spans: Spans, make: Make) -> Authority:
    made = make(traces=True)
    made.ping()
    spans.take()
    return made


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def identity(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


def test_a_first_use_has_spans_of_the_store_and_of_a_hash_and_the_next_of_the_store_alone(
    authority: Authority, spans: Spans
) -> None:
    issued = issue(authority)
    spans.take()
    authority.authenticate(basic_of(issued), address=ADDRESS)
    whole, *steps = spans.take()
    assert (whole.name, whole.kind, parent(whole)) == ("patauth.authenticate", SpanKind.INTERNAL, None)
    assert attributes(whole) == {
        "patauth.method": "basic", "patauth.outcome": "accepted", "patauth.pat_id": issued.pat.id,
    }  # fmt: skip
    assert {parent(step) for step in steps} == {identity(whole)}
    names = [step.name for step in steps]
    assert (names[0], "patauth.hash" in names) == (VERIFY, True)
    authority.authenticate(basic_of(issued), address=ADDRESS)
    authority.authenticate(basic_of(issued), address=ADDRESS)
    assert [span.name for span in spans.take()] == ["patauth.authenticate", VERIFY] * 2


def test_a_call_of_the_store_is_told_as_the_conventions_for_redis_have_it(
    authority: Authority, spans: Spans
) -> None:
    """https://opentelemetry.io/docs/specs/semconv/db/redis/"""
    authority.authenticate(f"Bearer {issue(authority).token}", address=ADDRESS)
    (asked,) = [span for span in spans.take() if span.name == VERIFY]
    assert asked.kind is SpanKind.CLIENT
    assert attributes(asked) == {
        "db.system.name": "redis", "db.operation.name": "EVALSHA", "db.stored_procedure.name": "authenticate",
    }  # fmt: skip
    with spans.provider.get_tracer("host").start_as_current_span("host"):
        authority.ping()
    plain = [span for span in spans.take() if "db.stored_procedure.name" not in attributes(span)]
    assert ("MGET", "MGET") in {(span.name, attributes(span).get("db.operation.name")) for span in plain}


@pytest.mark.parametrize("way", ["pat", "access_token", "exchange"])
def test_each_way_to_send_credentials_is_one_span(authority: Authority, spans: Spans, way: str) -> None:
    issued = issue(authority)
    access = authority.exchange(issued.pat.id, issued.secret)
    spans.take()
    if way == "exchange":
        authority.exchange(issued.pat.id, issued.secret)
    else:
        authority.authenticate(bearer(issued.token if way == "pat" else access.value), address=ADDRESS)
    (whole,) = [span for span in spans.take() if span.parent is None]
    assert attributes(whole) == {
        "patauth.method": "basic" if way == "exchange" else way, "patauth.outcome": "accepted",
        "patauth.pat_id": issued.pat.id,
    }  # fmt: skip


@pytest.mark.parametrize("reason", ["invalid", "malformed", "rate_limited"])
def test_a_refusal_says_why_and_is_no_error_of_this_program(spans: Spans, make: Make, reason: str) -> None:
    authority = make(traces=True, request_quota="1/60")
    issued = issue(authority)
    sent = {
        "invalid": basic(issued.pat.id, wrong_secret(authority)),
        "malformed": "Bearer x",
        "rate_limited": basic_of(issued),
    }[reason]
    if reason == "rate_limited":
        authority.authenticate(sent, address=ADDRESS)
    spans.take()
    with pytest.raises((InvalidCredentials, RateLimited)):
        authority.authenticate(sent, address=ADDRESS)
    whole, *steps = spans.take()
    told = attributes(whole)
    assert told["patauth.outcome"] == "refused"
    assert told["patauth.reason"] == reason
    assert not {"patauth.pat_id", "error.type"} & told.keys()
    assert whole.status.status_code is StatusCode.UNSET
    assert bool(steps) is (reason != "malformed")
    assert "patauth.hash" not in [step.name for step in steps]


def test_a_store_that_is_down_is_an_error_of_both_spans_and_no_text_of_it_is_told(
    spans: Spans, make_at: Make, tmp_path: Path
) -> None:
    authority = make_at(url=f"unix://{tmp_path}/nobody", traces=True)
    with pytest.raises(StoreUnavailable):
        authority.verify_basic("0" * 32, wrong_secret(authority))
    whole, *steps = spans.take()
    assert attributes(whole)["patauth.reason"] == attributes(whole)["error.type"] == "store_unavailable"
    assert steps
    for span in (whole, *steps):
        assert span.status.status_code is StatusCode.ERROR
        assert (span.status.description, span.events) == (None, ())
        assert attributes(span)["error.type"].replace(".", "_").isidentifier()
    assert str(tmp_path) not in json.dumps([attributes(span) for span in (whole, *steps)])


def test_a_hash_that_nobody_computes_is_an_error(
    authority: Authority, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = issue(authority)
    spans.take()

    def full(*_: Any) -> None:
        raise Overloaded

    monkeypatch.setattr("patauth.crypto.hashing.Hasher.compute", full)
    with pytest.raises(Overloaded):
        authority.authenticate(basic_of(issued), address=ADDRESS)
    whole, *steps = spans.take()
    (hashed,) = [step for step in steps if step.name == "patauth.hash"]
    assert attributes(hashed) == {"error.type": "patauth.errors.Overloaded"}
    assert attributes(whole)["error.type"] == "overloaded"
    assert {hashed.status.status_code, whole.status.status_code} == {StatusCode.ERROR}


def test_a_script_that_the_server_has_lost_is_an_error_of_that_call_alone(
    authority: Authority, spans: Spans, server: Server
) -> None:
    issued = issue(authority)
    spans.take()
    with server.client() as client:
        client.script_flush()
    with spans.provider.get_tracer("host").start_as_current_span("host"):
        authority.update(issued.pat.id, description="changed")
    told = [attributes(span) for span in spans.take() if span.name in ("EVALSHA update", "EVAL update")]
    codes = [(one["db.operation.name"], one.get("db.response.status_code")) for one in told]
    assert codes == [("EVALSHA", "NOSCRIPT"), ("EVAL", None)]
    assert told[0]["error.type"] == "NOSCRIPT"
    with server.client() as client:
        client.script_flush()
    authority.authenticate(basic_of(issued), address=ADDRESS)
    whole = spans.take()[0]
    assert (attributes(whole)["patauth.outcome"], whole.status.status_code) == ("accepted", StatusCode.UNSET)


class TestParents:
    def test_the_spans_are_inside_of_the_hosts_which_is_the_current_one_again_afterwards(
        self, authority: Authority, spans: Spans
    ) -> None:
        issued = issue(authority)
        spans.take()
        with spans.provider.get_tracer("host").start_as_current_span("host") as host:
            authority.authenticate(basic_of(issued), address=ADDRESS)
            with pytest.raises(InvalidCredentials):
                authority.authenticate("Bearer x", address=ADDRESS)
            assert trace.get_current_span() is host
            authority.update(issued.pat.id, description="changed")
        found = spans.take()
        inside = [span.name for span in found if parent(span) == identity(found[0])]
        assert inside[:2] == ["patauth.authenticate"] * 2
        assert "EVALSHA update" in inside
        assert {span.context.trace_id for span in found if span.context} == {host.get_span_context().trace_id}

    def test_outside_of_an_authentication_and_of_the_host_there_is_no_span(
        self, authority: Authority, spans: Spans
    ) -> None:
        authority.update(issue(authority).pat.id, description="changed")
        assert spans.take() == []

    def test_an_asgi_application_has_them_in_its_own_span_although_threads_decide(
        self, authority: Authority, spans: Spans
    ) -> None:
        issued = issue(authority)
        spans.take()
        sent: list[dict[str, Any]] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ok"})

        async def ask() -> None:
            scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"",
                     "client": (ADDRESS, 1), "headers": [
                (b"authorization", basic_of(issued).encode()),
            ]}  # fmt: skip

            async def receive() -> dict[str, Any]:
                return {"type": "http.request"}

            async def send(message: dict[str, Any]) -> None:
                sent.append(message)

            with spans.provider.get_tracer("host").start_as_current_span("host"):
                await PatAuthMiddleware(app, authority)(scope, receive, send)

        asyncio.run(ask())
        assert sent[0]["status"] == 200
        host, whole, *steps = spans.take()
        assert (whole.name, parent(whole)) == ("patauth.authenticate", identity(host))
        assert {parent(step) for step in steps} == {identity(whole)}

    def test_what_the_host_does_not_sample_has_no_spans_inside(
        self, monkeypatch: pytest.MonkeyPatch, make: Make
    ) -> None:
        found = Spans()
        found.provider.sampler = ALWAYS_OFF
        monkeypatch.setattr(trace, "get_tracer", found.provider.get_tracer)
        authority = make(traces=True)
        authority.authenticate(basic_of(issue(authority)), address=ADDRESS)
        assert found.take() == []


def test_no_secret_owner_or_address_is_in_any_span(authority: Authority, spans: Spans) -> None:
    issued = issue(authority, name="payroll")
    access = authority.exchange(issued.pat.id, issued.secret).value
    with spans.provider.get_tracer("host").start_as_current_span("host"):
        for sent in (
            basic_of(issued),
            bearer(issued.token),
            bearer(access),
            bearer(access[:-1]),
            f"X {issued.secret}",
        ):
            try:
                authority.authenticate(sent, address=ADDRESS)
            except PatAuthError as problem:
                assert isinstance(problem, InvalidCredentials) or problem.status == 400
        authority.rotate(issued.pat.id)
        authority.delete(issued.pat.id)
    found = spans.take()
    assert len(found) > 12
    told = "".join(span.to_json() for span in found)
    hidden = [issued.secret, issued.token, access, basic_of(issued).split()[1], "alice", "payroll", ADDRESS,
              authority.settings.key_prefix + ":"]  # fmt: skip
    assert [text for text in hidden if text in told] == []
    assert all(span.events == () for span in found)


def test_without_a_provider_nothing_is_recorded_and_nothing_raised(make: Make) -> None:
    """The real API, whose provider nobody has set."""
    authority = make(traces=True)
    issued = issue(authority)
    assert authority.authenticate(basic_of(issued), address=ADDRESS).pat_id == issued.pat.id
    with pytest.raises(InvalidCredentials):
        authority.authenticate("Bearer x", address=ADDRESS)
    assert not trace.get_current_span().get_span_context().is_valid


class Broken(SpanProcessor):
    """Raises at the begin or at the end of spans."""

    def __init__(self, at: str) -> None:
        self._at = at

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        if self._at == "begin":
            raise RuntimeError("hush")

    def on_end(self, span: ReadableSpan) -> None:
        if self._at == "end":
            raise RuntimeError("hush")


@pytest.mark.parametrize("at", ["begin", "end"])
def test_a_provider_that_fails_fails_no_request_and_the_log_says_so_once_a_minute(
    at: str, spans: Spans, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    spans.provider.add_span_processor(Broken(at))
    authority = make(traces=True)
    issued = issue(authority)
    with caplog.at_level(logging.WARNING, "patauth"):
        for _ in range(3):
            authority.authenticate(basic_of(issued), address=ADDRESS)
    assert [record.getMessage() for record in caplog.records] == [
        "traces: something was not recorded: RuntimeError"
    ]
    assert not trace.get_current_span().get_span_context().is_valid


def test_a_span_that_takes_no_attributes_is_ended(
    spans: Spans, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise RuntimeError("hush")

    authority = make(traces=True)
    issued = issue(authority)
    spans.take()
    monkeypatch.setattr("opentelemetry.sdk.trace.Span.set_attributes", full)
    authority.authenticate(basic_of(issued), address=ADDRESS)
    assert "patauth.authenticate" in [span.name for span in spans.take()]


class Unreadable(trace.NonRecordingSpan):
    """A span of the host's that fails."""

    def get_span_context(self) -> trace.SpanContext:
        raise RuntimeError("hush")


def test_a_span_of_the_hosts_that_fails_fails_no_call(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with trace.use_span(Unreadable(trace.INVALID_SPAN_CONTEXT)):
        issue(authority)
    assert [record.getMessage() for record in caplog.records] == [
        "traces: something was not recorded: RuntimeError"
    ]


def test_two_observers_hear_the_same(spans: Spans) -> None:
    heard: list[object] = []

    class Heard(Observer):
        def authentication(self) -> Any:
            return lambda *told: heard.append(told)

    both = Observers(Heard(), Traces())
    end = both.authentication()
    both.store_operation("EVALSHA", "read")(None)
    both.hash()(None)
    end("basic", "", "p")
    assert heard == [("basic", "", "p")]
    assert [span.name for span in spans.take()] == ["patauth.authenticate", "EVALSHA read", "patauth.hash"]


def test_switched_off_nothing_is_observed_and_the_api_is_not_imported() -> None:
    assert parts_of(Settings.of(store_url="memory:")).observers is None


def test_without_the_api_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "patauth.observe.traces")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'patauth\[otel\]'"):
        parts_of(Settings.of(store_url="memory:", traces=True))


def test_the_block_of_the_document_prints_the_spans_that_it_says(tmp_path: Path) -> None:
    """In a process of its own, with the provider of the process set after the API was asked for a tracer."""
    (block,) = blocks("docs/traces.md", "python")
    try:
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=tmp_path, env=environment(), capture_output=True, text=True,
            timeout=30, check=True,
        )  # fmt: skip
    finally:
        LocalEngine(tmp_path / "patauth-data").stop()
    names = re.findall(r'^    "name": "(.*)"', done.stdout, re.M)
    assert {"patauth.authenticate", "patauth.hash", VERIFY} <= set(names)


def test_the_attributes_of_the_document_are_those_of_the_code() -> None:
    source = Path(traces.__file__).read_text("utf-8")
    named = set(re.findall(r'"((?:patauth|db|error)\.[a-z_.]+)"', source))
    listed = set(re.findall(r"^[|] `([a-z_.]+)` [|]", read("docs/traces.md"), re.M))
    assert listed == named
