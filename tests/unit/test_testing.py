"""The plugin of pytest, in runs of pytest of their own, as users of an installed patauth have them."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

from tests.support.installed import installed
from tests.support.paths import ROOT

APP = """
import pytest
from flask import Flask

import patauth
from patauth.flask import PatAuth, current_principal, require_scope


def create_app(authority=None):
    app = Flask("app")
    app.config["PATAUTH_PUBLIC"] = ["/healthz"]
    PatAuth(app, authority)

    @app.get("/healthz")
    def healthz():
        return {}

    @app.get("/me")
    def me():
        return {"id": current_principal.subject.id, "scopes": sorted(current_principal.scopes)}

    @app.route("/reports", methods=["GET", "POST"])
    @require_scope("reports:read")
    def reports():
        return {}

    return app


@pytest.fixture
def client(patauth_authority):
    return create_app(patauth_authority).test_client()
"""

USED = """
def test_headers_hold_what_was_asked_for(client, patauth_headers):
    assert client.get("/healthz").status_code == 200
    assert client.get("/reports").status_code == 401
    assert client.get("/reports", headers=patauth_headers("reports:read")).status_code == 200
    assert client.post("/reports", headers=patauth_headers("reports:read", "b")).status_code == 200
    assert client.get("/reports", headers=patauth_headers("other")).status_code == 403
    shown = client.get("/me", headers=patauth_headers("b", "a", owner_id="bob"))
    assert shown.json == {"id": "bob", "scopes": ["a", "b"]}
    assert "PatAuth-Expires" not in shown.headers


def test_without_scopes_they_open_what_demands_none(client, patauth_headers):
    assert client.get("/me", headers=patauth_headers()).json["id"] == "alice"
    assert client.get("/reports", headers=patauth_headers()).status_code == 403


def test_each_test_has_a_store_of_its_own(patauth_authority):
    assert patauth_authority.settings.store_url == "memory:"
    assert list(patauth_authority.list()) == []


def test_no_quota_and_no_maximum_is_in_the_way(client, patauth_headers):
    headers = patauth_headers()
    assert {client.get("/me", headers=headers).status_code for _ in range(150)} == {200}
    assert {client.get("/me", headers={"Authorization": "Bearer x"}).status_code for _ in range(30)} == {401}
    for _ in range(30):
        headers = patauth_headers("reports:read")
    assert client.get("/reports", headers=headers).status_code == 200


class TestInAClass:
    @pytest.fixture(autouse=True)
    def set_up(self, client, patauth_headers):
        self.client, self.headers = client, patauth_headers("reports:read")

    def test_it(self):
        assert self.client.get("/reports", headers=self.headers).status_code == 200


import unittest


@pytest.mark.usefixtures("with_client")
class TestOfUnittest(unittest.TestCase):
    def test_it(self):
        assert self.client.get("/reports", headers=self.headers("reports:read")).status_code == 200


@pytest.fixture
def with_client(request, client, patauth_headers):
    request.cls.client, request.cls.headers = client, staticmethod(patauth_headers)
"""

OVERRIDDEN = """
@pytest.fixture
def patauth_settings():
    return {"token_headers": ["X-API-Key"], "scopes": "reports:read", "max_lifetime": "1d"}


def test_the_settings_take_effect(client, patauth_headers):
    token = patauth_headers("reports:read")["Authorization"].removeprefix("Bearer ")
    assert client.get("/reports", headers={"X-API-Key": token}).status_code == 200


def test_a_catalogue_has_no_scope_for_nothing(client, patauth_headers):
    assert client.get("/reports", headers=patauth_headers()).status_code == 403
    with pytest.raises(patauth.InvalidScope):
        patauth_headers("nosuch")
"""

OWN = """
@pytest.fixture(scope="session")
def patauth_authority():
    with pytest.warns(UserWarning, match="memory:"):
        authority = patauth.Authority.from_url("memory:", hash_profile="owasp", realm="mine")
    with authority:
        yield authority


@pytest.mark.parametrize("number", range(12))
def test_one_authority_serves_all_tests(client, patauth_authority, patauth_headers, number):
    assert 'realm="mine"' in client.get("/me").headers["WWW-Authenticate"]
    assert client.get("/me", headers=patauth_headers("a")).status_code == 200
    assert len(list(patauth_authority.list())) == 1


def test_what_a_test_removed_is_no_matter(patauth_authority, patauth_headers):
    patauth_headers()
    for pat in patauth_authority.list():
        patauth_authority.delete(pat.id)
"""

ELSEWHERE = """
@pytest.fixture
def patauth_authority():
    with patauth.Authority.from_url("redis://user:hunter2@127.0.0.1:1/0") as authority:
        yield authority


def test_it(patauth_headers):
    raise AssertionError("the test has begun")
"""

SETTING_ELSEWHERE = """
@pytest.fixture
def patauth_settings():
    return {"store_url": "redis://user:hunter2@127.0.0.1:1/0"}


def test_it(patauth_authority):
    raise AssertionError("the test has begun")
"""

NAMED = ("-p", "patauth.testing")
ONCE = """
def test_it(pytestconfig, patauth_headers):
    plugins = pytestconfig.pluginmanager.list_name_plugin()
    found = [name for name, plugin in plugins if getattr(plugin, "__name__", "") == "patauth.testing"]
    assert found == ["patauth.testing"]
    assert patauth_headers()
"""


def run(project: Path, texts: list[str], *options: str, **environ: str) -> tuple[int, str]:
    """Run pytest on modules with these texts; return its exit code and what it prints.

    The other plugins of this environment take most of a second, so none is found by itself.
    """
    for number, text in enumerate(texts):
        (project / f"test_app{number}.py").write_text(text)
    environ = {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environ}
    command = [sys.executable, "-X", "dev", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    done = subprocess.run(
        [*command, *options],
        cwd=project, env={**os.environ, **environ}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_an_app_is_tested_through_its_gate(tmp_path: Path) -> None:
    """As it is, with settings, and with an Authority of its own."""
    code, told = run(tmp_path, [APP + USED, APP + OVERRIDDEN, APP + OWN], *NAMED)
    assert (code, f"{6 + 2 + 13} passed" in told) == (0, True), told
    assert "warning" not in told.lower()


def test_no_test_makes_pats_in_a_real_store(tmp_path: Path) -> None:
    """Neither with an Authority of its own nor with a setting."""
    code, told = run(tmp_path, [APP + ELSEWHERE, APP + SETTING_ELSEWHERE], *NAMED)
    assert (code, "2 errors" in told) == (1, True), told
    for fixture in ("patauth_authority", "patauth_settings"):
        assert f"{fixture}: tests make PATs in a memory: store alone" in told
    assert "hunter2" not in told
    assert "the test has begun" not in told


def test_it_is_found_by_itself_and_registered_once_if_it_is_named_too(tmp_path: Path) -> None:
    found = {"PYTHONPATH": installed(tmp_path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": ""}
    others = {one.name for one in entry_points(group="pytest11")} - {"patauth.testing"}
    alone = [word for name in others for word in ("-p", f"no:{name}")]
    by_name = 'pytest_plugins = ["patauth.testing"]\n'
    runs = {
        "found": run(tmp_path, [ONCE], *alone, **found),
        "found and named": run(tmp_path, [by_name + ONCE], *alone, *NAMED, **found),
        "named": run(tmp_path, [by_name + ONCE]),
        "neither": run(tmp_path, [ONCE]),
    }
    neither, told = runs.pop("neither")
    assert (neither, "fixture 'patauth_headers' not found" in told) == (1, True)
    for code, told in runs.values():
        assert (code, "1 passed" in told) == (0, True), told


def test_a_run_that_does_not_use_it_imports_next_to_nothing() -> None:
    """Every run of pytest in the environment imports the plugin."""
    script = (
        "import sys, pytest; before = set(sys.modules); import patauth.testing;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["patauth", "patauth._version", "patauth.errors", "patauth.testing"]
