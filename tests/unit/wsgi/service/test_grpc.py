"""The gRPC port: what it takes from a call, and that hostile and slow clients change and hold up nothing."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from patauth import Authority, Settings
from patauth.wsgi.service import grpc as port
from patauth.wsgi.service import http2
from patauth.wsgi.service.logs import CALLS, log_calls_to_stdout
from patauth.wsgi.service.tls import read_tls
from patauth.wsgi.zitadel.forms import MAX_MESSAGE
from tests.support.authorities import Make, basic, basic_of, issue, wrong_secret
from tests.support.grpc_port import HEALTH, Client, client_of, serving
from tests.support.http2 import END_HEADERS, END_STREAM, HEADERS, Wire, asked, begun, block, reset
from tests.support.http2 import frame as of_kind
from tests.support.rpc import V1, V2, encode, frame
from tests.support.tables import each
from tests.support.tls import certificate
from tests.support.zitadel import MY

ADD, LIST = V2 + "AddPersonalAccessToken", V1 + "ListPersonalAccessTokens"
OF_ALICE = encode(ADD, {"userId": "alice"})


@pytest.fixture
def authority(make_at: Make) -> Authority:
    return make_at(max_pats_per_owner=50, request_quota="1000000/1")


@pytest.fixture
def bearer(authority: Authority) -> str:
    return "Bearer " + issue(authority, "maker", scope=[MY], never_expires=True).token


@pytest.fixture
def client(authority: Authority) -> Iterator[Client]:
    with client_of(authority) as one:
        yield one


GRPC = [("content-type", "application/grpc"), ("te", "trailers")]


@contextmanager
def held(authority: Authority) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Have calls wait; yield the event that tells of the first one, and the one that lets all go on."""
    entered, going_on = threading.Event(), threading.Event()
    real = authority.operations.authenticate

    def slow(*given: Any, **more: Any) -> Any:
        entered.set()
        assert going_on.wait(30)
        return real(*given, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(authority.operations, "authenticate", slow)
        try:
            yield entered, going_on
        finally:
            going_on.set()


# -- what a call brings --------------------------------------------------------------------------------------


@each(
    ("peer", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        (None, None),
    ],
)
def test_a_peer_has_an_address(peer: str | None, address: str | None) -> None:
    assert port.address_of(peer) == address


def test_no_person_is_looked_for_in_a_call(make_at: Make) -> None:
    """A call has no cookies and no URL, so a function of the host's would fail, or sign in the wrong one."""
    asked: list[Any] = []

    def identify(environ: dict[str, Any]) -> Any:
        asked.append(environ)
        raise KeyError("HTTP_COOKIE")

    with client_of(make_at(identify=identify)) as client:
        for more in ({}, {"cookie": "session=1"}, {"x_csrf_token": "1"}):
            answer = client(ADD, {"userId": "alice"}, None, **more)
            assert (answer.code, answer.content["message"]) == (16, "credentials are required")
    assert asked == []


def test_the_address_is_the_peers_whatever_the_metadata_says(make_at: Make, events: Any) -> None:
    for proxies in (0, 1):
        authority = make_at(trusted_proxies=proxies)
        wrong = basic(issue(authority, f"ci{proxies}").pat.id, wrong_secret(authority))
        with client_of(authority) as client:
            events()
            forwarded = {"x_forwarded_for": "203.0.113.9", "forwarded": "for=203.0.113.9"}
            assert client(ADD, {"userId": "alice"}, wrong, **forwarded).code == 16
            assert [event["address"] for event in events()] == ["127.0.0.1"]


@each(
    "settings, passes",
    [
        ({}, True),
        ({"trusted_proxies": 1, "proxy_networks": "10.0.0.0/8"}, True),
        ({"trusted_proxies": 1, "proxy_networks": "127.0.0.0/8"}, False),  # the peer is a proxy
        ({"trusted_proxies": 1}, False),  # anybody could be
    ],
)
def test_a_pat_with_networks_is_taken_from_a_peer_in_them_that_passes_nothing_on(
    make_at: Make, settings: dict[str, Any], passes: bool
) -> None:
    """A call that a proxy has passed on has no known address, and what the proxy says is not believed."""
    authority = make_at(**settings)
    for pat in authority.list(owner_id="alice"):
        authority.delete(pat.id)
    given = {"scope": [MY], "never_expires": True}
    here = issue(authority, "here", networks=["127.0.0.1"], **given)
    there = issue(authority, "there", networks=["203.0.113.9"], **given)
    ways: list[dict[str, str]] = [
        {}, {"x_forwarded_for": "203.0.113.9"}, {"x_forwarded_for": ""}, {"forwarded": "for=203.0.113.9"},
    ]  # fmt: skip
    with client_of(authority) as client:
        found = [
            [client(LIST, {"userId": "alice"}, basic_of(one), **way).code == 0 for way in ways]
            for one in (here, there)
        ]
    assert found == [[passes, False, False, False], [False] * 4]


def test_credentials_come_as_in_http(make_at: Make) -> None:
    authority = make_at(token_headers="X-API-Key")
    issued = issue(authority, "maker", scope=[MY], never_expires=True)
    access = authority.exchange(issued.pat.id, issued.secret).value
    of_alice = {"userId": "alice"}
    with client_of(authority) as client:
        for authorization in ("Bearer " + issued.token, basic_of(issued), "bearer " + access):
            assert client(LIST, of_alice, authorization).code == 0
        assert client(LIST, of_alice, None, x_api_key=issued.token).code == 0
        assert client(LIST, of_alice, "Bearer " + issued.token, x_api_key=issued.token).code == 3
        two = [("authorization", "Bearer " + issued.token)] * 2
        with pytest.raises(grpc.RpcError) as caught:
            client.channel.unary_unary(LIST)(encode(LIST, of_alice), metadata=two)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        nobody = client(LIST, of_alice, None, cookie=f"a={issued.token}", x_other=issued.token)
        assert (nobody.code, nobody.content["message"]) == (16, "credentials are required")


def test_the_organisation_is_that_of_the_metadata(client: Client, bearer: str) -> None:
    for name, code in (("default", 0), ("other", 7), ("a,b", 3), ("a b", 3)):
        assert client(LIST, {"userId": "alice"}, bearer, x_zitadel_orgid=name).code == code, name


def test_answers_bring_the_quota_and_refusals_when_to_come_back(make_at: Make) -> None:
    authority = make_at()
    few = issue(authority, "few", scope=[MY], request_quota="1/30", never_expires=True)
    with client_of(authority) as client:
        first, second = (client(LIST, {"userId": "alice"}, "Bearer " + few.token) for _ in range(2))
        assert (first.code, first.fields["ratelimit-policy"]) == (0, '"requests";q=1;w=30')
        assert (second.code, second.fields["retry-after"]) == (8, "30")


# -- hostile calls -------------------------------------------------------------------------------------------


@each(
    ("what", "messages", "compression", "code"),
    [
        ("none", [], None, 12),
        ("two", [OF_ALICE] * 2, None, 12),
        ("no protobuf", [b"\xff\xff"], None, 3),
        ("another message", [b"\x0a\x05alice\x7a\x00"], None, 3),
        ("too large", [bytes(MAX_MESSAGE + 1)], None, 8),
        ("compressed", [OF_ALICE], grpc.Compression.Gzip, 12),
        ("small, and large when unpacked", [bytes(3_000_000)], grpc.Compression.Gzip, 12),
        ("deflated", [OF_ALICE], grpc.Compression.Deflate, 12),
    ],
)
def test_each_hostile_call_has_its_code_and_changes_nothing(
    client: Client,
    authority: Authority,
    bearer: str,
    what: str,
    messages: list[bytes],
    compression: Any,
    code: int,
) -> None:
    before = authority.list()
    assert client.send(ADD, messages, bearer, compression).code == code
    assert [pat.id for pat in authority.list()] == [pat.id for pat in before]
    assert client(LIST, {"userId": "alice"}, bearer).code == 0


@each("method", [V2 + "CreateUser", "/zitadel.x/Y", "/", "/x", V2, "/grpc.health.v1.Health/Watch"])
def test_an_unknown_method_is_unimplemented(client: Client, bearer: str, method: str) -> None:
    assert client.send(method, [b""], bearer).code == 12


def test_metadata_is_bounded(client: Client, bearer: str) -> None:
    assert client(LIST, {"userId": "alice"}, bearer, x_long="x" * 20_000).code == 8
    assert client(LIST, {"userId": "alice"}, bearer).code == 0


@pytest.mark.system
def test_a_client_that_does_not_finish_its_message_is_ended_and_holds_up_nobody(
    authority: Authority, bearer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one thread: none is held by the forty calls that send nothing, half, or everything but the end."""
    monkeypatch.setattr(http2, "MESSAGE_SECONDS", 3.0)
    with client_of(authority, threads=1) as client:
        over = threading.Event()

        def slowly(*first: bytes) -> Iterator[bytes]:
            yield from first
            over.wait(30)

        slow = [
            client.channel.stream_unary(ADD).future(slowly(*first), metadata=[("authorization", bearer)])
            for first in ([], [OF_ALICE]) * 20
        ]
        for _ in range(5):
            began = time.monotonic()
            assert client(LIST, {"userId": "alice"}, bearer).code == 0
            assert time.monotonic() - began < 2.0
        assert not any(call.done() for call in slow), "they were there all the time"
        codes = {call.exception(30).code() for call in slow}
        over.set()
        assert codes == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert len(authority.list(owner_id="alice")) == 1


@pytest.mark.system
def test_more_than_a_thousand_open_calls_end_no_other(
    authority: Authority, bearer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On twelve connections, of clients that nobody knows; each call has its time, and then its refusal."""
    monkeypatch.setattr(http2, "MESSAGE_SECONDS", 3.0)
    with serving(authority, threads=1) as number, ExitStack() as stack:
        channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{number}"))
        hostile = [stack.enter_context(Wire(number)) for _ in range(12)]
        for wire in hostile:
            wire.send(*(begun(stream, ADD, GRPC) for stream in range(1, 2 * http2.CALLS, 2)))
        for _ in range(10):
            assert Client(channel)(LIST, {"userId": "alice"}, bearer).code == 0
        for wire in hostile:
            codes = {wire.answer(stream)["grpc-status"] for stream in range(1, 2 * http2.CALLS, 2)}
            assert codes == {"4"}


def test_more_complete_calls_than_can_wait_are_refused_and_told_when_to_come_back(
    authority: Authority, bearer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port, "WAITING", 3)
    fields = [*GRPC, ("authorization", bearer)]
    with held(authority) as (_, going_on), serving(authority, threads=1) as number, Wire(number) as wire:
        wire.send(*(asked(stream, frame(OF_ALICE), ADD, fields) for stream in (1, 3, 5, 7)))
        refused = wire.answer(7)
        assert (refused["grpc-status"], refused["retry-after"]) == ("14", "1")
        going_on.set()
        assert [wire.answer(stream)["grpc-status"] for stream in (1, 3, 5)] == ["0"] * 3
        wire.send(asked(9, frame(OF_ALICE), ADD, fields))
        assert wire.answer(9)["grpc-status"] == "0", "those that waited count no longer"


def test_what_is_given_up_before_it_has_a_thread_changes_nothing(authority: Authority, bearer: str) -> None:
    fields = [*GRPC, ("authorization", bearer)]
    with held(authority) as (_, going_on), serving(authority, threads=1) as number, Wire(number) as wire:
        wire.send(*(asked(stream, frame(OF_ALICE), ADD, fields) for stream in (1, 3, 5)))
        wire.send(reset(3), begun(7, "/no", GRPC))
        wire.answer(7)
        going_on.set()
        wire.answer(5)
    assert len(authority.list(owner_id="alice")) == 3, "the maker's, and two"


@each(
    ("timeout", "code"),
    [
        ("5S", "0"),
        ("99999999H", "0"),
        ("10M", "0"),
        ("1n", "4"),
        ("0m", "4"),
        ("50u", "4"),
        ("123456789S", "3"),
        ("5", "3"),
        ("S", "3"),
        ("5s", "3"),
        ("-5S", "3"),
        ("+5S", "3"),
        ("0.5S", "3"),
        ("٥S", "3"),
        ("5S ,5S", "3"),
    ],
)
def test_the_time_that_a_client_waits_is_honoured(
    authority: Authority, bearer: str, timeout: str, code: str
) -> None:
    """What cannot be read is the client's fault, so 3; gRPC's documents do not say, and grpc-go says 13."""
    fields = [*GRPC, ("authorization", bearer), ("grpc-timeout", timeout)]
    before = len(authority.list())
    with serving(authority) as number, Wire(number) as wire:
        wire.send(asked(1, frame(OF_ALICE), ADD, fields))
        assert wire.answer(1)["grpc-status"] == code
    assert len(authority.list()) == before + (code == "0")


def test_a_call_that_waited_too_long_for_a_thread_changes_nothing(authority: Authority, bearer: str) -> None:
    fields = [*GRPC, ("authorization", bearer)]
    with held(authority) as (_, going_on), serving(authority, threads=1) as number, Wire(number) as wire:
        wire.send(asked(1, frame(OF_ALICE), ADD, fields))
        wire.send(asked(3, frame(OF_ALICE), ADD, [*fields, ("grpc-timeout", "100m")]))
        threading.Timer(0.3, going_on.set).start()
        assert [wire.answer(stream)["grpc-status"] for stream in (1, 3)] == ["0", "4"]
    assert len(authority.list(owner_id="alice")) == 2


@each(
    ("kind", "status"),
    [
        ("application/grpc", "200"),
        ("application/grpc+proto", "200"),
        ("Application/GRPC; x=y", "200"),
        ("application/grpc+json", "415"),
        ("application/grpc-web", "415"),
        ("application/grpc-web+proto", "415"),
        ("application/json", "415"),
        ("application/grpcx", "415"),
        ("", "415"),
    ],
)
def test_other_media_types_are_415_of_http(authority: Authority, kind: str, status: str) -> None:
    with serving(authority) as number, Wire(number) as wire:
        wire.send(asked(1, frame(b""), HEALTH, [("content-type", kind)] if kind else []))
        answer = wire.answer(1)
    assert (answer[":status"], "grpc-status" in answer) == (status, status == "200")


def test_other_methods_of_http_are_405(authority: Authority) -> None:
    get = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", HEALTH), *GRPC]
    with serving(authority) as number, Wire(number) as wire:
        wire.send(of_kind(HEADERS, END_STREAM | END_HEADERS, 1, block(get)))
        assert wire.answer(1) == {":status": "405", "allow": "POST"}


def test_a_coding_is_refused_with_what_is_read(authority: Authority) -> None:
    for coding, code in (("identity", "0"), ("gzip", "12"), ("", "12"), ("x" * 100, "12")):
        with serving(authority) as number, Wire(number) as wire:
            wire.send(asked(1, frame(b""), HEALTH, [*GRPC, ("grpc-encoding", coding)]))
            answer = wire.answer(1)
            assert (answer["grpc-status"], answer.get("grpc-accept-encoding")) == (
                code,
                None if code == "0" else "identity",
            )


def test_a_method_that_is_unknown_is_refused_before_its_message(authority: Authority) -> None:
    """As clients of grpc.reflection send theirs once they hear, and not before."""
    with serving(authority) as number, Wire(number) as wire:
        wire.send(begun(1, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", GRPC))
        assert wire.answer(1)["grpc-status"] == "12"


def test_bytes_that_are_no_text_are_wrong_credentials_and_wrong_names(
    authority: Authority, bearer: str, caplog: pytest.LogCaptureFixture
) -> None:
    of_alice = frame(encode(LIST, {"userId": "alice"}))
    with serving(authority) as number, Wire(number) as wire:
        for stream, path, fields, code in (
            (1, LIST, [("authorization", bearer + "é")], "16"),
            (3, LIST, [("authorization", bearer), ("x-zitadel-orgid", "é")], "3"),
            (5, LIST, [("authorization", bearer), ("x-other", "é€")], "0"),
            (7, LIST + "é", [("authorization", bearer)], "12"),
        ):
            wire.send(asked(stream, of_alice, path, [*GRPC, *fields]))
            assert wire.answer(stream)["grpc-status"] == code, fields
    assert [record for record in caplog.records if record.exc_info] == []


def test_a_client_that_sends_without_end_is_ended_at_its_second_message(client: Client, bearer: str) -> None:
    def without_end() -> Iterator[bytes]:
        while True:
            yield OF_ALICE

    began = time.monotonic()
    assert client.send(ADD, without_end(), bearer).code == 12
    assert time.monotonic() - began < 5.0


def test_a_call_that_is_given_up_ends_no_other(client: Client, authority: Authority, bearer: str) -> None:
    calls = [
        client.channel.unary_unary(ADD).future(OF_ALICE, metadata=[("authorization", bearer)])
        for _ in range(20)
    ]
    for call in calls[::2]:
        call.cancel()
    assert all(call.result(30) for call in calls[1::2])
    assert 11 <= len(authority.list(owner_id="alice")) <= 21


# -- its health and its end ----------------------------------------------------------------------------------


def test_its_health_is_that_of_the_store(make_at: Make, client: Client, tmp_path: Path) -> None:
    for service in ("", V1.strip("/"), V2.strip("/")):
        assert client(HEALTH, {"service": service}, None).content == {"status": "SERVING"}
    assert client(HEALTH, {"service": "zitadel.x"}, None).code == 5
    assert client.send(HEALTH, [b"\xff"]).code == 3
    with client_of(make_at(url=f"unix://{tmp_path}/nobody")) as other:
        assert other(HEALTH, {}, None).content == {"status": "NOT_SERVING"}


def test_without_the_store_a_call_is_unavailable(make_at: Make, tmp_path: Path) -> None:
    authority = make_at(url=f"unix://{tmp_path}/nobody")
    with client_of(authority) as client:
        refused = client(ADD, {"userId": "alice"}, basic("0" * 32, wrong_secret(authority)))
        assert (refused.code, int(refused.fields["retry-after"]) >= 1) == (14, True)


def test_its_end_waits_for_calls_in_flight(authority: Authority, bearer: str) -> None:
    with held(authority) as (entered, going_on), serving(authority) as number:
        channel = grpc.insecure_channel(f"127.0.0.1:{number}")
        call = channel.unary_unary(ADD).future(OF_ALICE, metadata=[("authorization", bearer)])
        assert entered.wait(30)
        threading.Timer(0.5, going_on.set).start()
    assert call.result(30), "the server has stopped, and did so with an answer"
    channel.close()


def test_a_fault_of_ours_is_internal_and_tells_nothing(
    client: Client, authority: Authority, bearer: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError(f"with {bearer} in hand")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(authority.operations, "actor", broken)
        refused = client(ADD, {"userId": "alice"}, bearer)
    assert (refused.code, refused.content["message"]) == (13, "something went wrong")
    assert "in broken" in caplog.text
    assert bearer not in caplog.text


# -- addresses and TLS ---------------------------------------------------------------------------------------


def test_with_a_certificate_it_speaks_tls_alone(authority: Authority, bearer: str, tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)
    key.chmod(0o600)
    with serving(authority, tls=read_tls(str(key), str(chain))) as number:
        trusted = grpc.ssl_channel_credentials(chain.read_bytes())
        with grpc.secure_channel(f"localhost:{number}", trusted) as channel:
            assert Client(channel)(LIST, {"userId": "alice"}, bearer).code == 0
        with grpc.insecure_channel(f"127.0.0.1:{number}") as channel:
            assert Client(channel)(LIST, {"userId": "alice"}, bearer).code == 14


# -- the access log ------------------------------------------------------------------------------------------


@contextmanager
def logging_into(pipe: int, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Have the calls logged to a pipe, as the process of the port does to stdout."""
    with open(pipe, "w") as out, pytest.MonkeyPatch.context() as patched, suppress(BrokenPipeError):
        patched.setattr(CALLS, "handlers", [])
        patched.setattr(CALLS, "propagate", True)
        patched.setattr(sys, "stdout", out)
        with caplog.at_level(logging.INFO, CALLS.name):
            log_calls_to_stdout(Settings.of(store_url="memory:"), as_json=True)
            yield


def test_a_reader_of_stdout_that_stalls_holds_up_no_call(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor the end of the process, which closes the handler."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    with logging_into(writer, caplog), client_of(authority) as client:
        try:
            assert [client(HEALTH, {}, None).code for _ in range(3)] == [0, 0, 0]
            began = time.monotonic()
            CALLS.handlers[0].close()
            assert time.monotonic() - began < 5
        finally:
            os.close(reader)  # lets go who still writes


def test_a_stdout_that_is_broken_is_no_trouble(
    authority: Authority, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Python would write a traceback for each line, and not as JSON."""
    reader, writer = os.pipe()
    os.close(reader)
    with logging_into(writer, caplog), client_of(authority) as client:
        assert [client(HEALTH, {}, None).code for _ in range(3)] == [0, 0, 0]
        CALLS.handlers[0].close()
    assert capfd.readouterr().err == ""
