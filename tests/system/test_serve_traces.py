"""`patauth serve` with traces: the spans that an operator's provider records, by HTTP and by gRPC."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import requests

from patauth import Authority, Owner
from tests.support.grpc_port import Client
from tests.support.processes import free_port
from tests.support.rpc import V1
from tests.support.servers import until
from tests.support.service import FORM, serving
from tests.support.zitadel import MY

# The operator's module, which the setting `identify` names: each process imports it.
PROVIDER = """
import pathlib
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

file = pathlib.Path(__file__).with_name("spans").open("a")
exporter = ConsoleSpanExporter(out=file, formatter=lambda span: span.to_json(indent=None) + "\\n")
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))

def identify(environ):
    return None
"""
SPAN = "00f067aa0ba902b7"


def test_spans_belong_to_the_trace_of_the_client_and_without_one_to_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "operator_s.py").write_text(PROVIDER)
    number = free_port()
    words = ("--workers", "1", "--grpc-bind", f"127.0.0.1:{number}")
    more = {"PATAUTH_TRACES": "true", "PATAUTH_IDENTIFY": "operator_s:identify"}

    def roots() -> list[dict[str, Any]]:
        spans = [json.loads(line) for line in (tmp_path / "spans").read_text().splitlines()]
        return [span for span in spans if span["name"] == "patauth.authenticate"]

    with serving(tmp_path, *words, **more) as service:
        with Authority.from_url(f"local:{tmp_path}/patauth-data") as authority:
            made = authority.create(
                owner=Owner("alice"), name="ci", scope=[MY], expires_in=timedelta(hours=1)
            )
        by_http, by_grpc = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"
        answer = requests.post(
            f"{service.url}/oauth/token", data=FORM, auth=(made.pat.id, made.secret), timeout=10,
            headers={"traceparent": f"00-{by_http}-{SPAN}-01"},
        )  # fmt: skip
        assert answer.status_code == 200
        until(lambda: "serves gRPC" in service.said(), 20)
        client = Client(grpc.insecure_channel(f"127.0.0.1:{number}"))
        method, fields = V1 + "ListPersonalAccessTokens", {"traceparent": f"00-{by_grpc}-{SPAN}-01"}
        assert client(method, {"userId": "alice"}, f"Bearer {made.token}", **fields).code == 0
        client.channel.close()
        service.exchange(made)
        until(lambda: len(roots()) == 3)
        traces = {span["context"]["trace_id"]: span for span in roots()}
        for trace in (by_http, by_grpc):
            span = traces.pop(f"0x{trace}")
            assert span["parent_id"] == f"0x{SPAN}"
            assert span["attributes"]["patauth.pat_id"] == made.pat.id
        (own,) = traces.values()
        assert own["parent_id"] is None
        told = (tmp_path / "spans").read_text()
        assert not [text for text in (made.secret, made.token, "alice", "127.0.0.1") if text in told]
        assert service.stop() == 0
