"""The documents against the code: what they show is run, what they list is compared."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import click
import msgspec
import pytest
import requests
from gunicorn.config import Config
from werkzeug.test import Client

import patauth
from patauth import Owner, Settings
from patauth.cli import _EXIT_CODES, program
from patauth.django.configuration import OWN
from patauth.events import outbox, webhook
from patauth.events.events import Outcome, Reason, Type
from patauth.model import filters, rights, sorters
from patauth.model.credentials import Format
from patauth.model.pat_id import PatId
from patauth.model.sinks import read_webhook_secrets
from patauth.operations import json_patch, listing, rotate, update
from patauth.operations.pat_patch import PATAUTH_PATCHABLE, PATCHABLE
from patauth.settings import (
    _NOT_SETTINGS,
    _READERS,
    _SECRETS,
    CODE_ONLY,
    MAX_ACCESS_TOKEN_TTL,
    MIN_ACCESS_TOKEN_TTL,
)
from patauth.store import event_stream, owner_changes, record
from patauth.store.keys import Keys
from patauth.store.local import supervisor
from patauth.store.local.engine import LocalEngine
from patauth.wsgi import bodies, languages
from patauth.wsgi.api import csrf
from patauth.wsgi.gate import Gate, Kind
from patauth.wsgi.isc import routes
from patauth.wsgi.isc.errors import DETAIL_CODES
from patauth.wsgi.page import listing as page_list
from patauth.wsgi.page import routes as page
from tests.support import homes
from tests.support.acl import ON_SERVER, granted, logged_in, use_all
from tests.support.authorities import patient
from tests.support.documents import DOCUMENTS, OURS, blocks, prose, read
from tests.support.forms import hidden, token_of
from tests.support.paths import ROOT
from tests.support.receivers import KEY, OTHER_KEY, SECRET
from tests.support.servers import Server, binaries
from tests.support.tables import each
from tests.support.wsgi import serving


def section(name: str, title: str) -> str:
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", prose(name), re.M | re.S)
    assert found, f"{name} has no section {title!r}"
    return found[1]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def rows(text: str) -> list[list[str]]:
    """The cells of all rows of tables in a text, heads and rules left out."""
    lines = text.splitlines()
    return [
        cells(line)
        for line, before, after in zip(lines, ["", *lines], [*lines[1:], ""], strict=False)
        if line.startswith("|") and not line.startswith("|--") and not after.startswith("|--")
    ]


# -- README, and the pages that begin where it ends: what they show, run -------------------------------------

CALLING, PYTHON, TUTORIAL = "docs/calling.md", "docs/python.md", "docs/tutorial.md"
ERRORS, CLI = "docs/errors.md", "docs/reference/cli.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory whose `local:./patauth-data` ends with the test; the environment has no setting."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PATAUTH_")]:
        monkeypatch.delenv(name)
    yield tmp_path
    LocalEngine(tmp_path / "patauth-data").stop()


def test_the_app_and_the_callers_of_the_readme_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The caller of the README, those of the page about callers, and its three lines of curl."""
    flask, caller = blocks("README.md", "python")
    names: dict[str, Any] = {"__name__": "app"}
    exec(compile(flask, "README.md", "exec"), names)
    app = names["app"]
    with serving(app) as url, app.extensions["patauth"] as authority:
        issued = made_for_alice(authority)
        credentials = {"PAT_ID": issued.pat.id, "PAT_SECRET": issued.secret, "PAT_TOKEN": issued.token}
        for name, value in credentials.items():
            monkeypatch.setenv(name, value)
        for block in (caller, *blocks(CALLING, "python")):
            exec(compile(block.replace("http://127.0.0.1:8000", url), "caller", "exec"), {})
        curl_lines(url)
        assert capsys.readouterr().out == "{'hello': 'Alice'}\n" * 4
        monkeypatch.setenv("PAT_SECRET", issued.secret[:-1])
        with pytest.raises(requests.HTTPError, match="401 Client Error"):  # no puzzle such as a KeyError
            exec(compile(caller.replace("http://127.0.0.1:8000", url), "caller", "exec"), {})


def test_every_block_of_the_python_page_runs_in_order(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With that for secret scanners, which needs an Authority."""
    names: dict[str, Any] = {"__name__": "app"}
    for block in (*blocks(PYTHON, "python"), *blocks("docs/scanners.md", "python")):
        exec(compile(block, PYTHON, "exec"), names)
    with names["authority"] as authority, serving(names["application"]) as url:
        issued = made_for_alice(authority)
        told = subprocess.run(
            ["curl", "-fsS", "-H", f"Authorization: Bearer {issued.token}", f"{url}/reports"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
        assert told.stdout == "hello alice\n"
    printed = capsys.readouterr().out
    assert "bob pat ['reports:read']" in printed
    assert "the access token is not valid" in printed
    assert all(f"{kind} " in printed for kind in Format().patterns())


def made_for_alice(authority: patauth.Authority) -> patauth.IssuedPat:
    return authority.create(
        owner=Owner("alice", name="Alice"), name="ci", scope=["reports:read"], expires_in=timedelta(days=30)
    )


def curl_lines(url: str) -> None:
    (block,) = (block for block in blocks(CALLING, "sh") if "curl" in block)
    lines = block.replace("http://127.0.0.1:8000", url).splitlines()
    assert len(lines) == 3
    for line in lines:
        answer = subprocess.run(
            ["sh", "-c", line.replace("curl", "curl -fsS", 1)],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        assert "hello" in answer.stdout or "access_token" in answer.stdout


def test_the_tutorial_goes_as_it_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands and both apps, one after the other, with the answers that it tells of."""
    first_app, client, second_app = blocks(TUTORIAL, "python")
    (_, _, bare, first, write, create, _, run_client, end) = blocks(TUTORIAL, "sh")
    create = create.replace("patauth pat", f"{sys.executable} -m patauth --output json pat")
    app = flask_app(first_app)
    with serving(app) as url, app.extensions["patauth"]:
        assert shell(bare, url).startswith("HTTP/1.1 401")
        done = shell(
            first.replace("patauth pat", f"{sys.executable} -m patauth pat") + 'echo "$PAT_TOKEN"', url
        )
        answer, _, token = done.strip().rpartition("\n")
        assert json.loads(answer) == {"caller": "Alice", "reports": ["first report"]}
        monkeypatch.setenv("PATAUTH_STORE_URL", "local:./patauth-data")
        monkeypatch.setenv("PAT_TOKEN", token.strip())
        refused = shell(write, url)
        assert refused.startswith("HTTP/1.1 403")
        assert '"scope": "reports:write"' in refused
        program_pat = json.loads(shell(create, url))
        monkeypatch.setenv("PAT_ID", program_pat["pat"]["id"])
        monkeypatch.setenv("PAT_SECRET", program_pat["secret"])
        (folder / "client.py").write_text(client.replace("http://127.0.0.1:8000", url), "utf-8")
        told = shell(run_client.replace("python", sys.executable), url)
        assert "['first report', 'built at night']" in told
    app = flask_app(second_app)
    browser = app.test_client()
    assert browser.get("/login").headers["Location"] == page.PATH
    shown = browser.get(page.PATH).text
    assert "laptop" in shown
    assert "nightly" not in shown, "of another owner"
    offered = re.findall(r'name="scope" value="(\S+?)"', browser.get(f"{page.PATH}/new").text)
    assert "reports:read" in offered
    assert "reports:write" not in offered
    with serving(app) as url, app.extensions["patauth"]:
        revoke, ask = end.replace("patauth token", f"{sys.executable} -m patauth token").splitlines()
        assert shell(ask, url).startswith("HTTP/1.1 200")
        shell(revoke, url)
        assert shell(ask, url).startswith("HTTP/1.1 401")


def flask_app(text: str) -> Any:
    names: dict[str, Any] = {"__name__": "app"}
    exec(compile(text, TUTORIAL, "exec"), names)
    return names["app"]


def shell(block: str, url: str) -> str:
    """Run the commands of a block as a reader does; return what they print."""
    done = subprocess.run(
        ["sh", "-euc", block.replace("http://127.0.0.1:8000", url).replace("curl ", "curl -sS ")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_the_figures_of_the_readme_are_those_of_the_performance_page() -> None:
    """Whoever measures again writes the new figures into the README too."""
    one, other = (
        {row[0]: row[2] for row in rows(section("docs/performance.md", title))}
        for title in ("One request", "Other calls, over a unix socket")
    )
    told = [cell for _, cell in rows(section("README.md", "How fast it is"))]
    assert told == [
        one["access token"],
        other["argon2 once (owasp)"],
        other["Flask-HTTPAuth + Flask-Limiter"],
    ]


def test_the_readme_is_short_and_its_app_and_caller_have_about_ten_lines() -> None:
    assert len(read("README.md").splitlines()) <= 100
    for block in blocks("README.md", "python"):
        assert len([line for line in block.splitlines() if line.strip()]) <= 11


def test_the_pythons_of_the_readme_are_those_of_the_package() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    classified = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    (tested,) = re.findall(r"^Tested on Python ([^(]*)", read("README.md"), re.M)
    assert re.findall(r"3\.\d+", tested) == classified
    assert project["requires-python"] == f">={classified[0]}"


def test_the_readme_has_the_two_commands_and_extras_that_exist() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert "pip install '.[demo]' && patauth demo" in read("README.md")
    assert "pip install -e '.[test]' && pytest" in read("README.md")
    for name in DOCUMENTS:
        for extras in re.findall(r"pip install (?:-e )?'(?:patauth|\.)\[([a-z,]+)\]'", read(name)):
            assert set(extras.split(",")) <= set(project["optional-dependencies"])
    assert version("patauth") == patauth.__version__
    assert f"## [{patauth.__version__}]" in read("CHANGELOG.md")


def test_the_errors_of_the_page_are_those_of_the_package() -> None:
    listed = {row[0].strip("`"): row[1:3] for row in rows(read(ERRORS))}
    errors = {
        name: getattr(patauth, name)
        for name in patauth.__all__
        if isinstance(getattr(patauth, name), type) and issubclass(getattr(patauth, name), Exception)
    }
    assert listed.keys() == errors.keys()
    assert listed.pop("ConfigurationError") == ["", ""]
    assert listed == {
        name: [str(errors[name].status), f"`{errors[name].code}`"]
        for name in errors
        if name != "ConfigurationError"
    }


def test_the_expressions_for_scanners_are_the_published_ones() -> None:
    listed = [row[1].strip("`") for row in rows(read("docs/scanners.md"))]
    assert listed == list(Format().patterns().values())


def test_the_figures_that_are_promised_are_the_defaults() -> None:
    defaults, promised = Settings(store_url="memory:"), section("docs/promises.md", "What is promised")
    assert (str(defaults.request_quota), str(defaults.exchange_quota)) == ("100/10", "60/60")
    assert (str(defaults.failure_quota), defaults.proof_ttl) == ("20/60", 900)
    assert (defaults.access_token_ttl, defaults.retention) == (900, 30 * 86_400)
    assert (defaults.max_pats_per_owner, defaults.hash_profile.memory_kib) == (10, 19 * 1024)
    assert (defaults.hash_profile.time_cost, defaults.hash_profile.parallelism) == (2, 1)
    for words in (
        "100 requests in 10 seconds", "60 exchanges a minute", "20 refused ids and secrets a minute",
        "live 900 seconds", "for 30 days", "19 MiB, 2 passes, 1 lane", "remembered for 15 minutes",
    ):  # fmt: skip
        assert words in promised


# -- management ---------------------------------------------------------------------------------------------

MANAGEMENT = "docs/management.md"


def test_every_block_of_the_management_page_runs_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PATAUTH_")]:
        monkeypatch.delenv(name)
    wrapped, by, sdk, flask = blocks(MANAGEMENT, "python")
    first, create, others, removed = blocks(MANAGEMENT, "sh")
    names: dict[str, Any] = {"__name__": "app"}
    try:
        exec(compile(wrapped, MANAGEMENT, "exec"), names)
        with names["authority"] as authority, serving(names["application"]) as url:
            (made,) = run(first.replace("patauth pat", f"{sys.executable} -m patauth --output json pat"))
            monkeypatch.setenv("PAT_ID", made["pat"]["id"])
            monkeypatch.setenv("PAT_SECRET", made["secret"])
            (created,) = run(create, url)
            monkeypatch.setenv("ID", created["id"])
            page, found, one, patched, rotated = run(others, url)
            assert [pat["name"] for pat in page] == ["ci", "maker"]
            assert found == [one]
            assert (one["name"], patched["name"], rotated["name"]) == ("ci", "nightly", "nightly")
            assert rotated["secret"] != created["secret"]
            assert [pat.name for pat in authority.list()] == ["maker"]
            (listed,), shown = run(removed, url)
            assert listed == shown
            assert shown["revokedBy"] == {"ownerId": "alice", "patId": made["pat"]["id"]}
            for block in (by, sdk):
                exec(compile(block.replace("http://127.0.0.1:8000", url), MANAGEMENT, "exec"), names)
        exec(compile(flask, MANAGEMENT, "exec"), names)
        with names["app"].test_client() as client, names["app"].extensions["patauth"]:
            assert client.get("/personal-access-tokens/v1?owner-id=me").status_code == 401
            with client.session_transaction() as session:
                session["user"] = "alice"
            assert len(client.get("/personal-access-tokens/v1?owner-id=me").get_json()) == 2
    finally:
        LocalEngine(tmp_path / "patauth-data").stop()
        for name in ("SAIL_BASE_URL", "SAIL_CLIENT_ID", "SAIL_CLIENT_SECRET"):
            os.environ.pop(name, None)
    printed = capsys.readouterr().out
    assert "monthly active" in printed
    assert re.search(r"made [0-9a-f]{32} \['maker', 'sdk'\]", printed)


def run(block: str, url: str = "") -> list[Any]:
    """What the commands of a block print: one JSON text each."""
    script = block.replace("http://127.0.0.1:8000", url).replace("curl ", "curl -fsS ")
    done = subprocess.run(
        ["sh", "-euc", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found, text = [], done.stdout.strip()
    while text:
        value, end = json.JSONDecoder().raw_decode(text)
        found.append(value)
        text = text[end:].strip()
    return found


VERBS = ("rotate", "disable", "enable")


def test_the_operations_are_those_of_the_api(server: Server) -> None:
    written = set()
    for _, first, second, *_ in rows(section(MANAGEMENT, "Operations"))[:12]:
        for cell in (first, second):
            methods = re.findall(r"\b(?:GET|POST|PATCH|DELETE)\b", cell)
            (path,) = set(re.findall(r"/[^ `]+", cell)) or {""}
            versions = routes.VERSIONS.keys() - {"v1"} if "{version}" in path else [""]
            written |= {(method, path.replace("{version}", one)) for method in methods for one in versions}

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("204 No Content", [])
        return [b""]

    answered = set()
    with patient(server.url, surfaces=["isc"]) as authority:
        client = Client(patauth.PatAuthMiddleware(app, authority, public=["/*"]))
        for version in routes.VERSIONS.values():
            ours = ["/bulk-update", "/self", "/self/rotate", *(f"/{{id}}/{verb}" for verb in VERBS)]
            inside = ["", "/{id}", *(ours if version.full else [])]
            for path in (version.path + part for part in inside):
                for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
                    status = client.open(path.replace("{id}", "0" * 32), method=method).status_code
                    assert status in (401, 405), (method, path)
                    if status == 401:
                        answered.add((method, path))
    assert written == answered


def test_the_versions_and_bodies_are_as_written() -> None:
    *_, differences = tables(section(MANAGEMENT, "Operations"))
    old, new = ([text.strip() for text in cell.split(",")] for cell in cells(differences[0])[1:])
    assert {*old, *new} == routes.VERSIONS.keys()
    for name, one in routes.VERSIONS.items():
        assert one.months == (6 if name in old else None)
        most = (*PATCHABLE, *PATAUTH_PATCHABLE) if one.full else PATCHABLE
        assert one.patchable == (("name", "scope") if name in old else most)
    listed = {row[0].strip("`") for row in rows("\n".join(tables(section(MANAGEMENT, "Operations"))[1]))}
    assert listed == {field.encode_name for field in msgspec.structs.fields(routes.CreateV1)}
    text = prose(MANAGEMENT)
    assert f"at most {bodies.MAX_JSON // 1024} KiB" in text
    assert f"{MIN_ACCESS_TOKEN_TTL} to {MAX_ACCESS_TOKEN_TTL}" in text
    assert f"1 to {json_patch.MAX_OPERATIONS} operations" in text
    assert f"1 to {update.MAX_BULK} ids" in text
    assert f"0 to {rotate.MAX_OVERLAP // timedelta(seconds=1)} (7 days), 3600 unless given" in text
    assert f"good for {csrf.CSRF_LIFE // 3600} hours" in text
    of_errors = section(MANAGEMENT, "Errors")
    assert set(re.findall(r"`([a-z]{2}(?:-[A-Z]{2})?)`", of_errors)) == set(languages.LOCALES)
    statuses = rows(of_errors)[0][0]
    assert {int(status) for status in statuses.split(",")} == DETAIL_CODES.keys()


def tables(text: str) -> list[list[str]]:
    return [table.splitlines() for table in re.findall(r"(?:^\|.*\n)+", text, re.M)]


def test_the_list_takes_what_is_written() -> None:
    text = section(MANAGEMENT, "Lists")
    parameters, operators = (rows("\n".join(table)) for table in tables(text))
    assert [row[0].strip("`") for row in parameters] == list(routes._PARAMETERS)
    written: dict[str, set[str]] = {}
    for fields_, words, _ in operators:
        for field in re.findall(r"`(\w+)`", fields_):
            written.setdefault(field, set()).update(re.findall(r"`(\w+)`", words))
    assert written == {field: set(words) for field, words in filters._OPERATORS.items()}
    named = dict(zip(routes._PARAMETERS, parameters, strict=True))
    assert re.findall(r"`(\w+)`", named["sorters"][1]) == list(sorters.SORTABLE)
    assert f"1 to {sorters.MAX_SORTERS} of" in named["sorters"][1]
    assert f"up to {filters.MAX_BYTES} bytes" in named["filters"][1]
    assert named["limit"][1].startswith(f"0 to {routes.MAX_LIMIT};")
    assert f"{listing.MOST:,}".replace(",", " ") in named["limit"][1]
    (example,) = blocks(MANAGEMENT, "")
    assert filters.parse(example.strip())


def test_the_rights_are_those_of_the_code() -> None:
    verbs: dict[str, tuple[str, list[rights.Verb]]] = {
        "list, get": ("my", ["read"]),
        "list, get, of people one manages": ("managed", ["read"]),
        "create, patch, rotate, disable, enable": ("my", ["manage"]),
        "delete": ("my", ["delete"]),
        "bulk update": ("all", ["manage"]),
    }
    for call, own, others in rows(section(MANAGEMENT, "Rights")):
        if call not in verbs:
            assert call in ("look at or revoke the PAT that calls", "rotate the PAT that calls")
            continue
        reach, wanted = verbs[call]
        for cell, at in ((own, reach), (others, "managed" if reach == "managed" else "all")):
            enough = set(re.findall(r"`(\S+)`", cell))
            for right in enough:
                for spelt in (right, right.replace("idn:", "sp:")):
                    assert all(rights.allows([spelt], at, verb) for verb in wanted), (call, spelt)  # type: ignore[arg-type]
            for verb in wanted:
                weaker = {"sp:scopes:all", "idn:my-personal-access-tokens:read"} - enough
                if verb != "read" and cell:
                    assert not any(rights.allows([one], at, verb) for one in weaker), (call, at)  # type: ignore[arg-type]


# -- the page -----------------------------------------------------------------------------------------------

PAGE = "docs/page.md"
PAGE_FOLDER = ROOT / "patauth/wsgi/page"


def test_every_block_of_the_page_document_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The apps, with the look and the language that it gives them, and the function for `patauth serve`."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PATAUTH_")]:
        monkeypatch.delenv(name)
    flask, wsgi, front, reauthenticate = blocks(PAGE, "python")
    (base,), (theme,), (dutch,) = (blocks(PAGE, language) for language in ("html", "css", "toml"))
    for path, text in (("base.html", base), ("texts/nl.toml", dutch), ("static/theme.css", theme)):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, "utf-8")
    monkeypatch.setenv("PATAUTH_PAGE_FOLDER", str(tmp_path))
    first, last = flask.split("PatAuth(app)")
    names: dict[str, Any] = {"__name__": "app"}
    try:
        exec(compile(first + reauthenticate + "PatAuth(app)" + last, PAGE, "exec"), names)
        with names["app"].extensions["patauth"], names["app"].test_client() as client:
            signed_out = client.get(page.PATH)
            assert (signed_out.status_code, "Example Ltd." in signed_out.text) == (401, True)
            assert 'href="/login?next=%2Fpersonal-access-tokens"' in signed_out.text
            with client.session_transaction() as session:
                session["user"] = "alice"
            check_the_look(client, theme)
            check_a_link(client)
            form = hidden(client.get(f"{page.PATH}/new").text)
            new = {**form, "name": "ci", "scope": "reports:read", "expires_in": "7d"}
            here = {"Origin": "http://localhost"}
            assert client.post(page.PATH, data=new, headers=here).status_code == 403, "reauthenticate"
            with client.session_transaction() as session:
                session["signed_in_at"] = time.time()
            token = token_of(client.post(page.PATH, data=new, headers=here).text)
            answer = client.get("/api/reports", headers={"Authorization": f"Bearer {token}"})
            assert answer.get_json() == {"reports": ["Q1", "Q2"]}
        exec(compile(wsgi, PAGE, "exec"), names)
        with names["authority"]:
            client = Client(names["application"])
            assert client.get(page.PATH).status_code == 401
            names["signed_in"]["5e55"] = "alice"
            client.set_cookie("session", "5e55")
            assert "reports:read" in client.get(f"{page.PATH}/new").text
    finally:
        LocalEngine(tmp_path / "patauth-data").stop()
    exec(compile(front, PAGE, "exec"), names)
    monkeypatch.setenv("FRONT_SECRET", "of the front")
    told = {"HTTP_X_FRONT_SECRET": "of the front", "HTTP_X_FRONT_USER": "bob"}
    assert names["who"](told).owner.id == "bob"
    for untrue in ({"HTTP_X_FRONT_SECRET": "other"}, {"HTTP_X_FRONT_SECRET": ""}, {"HTTP_X_FRONT_USER": ""}):
        assert names["who"](told | untrue) is None
    monkeypatch.setenv("FRONT_SECRET", "")
    assert names["who"](told | {"HTTP_X_FRONT_SECRET": ""}) is None


def check_the_look(client: Client, theme: str) -> None:
    shown = client.get(page.PATH).text
    assert '<link rel="stylesheet" href="/static/theme.css">' in shown
    assert '<a href="/">Reports</a>\n<span>Alice</span>' in shown
    assert '<p class="imprint">Example Ltd.</p>' in shown
    dutch = client.get(page.PATH, query_string={"lang": "nl"}).text
    assert '<html lang="nl" dir="ltr">' in dutch
    assert "0 van 10 in gebruik" in re.sub("<[^>]*>", "", dutch)
    assert "You have no tokens yet" in dutch, "what is not translated"
    ours = (PAGE_FOLDER / "assets/page.css").read_text("utf-8")
    assert set(re.findall(r"--[a-z-]+(?=:)", theme)) <= set(re.findall(r"--[a-z-]+(?=:)", ours))


def check_a_link(client: Client) -> None:
    (link,) = blocks(PAGE, "")
    form = client.get(link.strip()).text
    assert 'value="build server"' in form
    assert re.findall(r'value="(\S+)" checked', form) == ["reports:read", "reports:write", "90d"]


def test_the_paths_and_fields_of_the_page_are_as_written() -> None:
    paths, fields_, templates = (rows("\n".join(table)) for table in tables(prose(PAGE)))
    listed = {path for row in paths for path in re.findall(r"/[^ `]+", row[0])}
    assets = f"{page.PATH}/assets/{{name}}"
    actions = {f"{page.PATH}/{{id}}/{action}" for action in page._ACTIONS}
    assert listed == {page.PATH, f"{page.PATH}/new", assets, *actions}
    for name, shown in (("show", page_list.SHOWN), ("sort", page_list.SORTED)):
        (told,) = re.findall(rf"`\?{name}=` is ((?:`\w+`[, or]*)+)", paths[0][1])
        assert re.findall(r"`(\w+)`", told) == list(shown)
    forms_of: dict[str, set[str]] = {}
    for names, forms_, _ in fields_:
        for name in re.findall(r"`(\w+)`", names):
            forms_of[name] = set(forms_.split(", "))
    sources = {file.stem: file.read_text("utf-8") for file in (PAGE_FOLDER / "templates").iterdir()}
    sent = {name: set(re.findall(r' name="(\w+)"', text)) for name, text in sources.items()}
    assert forms_of.keys() == sent["fields"] | sent["new"] | sent["edit"] | sent["rotate"] | sent["ask"]
    for form in ("new", "edit", "rotate"):
        shared = sent["fields"] if "fields.html" in sources[form] else set()
        expected = {name for name, forms_ in forms_of.items() if forms_ & {form, "all"}}
        assert expected == sent[form] | shared
    assert [row[0].strip("`") for row in templates] == re.findall(r"block (\w+)", sources["base"])
    spoken = re.findall(r"`([a-z]{2}(?:-[A-Z]{2})?)`", section(PAGE, "Translate it").partition(":")[0])
    assert set(spoken) == {file.stem for file in (PAGE_FOLDER / "texts").iterdir()}


# -- commands -----------------------------------------------------------------------------------------------


def commands(name: str) -> list[list[str]]:
    """The words of each `patauth …` that a document shows."""
    lines = [line for block in blocks(name, "sh") for line in block.splitlines()]
    lines += re.findall(r"`(patauth [^`]+)`", prose(name))
    shown = [line[line.index("patauth ") :] for line in lines if re.search(r"(?:^|&& |[|] )patauth ", line)]
    return [shlex.split(line, comments=True)[1:] for line in shown]


@each("name", [*DOCUMENTS, "examples/flask_app.py"])
def test_every_command_shown_exists_with_its_options(name: str) -> None:
    for words in commands(name):
        command: click.Command = program
        left = list(words)
        while left and isinstance(command, click.Group):
            found = command.commands.get(left[0])
            assert found is not None, f"{name}: patauth {shlex.join(words)}"
            command = found
            left.pop(0)
        known = {flag for parameter in command.params for flag in parameter.opts} | {"--help"}
        assert {word for word in left if word.startswith("--")} <= known, f"{name}: {shlex.join(words)}"


def test_every_exit_code_is_documented() -> None:
    told = {int(code) for code, _ in rows(section(CLI, "Exit codes"))}
    assert told >= {code for _, code in _EXIT_CODES}


# -- settings -----------------------------------------------------------------------------------------------

SETTINGS = {row[0].strip("`"): row[1:] for row in rows(read("docs/settings.md"))}
NOT_TEXTS = {
    "store_url": "none, required",
    "secret_key": "none",
    "scopes": "none",
    "manages": "none",
    "may_act_in": "none",
    "owner_types": "any",
    "path_prefix": "empty",
    "token_headers": "none",
    "proxy_networks": "none",
    "cors_origins": "none",
    "webhook_secret": "none",
    "hash_slots": "the cores this process may use",
}


def test_every_setting_is_documented_and_no_other() -> None:
    assert SETTINGS.keys() == {field.name for field in fields(Settings)}
    assert len(rows(read("docs/settings.md"))) == len(SETTINGS)


@each("name", SETTINGS)
def test_each_setting_has_its_environment_name_default_unit_and_meaning(name: str) -> None:
    environment, default, unit, meaning = SETTINGS[name]
    assert environment == f"`PATAUTH_{name.upper()}`"
    assert unit
    assert meaning.endswith(".")
    if name in NOT_TEXTS:
        assert default == NOT_TEXTS[name]
    else:
        # As the text would be read from the environment.
        assert _READERS[name](default.strip("`")) == getattr(Settings(store_url="memory:"), name)


def test_every_variable_that_the_documents_name_is_one() -> None:
    # of the configuration of Flask and Django
    gate = {f"PATAUTH_{name.upper()}" for name in CODE_ONLY}
    files = {f"PATAUTH_{name.upper()}_FILE" for name in _SECRETS}
    known = {f"PATAUTH_{name.upper()}" for name in SETTINGS} | files | gate | _NOT_SETTINGS | {*OWN}
    for document in DOCUMENTS:
        assert set(re.findall(r"(?<!HTTP_)PATAUTH_[A-Z][A-Z_]*", read(document))) <= known, document
    assert files <= set(re.findall(r"PATAUTH_[A-Z_]+", read("docs/settings.md")))


# -- storage ------------------------------------------------------------------------------------------------


def test_the_key_shapes_are_those_of_the_code() -> None:
    keys, tag, id_, digest = Keys("pfx", "acme"), "0123abcd", bytes(range(12)), b"\xff" * 32
    pat_id = PatId(tag + id_.hex())
    made = {
        keys.pat(pat_id), keys.requests(pat_id), keys.exchanges(pat_id), keys.access_token(pat_id, digest),
        keys.tokens_of(pat_id, 0x010203), keys.notice(pat_id, 0x0102030405, 0x06070809),
        *keys.owner(tag, "alice"), keys.ends(tag),
        keys.barrier(tag), keys.barrier("store"),
        keys.tenant_created, keys.tenant_used, keys.tenant_expires, keys.tenant_marks, keys.tenant_sequence,
        keys.removed(pat_id), keys.tenant_removed,
        keys.store_key, keys.store_check, *keys.events("audit"),
    }  # fmt: skip
    numbers = {"GENERATION": b"\1\2\3", "EXPIRY": b"\0\1\2\3\4\5", "WITHIN": b"\6\7\x08\x09"}
    written = set()
    for shape, *_ in rows(section("docs/storage.md", "Keys")):
        shape, *more = shape.split()
        text = re.sub(r"^P:", "pfx:", shape.strip("`")).replace("{T}", f"{{{tag}}}")
        text = text.replace("TENANT", "acme").replace("OWNER", "alice").replace("NAME", "audit")
        key = text.encode()
        if key.endswith(b":ID"):
            key = key.removesuffix(b"ID") + id_ + b"".join(map(numbers.__getitem__, more))
        written.add(key.replace(b"DIGEST", digest))
    assert written == made


def layout(text: str) -> list[tuple[int, int]]:
    """(at, bytes) of the parts of a record whose width is fixed; they must join."""
    parts = [(int(at), int(width)) for at, width, *_ in rows(text) if at.isdigit() and width.isdigit()]
    for (at, width), (following, _) in pairwise(parts):
        assert at + width == following
    return parts


def test_the_records_are_laid_out_as_written() -> None:
    text = section("docs/storage.md", "PAT record")
    head, slot = text.split("A secret slot:")
    parts, inner = layout(head), layout(slot)
    assert (record._SLOTS_AT, record._SLOT) in parts
    assert parts[-1] == (record._SLOTS_AT + record._SLOT, record._SLOT)
    assert inner[0][0] == 0
    assert sum(inner[-1]) == record._SLOT
    # Laid out once more in the head of the module, with the same numbers.
    module = re.findall(r"^ +(\d+)  (\d+) ", record.__doc__ or "", re.M)
    assert [(int(at), int(width)) for at, width in module] == parts[:-1]
    laid_out = (Path(record.__file__).parent / "lua" / "layout.lua").read_text()
    offsets = {
        int(number) for number in re.findall(r"\b\d+\b", laid_out.split("local SCHEMA")[1].split("\n")[0])
    }
    assert offsets - {50} <= {at + 1 for at, _ in parts}  # Lua counts from 1; 50 is "2" itself
    token = layout(section("docs/storage.md", "Access token record"))
    assert sum(token[-1]) == record._TOKEN_HEAD
    entry = layout(section("docs/storage.md", "Owner index entry"))
    assert sum(entry[-1]) == record._ENTRY
    owner = layout(section("docs/storage.md", "Owner record"))
    state, epoch = owner_changes._STATE_AT, owner_changes._EPOCH_AT
    prelude = (Path(record.__file__).parent / "lua" / "prelude.lua").read_text()
    (in_lua,) = re.findall(r"local OWNER_STATE, OWNER_UNREAD, OWNER_LAST = (\d+), (\d+), (\d+)", prelude)
    assert [at for at, _ in owner] == [0, state, epoch, *(int(at) - 1 for at in in_lua[1:])]
    assert (int(in_lua[0]), owner[2][1]) == (state + 1, owner_changes._EPOCH_BYTES)
    assert owner[-1][1] == record._ENTRY


def test_every_script_is_listed() -> None:
    folder = Path(record.__file__).parent / "lua"
    listed = {row[0].strip("`") for row in rows(section("docs/storage.md", "Scripts"))}
    there = {path.name for path in folder.glob("*.lua")}
    before = {"layout.lua", "prelude.lua", "owner_index.lua", "quota.lua", "removed.lua", "token.lua"}
    assert listed | before == there


# -- deployment ---------------------------------------------------------------------------------------------


def test_the_gunicorn_settings_are_ones_that_gunicorn_takes() -> None:
    (block,) = (block for block in blocks("docs/how-to/gunicorn.md", "python"))
    given: dict[str, Any] = {}
    exec(block, given)
    config = Config()
    for name, value in given.items():
        if name != "__builtins__":
            config.set(name, value)
    assert config.forwarder_headers == []
    assert config.forwarded_allow_ips == ["127.0.0.1"]


def test_the_table_of_servers_has_the_marks_of_its_test() -> None:
    title = "The same verdicts everywhere"
    lines = section("docs/how-to/servers.md", title).splitlines()
    assert [cells(line) for line in lines if line.startswith("| ")] == homes.table()
    numbered = [line for line in lines if re.match(r"\d+\. ", line)]
    assert numbered == [
        f"{number}. {reason[0].upper()}{reason[1:]}." for number, reason in enumerate(homes.reasons(), 1)
    ]


def test_a_script_name_from_outside_opens_a_public_pattern_and_no_rule() -> None:
    gate = Gate(public=["/static/*", "/healthz"], require={"/admin*": "admin", "/kept": []})
    assert gate.decide("GET", "", "/secret").kind is Kind.PROTECTED
    assert gate.decide("GET", "/static", "/secret").kind is Kind.PUBLIC
    assert gate.decide("GET", "/healthz", "/secret").kind is Kind.PROTECTED
    for path in ("/admin", "/admin/", "/admin/users", "/kept"):
        assert gate.decide("GET", "/static", path).kind is Kind.PROTECTED
    narrow = Gate(require={"/admin": "admin"})
    assert narrow.decide("GET", "", "/admin").scopes == {"admin"}
    assert narrow.decide("GET", "", "/admin/").scopes == frozenset()


@pytest.mark.parametrize("binary", binaries().values(), ids=binaries())
def test_the_rights_in_the_acl_line_are_enough_all_needed_and_stay_under_the_prefix(
    binary: str, tmp_path: Path
) -> None:
    own = Server(binary, tmp_path, "--user", *ON_SERVER)
    try:
        with own.client() as client:
            client.config_resetstat()
        use_all(logged_in(own.url))
        of_the_test = {"auth", "client|setinfo", "config|resetstat"}
        assert set(own.calls()) - of_the_test == granted(ON_SERVER)
        with (
            patient(logged_in(own.url), key_prefix="other") as other,
            pytest.raises(patauth.StoreUnavailable) as refused,
        ):
            other.ping()
        assert "permission" in str(refused.value.detail)
    finally:
        own.stop()


def test_a_full_server_refuses_requests_and_still_revokes(tmp_path: Path) -> None:
    full = Server(binaries()["valkey"], tmp_path, "--maxmemory-policy", "noeviction")
    try:
        with patient(full.url) as authority, full.client() as client:
            issued = authority.create(owner=Owner("alice"), name="ci", scope=["a"], never_expires=True)
            client.config_set("maxmemory", "1")
            with pytest.raises(patauth.StoreUnavailable):
                authority.verify_bearer(issued.token)
            authority.delete(issued.pat.id)
            client.config_set("maxmemory", "0")
            with pytest.raises(patauth.InvalidCredentials):
                authority.verify_bearer(issued.token)
    finally:
        full.stop()


def test_the_server_settings_exist(server: Server) -> None:
    given = [block for block in blocks("docs/deployment.md", "") if not block.startswith("ACL")]
    lines = [line.split() for block in given for line in block.splitlines()]
    assert ["maxmemory-policy", "noeviction"] in lines
    with server.client() as client:
        for name, *_ in lines:
            assert client.config_get(name), name


def test_the_loggers_and_events_are_those_of_the_code() -> None:
    source = "".join(path.read_text("utf-8") for path in Path(patauth.__file__).parent.rglob("*.py"))
    named = {row[0].strip("`") for row in rows(section("docs/logs.md", "Loggers"))}
    assert named == set(re.findall(r'getLogger\("([a-z.]+)"\)', source))
    types = section("docs/events.md", "Types")
    assert [row[0].strip("`") for row in rows(types)] == list(get_args(Type))
    (reasons,) = re.findall(r"`reason` of `credentials.refused` is one of (.*?)\.\n", types)
    assert set(re.findall(r"`([a-z_ ]+)`", reasons)) == set(get_args(Reason))
    members = section("docs/events.md", "Members")
    written = set(re.findall(r"`([a-zA-Z]+)`", " ".join(row[0] for row in rows(members))))
    assert {"time", "id", "type", "outcome", "requestId", "tenant", "patId", "ownerId"} <= written
    for field in written:
        assert f'"{field}"' in source or f"{field}=" in source, field
    assert set(get_args(Outcome)) <= set(re.findall(r"`([a-z]+)`", members))
    assert supervisor.RECORD in read("docs/deployment.md")


def test_the_bounds_of_the_sinks_are_those_of_the_code() -> None:
    text = read("docs/events.md")
    assert f"{outbox.ROOM // 2**20} MiB" in text
    assert f"{event_stream.MOST:,} events".replace(",", " ") in text
    assert f"{outbox.CLIENTS:,} clients".replace(",", " ") in text
    assert f"within {webhook.WHOLE:.0f} seconds" in text


def test_the_receiver_of_the_documents_takes_what_is_signed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (receiver,) = blocks("docs/events.md", "python")
    (tmp_path / "webhook-secret").write_text(f"{SECRET}\n")
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {}
    exec(receiver, given)
    (example,) = blocks("docs/events.md", "json")
    event = json.loads(example)
    with serving(given["receive"]) as url:
        sender = webhook.Webhook(f"{url}/hook", [KEY])
        for _ in range(2):
            sender.post(event["id"], json.dumps(event))
        with pytest.raises(outbox.Undelivered, match="401"):
            webhook.Webhook(f"{url}/hook", [OTHER_KEY]).post(event["id"], json.dumps(event))
    assert capsys.readouterr().out == f"pat.created {event['patId']}\n"


def test_the_secret_of_the_documents_is_one() -> None:
    (line,) = (
        line for block in blocks("docs/events.md", "sh") for line in block.splitlines() if "whsec_" in line
    )
    (code,) = re.findall(r"python -c '([^']+)'", line)
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert len(read_webhook_secrets(made)[0]) == 32


# -- all documents ------------------------------------------------------------------------------------------


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@each("name", DOCUMENTS)
def test_every_relative_link_resolves(name: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(name)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), f"{name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", prose(str(file.resolve().relative_to(ROOT))), re.M)
            assert anchor in {slug(heading) for heading in headings}, f"{name}: {target}"


@each("name", OURS)
def test_tables_are_whole(name: str) -> None:
    """A row with a cell too many or too few is shown wrongly, and read wrongly by the tests above."""
    for table in re.findall(r"(?:^\|.*\n)+", prose(name), re.M):
        assert len({len(cells(line)) for line in table.splitlines()}) == 1, table
