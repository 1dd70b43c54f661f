"""`patauth serve`: the application alone, its log, and the service as a process on gunicorn."""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from patauth import Authority, ConfigurationError, IssuedPat, Owner, Settings
from patauth.cli import program
from patauth.cli.address import AddressType
from patauth.cli.serve import _settings
from patauth.logs import RedactingFormatter
from patauth.settings import SURFACE_NAMES
from patauth.wsgi import surfaces
from patauth.wsgi.service.app import Standalone
from patauth.wsgi.service.gunicorn import Server, ServiceLog
from tests.support.authorities import Make, basic_of, issue
from tests.support.forms import hidden, token_of
from tests.support.private import write_private
from tests.support.processes import free_port, processes
from tests.support.servers import Server as Engine
from tests.support.servers import until
from tests.support.service import FORM, Service, serving
from tests.support.tables import each
from tests.support.wsgi import APIS, request

# -- the application alone ---------------------------------------------------------------------------------


def test_it_serves_the_token_endpoint_and_its_health(authority: Authority) -> None:
    app, made = Standalone(authority), issue(authority)
    answer = request(app, "/oauth/token", method="POST", data=FORM, authorization=basic_of(made))
    assert (answer.status_code, answer.json["token_type"]) == (200, "Bearer")
    for path, status in (("/healthz", "alive"), ("/readyz", "ready")):
        answer = request(app, path)
        assert (answer.status_code, answer.json) == (200, {"status": status})
        assert answer.headers["Cache-Control"] == "no-store"
        head = request(app, path, method="HEAD")
        assert (head.status_code, head.data) == (200, b"")
        refused = request(app, path, method="POST")
        assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")


@each("path", ["/", "/oauth", "/oauth/token/", "/oauth/introspection", "/healthz/", "/a/../b", "/ä"])
@each("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_every_other_path_is_404_json_with_credentials_or_without(
    make_at: Make, path: str, method: str
) -> None:
    authority = make_at(max_pats_per_owner=100)
    app = Standalone(authority)
    for authorization in (None, "Basic x", basic_of(issue(authority, name=method + path))):
        answer = request(app, path, method=method, authorization=authorization)
        assert (answer.status_code, answer.json["error"]) == (404, "not_found")


def test_the_path_prefix_stands_before_all_of_it(make: Make) -> None:
    app = Standalone(make(path_prefix="/auth"))
    assert request(app, "/auth/readyz").status_code == request(app, "/auth/healthz").status_code == 200
    assert request(app, "/auth/oauth/token", method="POST").status_code == 415
    assert {request(app, path).status_code for path in ("/readyz", "/healthz", "/oauth/token")} == {404}


def test_without_the_store_it_is_alive_and_not_ready(make_at: Make, tmp_path: Path) -> None:
    app = Standalone(make_at(url=f"unix://{tmp_path}/nobody"))
    assert request(app, "/healthz").status_code == 200
    answer = request(app, "/readyz")
    assert (answer.status_code, answer.json["error"]) == (503, "temporarily_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    token = request(app, "/oauth/token", method="POST", data={**FORM, "client_id": "x", "client_secret": "y"})
    assert token.status_code == 401  # a wrong shape needs no store


# -- the log -----------------------------------------------------------------------------------------------


def test_no_log_line_shows_a_credential(authority: Authority) -> None:
    made = issue(authority)
    access = authority.exchange(made.pat.id, made.secret).value
    formatter = RedactingFormatter(logging.Formatter("%(message)s"))
    secrets = [made.secret, made.token, access, basic_of(made).split()[1], "hush"]
    for text in (
        f"Invalid Request Line 'GET /x?client_secret={made.secret} HTTP/1.1'",
        f"Authorization: {basic_of(made)}",
        f"authorization: bearer {access}",
        f"path /x%3A{made.token}",
        "GET /?access_token=hush&client_secret=hush&password=hush HTTP/1.1",
    ):
        try:
            raise ValueError(text)
        except ValueError:
            record = logging.LogRecord("gunicorn.error", 40, "", 0, "%s", (text,), sys.exc_info())
        line = formatter.format(record)
        assert "[hidden]" in line
        assert not [secret for secret in secrets if secret in line], line
    plain = logging.LogRecord("gunicorn.error", 20, "", 0, "Booting worker with pid: %s", (7,), None)
    assert formatter.format(plain) == "Booting worker with pid: 7"


def test_the_access_log_shows_the_client_and_a_path_that_is_one_word() -> None:
    log = ServiceLog.__new__(ServiceLog)
    log.settings = Settings.of(store_url="local:x", trusted_proxies=1)
    environ = {
        "REQUEST_METHOD": "GET",
        "RAW_URI": "/",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_X_FORWARDED_FOR": "198.51.100.7, 203.0.113.9",
        "PATH_INFO": '/a b\n"c\xc3\xa4',
        "QUERY_STRING": "client_secret=hush",
    }

    class Response:
        status, headers, sent = "200 OK", (), 3

    fields = log.atoms(Response, {}, environ, timedelta(seconds=1))
    assert fields["h"] == "203.0.113.9"
    assert fields["U"] == "/a%20b%0A%22c%C3%A4"


# -- the service as a process ------------------------------------------------------------


def create(store: str, name: str = "ci") -> IssuedPat:
    with Authority.from_url(store) as authority:
        return authority.create(owner=Owner("alice"), name=name, scope=["a:b"], expires_in=timedelta(hours=1))


def test_the_service_from_its_start_to_its_end(tmp_path: Path) -> None:
    """On its default store: exchange, revocation beside it, no secret in a log, and a clean end."""
    with serving(tmp_path) as service:
        made = create(f"local:{tmp_path}/patauth-data")
        answer = service.exchange(made)
        assert (answer.status_code, answer.json()["scope"]) == (200, "a:b")
        with Authority.from_url(f"local:{tmp_path}/patauth-data") as authority:
            assert authority.verify_bearer(answer.json()["access_token"]).subject.id == "alice"
            wrong = requests.post(f"{service.url}/oauth/token?client_secret={made.secret}&access_token=hush",
                                  data=FORM, timeout=10)  # fmt: skip
            assert wrong.status_code == 400
            assert service.status(f"/oauth/{made.secret}") == 404
            authority.delete(made.pat.id)
            assert {service.exchange(made).status_code for _ in range(8)} == {401}
        assert service.status("/readyz") == 200
        # What gunicorn itself refuses, and may quote.
        for raw in (
            b"GET /?access_token=hush\x01 HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nbad header: hush\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", service.port), 5) as connection:
                connection.sendall(raw)
                assert b" 400 " in connection.recv(100)
        assert service.stop() == 0
        said = service.said()
        assert said.count('"POST /oauth/token" 200') == 1
        assert '"type": "token.issued"' in said
        assert not [
            secret for secret in (made.secret, answer.json()["access_token"], "hush") if secret in said
        ]
        assert "client_secret" not in (tmp_path / "out").read_text()
        assert "Traceback" not in said
    until(lambda: not processes(tmp_path), 12)


def test_a_header_cannot_rewrite_the_path(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "1") as service:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
        connection.request("GET", "/x/healthz", headers={"SCRIPT_NAME": "/x", "PATH_INFO": "/healthz"})
        assert connection.getresponse().status == 404
        connection.close()
        many = requests.get(f"{service.url}/healthz", headers={f"X-{n}": "1" for n in range(120)}, timeout=10)
        long = requests.get(f"{service.url}/healthz", headers={"X": "1" * 9000}, timeout=10)
        assert {many.status_code, long.status_code} <= {400, 431}


def test_a_reload_changes_all_workers_without_refusing_anybody_and_reads_secret_files_again(
    tmp_path: Path,
) -> None:
    write_private(tmp_path / "url", f"local:{tmp_path}/one")
    made = create(f"local:{tmp_path}/two")
    with serving(tmp_path, PATAUTH_STORE_URL_FILE=str(tmp_path / "url")) as service:
        before = service.workers()
        assert service.exchange(made).status_code == 401
        statuses: list[int] = []
        done = threading.Event()

        def ask() -> None:
            while not done.is_set():
                statuses.append(service.status("/healthz"))
                time.sleep(0.005)

        asking = threading.Thread(target=ask)
        asking.start()
        write_private(tmp_path / "url", "mysql://nonsense")
        service.process.send_signal(signal.SIGHUP)
        until(lambda: "the old ones stay" in service.said())
        until(lambda: len(service.workers()) == 2 and not service.workers() & before)
        assert service.exchange(made).status_code == 401
        write_private(tmp_path / "url", f"local:{tmp_path}/two")
        before = service.workers()
        service.process.send_signal(signal.SIGHUP)
        until(lambda: len(service.workers()) == 2 and not service.workers() & before)
        assert service.exchange(made).status_code == 200
        done.set()
        asking.join()
        assert len(statuses) > 20
        assert set(statuses) == {200}


def test_sigusr2_changes_nothing_and_names_the_signal_that_reloads(tmp_path: Path) -> None:
    """gunicorn would start a second master, which finds its ports taken."""
    with serving(tmp_path, "--metrics-bind", f"127.0.0.1:{free_port()}") as service:
        before = service.workers()
        service.process.send_signal(signal.SIGUSR2)
        until(lambda: "SIGUSR2 is ignored; send SIGHUP" in service.said())
        service.process.send_signal(signal.SIGHUP)  # which comes after all that SIGUSR2 has caused
        until(lambda: len(service.workers() - before) == len(before) and not service.workers() & before, 30)
        assert service.status("/healthz") == 200
        assert service.stop() == 0
        said = service.said()
        assert said.count("Starting gunicorn") == 1
        assert not re.search("Traceback|cannot listen", said)


def test_its_end_waits_for_requests_in_flight(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "1") as service:
        made = create(f"local:{tmp_path}/patauth-data")
        body = f"grant_type=client_credentials&client_id={made.pat.id}&client_secret={made.secret}".encode()
        with socket.create_connection(("127.0.0.1", service.port), 10) as connection:
            connection.sendall(
                b"POST /oauth/token HTTP/1.1\r\nHost: x\r\n"
                b"Content-Type: application/x-www-form-urlencoded\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body) + body[:20]
            )
            time.sleep(0.3)
            service.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            connection.sendall(body[20:])
            assert b" 200 OK" in connection.recv(4096)
        assert service.process.wait(10) == 0


def test_it_starts_without_its_server_and_is_ready_when_that_comes(
    server: Engine, prefix: str, tmp_path: Path
) -> None:
    link = tmp_path / "s"
    words = ("--workers", "1", "--quiet", "--store", f"unix://{link}")
    with serving(tmp_path, *words, PATAUTH_KEY_PREFIX=prefix) as service:
        assert service.status("/readyz") == 503
        link.symlink_to(server.socket)
        until(lambda: service.status("/readyz") == 200)
        assert (tmp_path / "out").read_text() == ""
        assert re.search("WARNING patauth .*not ready", (tmp_path / "err").read_text())


# -- what does not start -----------------------------------------------------------------------------------


def serve(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(program, ["serve", *words])
    assert result.stdout == ""
    return result.exit_code, result.stderr


def test_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATAUTH_STORE_URL", "memory:")
    code, said = serve()
    assert code == 2
    assert "local:./patauth-data" in said


def test_no_engine_is_5_and_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("patauth.store.local.binary._engines", lambda: iter(()))
    code, said = serve()
    assert code == 5
    assert "pip install 'patauth[local]'" in said
    assert list(tmp_path.iterdir()) == []


def test_no_gunicorn_is_2_and_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "patauth.wsgi.service.gunicorn")
    for name in [name for name in sys.modules if name.partition(".")[0] == "gunicorn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gunicorn", None)
    code, said = serve()
    assert code == 2
    assert "pip install 'patauth[serve]'" in said


@each(
    "words",
    [
        ("--bind", "localhost:port"),
        ("--workers", "0"),
        ("--threads", "x"),
        ("--store", ""),
        ("--store", "mysql://x"),
    ],
)
def test_wrong_arguments_are_usage_errors(words: tuple[str, ...]) -> None:
    assert serve(*words)[0] == 2


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("127.0.0.2:80", "http://127.0.0.2:80"),
        ("localhost:9", "http://localhost:9"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("::1:8000", "http://[::1]:8000"),
        ("0.0.0.0:8000", None),
        ("[::]:8000", None),
        ("192.0.2.1:8000", None),
        ("host.example:8000", None),
        (":8000", None),
        ("unix:/run/patauth.sock", None),
        ("unix:localhost:80", None),
    ],
)
def test_on_a_loopback_address_its_own_url_is_the_issuer(
    bind: str, url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings_of_serve(bind).issuer == url
    if url is not None:
        with monkeypatch.context() as signing:
            signing.setenv("PATAUTH_ACCESS_TOKEN_FORMAT", "jwt")
            assert settings_of_serve(bind).issuer == url
    monkeypatch.setenv("PATAUTH_PATH_PREFIX", "/auth")
    assert settings_of_serve(bind).issuer == (None if url is None else url + "/auth")
    monkeypatch.setenv("PATAUTH_ISSUER", "https://auth.example.com")
    assert settings_of_serve(bind).issuer == "https://auth.example.com"
    monkeypatch.setenv("PATAUTH_ISSUER", "none")
    assert settings_of_serve(bind).issuer is None


def test_behind_a_proxy_its_own_url_is_nobodys_issuer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATAUTH_TRUSTED_PROXIES", "1")
    assert settings_of_serve("127.0.0.1:8000").issuer is None


def test_it_serves_all_surfaces_unless_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page only where somebody knows who is signed in, and where what draws it is installed."""
    assert settings_of_serve("127.0.0.1:8000").surfaces == APIS
    monkeypatch.setenv("PATAUTH_IDENTIFY", "os:getcwd")
    assert settings_of_serve("127.0.0.1:8000").surfaces == SURFACE_NAMES
    with monkeypatch.context() as without:
        without.setattr(surfaces, "find_spec", lambda name: None)
        assert settings_of_serve("127.0.0.1:8000").surfaces == APIS
        without.setenv("PATAUTH_SURFACES", "page")
        with pytest.raises(ConfigurationError, match=r"patauth\[page\]"):
            settings_of_serve("127.0.0.1:8000")
    monkeypatch.setenv("PATAUTH_SURFACES", "oauth")
    assert settings_of_serve("127.0.0.1:8000").surfaces == ("oauth",)


@each(
    ("given", "said"),
    [
        ({"SURFACES": "oauth page"}, "surfaces: page needs identify"),
        ({"IDENTIFY": "nowhere_at_all:who"}, "identify: there is no module nowhere_at_all"),
        ({"IDENTIFY": "os:no_such_function"}, "identify: the module os has no function no_such_function"),
        ({"REAUTHENTICATE": "os:sep"}, "reauthenticate: the module os has no function sep"),
        ({"LOGIN_URL": "login"}, "login_url: give"),
        ({"IDENTIFY": "os:getcwd", "PAGE_FOLDER": "{folder}"}, "page_folder: .*base.html extends itself"),
    ],
)
def test_what_it_cannot_serve_is_said_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, str], said: str
) -> None:
    (tmp_path / "base.html").write_text('{% extends "base.html" %}')
    with monkeypatch.context() as environment:
        for name, value in given.items():
            environment.setenv(f"PATAUTH_{name}", value.replace("{folder}", str(tmp_path)))
        with pytest.raises(ConfigurationError, match=said):
            settings_of_serve("127.0.0.1:8000")


@pytest.mark.parametrize("issuer", [None, "none", "https://auth.example.com"])
def test_where_clients_would_need_an_issuer_it_says_so(
    issuer: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("wsgi.service.gunicorn.Server.run", "wsgi.service.logs.log_to_stderr"):
        monkeypatch.setattr(f"patauth.{name}", lambda *_, **__: None)
    if issuer is not None:
        monkeypatch.setenv("PATAUTH_ISSUER", issuer)
    store = f"unix://{tmp_path}/nobody"
    code, said = serve("--bind", f"unix:{tmp_path}/s", "--store", store)
    assert (code, "PATAUTH_ISSUER" in said) == (0, issuer is None)
    code, said = serve("--bind", f"127.0.0.1:{free_port()}", "--store", store)
    assert (code, "PATAUTH_ISSUER" in said) == (0, False)


def settings_of_serve(bind: str) -> Settings:
    """What `patauth serve --bind` would serve with."""
    with program.make_context("patauth", ["serve"]):
        return _settings(AddressType(paths=True).convert(bind, None, None))


def test_gunicorns_own_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "GUNICORN_CMD_ARGS", "--forwarded-allow-ips=* --forwarder-headers=SCRIPT_NAME --reload"
    )
    monkeypatch.setenv("WEB_CONCURRENCY", "9")
    made = Server(
        lambda: Settings.of(store_url="local:x"), bind="127.0.0.1:1", workers=2, threads=4, quiet=False
    )
    found = made.cfg
    assert (found.forwarded_allow_ips, found.forwarder_headers, found.workers) == (["127.0.0.1"], [], 2)
    assert (found.worker_class_str, found.timeout, found.reload) == ("gthread", 30, False)
    assert json.dumps(found.secure_scheme_headers) == "{}"
    assert os.path.basename(found.address[0][0]) == "127.0.0.1"


# -- people ------------------------------------------------------------------------------------------------

PEOPLE = """
import patauth

def who(environ):
    user = environ.get("HTTP_X_FRONT_USER")  # a front sets it, and removes what a client sends
    scopes = ["a:b", "idn:my-personal-access-tokens:manage"]
    return patauth.Person(patauth.Owner(user), scopes) if user else None
"""


def test_a_person_whom_a_front_has_signed_in_has_the_page(tmp_path: Path) -> None:
    """The function is found in the working directory, and is asked in each worker."""
    (tmp_path / "people.py").write_text(PEOPLE)
    with serving(tmp_path, PATAUTH_IDENTIFY="people:who", PATAUTH_LOGIN_URL="/in?next={next}") as service:
        page = f"{service.url}/personal-access-tokens"
        assert f"The page for people is at {page}." in service.said()
        signed_out = requests.get(page, timeout=10)
        assert signed_out.status_code == 401
        assert 'href="/in?next=%2Fpersonal-access-tokens"' in signed_out.text
        with requests.Session() as browser:
            browser.headers.update({"X-Front-User": "alice", "Origin": service.url})
            form = hidden(browser.get(f"{page}/new").text)
            new = {**form, "name": "ci", "scope": "a:b", "expires_in": "7d"}
            token = token_of(browser.post(page, new).text)
            assert verified(service, token) == {200}
            assert browser.post(page, new).status_code == 409, "nothing is made twice, in whatever worker"
            (revoke,) = re.findall('href="([^"]+/revoke)"', browser.get(page).text)
            form = hidden(browser.get(service.url + revoke).text)
            assert browser.post(service.url + revoke, form).status_code == 200
            assert verified(service, token) == {401}
        assert requests.post(page, new, headers={"X-Front-User": "alice"}, timeout=10).status_code == 403
        assert token not in service.said()


def verified(service: Service, token: str) -> set[int]:
    """What forward-auth answers, of whichever worker."""
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{service.url}/verify?scope=a:b"
    return {requests.get(url, headers=headers, timeout=10).status_code for _ in range(8)}


def test_without_identify_nothing_is_served_at_the_page(tmp_path: Path) -> None:
    with serving(tmp_path) as service:
        assert (
            service.status("/personal-access-tokens") == service.status("/personal-access-tokens/new") == 404
        )
