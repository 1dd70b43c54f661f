"""The examples, each run as its own text says."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from patauth import Authority, IssuedPat, Owner
from patauth.store.local.engine import LocalEngine
from tests.support.authorities import basic, basic_of
from tests.support.documents import blocks, read
from tests.support.forms import hidden, token_of
from tests.support.paths import ROOT
from tests.support.processes import free_port
from tests.support.servers import until

EXAMPLES, SUPPORT = ROOT / "examples", ROOT / "tests" / "support"


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    """A working directory: `local:./patauth-data` of the examples is in it."""
    yield tmp_path
    LocalEngine(tmp_path / "patauth-data").stop()


def environment(**more: str) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PATAUTH_")}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def issue(work: Path, *scope: str) -> IssuedPat:
    with Authority.from_url(f"local:{work}/patauth-data") as authority:
        return authority.create(
            owner=Owner("alice", name="Alice"),
            name="+".join(scope),
            scope=scope,
            expires_in=timedelta(hours=1),
        )


@contextmanager
def serving(work: Path, port: int, *command: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server of an example; ends with Ctrl-C."""
    log = work / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=work, env=environment(PORT=str(port), **more), stdout=output, stderr=output
        )
    with process:
        try:
            until(lambda: process.poll() is not None or call(port, "/healthz")[0] != 0)
            assert process.poll() is None, log.read_text()
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()  # leaving the process would wait for ever
                raise
    assert "Exception" not in log.read_text()
    assert "pats_" not in log.read_text()


def gunicorn(port: int) -> list[str]:
    """As the docstring of flask_app.py has it, on a port of its own."""
    return [
        sys.executable, "-m", "gunicorn", "-c", f"{EXAMPLES}/gunicorn.conf.py", "-b", f"127.0.0.1:{port}",
        "--no-control-socket", "flask_app:app",
    ]  # fmt: skip


def call(port: int, path: str, authorization: str = "", data: bytes | None = None) -> tuple[int, str]:
    """Status and body; status 0 where nobody listens."""
    headers = {"Content-Type": "application/json"}
    if authorization:
        headers["Authorization"] = authorization
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except urllib.error.URLError:
        return 0, ""


def test_the_flask_app_runs_under_gunicorn_with_the_cli_beside_it(work: Path) -> None:
    port = free_port()
    reader, writer = issue(work, "reports:read"), issue(work, "reports:read", "reports:write")
    with serving(work, port, *gunicorn(port)):
        assert call(port, "/")[0] == call(port, "/healthz")[0] == 200
        assert call(port, "/me")[0] == 401
        assert json.loads(call(port, "/me", f"Bearer {reader.token}")[1]) == {
            "owner": "alice", "method": "pat", "scopes": ["reports:read"],
        }  # fmt: skip
        assert json.loads(call(port, "/reports", basic_of(reader))[1])["for"] == "Alice"
        assert call(port, "/reports", basic_of(reader), b"{}")[0] == 403
        assert call(port, "/reports", basic_of(writer), b'{"q": 3}')[0] == 201
        subprocess.run(
            [sys.executable, "-m", "patauth", "pat", "revoke", reader.pat.id, "--yes",
             "--store", "local:./patauth-data"],
            cwd=work, env=environment(), check=True, capture_output=True,
        )  # fmt: skip
        # More requests than there are workers: whichever answers has heard of it.
        assert {call(port, "/reports", basic_of(reader))[0] for _ in range(12)} == {401}
        assert call(port, "/reports", basic_of(writer))[0] == 200


def test_people_who_are_signed_in_manage_their_pats(work: Path) -> None:
    """By the requests of its docstring, which is what a page of the app would send."""
    port = free_port()
    documentation = ast.get_docstring(ast.parse((EXAMPLES / "flask_identify.py").read_text("utf-8"))) or ""
    indented = [line[4:] for line in documentation.splitlines() if line.startswith("    ")]
    script = "\n".join(indented).replace("127.0.0.1:8000", f"127.0.0.1:{port}").replace("curl ", "curl -fsS ")
    with serving(work, port, sys.executable, str(EXAMPLES / "flask_identify.py")):
        done = subprocess.run(
            ["sh", "-euc", script], cwd=work, env=environment(), capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        signed_in, made = map(json.loads, done.stdout.replace("}{", "}\n{").splitlines())
        assert signed_in == {"user": "alice"}
        assert made["owner"] == {"type": "IDENTITY", "id": "alice", "name": "Alice"}
        assert json.loads((work / "pats.json").read_text()) == []
        opened = call(port, "/reports", basic(made["id"], made["secret"]))
        assert json.loads(opened[1]) == {"reports": ["Q1", "Q2"], "for": "Alice"}
        with requests.Session() as browser:
            check_what_a_person_may_not(browser, f"http://127.0.0.1:{port}")


def check_what_a_person_may_not(browser: requests.Session, url: str) -> None:
    api = f"{url}/personal-access-tokens/v1"
    assert browser.get(f"{api}?owner-id=me").status_code == 401
    assert browser.post(f"{url}/login", data={"name": "mallory"}).status_code == 403
    assert browser.post(f"{url}/login", data={"name": "bob"}).ok
    seen = browser.get(f"{api}?owner-id=me")
    assert seen.json() == [], "alice's are not bob's"
    assert browser.get(api).status_code == 403, "nor are all"
    assert browser.get(f"{url}/reports").status_code == 401, "a person opens no route of the app"
    right = {"Origin": url, "X-CSRF-Token": seen.headers["X-CSRF-Token"]}
    new = {"name": "ci", "scope": ["reports:read"], "userAwareTokenNeverExpires": True}
    for headers in ({}, {**right, "X-CSRF-Token": ""}, {**right, "Origin": "https://other.example"}):
        assert browser.post(api, json=new, headers=headers).status_code == 403
    assert browser.post(api, json={**new, "scope": ["admin"]}, headers=right).status_code == 400
    assert browser.post(api, json=new, headers=right).status_code == 200
    assert browser.post(f"{url}/logout").ok
    assert browser.post(api, json={**new, "name": "late"}, headers=right).status_code == 401


def test_people_who_are_signed_in_by_flask_login_have_the_page(work: Path) -> None:
    """By the forms that a browser sends: sign in, make a token, use it, revoke it."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    page = f"{url}/personal-access-tokens"
    with serving(work, port, sys.executable, str(EXAMPLES / "flask_login_page.py")), person(url) as browser:
        signed_out = browser.get(page)
        assert signed_out.status_code == 401
        (login,) = re.findall('href="(/login[^"]+)"', signed_out.text)
        shown = browser.get(url).text
        typed = dict(zip(("name", "password"), re.findall("<b>(.+?)</b>", shown), strict=True))
        landed = browser.post(url + login, hidden(browser.get(url + login).text) | typed | {"remember": "on"})
        assert (landed.status_code, landed.url) == (200, page)
        assert "Signed in as <bdi>Alice</bdi>" in landed.text

        form = browser.get(f"{page}/new")
        offered = re.findall('name="scope" value="([^"]+)"', form.text)
        assert offered == ["reports:read", "reports:write", "idn:my-personal-access-tokens:manage"]
        assert "Read reports" in form.text
        new = hidden(form.text) | {"name": "ci", "scope": "reports:read", "expires_in": "7d"}
        del browser.cookies["session"]  # what remembers people is no fresh sign-in
        asked = browser.post(page, new)
        assert asked.status_code == 403
        assert 'value="ci"' in asked.text, "what was typed stays"
        (login,) = re.findall('href="(/login[^"]+)"', asked.text)
        assert browser.post(url + login, hidden(browser.get(url + login).text) | typed).ok
        made = browser.post(page, hidden(asked.text) | new)
        assert made.status_code == 200
        token = token_of(made.text)

        opened = call(port, "/api/reports", f"Bearer {token}")
        assert json.loads(opened[1]) == {"reports": ["Q1", "Q2"], "for": "Alice"}
        assert browser.get(f"{url}/api/reports").status_code == 401, "a person opens no route of the API"
        (revoke,) = re.findall('href="([^"]+/revoke)"', browser.get(page).text)
        assert "revoked" in browser.post(url + revoke, hidden(browser.get(url + revoke).text)).text
        assert call(port, "/api/reports", f"Bearer {token}")[0] == 401

        assert browser.post(f"{url}/logout").status_code == 400, "another site signs nobody out"
        assert browser.post(f"{url}/logout", hidden(browser.get(url).text)).ok
        assert browser.get(page).status_code == 401
        for elsewhere in ("//e.example", "/\\e.example", "https://e.example", "/\t/e.example", "e"):
            form = browser.get(f"{url}/login", params={"next": elsewhere})
            assert hidden(form.text)["next"] == "/"
            wrong = browser.post(f"{url}/login", hidden(form.text) | {**typed, "password": "x"})
            assert (wrong.status_code, hidden(wrong.text)["next"]) == (403, "/")


@contextmanager
def person(url: str) -> Iterator[requests.Session]:
    """A browser as far as HTTP goes: it keeps cookies, and says which site a form comes from."""
    with requests.Session() as browser:
        browser.headers["Origin"] = url
        yield browser


def test_the_client_exchanges_and_calls_without_a_secret_among_its_arguments(work: Path) -> None:
    port = free_port()
    issued = issue(work, "reports:read")
    with serving(work, port, sys.executable, str(EXAMPLES / "flask_app.py")):
        done = client(port, "/reports", ID=issued.pat.id, SECRET=issued.secret)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == {"reports": ["Q1", "Q2"], "for": "Alice"}
        # A curl before the real one on PATH writes down its arguments.
        witness = work / "bin" / "curl"
        witness.parent.mkdir()
        real = shutil.which("curl")
        witness.write_text(f'#!/bin/sh\necho "$@" >> {work}/arguments\nexec {real} "$@"\n')
        witness.chmod(0o755)
        path = f"{witness.parent}:{os.environ['PATH']}"
        watched = client(port, "/me", ID=issued.pat.id, SECRET=issued.secret, PATH=path)
        assert json.loads(watched.stdout)["method"] == "access_token"
        arguments = (work / "arguments").read_text()
        assert arguments.count("--config -") == 2
        assert "pats_" not in arguments
        assert "pata_" not in arguments

        refused = client(port, "/reports", ID=issued.pat.id, SECRET="pats_wrong")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "invalid_client" in refused.stderr
        assert client(port, "/reports", SECRET="x").returncode != 0


def client(port: int, path: str, **credentials: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(EXAMPLES / "client.sh"), path],
        env=environment(BASE_URL=f"http://127.0.0.1:{port}", **credentials),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_plain_wsgi_app_runs(work: Path) -> None:
    port = free_port()
    reader, writer = issue(work, "reports:read"), issue(work, "reports:read", "reports:write")
    with serving(work, port, sys.executable, str(EXAMPLES / "plain_wsgi.py")):
        assert json.loads(call(port, "/healthz")[1]) == {"path": "/healthz", "caller": None}
        assert call(port, "/reports/1")[0] == 401
        assert json.loads(call(port, "/reports/1", basic_of(reader))[1])["caller"] == "alice"
        assert call(port, "/reports/1", basic_of(reader), b"{}")[0] == 403
        assert call(port, "/reports/1", basic_of(writer), b"{}")[0] == 200


PROJECT = EXAMPLES / "django_project"
# What serves the project, as its own files say, on a port that is filled in.
OF_DJANGO = {
    "runserver": ["-m", "django", "runserver", "--noreload", "127.0.0.1:{}"],
    "wsgi": ["-m", "gunicorn", "-b", "127.0.0.1:{}", "--no-control-socket", "project.wsgi"],
    "asgi": ["-m", "uvicorn", "--port", "{}", "--lifespan", "off", "project.asgi:application"],
}


def test_the_django_project_runs_on_each_kind_of_server(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a PAT that `manage.py patauth` has made, for views of Django and of Django REST framework."""
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "project.settings")

    def manage(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", f"{PROJECT}/manage.py", *words], cwd=work, env=environment(),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    checked = manage("check", "--fail-level", "DEBUG")
    assert (checked.returncode, checked.stderr) == (0, "")
    told = re.findall("^    python manage.py (.*)$", (PROJECT / "project/settings.py").read_text(), re.M)
    *preparing, serving_it = map(shlex.split, told)
    assert serving_it == ["runserver", "--noreload"]
    for given in preparing:
        assert manage(*given).returncode == 0, given
    words = "--owner-id alice --owner-name Alice --expires-in 1h --output json --quiet".split()
    made = []
    for name, scopes in (("reader", ["reports:read"]), ("writer", ["reports:read", "reports:write"])):
        given = [word for scope in scopes for word in ("--scope", scope)]
        done = manage("patauth", "pat", "create", "--name", name, *words, *given)
        assert (done.returncode, done.stderr) == (0, ""), done
        made.append(json.loads(done.stdout)["token"])
    reader, writer = (f"Bearer {token}" for token in made)
    monkeypatch.setenv("DJANGO_SECRET_KEY", "x" * 50)
    for kind, words in OF_DJANGO.items():
        port = free_port()
        command = [word.format(port) for word in words]
        with serving(work, port, sys.executable, *command, PYTHONPATH=f"{ROOT}:{PROJECT}"):
            assert json.loads(call(port, "/healthz")[1]) == {"ok": True}
            assert json.loads(call(port, "/")[1]) == {"hello": "nobody"}
            assert json.loads(call(port, "/", reader)[1]) == {"hello": "alice"}
            assert call(port, "/", "Bearer x")[0] == 401
            for path, who in (("/reports", "Alice"), ("/reports/later", "alice"), ("/api/reports", "Alice")):
                assert call(port, path)[0] == 401, (kind, path)
                assert json.loads(call(port, path, reader)[1]) == {"reports": ["Q1", "Q2"], "for": who}
            assert call(port, "/api/reports", reader, b"{}")[0] == 403
            assert json.loads(call(port, "/api/reports", writer, b"{}")[1]) == {"made by": "alice"}
            assert call(port, "/nothing", reader)[0] == 404  # Django's own
            assert call(port, "/%2e%2e/reports", reader)[0] in (400, 404)


def test_the_pat_that_the_page_makes_is_good_in_a_project_of_another_folder(work: Path) -> None:
    """The commands of examples/README.md, in a copy of the checkout: Django's starts in its own folder."""
    port = free_port()
    shutil.copytree(EXAMPLES, work / "examples", ignore=shutil.ignore_patterns("db.sqlite3", "patauth-data"))
    (make,) = blocks("examples/README.md", "sh")
    (row,) = re.findall(r"^\| `django_project` \|.*\| `(.*)` \|$", read("examples/README.md"), re.M)
    before, _, serve = row.rpartition(" && ")
    text = f"{make.strip()} > made\n{before} && exec {serve} {port}"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with serving(work, port, "sh", "-c", text, PATH=path):
        (token,) = re.findall(r"pat_\w+", (work / "made").read_text())
        assert call(port, "/reports")[0] == 401
        assert call(port, "/reports", f"Bearer {token}")[0] == 200


def test_the_fastapi_app_runs_on_uvicorn(work: Path) -> None:
    port = free_port()
    reader, writer = issue(work, "reports:read"), issue(work, "reports:read", "reports:write")
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", str(port)]
    with serving(work, port, *command, "fastapi_app:app"):
        assert call(port, "/me")[0] == 401
        assert json.loads(call(port, "/me", f"Bearer {reader.token}")[1]) == {
            "owner": "alice", "method": "pat", "scopes": ["reports:read"],
        }  # fmt: skip
        assert json.loads(call(port, "/feed")[1]) == {"for": None}
        assert json.loads(call(port, "/feed", basic_of(reader))[1]) == {"for": "Alice"}
        assert call(port, "/feed", "Bearer x")[0] == 401
        assert json.loads(call(port, "/reports", basic_of(reader))[1])["for"] == "Alice"
        assert call(port, "/reports", basic_of(reader), b"{}")[0] == 403
        assert call(port, "/reports", basic_of(writer), b'{"q": 3}')[0] == 201
        document = json.loads(call(port, "/openapi.json")[1])
        assert set(document["components"]["securitySchemes"]) == {"PatAuthBearer", "PatAuthBasic"}
        url, good = f"ws://127.0.0.1:{port}/reports/live", {"Authorization": f"Bearer {reader.token}"}
        with connect(url, additional_headers=good) as socket:
            socket.send("Q3")
            assert json.loads(socket.recv()) == {"seen": "Q3", "for": "Alice"}
        with pytest.raises(InvalidStatus, match="401"):
            connect(url)


def test_an_app_with_a_factory_blueprints_and_flask_login_runs(work: Path) -> None:
    """By the commands of its docstring; a session and a token open the same URL."""
    port, reader = free_port(), issue(work, "reports:read", "exports:read", "exports:write")
    app = f"{EXAMPLES}/flask_factory/app"
    bearer = f"Bearer {reader.token}"
    url = f"http://127.0.0.1:{port}"
    flask = [sys.executable, "-m", "flask", "--app", app, "run", "--port", str(port)]
    with serving(work, port, *flask), requests.Session() as browser:
        assert json.loads(call(port, "/api/reports", bearer)[1]) == {"reports": ["Q1", "Q2"]}
        assert call(port, "/api/reports")[0] == call(port, "/exports")[0] == 401
        assert call(port, "/api/reports/summary", bearer)[0] == 403
        assert call(port, "/exports", bearer, b"{}")[0] == 201
        shown = browser.get(url).text
        typed = dict(zip(("name", "password"), re.findall("<b>(.+?)</b>", shown), strict=True))
        landed = browser.post(f"{url}/login", hidden(shown) | typed)
        assert "Hello alice" in landed.text
        assert browser.post(f"{url}/exports").status_code == 400
        assert browser.post(f"{url}/exports", hidden(landed.text)).json() == {"by": "alice", "export": 2}
        assert browser.get(f"{url}/api/me").status_code == 401


@pytest.mark.parametrize(
    "path",
    ["django_project", "flask_factory", "test_fastapi_app.py", "test_flask_app.py", "test_plain_wsgi.py"],
)
def test_an_example_passes_its_own_tests(path: str) -> None:
    """As a user runs them, who has installed patauth; the option is for an installation that is older."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-m", "pytest", "-p", "patauth.testing", "-p", "no:cacheprovider",
         f"examples/{path}"],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, " passed in " in done.stdout) == (0, True), done.stdout + done.stderr


def test_the_standalone_check_says_who_it_is_or_refuses(work: Path) -> None:
    issued = issue(work, "b", "a")

    def verify(text: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(EXAMPLES / "standalone_verify.py")],
            input=text, cwd=work, env=environment(**more), capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert verify(f"Bearer {issued.token}\n").stdout == "alice by pat, may: a b\n"
    assert verify(basic_of(issued)).stdout == "alice by basic, may: a b\n"
    refused = verify(f"Bearer {issued.token}x")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("refused: ")
    down = verify(f"Bearer {issued.token}", PATAUTH_STORE_URL="unix:///nonexistent/socket")
    assert (down.returncode, down.stdout) == (1, "")
    assert "not decided" in down.stderr


def test_every_example_is_run_here_and_listed_in_its_readme() -> None:
    readme = (EXAMPLES / "README.md").read_text()
    neighbours = ("test_servers.py", "test_metrics.py")
    others = (SUPPORT / "fronts.py", *map(Path(__file__).with_name, neighbours))
    tests = "".join(path.read_text() for path in (Path(__file__), *others))
    for path in EXAMPLES.iterdir():
        if path.name not in ("README.md", "__pycache__"):
            assert f"`{path.name}`" in readme
            if path.name != "traefik.yml":  # Debian has no package of Traefik
                assert path.name in tests or path.stem in tests
