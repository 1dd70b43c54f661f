"""Traces by OpenTelemetry: a span for each authentication, and in it one for each store call and each hash.

This needs only OpenTelemetry's API: nothing is recorded unless the application sets a provider. Attributes
follow the semantic conventions for Redis. No span has a secret, an address, an owner, a key or the text of an
exception. docs/traces.md says what each attribute means.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from functools import partial
from typing import NamedTuple

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode

from .._version import __version__
from ..store.transport.protocol import MemoryFull, ScriptMissing
from .observer import AuthenticationEnd, End, Observer, ignore

_FAULTS = frozenset({"store_unavailable", "overloaded", "error"})  # reasons that are errors of this program


class _Step(NamedTuple):
    """A span that has begun, and the token that makes its parent the current span again."""

    span: Span
    token: Token[Context]


class Traces(Observer):
    """Records what an Authority does, with the application's provider of spans. Safe for many threads."""

    name = "traces"

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("patauth", __version__)  # finds a provider that is set later, too

    def authentication(self) -> AuthenticationEnd:
        """Begin a span inside the current one, if there is one."""
        return partial(self._authenticated, self._begin("patauth.authenticate", SpanKind.INTERNAL))

    def _authenticated(self, step: _Step, method: str, reason: str, pat_id: str) -> None:
        attributes = {"patauth.method": method, "patauth.outcome": "refused" if reason else "accepted"}
        if reason:
            attributes["patauth.reason"] = reason
        else:
            attributes["patauth.pat_id"] = pat_id  # which is no secret
        self._end(step, attributes, reason if reason in _FAULTS else "")

    def store_operation(self, command: str, script: str) -> End:
        """Begin a span for a store call."""
        if not _is_in_span():
            return ignore
        attributes = {"db.system.name": "redis", "db.operation.name": command}
        if script:
            attributes["db.stored_procedure.name"] = script
        return partial(self._asked, self._begin(f"{command} {script}".rstrip(), SpanKind.CLIENT, attributes))

    def _asked(self, step: _Step, problem: BaseException | None) -> None:
        if isinstance(problem, ScriptMissing | MemoryFull):
            code = "NOSCRIPT" if isinstance(problem, ScriptMissing) else "OOM"
            self._end(step, {"db.response.status_code": code}, code)
        else:
            self._end(step, {}, _type_of(problem))

    def hash(self) -> End:
        """Begin a span for a hash."""
        if not _is_in_span():
            return ignore
        return partial(self._hashed, self._begin("patauth.hash", SpanKind.INTERNAL))

    def _hashed(self, step: _Step, problem: BaseException | None) -> None:
        self._end(step, {}, _type_of(problem))

    def _begin(self, name: str, kind: SpanKind, attributes: Mapping[str, str] | None = None) -> _Step:
        """Begin a span and make it the current one."""
        span = self._tracer.start_span(name, kind=kind, attributes=attributes)
        return _Step(span, context.attach(trace.set_span_in_context(span)))

    def _end(self, step: _Step, attributes: Mapping[str, str], error: str) -> None:
        """End a span. `error` is its `error.type`, empty without an error."""
        span, token = step
        context.detach(token)
        try:
            span.set_attributes(attributes)
            if error:
                span.set_attribute("error.type", error)
                span.set_status(StatusCode.ERROR)
        finally:
            span.end()


def _is_in_span() -> bool:
    """Return whether there is a span around this. Work without one, such as a thread's, needs none."""
    return trace.get_current_span().get_span_context().is_valid


def _type_of(problem: BaseException | None) -> str:
    """Return the full name of an exception's class, or of its cause's if it has one; empty without one."""
    if problem is None:
        return ""
    kind = type(problem.__cause__ or problem)
    return f"{kind.__module__}.{kind.__qualname__}"
