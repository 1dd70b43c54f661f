"""Functions of the host that settings name: how they are found, and what is said where they are not."""

from __future__ import annotations

import itertools
import os
import sys
from importlib import invalidate_caches
from pathlib import Path
from typing import Any

import pytest

from patauth import Authority, ConfigurationError, Owner, PatAuthMiddleware, Person
from patauth.wsgi.hooks import load
from patauth.wsgi.service.app import Standalone
from tests.support.authorities import Make
from tests.support.tables import each
from tests.support.wsgi import Echo, request

_numbers = itertools.count()
MINE = "/personal-access-tokens/v1?owner-id=me"
SIGNED_IN = """
from patauth import Owner, Person

class Session:
    @staticmethod
    def who(environ):
        return Person(Owner("alice"), ["idn:my-personal-access-tokens:manage"])

nobody = None
secret = "hunter2"
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that no test has imported, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    name = f"host_{next(_numbers)}"
    (tmp_path / f"{name}.py").write_text(SIGNED_IN, "utf-8")
    return name


def broken(module: str, text: str) -> str:
    Path(f"{module}.py").write_text(text, "utf-8")
    return module


def test_a_function_is_found_in_the_working_directory_and_may_be_in_a_class(module: str) -> None:
    person = load("identify", f"{module}:Session.who")({})
    assert person == Person(Owner("alice"), ["idn:my-personal-access-tokens:manage"])
    assert load("identify", f"{module}:Session.who") is load("identify", f"{module}:Session.who")


def test_a_function_of_a_package_is_found_where_it_is_installed_and_nothing_is_nothing(module: str) -> None:
    for name in ("os.path:basename", "os.path.basename"):
        assert load("identify", name)("/a/b") == "b"
    assert load("identify", len) is len
    assert load("identify", None) is None


@each("what", ["none", "nobody", "secret", "Session.none", "Session.who.none", "secret.none"])
def test_what_a_module_does_not_have_or_cannot_be_called_is_named(module: str, what: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load("identify", f"{module}:{what}")
    assert str(refused.value) == f"identify: the module {module} has no function {what}"


def test_a_module_that_is_not_there_is_named_with_the_place_that_was_looked_in(module: str) -> None:
    for missing in ("nowhere_at_all", f"{module}.deeper"):
        with pytest.raises(ConfigurationError) as refused:
            load("reauthenticate", f"{missing}:who")
        assert f"reauthenticate: there is no module {missing}, neither in {Path.cwd()}" in str(refused.value)


def test_a_file_in_the_working_directory_takes_the_place_of_no_installed_module(module: str) -> None:
    """One of these names is not imported yet in this process, so its file would be found."""
    name = next(name for name in ("colorsys", "tabnanny", "pyclbr", "symtable") if name not in sys.modules)
    for shadow in (name, "redis"):
        Path(f"{shadow}.py").write_text("found_here = True\ndef who(environ): pass\n", "utf-8")
    load("identify", f"{module}:Session.who")
    with pytest.raises(ConfigurationError, match=f"the module {name} has no function who"):
        load("identify", f"{name}:who")


def test_code_is_not_taken_from_a_working_directory_into_which_others_can_put_files(
    module: str, tmp_path: Path
) -> None:
    for package in (False, True):
        if package:
            (tmp_path / f"{module}_in").mkdir()
            (tmp_path / f"{module}.py").rename(tmp_path / f"{module}_in" / "people.py")
            module = f"{module}_in.people"
        invalidate_caches()
        for mode in (0o777, 0o1777, 0o1773, 0o722):
            tmp_path.chmod(mode)
            said = f"identify: {module} is in the working directory, and {tmp_path} .* by every user"
            with pytest.raises(ConfigurationError, match=said):
                load("identify", f"{module}:Session.who")
            assert module not in sys.modules
            assert load("identify", "os.path:basename")("/a/b") == "b", "it is not of that directory"
        tmp_path.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(tmp_path, 4711, 4711)  # who installs the application
        assert load("identify", f"{module}:Session.who")


def test_a_name_that_cannot_be_looked_up_is_refused_without_what_the_module_says(module: str) -> None:
    name = broken(f"{module}_lazy", "def __getattr__(name):\n    raise RuntimeError('hunter2')\n")
    with pytest.raises(ConfigurationError) as refused:
        load("identify", f"{name}:who")
    said = f"identify: {name}:who fails with RuntimeError in {Path.cwd() / name}.py, line 2"
    assert (str(refused.value), refused.value.__suppress_context__) == (said, True)


@each(
    ("text", "said"),
    [
        ("import nowhere_at_all", "there is no module nowhere_at_all"),
        ("import sys\nsys.exit('hunter2')", "fails with SystemExit in"),
        ("x = (", "is no Python"),
        ("x = 1\n\n\nint('hunter2')", "fails with ValueError in"),
    ],
)
def test_a_module_that_fails_is_named_with_its_line_and_without_what_it_says(
    module: str, text: str, said: str
) -> None:
    name = broken(f"{module}_{next(_numbers)}", text)
    with pytest.raises(ConfigurationError) as refused:
        load("identify", f"{name}:who")
    assert said in str(refused.value)
    assert "hunter2" not in f"{refused.value} {refused.value.__context__}"
    if "ValueError" in said:
        assert str(refused.value).endswith(f"{name}.py, line 4")


def test_a_setting_names_them_and_the_argument_wins(make: Make, module: str) -> None:
    authority = make(identify=f"{module}:Session.who", surfaces=["isc"])
    gate = PatAuthMiddleware(Echo(), authority)
    listed = request(gate, MINE)
    assert (listed.status_code, listed.json) == (200, [])
    assert request(PatAuthMiddleware(Echo(), authority, identify=lambda _: None), MINE).status_code == 401
    headers = {"X-CSRF-Token": listed.headers["X-CSRF-Token"], "Sec-Fetch-Site": "same-origin"}
    right = "idn:my-personal-access-tokens:read"
    body = {"name": "x", "scope": [right], "expirationDate": "2031-01-01T00:00:00Z"}
    refusing = make(identify=f"{module}:Session.who", reauthenticate="builtins:bool", surfaces=["isc"])
    for given, status in (({"reauthenticate": lambda _: False}, 403), ({}, 200)):
        gate = PatAuthMiddleware(Echo(), refusing, **given)
        made = request(gate, MINE.partition("?")[0], method="POST", json=body, headers=headers)
        assert made.status_code == status


def test_people_are_signed_in_at_the_service_that_has_no_application(make: Make, module: str) -> None:
    app = Standalone(make(identify=f"{module}:Session.who", surfaces=["isc"]))
    assert request(app, MINE).json == []
    assert request(app, "/").status_code == 404


def test_a_name_is_looked_up_when_the_middleware_is_made(make: Make, module: str) -> None:
    authority = make(identify="nowhere_at_all:who")
    with pytest.raises(ConfigurationError, match="identify: there is no module nowhere_at_all"):
        PatAuthMiddleware(Echo(), authority)


def test_no_argument_of_another_kind_is_taken(authority: Authority) -> None:
    wrong: list[Any] = ["alice", True, False, 0, "", [], b"a:b"]
    for name, value in itertools.product(("identify", "reauthenticate"), wrong):
        with pytest.raises(ConfigurationError, match=f"{name}: give a function"):
            PatAuthMiddleware(Echo(), authority, **{name: value})
