"""The floors of the house, and what else holds for all modules at once; read from the source with `ast`.

ground   pure: the standard library only, no clock, no input or output; time comes in as `now`
settings ground, and the profiles of `hashing`; it reads the environment and the files it names
first    one outside thing each
second   use cases: no HTTP, no Redis names
top      surfaces
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import patauth
from patauth import Owner, PersonalAccessToken, Principal, Quota, Settings
from patauth.crypto.keyring import Keyring
from patauth.model.credentials import Format
from patauth.model.pat import IssuedPat
from patauth.model.quota import Decision
from patauth.operations.authenticate import Admission
from patauth.operations.exchange import Access

PACKAGE = Path(patauth.__file__).parent
TESTS = Path(__file__).parent

GROUND, SETTINGS, FIRST, SECOND, TOP = range(5)
FLOORS = {
    "errors": GROUND,
    "scope": GROUND,
    "credentials": GROUND,
    "pat": GROUND,
    "principal": GROUND,
    "quota": GROUND,
    "dates": GROUND,
    "keyring": GROUND,
    "pepper": GROUND,
    "claims": GROUND,
    "audit": GROUND,  # to `logging` only; where that goes is the host's choice
    "filters": GROUND,
    "expiry": GROUND,
    "settings": SETTINGS,
    "places": FIRST,
    "hashing": FIRST,
    "proofs": FIRST,
    "failures": FIRST,
    "forks": FIRST,
    "store": FIRST,
    "patch": FIRST,
    "jwt": FIRST,
    "signingkeys": FIRST,
    "signedtokens": FIRST,
    "jwtverifier": FIRST,
    "authenticate": SECOND,
    "exchange": SECOND,
    "standing": SECOND,
    "manage": SECOND,
    "amend": SECOND,
    "change": SECOND,
    "listing": SECOND,
    "management": SECOND,
    "introspect": SECOND,
    "authority": SECOND,
    "wsgi": TOP,
    "flask": TOP,
    "cli": TOP,
    "__main__": TOP,
    "__init__": TOP,
}
# Below its floor, by name: profiles are words and numbers, and no hash is computed with them.
ALLOWED_UP = {("settings", "hashing"): {"PROFILES", "Profile"}}

# Standard modules that are a clock, a source of randomness, or reach beyond the process.
OUTSIDE = {
    "asyncio",
    "concurrent",
    "ctypes",
    "fcntl",
    "glob",
    "http",
    "io",
    "mmap",
    "multiprocessing",
    "os",
    "pathlib",
    "select",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib.request",
}
CLOCKS = {"now", "today", "utcnow"}  # methods of datetime and date
BUILTINS_OUTSIDE = {"open", "print", "input"}

# Modules without a tests/test_<name>.py of their own: where their tests are, or why there are none.
NO_TEST_MODULE = {
    "__init__": "names only: TestPublic below",
    "__main__": "test_cli_process.py runs it",
    "claims": "test_jwt.py and test_jwt_hostile.py: only a token has some",
    "signedtokens": "test_jwt.py: only through an Authority can a caller reach it",
    "authenticate": "test_authority.py: only through an Authority can a caller reach it",
    "exchange": "test_authority.py, as authenticate",
    "cli/__init__": "test_cli.py and test_cli_process.py: commands are tested as they are typed",
    "cli/options": "test_cli.py",
    "cli/diagnosis": "test_doctor.py: it is what the doctor thinks",
    "cli/finding": "test_doctor.py",
    "cli/webserver": "test_doctor.py",
    "cli/output": "test_cli.py",
    "cli/pat": "test_cli.py",
    "cli/store": "test_cli.py and test_cli_config.py",
    "cli/story": "test_demo.py: it is what the demo tells",
    "store/__init__": "empty",
    "management": "as authority, of which it is the larger part",
    "store/pats": "test_redis.py, test_change.py and test_owners.py: the other half of RedisStore",
    "store/engine": "test_authority.py: each engine that it opens",
    "store/facts": "test_doctor.py: on every engine",
    "store/memory": "test_authority.py, as one of the engines",
    "store/binary": "test_local.py: it is where LocalEngine finds its server",
    "store/supervisor": "test_local.py: it is the other half of store/local, in a process of its own",
    "wsgi/__init__": "empty",
    "wsgi/presented": "test_middleware.py and test_failures.py: what it reads, they send",
    "wsgi/descriptions/__init__": "empty",
    "wsgi/descriptions/isc": "test_openapi.py: all of them are parts of one document",
    "wsgi/descriptions/isc_answers": "test_openapi.py",
    "wsgi/descriptions/oauth": "test_openapi.py",
    "wsgi/descriptions/parts": "test_openapi.py",
    "wsgi/descriptions/zitadel": "test_openapi.py",
    "wsgi/descriptions/zitadel_answers": "test_openapi.py",
    "wsgi/dialects/__init__": "empty",
    "wsgi/standalone": "test_serve.py: it is what is served",
}


def modules() -> list[str]:
    """Every module, as a path without its suffix: `store/redis`."""
    return sorted(path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py"))


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{module}.py").read_text("utf-8"))


def floor(module: str) -> int:
    head = module.partition("/")[0]
    assert head in FLOORS, f"{module} has no floor yet: say in FLOORS where it stands (HOUSE.md)"
    return FLOORS[head]


def only_for_types(module: str) -> set[ast.AST]:
    """What stands under `if TYPE_CHECKING:`, and is never imported."""
    return {
        inner
        for node in ast.walk(tree(module))
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }


def inside_functions(module: str) -> set[ast.AST]:
    """What stands in a function, and is imported when that is called."""
    functions = (
        node for node in ast.walk(tree(module)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return {inner for node in functions for inner in ast.walk(node)}


def imports(module: str, *, lazy: bool = True) -> Iterator[tuple[str, set[str]]]:
    """(absolute module, names taken from it) of each import; with `lazy` also those inside functions."""
    passed_over = only_for_types(module) | (set() if lazy else inside_functions(module))
    package = ["patauth", *module.split("/")[:-1]]
    for node in ast.walk(tree(module)):
        if node in passed_over:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, set()
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            yield ".".join([*above, *filter(None, [node.module])]), {alias.name for alias in node.names}


def imported_modules(module: str, *, lazy: bool = True) -> Iterator[tuple[str, set[str]]]:
    """Modules of ours that a module imports, as paths, with the names it takes from each."""
    known = set(modules())
    for name, taken in imports(module, lazy=lazy):
        head, *rest = name.split(".")
        if head != "patauth":
            continue
        path = "/".join(rest)
        for inner in sorted(taken):
            deeper = f"{path}/{inner}".strip("/")
            if deeper in known or f"{deeper}/__init__" in known:  # `from . import dates`
                yield (deeper if deeper in known else f"{deeper}/__init__"), set()
            else:
                found = path if path in known else f"{path}/__init__".strip("/")
                assert found in known, f"{module} imports {inner} from {name}, which is not there"
                yield found, {inner}


def foreign_imports(module: str) -> set[str]:
    return {
        name for name, _ in imports(module) if name.split(".")[0] not in {*sys.stdlib_module_names, "patauth"}
    }


@pytest.mark.parametrize("module", modules())
def test_each_module_imports_only_from_its_floor_and_below(module):
    for other, taken in imported_modules(module):
        if floor(other) > floor(module):
            allowed = ALLOWED_UP.get((module, other), set())
            assert taken, f"{module} imports {other} whole, which stands above it"
            assert taken <= allowed, f"{module} takes {taken} from {other}, which stands above it"


def test_no_module_imports_itself_by_a_detour():
    above: list[str] = []
    done: set[str] = set()

    def visit(module: str) -> None:
        assert module not in above, " -> ".join([*above[above.index(module) :], module])
        if module in done:
            return
        above.append(module)
        for other, _ in imported_modules(module, lazy=False):
            visit(other)
        above.pop()
        done.add(module)

    for module in modules():
        visit(module)


def test_nothing_below_the_top_imports_the_package_as_its_users_do():
    """`from . import Authority` or `import patauth` would be a circle through all of it."""
    for module in modules():
        if floor(module) < TOP:
            assert all(other != "__init__" for other, _ in imported_modules(module)), module


GROUND_MODULES = [module for module in modules() if FLOORS.get(module.partition("/")[0]) == GROUND]


@pytest.mark.parametrize("module", GROUND_MODULES)
class TestGround:
    def test_it_needs_only_the_standard_library(self, module):
        assert foreign_imports(module) == set()

    def test_it_has_no_clock_and_reaches_nothing_outside(self, module):
        for name, taken in imports(module):
            assert name not in OUTSIDE, f"{module} imports {name}"
            assert not {f"{name}.{one}" for one in taken} & OUTSIDE, f"{module} imports {taken} from {name}"
            assert name.split(".")[0] not in OUTSIDE, f"{module} imports {name}"
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.Call):
                called = node.func
                if isinstance(called, ast.Name):
                    assert called.id not in BUILTINS_OUTSIDE, f"{module} calls {called.id}()"
                elif isinstance(called, ast.Attribute):
                    assert called.attr not in CLOCKS, f"{module} calls {ast.unparse(called)}()"


def test_settings_needs_only_the_standard_library_too():
    """It reads the environment and the files that are named there: that is what it is for."""
    assert foreign_imports("settings") == set()


@pytest.mark.parametrize(
    "module", [module for module in modules() if FLOORS.get(module.partition("/")[0]) == SECOND]
)
def test_use_cases_speak_neither_http_nor_redis(module):
    for name, _ in imports(module):
        assert name.split(".")[0] not in {"redis", "werkzeug", "http", "flask", "click", "argon2"}, (
            f"{module}: {name}"
        )
    used = {
        ast.unparse(node).lower()
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Name | ast.Attribute)
    }
    assert not {name for name in used if "environ" in name or "start_response" in name}


@pytest.mark.parametrize("module", modules())
def test_only_secrets_makes_random_numbers(module):
    """ASVS 11.5.1: one source, and nobody can take the wrong one by mistake."""
    for name, taken in imports(module):
        assert name.split(".")[0] not in {"random", "uuid", "numpy"}, f"{module} imports {name}"
        assert not taken & {"urandom", "getrandom", "SystemRandom", "uuid4"}, f"{module} imports {taken}"
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"urandom", "getrandom", "SystemRandom", "RAND_bytes"}, module
        if isinstance(node, ast.Constant):
            assert node.value not in ("/dev/urandom", "/dev/random"), module


@pytest.mark.parametrize("module", modules())
def test_only_the_command_line_prints(module):
    if module.startswith("cli/"):
        return
    calls = [node.func for node in ast.walk(tree(module)) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]


@pytest.mark.parametrize("module", modules())
def test_no_file_is_longer_than_one_reads_at_a_time(module):
    assert len((PACKAGE / f"{module}.py").read_text("utf-8").splitlines()) <= 450


@pytest.mark.parametrize("module", modules())
def test_every_module_says_what_it_is(module):
    if tree(module).body:
        assert ast.get_docstring(tree(module)), module


@pytest.mark.parametrize("module", [name.partition("/")[0] for name in modules()])
def test_no_module_is_named_like_a_standard_one_or_like_a_drawer(module):
    assert module in ("__init__", "__main__") or module not in sys.stdlib_module_names
    assert module not in {"utils", "util", "core", "helpers", "common", "misc", "service"}


def test_every_floor_is_in_use_or_planned():
    heads = {module.partition("/")[0] for module in modules()}
    assert set(FLOORS) - heads <= {"filters", "flask", "__main__"}


class TestTests:
    def test_every_module_has_a_test_module_or_a_reason(self):
        """tests/test_<name>.py, or test_<folder>_<name>.py; only that if a top-level module has the name."""
        missing = []
        for module in modules():
            *folders, name = module.split("/")
            names = {f"test_{'_'.join([*folders, name])}.py"}
            if name not in modules():
                names.add(f"test_{name}.py")
            if module not in NO_TEST_MODULE and not any((TESTS / one).exists() for one in names):
                missing.append(module)
        assert missing == []

    def test_no_reason_is_left_over_or_names_a_file_that_is_not_there(self):
        assert set(NO_TEST_MODULE) <= set(modules())
        for named in re.findall(r"test_\w+\.py", " ".join(NO_TEST_MODULE.values())):
            assert (TESTS / named).exists(), named
        for module in NO_TEST_MODULE:
            assert not (TESTS / f"test_{module.replace('/', '_')}.py").exists(), module

    def test_the_empty_modules_are_empty(self):
        for module, reason in NO_TEST_MODULE.items():
            if reason == "empty":
                assert tree(module).body == [], module


PUBLIC = sorted(patauth.__all__)


class TestPublic:
    def test_every_name_is_there_once_and_sorted(self):
        assert len(set(patauth.__all__)) == len(patauth.__all__)
        assert patauth.__all__ == sorted(patauth.__all__)
        assert all(hasattr(patauth, name) for name in PUBLIC)

    def test_every_name_is_listed_and_no_other_one_is_found(self):
        assert set(PUBLIC) <= set(dir(patauth))
        with pytest.raises(AttributeError, match="Authoritee"):
            patauth.Authoritee  # noqa: B018

    def test_what_the_contract_names_is_public(self):
        assert set(PUBLIC) >= {
            "Authority",
            "Owner",
            "Principal",
            "Person",
            "PatAuthMiddleware",
            "require_scope",
            "Settings",
            "PatAuthError",
            "InvalidCredentials",
            "InvalidToken",
            "InsufficientScope",
            "RateLimited",
            "Overloaded",
            "StoreUnavailable",
            "InvalidRequest",
            "NotFound",
            "Conflict",
            "Forbidden",
            "ConfigurationError",
        }

    @pytest.mark.parametrize("name", PUBLIC)
    def test_each_has_a_docstring_of_its_own(self, name):
        """That of a base class, or the one that `dataclass` makes, says nothing."""
        value = getattr(patauth, name)
        assert value.__doc__
        assert not value.__doc__.startswith(f"{name}(")
        if inspect.isclass(value):
            assert all(value.__doc__ != base.__doc__ for base in value.__mro__[1:])

    @pytest.mark.parametrize("name", [name for name in PUBLIC if inspect.isclass(getattr(patauth, name))])
    def test_so_has_each_public_method_and_property(self, name):
        for attribute, value in vars(getattr(patauth, name)).items():
            if attribute.startswith("_") or not (
                callable(value) or isinstance(value, property | classmethod)
            ):
                continue
            assert inspect.getdoc(value), f"{name}.{attribute}"

    def test_the_types_are_delivered(self):
        assert (PACKAGE / "py.typed").exists()


def test_no_repr_of_any_object_shows_a_secret():
    """S1: what ends in a log or a traceback is a repr."""
    secret = bytes(range(32))
    form, pat_id = Format(), "0123456789abcdef" * 2
    pat = PersonalAccessToken(pat_id, "ci", ("a",), Owner("alice"), "default", 0, 0, 1)
    issued = IssuedPat(pat, form.secret_text(secret), form.token_text(pat_id, secret))
    text, digest = form.mint_access_token(pat_id)
    decision = Decision(True, "requests", Quota(100, 10), 0, 0)
    principal = Principal(pat.owner, frozenset("a"), pat_id, "default", "basic", None)
    objects = [
        issued,
        form,
        form.basic(pat_id, issued.secret),
        form.bearer(issued.token),
        form.bearer(text),
        Access(text, 900, ("a",), pat_id, decision),
        Keyring(secret),
        Settings.of(store_url="redis://user:hunter2@db/0", secret_key=secret),
        principal,
        Admission(principal, decision),
        pat,
    ]
    hidden = [issued.secret, issued.secret[5:48], issued.token, text, text[-49:-6], "hunter2", "user:"]
    for raw in (secret, digest):
        hidden += [raw.hex(), repr(raw)[2:-1]]
    for one in objects:
        for shown in (repr(one), str(one), f"{[one]}"):
            assert not [part for part in hidden if part in shown], type(one)


def test_no_repr_of_an_authority_shows_its_key():
    key = bytes(range(32))
    with pytest.warns(UserWarning, match="memory:"):
        authority = patauth.Authority.from_url("memory:", secret_key=key)
    with authority:
        for one in (authority, authority.settings, authority._store):
            assert key.hex() not in repr(one)
            assert repr(key)[2:-1] not in repr(one)
