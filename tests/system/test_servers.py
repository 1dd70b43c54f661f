"""The pages about servers: each block runs on the real server, and `patauth doctor` sees what breaks."""

from __future__ import annotations

import getpass
import json
import re
import shlex
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest

from patauth import IssuedPat, PatAuthMiddleware
from patauth.crypto.profiles import PROFILES
from patauth.store.local.engine import LocalEngine
from tests.support.authorities import basic_of, bearer, issue, patient
from tests.support.documents import blocks
from tests.support.paths import EXAMPLES, ROOT
from tests.support.processes import PATAUTH, environment, free_port
from tests.support.receivers import SECRET, answers, in_turn, receiving, takes
from tests.support.routed_apps import FIRST, LAST
from tests.support.servers import Server, until
from tests.support.tables import each
from tests.support.web_servers import apache, running, serving
from tests.support.wsgi import Echo, folding

UPLOAD = bytes(3_000_000)


class Work(NamedTuple):
    """A folder with the app of docs/python.md as app.py in it, the settings of a store, and a PAT."""

    folder: Path
    settings: dict[str, str]
    pat: IssuedPat

    @contextmanager
    def running(self, command: str | list[str], port: int, **settings: str) -> Iterator[int]:
        """Run a server's command here, with the scripts of this environment."""
        words = shlex.split(command) if isinstance(command, str) else command
        script = Path(sys.executable).with_name(words[0])
        log = self.folder / f"{words[0]}.log"
        words = [str(script) if script.exists() else words[0], *words[1:]]
        with running(words, port, log, self.folder, **self.settings, **settings):
            yield port

    def ask(self, port: int, *, method: str = "GET", path: str = "/reports", **given: Any) -> tuple[int, str]:
        """Ask with the PAT, unless `headers` say otherwise."""
        given.setdefault("headers", {"Authorization": bearer(self.pat.token)})
        with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
            connection.request(method, path, **given)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def works(self, port: int) -> None:
        assert self.ask(port) == (200, "hello alice\n")
        assert json.loads(self.ask(port, headers={})[1]) == {"error": "unauthorized"}
        refused = self.ask(port, method="POST", body=UPLOAD, headers={})
        assert (refused[0], json.loads(refused[1])) == (401, {"error": "unauthorized"})

    def doctor(self, *words: str, **settings: str) -> dict[str, str]:
        """The gravest level of each check that a web server has a part in."""
        done = subprocess.run(
            [*PATAUTH, "doctor", "--output", "json", *words],
            cwd=self.folder, env=environment(**self.settings, **settings), capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        checks = ("url", "headers", "mod_wsgi", "nginx", "uwsgi", "gunicorn", "files")
        order, found = ["ok", "warning", "problem"], {}
        for one in json.loads(done.stdout)["findings"]:
            if one["check"] in checks:
                found[one["check"]] = max(found.get(one["check"], "ok"), one["level"], key=order.index)
        return found


@pytest.fixture
def work(servers: dict[str, Server], prefix: str, tmp_path: Path) -> Work:
    (app,) = (block for block in blocks("docs/python.md", "python") if "application =" in block)
    assert 'from_url("local:./patauth-data")' in app
    (tmp_path / "app.py").write_text(app.replace('from_url("local:./patauth-data")', "from_env()"))
    with patient(servers["valkey"].url, key_prefix=prefix, hash_profile=PROFILES["testing"]) as authority:
        pat = issue(authority)
    settings = {"PATAUTH_STORE_URL": servers["valkey"].url, "PATAUTH_KEY_PREFIX": prefix}
    return Work(tmp_path, settings, pat)


# With it, doctor sees from outside what becomes of names with an underscore.
TOKEN_HEADER = {"PATAUTH_TOKEN_HEADERS": "X-API-Key"}


def page(name: str, language: str, number: int = 0) -> str:
    return blocks(f"docs/how-to/{name}.md", language)[number]


def at(text: str, port: int, example: str = "8000") -> str:
    assert f":{example}" in text
    return text.replace(f":{example}", f":{port}")


# -- each page -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "language", "file", "underscores"),
    [("gunicorn", "python", "gunicorn.conf.py", "ok"), ("uwsgi", "ini", "uwsgi.ini", "problem")],
)
def test_a_server_with_a_configuration_of_its_own(
    work: Work, server: str, language: str, file: str, underscores: str
) -> None:
    """uWSGI takes names with an underscore for those with a hyphen, as its page says."""
    port = free_port()
    (work.folder / file).write_text(at(page(server, language), port))
    with work.running(page(server, "sh"), port, **TOKEN_HEADER):
        work.works(port)
        found = work.doctor("--url", f"http://127.0.0.1:{port}/reports", **TOKEN_HEADER)
        assert found == {server: "ok", "url": "ok", "headers": underscores}


@pytest.mark.parametrize("number", [0, 1])
def test_waitress(work: Work, number: int) -> None:
    """Alone, and with the settings for a proxy, which is told from a client by what it sends."""
    port = free_port()
    *settings, command = at(page("waitress", "sh", number), port).splitlines()
    given = dict(re.findall(r"(PATAUTH_\w+)=(\S+)", " ".join(settings)))
    assert bool(given) == bool(number)
    with work.running(command, port, **given, **TOKEN_HEADER):
        work.works(port)
        found = work.doctor("--url", f"http://127.0.0.1:{port}/reports", **TOKEN_HEADER)
        assert found == {"url": "ok", "headers": "ok"}


@pytest.mark.parametrize("threads", ["threads = 4", "enable-threads = true", ""])
def test_without_threads_an_older_uwsgi_keeps_events_back(work: Work, threads: str) -> None:
    """Debian's 2.0.21: what was not taken at the first try waits for another request, and nobody asks."""
    port = free_port()
    text = at(page("uwsgi", "ini"), port).replace("processes = 2", "processes = 1")
    (work.folder / "uwsgi.ini").write_text(text.replace("threads = 4", f"{threads}\nplugin = python3"))
    with receiving(in_turn(answers(503), takes)) as receiver:
        events = {"PATAUTH_EVENTS": f"webhook:{receiver.url}", "PATAUTH_WEBHOOK_SECRET": SECRET}
        packages = {"PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}"}
        with work.running("uwsgi-core --ini uwsgi.ini", port, **events, **packages):
            body, kind = "grant_type=client_credentials", "application/x-www-form-urlencoded"
            headers = {"Authorization": basic_of(work.pat), "Content-Type": kind}
            made = work.ask(port, method="POST", path="/oauth/token", body=body, headers=headers)
            assert made[0] == 200
            if threads:
                until(lambda: receiver.taken)
            else:
                with pytest.raises(AssertionError):
                    until(lambda: receiver.taken, 5)
    assert work.doctor(**events) == {"uwsgi": "ok" if threads else "problem"}


@contextmanager
def on_apache(work: Work, *, passes: bool = True) -> Iterator[int]:
    """The page's site, in the folder of this test, with an environment of the Python that mod_wsgi brings."""
    port = free_port()
    site = page("apache", "apache").replace("*:80", f"127.0.0.1:{port}").replace(" user=app group=app", "")
    if not passes:
        site = site.replace("WSGIPassAuthorization On", "")
    (work.folder / "site.conf").write_text(site)
    with TemporaryDirectory() as folder:
        # mod_wsgi asks whether its user may reach it, which is more than that it can.
        Path(folder).chmod(0o755)
        subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", f"{folder}/venv"], check=True)
        (packages,) = Path(folder).glob("venv/lib/python*/site-packages")
        # Packages in C fit one version of Python alone.
        assert packages.parent.name == f"python{sysconfig.get_python_version()}"
        (packages / "tests.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
        site = site.replace("/srv/app/venv", f"{folder}/venv").replace("/srv/app", str(work.folder))
        site = site.replace("WSGIDaemonProcess app", f"WSGIDaemonProcess app home={work.folder}")
        lines = [f"WSGISocketPrefix {work.folder}/wsgi", site]
        with work.running(apache(work.folder, f"127.0.0.1:{port}", lines), port, **TOKEN_HEADER):
            yield port


def test_apache(work: Work) -> None:
    with on_apache(work) as port:
        work.works(port)
        site, url = str(work.folder / "site.conf"), f"http://127.0.0.1:{port}/reports"
        found = work.doctor("--url", url, "--server-config", site, **TOKEN_HEADER)
        assert found == {"mod_wsgi": "ok", "url": "ok", "headers": "ok"}


def test_apache_that_keeps_credentials_back_is_seen_in_its_file_and_from_outside(work: Work) -> None:
    with on_apache(work, passes=False) as port:
        assert work.ask(port)[0] == 401
        site, url = str(work.folder / "site.conf"), f"http://127.0.0.1:{port}/reports"
        assert work.doctor("--url", url, "--server-config", site) == {"mod_wsgi": "warning", "url": "problem"}


@contextmanager
def on_nginx(work: Work, server: str, *more: str) -> Iterator[int]:
    port = free_port()
    temp = [f"{kind}_temp_path {work.folder}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi")] + [
        f"client_body_temp_path {work.folder}/body;"
    ]
    lines = ["access_log off;", *temp, *more, at(server, port, "8080")]
    (work.folder / "nginx.conf").write_text(
        "pid nginx.pid;\nevents {}\nhttp {\n" + "\n".join(lines) + "\n}\n"
    )
    command = [
        "nginx", "-p", str(work.folder), "-c", str(work.folder / "nginx.conf"), "-g",
        f"daemon off; error_log stderr; user {getpass.getuser()};",
    ]  # fmt: skip
    with work.running(command, port):
        yield port


def test_nginx(work: Work) -> None:
    """Before gunicorn of its page: the address is the client's, and the path the one that was sent."""
    inner = free_port()
    (work.folder / "gunicorn.conf.py").write_text(at(page("gunicorn", "python"), inner))
    given = dict(re.findall(r"(PATAUTH_\w+)=(\S+)", page("nginx", "sh")))
    assert given == {"PATAUTH_TRUSTED_PROXIES": "1", "PATAUTH_PROXY_NETWORKS": "127.0.0.1"}
    here = work._replace(pat=limited(work))
    with (
        here.running(page("gunicorn", "sh"), inner, **given),
        on_nginx(here, at(page("nginx", "nginx"), inner)) as port,
    ):
        here.works(port)
        forged = {"Authorization": bearer(here.pat.token), "X-Forwarded-For": "203.0.113.9"}
        assert here.ask(port, headers=forged)[0] == 200
        assert here.ask(port, headers=forged | {"X_Forwarded_For": "203.0.113.9"})[0] == 200
        assert here.ask(inner, headers=forged)[0] == 401, "another peer than nginx would be believed"
        assert here.ask(port, path="/healthz/%2e%2e/reports")[0] == 400
        url = f"http://127.0.0.1:{port}/reports"
        assert here.doctor("--url", url) == {
            "gunicorn": "ok", "nginx": "ok", "url": "ok", "headers": "warning",
        }  # fmt: skip


def limited(work: Work) -> IssuedPat:
    """A PAT that this machine's addresses alone may use."""
    url, prefix = work.settings["PATAUTH_STORE_URL"], work.settings["PATAUTH_KEY_PREFIX"]
    with patient(url, key_prefix=prefix, hash_profile=PROFILES["testing"]) as authority:
        return issue(authority, "limited", networks=["127.0.0.1/32"])


def test_nginx_with_uwsgi_pass(work: Work) -> None:
    inner = free_port()
    text = at(page("uwsgi", "ini"), inner).replace("http-socket", "socket")
    (work.folder / "uwsgi.ini").write_text(text)
    here = work._replace(pat=limited(work))
    with (
        here.running(page("uwsgi", "sh"), inner),
        on_nginx(here, at(page("nginx", "nginx", 1), inner)) as port,
    ):
        here.works(port)
        forged = {"Authorization": bearer(here.pat.token), "X-Forwarded-For": "203.0.113.9", "Forwarded": "x"}
        assert here.ask(port, headers=forged)[0] == 200


@pytest.mark.parametrize("lets_through", [True, False])
def test_a_chain_that_merges_underscores_is_seen_in_the_file_and_from_outside(
    work: Work, lets_through: bool
) -> None:
    """nginx before wsgiref, which merges them."""
    more = ["underscores_in_headers on;"] if lets_through else []
    url, prefix = work.settings["PATAUTH_STORE_URL"], work.settings["PATAUTH_KEY_PREFIX"]
    with (
        patient(url, key_prefix=prefix, token_headers=["X-API-Key"]) as authority,
        folding(PatAuthMiddleware(Echo(), authority)) as inner,
        on_nginx(work, at(page("nginx", "nginx"), int(inner.rpartition(":")[2])), *more) as port,
    ):
        level = "problem" if lets_through else "ok"
        nginx = ["nginx", "-T", "-q", "-p", str(work.folder), "-c", str(work.folder / "nginx.conf")]
        dump = subprocess.run(nginx, capture_output=True, check=True, timeout=60).stdout
        (work.folder / "all.conf").write_bytes(dump)
        assert work.doctor("--server-config", str(work.folder / "all.conf"))["nginx"] == level
        found = work.doctor("--url", f"http://127.0.0.1:{port}/reports", **TOKEN_HEADER)
        assert found == {"nginx": level, "url": "ok", "headers": level}


@each("server", ["gunicorn gthread", "waitress"])
def test_a_stream_arrives_in_pieces_through_nginx(work: Work, server: str) -> None:
    """By chunks and by the end of the connection; the last piece is made once the first one is here."""
    last_piece = work.folder / f"last-piece-of-{server}"
    settings = {**work.settings, "TESTS_LAST_PIECE": str(last_piece)}
    with (
        serving(server, "tests.support.routed_apps:create", work.folder / "log", **settings) as inner,
        on_nginx(work, at(page("nginx", "nginx"), inner)) as port,
        closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection,
    ):
        headers = {"Host": "cors.plain", "Authorization": bearer(work.pat.token)}
        connection.request("GET", "/stream", headers=headers)
        answer = connection.getresponse()
        assert answer.read1() == FIRST
        last_piece.touch()
        assert answer.read() == LAST


def test_hypercorn_and_gunicorn_run_an_asgi_app(work: Work) -> None:
    store = 'store_url="local:./patauth-data"'
    assert store in page("uvicorn", "python")
    (work.folder / "app.py").write_text(page("uvicorn", "python").replace(store, ""))
    commands = page("uvicorn", "sh", 3).splitlines()
    assert [command.split()[0] for command in commands] == ["hypercorn", "gunicorn"]
    for command in commands:
        port = free_port()
        quick_end = {"GUNICORN_CMD_ARGS": "--graceful-timeout 1"}
        with work.running(f"{command} --bind 127.0.0.1:{port}", port, **quick_end):
            assert work.ask(port) == (200, "alice")
            assert work.ask(port, headers={})[0] == 401


# -- systemd -------------------------------------------------------------------------------------------------


def test_the_unit_is_right_and_its_command_serves(work: Work) -> None:
    """systemd itself is not run: it verifies the unit, and the test gives the service what systemd gives."""
    text = (EXAMPLES / "patauth.service").read_text()
    (start,) = re.findall("(?m)^ExecStart=(.*)$", text)
    words = shlex.split(start)
    assert words[0] == "/opt/patauth/bin/patauth"
    unit = work.folder / "patauth.service"
    unit.write_text(text.replace(words[0], sys.executable))
    verified = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")

    key = work.folder / "secret-key"
    make = blocks("docs/how-to/systemd.md", "sh")[0].splitlines()[2]
    subprocess.run(["sh", "-c", make.replace("/etc/patauth", str(work.folder))], check=True)
    key.chmod(0o640)
    environ = dict(re.findall("(?m)^Environment=(\\w+)=(.*)$", text))
    assert environ == {
        "PATAUTH_STORE_URL": "local:/var/lib/patauth/data", "PATAUTH_SECRET_KEY_FILE": "%d/secret-key",
    }  # fmt: skip
    port = free_port()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(work.folder / "notify"))
        notified.settimeout(30)
        settings = {
            "PATAUTH_STORE_URL": f"local:{work.folder}/data", "PATAUTH_SECRET_KEY_FILE": str(key),
            "NOTIFY_SOCKET": str(work.folder / "notify"),
        }  # fmt: skip
        command = [*PATAUTH, *shlex.split(at(start, port))[1:]]
        with running(command, port, work.folder / "log", work.folder, **settings):
            assert b"READY=1" in notified.recv(4096)
            assert work.ask(port, path="/readyz", headers={})[0] == 200
    LocalEngine(work.folder / "data").stop()
