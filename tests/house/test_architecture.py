"""Which folder may import which, and what else holds for all modules at once; read from the source by `ast`.

A folder imports only folders below it. The same holds inside `store/`, `wsgi/` and `cli/`. Imports under
`TYPE_CHECKING` and inside functions count like any other.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import patauth
from tests.support.paths import ROOT
from tests.support.tables import each

PACKAGE = Path(patauth.__file__).parent

# From the lowest up: each name is a folder or a module of `patauth/`, or of the folder that the key names.
ORDER: dict[str, tuple[str, ...]] = {
    "": (
        *("_version", "errors", "model", "concurrency", "crypto", "files", "settings"),
        *(
            "store",
            "jwt",
            "events",
            "logs",
            "observe",
            "operations",
            "authority",
            "wsgi",
            "flask",
            "asgi",
            "fastapi",
            "testing",
            "__init__",
            "cli",
            "django",
            "__main__",
        ),
    ),
    "store": (
        *("url", "deadline", "keys", "record", "transport", "scripts", "store_key", "tenant_index"),
        *(
            "removed",
            "asking",
            "event_stream",
            "tokens",
            "pats",
            "owners",
            "owner_changes",
            "notices",
            "copy",
        ),
        *("verdicts", "local", "store", "factory", "server_facts", "__init__"),
    ),
    "wsgi": (
        *("errors", "drain", "answers", "routing", "request", "cors", "hooks", "frameworks"),
        *("site", "bodies"),
        "gate",
        *("require", "languages", "openapi", "api", "oauth", "isc", "zitadel", "page"),
        *("surfaces", "guard", "middleware", "metrics", "service", "__init__"),
    ),
    "cli": (
        *(
            "context",
            "address",
            "options",
            "table",
            "output",
            "pat_output",
            "suggestions",
            "named_pat",
            "completion",
        ),
        *("config", "events", "keys", "leaks", "notify"),
        *("owner", "pat", "serve", "store", "token", "demo", "doctor", "__init__"),
    ),
}
PURE = ("errors", "model")  # the standard library and msgspec's structs only, no clock, no input or output
USE_CASES = "operations"  # no HTTP, no Redis

# Standard modules that are a clock, a source of randomness, or reach beyond the process.
OUTSIDE = frozenset(
    "asyncio concurrent ctypes fcntl glob http io mmap multiprocessing os pathlib select selectors shutil"
    " signal socket sqlite3 ssl subprocess sys tempfile threading time urllib.request".split()
)
CLOCKS = {"now", "today", "utcnow"}  # methods of datetime and date
OUTSIDE_BUILTINS = {"open", "print", "input"}


MODULES = sorted(path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py"))


def modules(below: str = "") -> list[str]:
    """Return every module as a path without its suffix, such as `store/keys`."""
    return [path for path in MODULES if path.startswith(below)]


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / f"{module}.py").read_text("utf-8"))


@cache
def imports(module: str) -> list[tuple[str, set[str]]]:
    """Return (absolute module, names taken from it) for each import."""
    package = ["patauth", *module.split("/")[:-1]]
    found: list[tuple[str, set[str]]] = []
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found += [(alias.name, set()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*above, *filter(None, [node.module])])
            found.append((name, {alias.name for alias in node.names}))
    return found


def own_imports(module: str) -> Iterator[str]:
    """Yield the modules of patauth that a module imports, as paths."""
    known = set(MODULES)
    for name, taken in imports(module):
        head, *rest = name.split(".")
        if head == "patauth":
            for inner in taken or {""}:
                whole, deeper = "/".join(rest), "/".join([*rest, inner])
                yield next(
                    path
                    for path in (deeper, f"{deeper}/__init__", whole, f"{whole}/__init__".lstrip("/"))
                    if path in known
                )


def foreign_imports(module: str) -> set[str]:
    """Return what a module imports that is neither patauth's nor the standard library's."""
    known = {*sys.stdlib_module_names, "patauth"}
    return {name for name, _ in imports(module) if name.split(".")[0] not in known}


def wrong_arrows(folder: str) -> list[str]:
    """Return the imports in a folder that lead up or sideways."""
    order, start = ORDER[folder], f"{folder}/" if folder else ""
    found = []
    for module in modules(start):
        place = module.removeprefix(start).partition("/")[0]
        for other in own_imports(module):
            if not other.startswith(start):
                continue
            target = other.removeprefix(start).partition("/")[0]
            if target != place and order.index(target) > order.index(place):
                found.append(f"{module} -> {other}")
    return found


@each("folder", ORDER)
def test_a_folder_imports_only_what_is_below_it(folder: str) -> None:
    start = f"{folder}/" if folder else ""
    assert {module.removeprefix(start).partition("/")[0] for module in modules(start)} == set(ORDER[folder])
    assert wrong_arrows(folder) == []


def test_the_picture_in_the_documents_has_each_box_in_its_place_and_names_files_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    drawn = re.findall(r"[|] ([a-z]+)(?:/|\.py) ", text)
    assert len(drawn) == len(set(drawn)) > 9
    assert set(drawn) == {name for name in ORDER[""] if not name.startswith("_")}
    boxes = [re.findall(r"[|] ([a-z]+)(?:/|\.py) ", box) for box in text.split("```")[1].split("+---")]
    floors = [box for box in boxes if box]
    for above, below in pairwise(floors):
        assert min(map(ORDER[""].index, above)) > max(map(ORDER[""].index, below)), (above, below)
    for path in re.findall(r"`((?:[a-z0-9_]+/)+[a-z0-9_]*(?:\.py)?)`", text):
        assert (PACKAGE / path).exists() or (ROOT / path).exists(), path


def test_no_modules_import_each_other_in_a_circle() -> None:
    above: list[str] = []
    done: set[str] = set()

    def visit(module: str) -> None:
        assert module not in above, " -> ".join([*above[above.index(module) :], module])
        if module in done:
            return
        above.append(module)
        for other in own_imports(module):
            visit(other)
        above.pop()
        done.add(module)

    for module in modules():
        visit(module)


def test_the_pure_modules_have_the_standard_library_and_structs_alone_and_no_clock() -> None:
    """Time comes in as `now`; `settings` reads the environment and files, and is pure but for that."""
    pure = [module for module in modules() if module.partition("/")[0] in PURE]
    assert len(pure) >= 8
    assert {name for module in [*pure, "settings"] for name in foreign_imports(module)} <= {"msgspec"}
    for module in pure:
        for name, taken in imports(module):
            reached = {name, name.partition(".")[0], *(f"{name}.{one}" for one in taken)}
            assert reached.isdisjoint(OUTSIDE), f"{module} imports {taken or name}"
        for call in (node.func for node in ast.walk(tree(module)) if isinstance(node, ast.Call)):
            called = call.id if isinstance(call, ast.Name) else getattr(call, "attr", "")
            outside = OUTSIDE_BUILTINS if isinstance(call, ast.Name) else CLOCKS
            assert called not in outside, f"{module} calls {ast.unparse(call)}()"


def test_use_cases_speak_neither_http_nor_redis() -> None:
    for module in modules(f"{USE_CASES}/"):
        foreign = {name.partition(".")[0] for name, _ in imports(module)}
        assert foreign.isdisjoint({"redis", "hiredis", "werkzeug", "http", "flask", "click", "argon2"}), (
            module
        )
        words = {
            ast.unparse(node).lower()
            for node in ast.walk(tree(module))
            if isinstance(node, ast.Name | ast.Attribute)
        }
        assert not [word for word in words if "environ" in word or "start_response" in word], module


def test_nobody_touches_the_private_names_of_others() -> None:
    """`self._x` is one's own; `other._x` is for the module that defines it."""
    known = {
        "os._exit",
        "self._connection._sock",
        "connection._wrap_socket_with_ssl",
    }  # the process's own end; redis-py has no public names for these
    found = []
    for module in modules():
        nodes = list(ast.walk(tree(module)))
        own = {node.attr for node in nodes if isinstance(node, ast.Attribute) and is_self(node.value)}
        own |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        own |= {node.target.id for node in nodes if isinstance(node, ast.AnnAssign) and is_name(node.target)}
        for name, taken in imports(module):
            if name.partition(".")[0] == "patauth":
                found += [f"{module}: {one}" for one in taken if one.startswith("_") and one[-1] != "_"]
        for node in nodes:
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and node.attr[-1] != "_":
                said = ast.unparse(node)
                if not is_self(node.value) and node.attr not in own and said not in known:
                    found.append(f"{module}:{node.lineno} {said}")
    assert found == []


def is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name)


def is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def test_only_secrets_makes_random_numbers() -> None:
    """ASVS 11.5.1: one source, and nobody can take the wrong one by mistake."""
    wrong = {"urandom", "getrandom", "SystemRandom", "uuid4", "RAND_bytes", "/dev/urandom", "/dev/random"}
    for module in modules():
        for name, taken in imports(module):
            assert name.split(".")[0] not in {"random", "uuid", "numpy"}, f"{module} imports {name}"
            assert not taken & wrong, f"{module} imports {taken}"
        for node in ast.walk(tree(module)):
            assert getattr(node, "attr", None) not in wrong, module
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in wrong, module


def test_only_the_command_line_prints() -> None:
    for module in modules():
        calls = [node.func for node in ast.walk(tree(module)) if isinstance(node, ast.Call)]
        prints = [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]
        assert not prints or module.startswith("cli/"), module


def test_every_module_says_what_it_is_and_is_no_longer_than_one_reads_at_a_time() -> None:
    for module in modules():
        if tree(module).body:
            assert ast.get_docstring(tree(module)), module
        assert len((PACKAGE / f"{module}.py").read_text("utf-8").splitlines()) <= 450, module


def test_no_name_is_a_standard_modules_or_a_drawers() -> None:
    drawers = {"utils", "util", "core", "helpers", "common", "misc"}
    names = {module.partition("/")[0] for module in modules()} - {"__init__", "__main__"}
    assert names.isdisjoint(sys.stdlib_module_names)
    assert not [module for module in modules() if drawers & set(module.split("/"))]


TESTS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py"))


def test_unit_tests_mirror_the_package() -> None:
    """tests/unit/store/test_keys.py tests patauth/store/keys.py; a test of a whole folder has its name."""
    for path in TESTS:
        folder, _, name = path.rpartition("/")
        if folder.startswith("tests/unit") and name.startswith("test_"):
            place = "/".join([*folder.split("/")[2:], name.removeprefix("test_").removesuffix(".py")])
            assert place in modules() or place.rpartition("/")[0].endswith(place.rpartition("/")[2]), path


def test_no_test_module_imports_another() -> None:
    """Read by a pattern: `ast` takes seconds for all tests."""
    imported = re.compile(r"^ *(?:from (\S+) import (\([^)]*\)|.*)|import (.*))$", re.MULTILINE)
    found = {path: imported.findall((ROOT / path).read_text("utf-8")) for path in TESTS}
    assert sum(map(len, found.values())) > 10 * len(TESTS)
    for path, lines in found.items():
        named = re.findall(r"[\w.]+", " ".join(map(" ".join, lines)))
        assert not [one for one in named if one.rpartition(".")[2].startswith("test_")], path
