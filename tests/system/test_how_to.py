"""The how-to pages: each block of Python is a file that it names, and is run as a reader would run it."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from werkzeug.test import Client

from patauth import Authority, Owner
from patauth.store.local.engine import LocalEngine
from tests.support.authorities import basic, basic_of, bearer, issue, wrong_secret
from tests.support.documents import HOW_TO, blocks, blocks_of, read, sections
from tests.support.installed import installed
from tests.support.tables import each

# Of frameworks and what they stand on.
pytestmark = [
    pytest.mark.filterwarnings("ignore:'cgi' is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:(?s).*pkg_resources"),
]

Ask = Callable[[str | None], tuple[int, str]]

NAME_OF_FILE = re.compile(r"# [\w/.]+\.py")
MOST_LINES = 12  # of code and commands on a page, before any detail; the name of a file is none
# Files of pages that a test of their own runs: page -> files. All others are run here.
ELSEWHERE = {
    "docs/how-to/gunicorn.md": {"gunicorn.conf.py"},  # tests/system/test_servers.py
    # tests/system/test_django_docs.py puts them into new projects.
    "docs/how-to/django.md": {"settings.py", "views.py", "callers.py", "tests.py"},
    "docs/how-to/django-rest-framework.md": {"settings.py", "views.py"},
}

IS_APP = re.compile(r"^(?:app|application) = ", re.M)
APPS = {
    page: [file.text for section in sections(page) for file in section if IS_APP.search(file.text)]
    for page in HOW_TO
}


def is_test(name: str) -> bool:
    return name.startswith("test_")


TESTED = [page for page in HOW_TO if any(is_test(file.name) for part in sections(page) for file in part)]


@pytest.mark.parametrize("page", [page for page in HOW_TO if APPS[page] and page not in ELSEWHERE])
def test_each_app_of_a_page_lets_in_who_may_read_reports(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every app of these pages has /reports, which wants the scope reports:read and says who calls."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        for number, text in enumerate(APPS[page]):
            with authority_of(module := imported(text, tmp_path)) as authority:
                check_reports(asked(module), authority, f"{page} {number}")
    finally:
        sys.modules.pop("app", None)
        LocalEngine(tmp_path / "patauth-data").stop()


def imported(text: str, folder: Path) -> ModuleType:
    """Import the text as the module `app`."""
    (folder / "app.py").write_text(text, "utf-8")
    sys.modules.pop("app", None)
    importlib.invalidate_caches()
    return importlib.import_module("app")


def authority_of(module: ModuleType) -> Authority:
    return module.authority if hasattr(module, "authority") else module.app.extensions["patauth"]


def asked(module: ModuleType) -> Ask:
    """What asks an app of WSGI or ASGI for /reports with an Authorization value: status and body."""
    app: Any = getattr(module, "application", None) or module.app
    client: Any = Client(app)
    if inspect.iscoroutinefunction(app.__call__):
        from starlette.testclient import TestClient

        client = TestClient(app)

    def ask(authorization: str | None) -> tuple[int, str]:
        headers = {} if authorization is None else {"Authorization": authorization}
        answer = client.get("/reports", headers=headers)
        return answer.status_code, answer.text

    return ask


def check_reports(ask: Ask, authority: Authority, name: str) -> None:
    reader = issue(authority, name, scope=["reports:read"])
    other = issue(authority, f"{name} other", scope=["other"])
    for value in (None, "Bearer x", basic(reader.pat.id, wrong_secret(authority))):
        assert ask(value)[0] == 401, (name, value)
    assert ask(bearer(other.token))[0] == 403, name
    access = authority.exchange(reader.pat.id, reader.secret)
    for value in (bearer(reader.token), basic_of(reader), bearer(access.value)):
        status, body = ask(value)
        assert (status, "alice" in body) == (200, True), (name, value, body)


def test_what_a_session_and_a_token_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the page about both, where a token goes without CSRF if no browser can have sent it by itself."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    module = imported(APPS["docs/how-to/session-or-token.md"][-1], tmp_path)
    try:
        with authority_of(module) as authority, module.app.test_client() as person:
            bot = issue(authority, owner=Owner("bot"), scope=["reports:read", "reports:write"])
            reader = issue(authority, scope=["reports:read"])
            with person.session_transaction() as session:
                session.update(user="alice", csrf="known")
            as_password = basic("x", bot.token)
            good, bad = {"csrf": "known"}, {"csrf": "other"}
            for form, authorization, status in (
                (good, None, 200),
                ({}, None, 400),
                (bad, None, 400),
                ({}, bearer(bot.token), 200),
                ({}, bearer(reader.token), 403),
                (good, bearer(reader.token), 403),
                (good, "Bearer x", 401),
                ({}, basic_of(bot), 400),
                ({}, as_password, 400),
                (good, basic_of(bot), 200),
                (good, as_password, 200),
            ):
                headers = {} if authorization is None else {"Authorization": authorization}
                answer = person.post("/reports", data=form, headers=headers)
                assert answer.status_code == status, (form, authorization)
                if status == 200:
                    assert answer.json == {"added by": "bot" if headers else "alice"}
            assert person.get("/reports").json == {"hello": "alice"}
            with module.app.test_client() as nobody:
                assert nobody.post("/reports").status_code == 400
    finally:
        sys.modules.pop("app", None)
        LocalEngine(tmp_path / "patauth-data").stop()


@pytest.mark.parametrize("page", TESTED)
def test_the_tests_of_a_page_pass(page: str, tmp_path: Path) -> None:
    """Each section's, with the files of the page as they stand there, by its command or else the first."""
    site, scripts = installed(tmp_path), Path(sys.executable).parent
    (project := tmp_path / "project").mkdir()
    environ = {**os.environ, "PYTHONPATH": site, "PATH": f"{scripts}:{os.environ['PATH']}"}
    first, of_django = (text for text in blocks(page, "sh") if "pytest" in text)
    for section in sections(page):
        for old in project.glob("test_*.py"):
            old.unlink()  # it is about another app.py
        for file in section:
            (project / file.name).write_text(file.text, "utf-8")
        if any(is_test(file.name) for file in section):
            done = subprocess.run(
                ["sh", "-c", of_django if "settings.py" in dict(section) else first],
                cwd=project, env=environ, capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert (done.returncode, " passed in " in done.stdout) == (0, True), done.stdout + done.stderr


@each("page", HOW_TO)
def test_every_block_of_python_names_its_file_and_is_run(page: str) -> None:
    for section in sections(page):
        for file in section:
            assert file.name, f"{page}: a block does not begin with the name of its file"
            is_run = IS_APP.search(file.text) or (page in TESTED and file.name.endswith(".py"))
            assert is_run or file.name in ELSEWHERE.get(page, ()), f"{page}: nothing runs {file.name}"


@each("page", HOW_TO)
def test_what_works_comes_first(page: str) -> None:
    """A dozen lines in one file or two, imports, comments and commands included, before any detail."""
    first = blocks_of(re.split(r"^## ", read(page), flags=re.M)[0])
    commands = [number for number, (language, _) in enumerate(first) if language == "sh"]
    shown = first[: commands[0] + 1]
    assert len(shown) <= 3, page
    code = "".join(text for _, text in shown)
    counted = [line for line in code.splitlines() if line.strip() and not NAME_OF_FILE.fullmatch(line)]
    assert len(counted) <= MOST_LINES, f"{page}: {len(counted)}"
