"""`patauth serve --grpc-bind` as a process, used by grpcio's client and the vendor's own npm client."""

from __future__ import annotations

import gzip
import json
import os
import signal
import socket
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest
from click.testing import CliRunner

from patauth import Authority, IssuedPat, Owner
from patauth.cli import program
from tests.support.grpc_port import HEALTH, Client
from tests.support.http2 import CONTINUATION, END_HEADERS, END_STREAM, HEADERS, Wire, block, references
from tests.support.http2 import frame as of_kind
from tests.support.npm import run
from tests.support.private import write_private
from tests.support.processes import free_port
from tests.support.rpc import V1, V2, encode, frame
from tests.support.servers import until
from tests.support.service import Service, serving
from tests.support.tables import each
from tests.support.tls import certificate
from tests.support.zitadel import MY, NEVER

ADD, LIST = V2 + "AddPersonalAccessToken", V1 + "ListPersonalAccessTokens"
OF_ALICE = {"userId": "alice"}


class Port:
    """The gRPC port of a service."""

    def __init__(self, service: Service, number: int) -> None:
        self.service = service
        self.number = number

    def client(self) -> Client:
        return Client(grpc.insecure_channel(f"127.0.0.1:{self.number}"))

    def is_open(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.number)) == 0

    def is_ready(self) -> bool:
        client = self.client()
        ready = client(HEALTH, {}, None).content.get("status") == "SERVING"
        client.channel.close()
        return ready

    def processes(self) -> list[int]:
        """Return the numbers of the children that are no workers: one, or none while it is dead."""
        return [pid for pid in self.service.workers() if command(pid).endswith("--only\0grpc\0")]


def command(pid: int) -> str:
    """Return the command line of a process; empty for one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except FileNotFoundError:
        return ""


def resident(pid: int) -> int:
    """Return how much memory a process has (MiB)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20


def link(path: Path) -> str:
    """Return where a link leads; empty for one that is gone."""
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""


@contextmanager
def grpc_service(folder: Path, *words: str, **more: str) -> Iterator[Port]:
    number = free_port()
    with serving(folder, "--grpc-bind", f"127.0.0.1:{number}", *words, **more) as service:
        port = Port(service, number)
        until(port.is_ready, 20)
        yield port


def maker(folder: Path) -> IssuedPat:
    with Authority.from_url(f"local:{folder}/patauth-data") as authority:
        return authority.create(owner=Owner("alice"), name="maker", scope=[MY], never_expires=True)


def ids(folder: Path) -> list[str]:
    with Authority.from_url(f"local:{folder}/patauth-data") as authority:
        return [pat.id for pat in authority.list(owner_id="alice")]


# -- clients -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    with grpc_service(tmp_path_factory.mktemp("served"), PATAUTH_MAX_PATS_PER_OWNER="50") as one:
        yield one


@pytest.fixture(scope="module")
def made(port: Port) -> IssuedPat:
    return maker(port.service.folder)


@pytest.fixture(scope="module")
def few(port: Port) -> IssuedPat:
    """A PAT with one request an hour."""
    with Authority.from_url(f"local:{port.service.folder}/patauth-data") as authority:
        return authority.create(
            owner=Owner("few"), name="few", scope=[MY], never_expires=True, request_quota="1/3600"
        )


def test_a_plain_grpcio_client_does_what_it_asks_for(port: Port, made: IssuedPat) -> None:
    client, bearer = port.client(), "Bearer " + made.token
    added = client(ADD, {**OF_ALICE, "expirationDate": "2099-06-01T00:00:00Z"}, bearer)
    assert (added.code, added.content["tokenId"] in ids(port.service.folder)) == (0, True)
    listed = client(LIST, OF_ALICE, "Bearer " + added.content["token"])
    assert {pat["id"] for pat in listed.content["result"]} == {made.pat.id, added.content["tokenId"]}
    removed = client(
        V2 + "RemovePersonalAccessToken", {**OF_ALICE, "tokenId": added.content["tokenId"]}, bearer
    )
    assert (removed.code, ids(port.service.folder)) == (0, [made.pat.id])
    assert client(LIST, OF_ALICE, "Bearer " + added.content["token"]).code == 16


@each("transport", ["grpc", "grpc-web", "connect proto", "connect json"])
def test_the_vendors_npm_client_does_what_it_asks_for(port: Port, made: IssuedPat, transport: str) -> None:
    """`@zitadel/client` 1.3.1: createServerTransport is gRPC, createClientTransport gRPC-web."""
    url = f"http://127.0.0.1:{port.number}" if transport == "grpc" else port.service.url
    lines = run("zitadel.mjs", transport, url, given=made.token)
    first, second, by_v2, by_v1, got, removed, again, removed_too, of_bob, of_nobody, _ = lines
    assert [line["code"] for line in lines] == [0] * 6 + [5, 0, 7, 3, 12]

    created = datetime.fromisoformat(first["creationDate"])
    assert abs((datetime.now(UTC) - created).total_seconds()) < 60
    assert first["token"].startswith(f"pat_{first['tokenId']}_")
    assert second["details"]["sequence"] == "1"
    assert second["details"]["resourceOwner"] == "default"

    assert by_v2["pagination"]["appliedLimit"] == "2"
    assert by_v2["pagination"]["totalResult"] == "3"
    assert [(pat["id"], pat["userId"], pat["organizationId"]) for pat in by_v2["result"]] == [
        (made_id, "alice", "default") for made_id in (second["tokenId"], first["tokenId"])
    ]
    assert by_v1["details"]["totalResult"] == "3"
    assert [pat["scopes"] for pat in by_v1["result"]] == [[MY], [MY]]
    assert [pat["expirationDate"] for pat in by_v1["result"]] == [
        NEVER.replace("Z", ".000Z"),
        "2099-06-01T00:00:00.120Z",
    ]
    assert got["token"]["id"] == first["tokenId"]
    assert "deletionDate" in removed
    assert removed_too["details"]["sequence"] == "2"
    assert ids(port.service.folder) == [made.pat.id]

    for refused in (again, of_bob, of_nobody):
        assert refused["message"]
        if transport.startswith("grpc"):
            (detail,) = refused["details"]
            assert detail["message"] == refused["message"]
            assert detail["id"] in port.service.said(), "the tracking id is in the log"
    assert of_nobody["message"] == "userId: is missing; give it a value"


@each("transport", ["grpc", "grpc-web", "connect proto", "connect json"])
def test_the_vendors_npm_client_understands_refusals(port: Port, few: IssuedPat, transport: str) -> None:
    url = f"http://127.0.0.1:{port.number}" if transport == "grpc" else port.service.url
    for line in run("refused.mjs", transport, url, given="pat_nobody"):
        assert (line["code"], line["message"]) == (16, "the credentials are not valid")
    late = run("refused.mjs", transport, url, given=few.token)[-1]
    assert (late["code"], 0 < int(late["waits"]) <= 3600) == (8, True)


# What frames that no library writes come to: as in gRPC-web, except that a compressed one of no named coding
# is `internal`, as gRPC's compression.md has it. (grpcio's server takes one that is cut for none, 12.)
MESSAGE = encode(ADD, OF_ALICE)
FRAMES = [
    (b"", 12),
    (frame(MESSAGE)[:3], 3),
    (frame(MESSAGE)[:5], 3),
    (frame(MESSAGE)[:-1], 3),
    (b"\0\xff\xff\xff\xff" + MESSAGE, 8),
    (frame(bytes(20_000)), 8),
    (frame(gzip.compress(MESSAGE), 1), 13),
    (frame(MESSAGE, 2), 3),
    (frame(MESSAGE, 0xFF), 3),
    (frame(b"grpc-status: 0\r\n", 0x80), 3),
    (frame(MESSAGE) * 2, 12),
    (frame(b"\xff\xff"), 3),
    (MESSAGE, 3),
]


def test_hostile_frames_over_http_2_have_their_code_and_change_nothing(port: Port, made: IssuedPat) -> None:
    bodies = [b64encode(body).decode() for body, _ in FRAMES]
    given = json.dumps({"token": made.token, "kind": "application/grpc", "bodies": bodies})
    lines = run("frames.mjs", f"http://127.0.0.1:{port.number}", ADD, given=given)
    assert [(line["http"], line["code"]) for line in lines] == [(200, str(code)) for _, code in FRAMES]
    assert ids(port.service.folder) == [made.pat.id]


def test_what_is_no_http_2_disturbs_nobody(port: Port, made: IssuedPat) -> None:
    greeting = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for number in range(60):
        noise = Random(number).randbytes(300)
        with (
            socket.create_connection(("127.0.0.1", port.number), 10) as connection,
            suppress(ConnectionError),
        ):
            connection.sendall((noise, greeting + noise, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")[number % 3])
    (process,) = port.processes()
    assert port.client()(LIST, OF_ALICE, "Bearer " + made.token).code == 0
    assert port.processes() == [process]


def test_floods_of_fields_take_no_memory_and_end_no_call(port: Port, made: IssuedPat) -> None:
    """No settings are acknowledged. 20 calls with 200 000 references made grpcio's server grow by 500 MB."""
    fields = block([(":method", "POST"), (":scheme", "http"), (":path", LIST), (":authority", "a")])
    content = fields + references(200_000)
    pieces = [content[at : at + 16_384] for at in range(0, len(content), 16_384)]
    (process,) = port.processes()
    before, client = resident(process), port.client()
    for _ in range(5):
        with Wire(port.number) as wire:
            with suppress(ConnectionError):
                for stream in range(1, 41, 2):
                    wire.send(of_kind(HEADERS, END_STREAM, stream, pieces[0]))
                    wire.send(*(of_kind(CONTINUATION, 0, stream, piece) for piece in pieces[1:-1]))
                    wire.send(of_kind(CONTINUATION, END_HEADERS, stream, pieces[-1]))
            assert wire.is_closed()
        assert client(LIST, OF_ALICE, "Bearer " + made.token).code == 0
    assert resident(process) < before + 50
    assert port.processes() == [process]


def test_a_connection_without_a_greeting_is_closed(port: Port) -> None:
    with socket.create_connection(("127.0.0.1", port.number), 20) as silent:
        began = time.monotonic()
        while silent.recv(4096):  # the server's own greeting comes first
            pass
        assert 3.0 < time.monotonic() - began < 15.0


# -- the process ---------------------------------------------------------------------------------------------


def test_the_port_is_open_in_one_process_alone(port: Port) -> None:
    """gunicorn forks, and a worker that held the port would keep it when its process has ended."""
    family = {port.service.process.pid, *port.service.workers()}
    assert len(family) == 4
    listening = f":{port.number:04X} 00000000:0000 0A "
    (row,) = [row for row in Path("/proc/net/tcp").read_text().splitlines() if listening in row]
    socket_of = f"socket:[{row.split()[9]}]"
    holders = {pid for pid in family for held in Path(f"/proc/{pid}/fd").iterdir() if link(held) == socket_of}
    assert holders == set(port.processes())


def test_one_that_dies_is_started_again(tmp_path: Path) -> None:
    with grpc_service(tmp_path, "--workers", "1") as port:
        made, (died,) = maker(tmp_path), port.processes()
        os.kill(died, signal.SIGKILL)
        until(lambda: port.processes() not in ([], [died]) and port.is_ready(), 30)
        assert port.client()(LIST, OF_ALICE, "Bearer " + made.token).code == 0
        assert "it is started again" in port.service.said()
        assert port.service.status("/healthz") == 200
        assert port.service.stop() == 0


def test_a_reload_starts_it_with_the_settings_of_that_moment(tmp_path: Path) -> None:
    store = tmp_path / "store-url"
    write_private(store, f"local:{tmp_path}/patauth-data")
    with grpc_service(tmp_path, "--workers", "1", PATAUTH_STORE_URL_FILE=str(store)) as port:
        made, (before,) = maker(tmp_path), port.processes()
        bearer = "Bearer " + made.token
        assert port.client()(LIST, OF_ALICE, bearer).code == 0
        write_private(store, f"local:{tmp_path}/other")
        port.service.process.send_signal(signal.SIGHUP)
        until(lambda: not command(before), 20)
        until(port.is_ready, 20)
        until(lambda: port.client()(LIST, OF_ALICE, bearer).code == 16, 20)
        assert "is started again" not in port.service.said()


def test_one_that_cannot_start_waits_longer_each_time_and_claims_nothing(tmp_path: Path) -> None:
    with grpc_service(tmp_path, "--workers", "1") as port:
        (died,) = port.processes()
        os.kill(died, signal.SIGKILL)
        until(lambda: not port.is_open(), 20)
        with socket.create_server(("127.0.0.1", port.number)):
            for pause in (1, 2, 4):
                until(lambda pause=pause: f"it is started again {pause} s after" in port.service.said(), 30)
        port.service.process.send_signal(signal.SIGHUP)  # ends the pause
        until(port.is_ready, 30)
        assert port.service.said().count("patauth serves gRPC on") == 2


def test_a_reload_with_a_certificate_of_another_key_leaves_the_port_as_it_is(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)
    key.chmod(0o600)
    number = free_port()
    words = ("--grpc-bind", f"127.0.0.1:{number}", "--grpc-cert", str(chain), "--grpc-key", str(key))
    with serving(tmp_path, "--workers", "1", *words) as service:
        trusted = grpc.ssl_channel_credentials(chain.read_bytes())
        with grpc.secure_channel(f"localhost:{number}", trusted) as channel:
            client, port = Client(channel), Port(service, number)
            until(lambda: client(HEALTH, {}, None).code == 0, 20)
            before = port.processes()
            chain.write_bytes(certificate(tmp_path, "other.example")[0].read_bytes())
            service.process.send_signal(signal.SIGHUP)
            until(lambda: "the old ones stay: --grpc-key: " in service.said(), 20)
            assert client(HEALTH, {}, None).code == 0
            assert port.processes() == before


def test_it_ends_with_the_service_however_that_ends(tmp_path: Path) -> None:
    for number, ending in enumerate((signal.SIGTERM, signal.SIGINT, signal.SIGKILL)):
        folder = tmp_path / str(number)
        folder.mkdir()
        with grpc_service(folder, "--workers", "1") as port:
            family = port.service.workers()
            port.service.process.send_signal(ending)
            code = port.service.process.wait(30)
            until(lambda family=family: not any(map(command, family)), 30)
            assert code == (-signal.SIGKILL if ending == signal.SIGKILL else 0)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port.number), 5)


def test_off_loopback_it_speaks_tls(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)
    key.chmod(0o600)
    number = free_port()
    words = ("--grpc-bind", f"0.0.0.0:{number}", "--grpc-cert", str(chain), "--grpc-key", str(key))
    with serving(tmp_path, "--workers", "1", *words):
        made = maker(tmp_path)
        trusted = grpc.ssl_channel_credentials(chain.read_bytes())
        with grpc.secure_channel(f"localhost:{number}", trusted) as channel:
            client = Client(channel)
            until(lambda: client(HEALTH, {}, None).code == 0, 20)
            assert client(LIST, OF_ALICE, "Bearer " + made.token).code == 0


# -- what does not start -------------------------------------------------------------------------------------


def serve(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(program, ["serve", *words])
    assert result.stdout == ""
    return result.exit_code, result.stderr


@each(
    ("words", "says"),
    [
        (("--grpc-bind", "0.0.0.0:8001"), "give --grpc-cert and --grpc-key"),
        (("--grpc-bind", "[::]:8001"), "give --grpc-cert and --grpc-key"),
        (("--grpc-bind", "host.example:8001"), "give --grpc-cert and --grpc-key"),
        (("--grpc-bind", ":8001"), "give --grpc-cert and --grpc-key"),
        (("--grpc-bind", "unix:/run/x"), "give HOST:PORT (port 1 to 65535) or [IPV6]:PORT"),
        (("--grpc-bind", "127.0.0.1"), "give HOST:PORT"),
        (("--grpc-bind", "127.0.0.1:x"), "give HOST:PORT"),
        (("--grpc-bind", "127.0.0.1:1", "--grpc-key", "k"), "together"),
        (("--grpc-cert", "c", "--grpc-key", "k"), "are for --grpc-bind"),
    ],
)
def test_wrong_arguments_are_usage_errors(words: tuple[str, ...], says: str, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path)
        code, said = serve(*words)
    assert code == 2
    assert says in " ".join(said.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_without_the_surface_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATAUTH_SURFACES", "oauth isc")
    code, said = serve("--grpc-bind", f"127.0.0.1:{free_port()}")
    assert (code, "PATAUTH_SURFACES" in said) == (2, True)


def test_no_h2_is_2_and_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys.modules["patauth.cli.serve"], "find_spec", lambda name: None if name == "h2" else name
    )
    code, said = serve("--grpc-bind", f"127.0.0.1:{free_port()}")
    assert (code, "pip install 'patauth[grpc]'" in said) == (2, True)


@each("only", ["grpc", "metrics"])
def test_a_process_for_one_port_needs_its_address(only: str) -> None:
    code, said = serve("--only", only)
    assert (code, f"--only {only} needs --{only}-bind" in said) == (2, True)


def test_an_address_in_use_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number: Any = taken.getsockname()[1]
        code, said = serve("--grpc-bind", f"127.0.0.1:{number}")
    assert (code, f"cannot listen on 127.0.0.1:{number}" in said, "--grpc-bind" in said) == (1, True, True)


def test_an_address_for_two_servers_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    chain, key = certificate(tmp_path)
    key.chmod(0o600)
    tls, number = ("--grpc-cert", str(chain), "--grpc-key", str(key)), free_port()
    for http in ("127.0.0.1", "localhost", "0.0.0.0", "[::]"):
        for other in ("127.0.0.1", "0.0.0.0", "[::]"):
            code, said = serve("--bind", f"{http}:{number}", "--grpc-bind", f"{other}:{number}", *tls)
            assert (code, f"cannot listen on {other}:{number}" in said) == (1, True), (http, other)
            assert "choose another address with --grpc-bind" in said
    assert not (tmp_path / "patauth-data").exists()


def test_a_certificate_of_another_key_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chain, key = certificate(tmp_path)[0], certificate(tmp_path, "other.example")[1]
    key.chmod(0o600)
    words = ("--grpc-bind", f"127.0.0.1:{free_port()}", "--grpc-cert", str(chain), "--grpc-key", str(key))
    code, said = serve("--bind", f"127.0.0.1:{free_port()}", *words)
    assert (code, "--grpc-key: " in said) == (2, True)
    assert not (tmp_path / "patauth-data").exists()
