"""`patauth serve --log-format json`: one real service, and what each line of its output says."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from click.testing import CliRunner

from patauth import Authority, IssuedPat, Owner
from patauth.cli import program
from tests.support.authorities import basic_of
from tests.support.grpc_port import HEALTH, Client
from tests.support.processes import free_port
from tests.support.rpc import V1
from tests.support.servers import until
from tests.support.service import FORM, Service, serving
from tests.support.tables import each

MINE = "/personal-access-tokens/v1?owner-id=me&x=hush"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

# What the function of an operator may do: warn, log with line breaks, print a traceback in a thread, fail.
IDENTIFY = """
import logging, threading, warnings

def fail():
    raise ValueError("in a thread\\nand on two lines")

def identify(environ):
    if environ.get("HTTP_COOKIE") == "trouble=1":
        warnings.warn("think\\nagain")
        logging.getLogger("host").warning("from %s\\n\\u2028\\x7f", "the host", extra={"order": 7})
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        raise LookupError("hush")
    return None
"""


class Logged:
    """A service and the lines that it has written."""

    def __init__(self, service: Service, made: IssuedPat, grpc_port: int) -> None:
        self.service = service
        self.made = made
        self.grpc_port = grpc_port

    def lines(self, stream: str) -> list[dict[str, Any]]:
        text = (self.service.folder / stream).read_text()
        return [json.loads(line) for line in text.splitlines()]

    def access(self, request_id: str) -> dict[str, Any]:
        """The line of the access log about a request."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.lines("out") if line["requestId"] == request_id]

        until(lambda: len(found()) == 1)
        return found()[0]

    def told(self, **members: Any) -> list[dict[str, Any]]:
        """The lines of stderr that have these members."""
        return [line for line in self.lines("err") if members.items() <= line.items()]

    def ask(self, path: str, method: str = "GET", **more: Any) -> requests.Response:
        return requests.request(method, self.service.url + path, timeout=10, **more)


@contextmanager
def logging_service(folder: Path) -> Iterator[Logged]:
    (folder / "people.py").write_text(IDENTIFY)
    number = free_port()
    words = ("--log-format", "json", "--workers", "1", "--grpc-bind", f"127.0.0.1:{number}")
    with serving(
        folder, *words, PATAUTH_IDENTIFY="people:identify", PATAUTH_FAILURE_QUOTA="1000/60"
    ) as service:
        with Authority.from_url(f"local:{folder}/patauth-data") as authority:
            made = authority.create(
                owner=Owner("alice"), name="ci", scope=["a:b"], expires_in=timedelta(hours=1)
            )
        yield Logged(service, made, number)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    with logging_service(tmp_path_factory.mktemp("logged")) as one:
        yield one


def test_the_access_log_says_what_was_answered_and_to_whom(logged: Logged) -> None:
    path = MINE.partition("?")[0]
    answer = logged.ask(MINE, headers={"X-Request-ID": "r-1", "Referer": "http://hush.example/"},
                        auth=(logged.made.pat.id, logged.made.secret))  # fmt: skip
    assert answer.headers["X-Request-ID"] == "r-1"
    line = logged.access("r-1")
    assert 0 < line.pop("durationSeconds") < 10
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "INFO", "logger": "gunicorn.access", "message": f"GET {path} {answer.status_code}",
        "requestId": "r-1", "method": "GET", "path": path, "status": answer.status_code,
        "bytes": len(answer.content), "address": "127.0.0.1", "patId": logged.made.pat.id,
    }  # fmt: skip


def test_an_exchange_and_an_introspection_name_the_pat_too(logged: Logged) -> None:
    credentials = (logged.made.pat.id, logged.made.secret)
    for number, (path, form) in enumerate([("/oauth/token", FORM), ("/oauth/introspect", {"token": "x"})]):
        answer = logged.ask(
            path, "POST", data=form, auth=credentials, headers={"X-Request-ID": f"r-2{number}"}
        )
        assert answer.status_code == 200
        assert logged.access(f"r-2{number}")["patId"] == logged.made.pat.id


def test_answer_access_log_and_event_have_one_id(logged: Logged) -> None:
    """Whether the client names the request, a trace does, or nobody."""
    wrong = (logged.made.pat.id, "pats_" + "0" * 49)
    for fields, named in (
        ({"X-Request-ID": "r-3"}, "r-3"),
        ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, TRACE),
        ({"X-Request-ID": logged.made.secret, "traceparent": "00-0"}, None),
        ({}, None),
    ):
        answer = logged.ask("/verify", auth=wrong, headers=fields)
        assert answer.status_code == 401
        shown = answer.headers["X-Request-ID"]
        assert shown == named if named else re.fullmatch("[0-9a-f]{32}", shown)
        line = logged.access(shown)
        assert (line["status"], line["path"], "patId" in line) == (401, "/verify", False)
        (event,) = logged.told(requestId=shown)
        assert (event["logger"], event["message"]) == ("patauth.audit", "credentials.refused")
        assert (event["event"]["requestId"], event["event"]["outcome"]) == (shown, "refused")


def test_an_answer_without_credentials_has_an_id_too(logged: Logged) -> None:
    for path in ("/healthz", "/readyz", "/nowhere"):
        assert logged.access(logged.ask(path).headers["X-Request-ID"])["path"] == path


def test_what_a_call_over_grpc_causes_has_its_id(logged: Logged) -> None:
    until(lambda: logged.told(message=f"patauth serves gRPC on 127.0.0.1:{logged.grpc_port}."), 20)
    client = Client(grpc.insecure_channel(f"127.0.0.1:{logged.grpc_port}"))
    called = client(
        V1 + "ListPersonalAccessTokens", {"userId": "alice"}, "Bearer hush", x_request_id="r-grpc"
    )
    client.channel.close()
    assert called.code == 16
    until(lambda: logged.told(requestId="r-grpc", message="credentials.refused"))


def test_the_access_log_has_calls_over_grpc_too(logged: Logged) -> None:
    """What was answered, to whom and in what time; and none of the credentials."""
    until(lambda: logged.told(message=f"patauth serves gRPC on 127.0.0.1:{logged.grpc_port}."), 20)
    client = Client(grpc.insecure_channel(f"127.0.0.1:{logged.grpc_port}"))
    path, wrong = V1 + "ListPersonalAccessTokens", f"{logged.made.token[:-1]}x"
    for number, bearer in ((7, logged.made.token), (16, wrong)):
        name = f"r-call-{number}"
        called = client(path, {"userId": "alice"}, f"Bearer {bearer}", x_request_id=name)
        assert called.code == number
        line = logged.access(name)
        assert 0 < line.pop("durationSeconds") < 10
        assert line.pop("time").startswith("20")
        assert line.pop("bytes") >= 0
        assert line.pop("patId", None) == (logged.made.pat.id if number == 7 else None)
        assert line == {
            "level": "INFO", "logger": "patauth.access", "message": f"POST {path} 200", "requestId": name,
            "method": "POST", "path": path, "status": 200, "grpcStatus": called.code, "address": "127.0.0.1",
        }  # fmt: skip
    client.channel.close()
    assert not [one for one in (logged.made.token, wrong) if one in logged.service.said()]


@each("quiet", [False, True])
def test_as_text_a_call_is_one_line_and_with_quiet_none(
    tmp_path_factory: pytest.TempPathFactory, quiet: bool
) -> None:
    folder, number = tmp_path_factory.mktemp("text"), free_port()
    with serving(folder, "--grpc-bind", f"127.0.0.1:{number}", *["--quiet"][:quiet]) as service:
        client = Client(grpc.insecure_channel(f"127.0.0.1:{number}"))
        until(lambda: client(HEALTH, {}, None).code == 0, 20)
        client.channel.close()
        assert service.stop() == 0
        said = (folder / "out").read_text()
    line = (
        r'\[\d\d/\w{3}/20\d\d:[\d:]{8} [+-]\d{4}\] 127\.0\.0\.1 "POST (\S+)" 200 \d+ \d\.\d{3}s grpc-status=0'
    )
    calls = re.findall(rf"(?m)^{line}$", said)
    assert set(calls) == (set() if quiet else {HEALTH})
    assert "grpc-status" not in (folder / "err").read_text()


def test_what_the_operators_own_function_says_is_json_with_the_id(logged: Logged) -> None:
    """A warning, a record with line breaks, an exception in a thread, and its own."""
    assert logged.ask(MINE, headers={"X-Request-ID": "r-4", "Cookie": "trouble=1"}).status_code == 500
    about = logged.told(requestId="r-4")
    by_logger = {line["logger"]: line for line in about}
    assert "think" in by_logger["py.warnings"]["message"]
    assert (by_logger["host"]["message"], by_logger["host"]["order"]) == ("from the host\n\u2028\x7f", 7)
    assert any("`identify` failed" in line["message"] and "exception" in line for line in about)
    (uncaught,) = logged.told(logger="patauth", level="CRITICAL")
    assert "ValueError: in a thread\nand on two lines" in uncaught["exception"]


def test_no_request_breaks_a_line_or_leaves_a_secret_in_one(tmp_path: Path) -> None:
    """Of what clients send, and of what gunicorn itself refuses and may quote; to the end of the service."""
    with logging_service(tmp_path) as logged:
        made, port = logged.made, logged.service.port
        access = logged.service.exchange(made).json()["access_token"]
        secrets = [made.secret, made.token, access, basic_of(made).split()[1], "hush"]
        for secret in secrets[:4]:
            logged.ask(f"/oauth/{secret}%0a%7B%22level%22%3A1%7D%E2%80%A8%7F?token=hush")
            logged.ask("/oauth/token", "POST", data={**FORM, "client_id": secret, "client_secret": "hush"})
            logged.ask("/verify?scope=a", headers={
                "Authorization": f"Bearer {secret}", "X-Request-ID": secret, "X-Forwarded-For": secret,
                "User-Agent": secret, "Referer": f"http://x/?{secret}", "traceparent": secret,
            })  # fmt: skip
        for raw in (
            b"GET /?access_token=hush\x01 HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nbad header: hush\r\n\r\n",
            b"G\x7fT /\xe2\x80\xa8 HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nX-Request-ID: a\r\n\tb\r\n\r\n",
            b"\x16\x03\x01\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", port), 5) as connection:
                connection.sendall(raw)
                assert b" 400 " in connection.recv(100)
        assert logged.service.stop() == 0
        for stream in ("out", "err"):
            text = (tmp_path / stream).read_text()
            assert not [secret for secret in secrets if secret in text], text
            for line in text.splitlines():
                assert re.fullmatch(r"[\x20-\x7e]+", line)
                assert {"time", "level", "logger", "message"} <= json.loads(line).keys()
        assert {"gunicorn.error", "patauth.audit", "patauth"} <= {
            line["logger"] for line in logged.lines("err")
        }


def test_what_does_not_start_says_so_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATAUTH_REQUEST_QUOTAA", "1/1")
    words = ["--bind", f"127.0.0.1:{free_port()}", "--log-format", "json", "--store", "memory:"]
    result = CliRunner().invoke(program, ["serve", *words])
    assert (result.exit_code, result.stdout) == (2, "")
    warned, failed = map(json.loads, result.stderr.splitlines())
    assert (warned["level"], failed["level"]) == ("INFO", "ERROR")
    assert "PATAUTH_REQUEST_QUOTAA is not a setting" in warned["message"]
    assert failed["message"].startswith("store_url: with memory:")
