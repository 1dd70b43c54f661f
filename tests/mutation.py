"""Change a module in one place at a time, and see whether its own tests notice.

    python -m tests.mutation [--module NAME ...] [--jobs N] [--json FILE]      needs patauth[mutation]

Cosmic Ray makes each change (a mutant) on disk and runs pytest on it in a fresh process, so that constants,
decorators and what runs at import are tried too; all in a temporary copy of the tree.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import chdir
from pathlib import Path
from typing import NamedTuple

import click
from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome

TESTS = {  # of each module, those that have to notice
    "patauth/wsgi/gate.py": ["tests/unit/wsgi/test_gate.py"],
    "patauth/wsgi/zitadel/framing.py": ["tests/unit/wsgi/zitadel/test_framing.py"],
    "patauth/model/scopes.py": ["tests/unit/model/test_scopes.py", "tests/unit/model/test_rights.py"],
    "patauth/model/rights.py": ["tests/unit/model/test_rights.py", "tests/unit/model/test_scopes.py"],
    "patauth/model/quota.py": ["tests/unit/model/test_quota.py"],
    "patauth/model/credentials.py": ["tests/unit/model/test_credentials.py"],
    "patauth/model/pat_id.py": ["tests/unit/model/test_pat_id.py"],
    "patauth/operations/permissions.py": ["tests/unit/operations/test_permissions.py"],
    "patauth/operations/pat_change.py": [
        "tests/unit/operations/test_pat_change.py",
        "tests/unit/operations/test_pat_patch.py",
    ],
    "patauth/operations/create.py": ["tests/unit/operations/test_create.py"],
    "patauth/operations/update.py": ["tests/unit/operations/test_update.py"],
    "patauth/operations/rotate.py": ["tests/unit/operations/test_rotate.py"],
}
COPIED = ("patauth", "tests", "pyproject.toml")  # what those tests need of the tree
# No plugin but Hypothesis, with its profile of conftest.py: loading the others takes longer than most tests.
OPTIONS = (
    "-x -q -p no:cacheprovider --disable-plugin-autoload -p hypothesispytest --hypothesis-profile=mutation"
)
# One or two changes of each kind; Cosmic Ray has every operator in place of every other one.
KINDS = re.compile(
    "core/(AddNot|Replace(True|False|And|Or|Break|Continue)With.*|ExceptionReplacer|NumberReplacer"
    "|RemoveDecorator|ZeroIterationForLoop|ReplaceUnaryOperator_Delete_.*|ReplaceComparisonOperator_"
    "(Eq_NotEq|NotEq_Eq|Is_IsNot|IsNot_Is|Lt_LtE|Lt_GtE|LtE_Lt|LtE_Gt|Gt_GtE|Gt_LtE|GtE_Gt|GtE_Lt)"
    "|ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_FloorDiv|FloorDiv_Mul|Mod_FloorDiv|Pow_Mul"
    "|LShift_RShift|RShift_LShift|BitOr_BitAnd|BitAnd_BitOr))"
)
OUTCOMES = ("killed", "survived", "timed out", "broken")  # broken: cannot even be imported
TEST_NAMED = re.compile(r"^(FAILED|ERROR) \S+::", re.MULTILINE)  # by pytest, unless the mutant is broken


class Verdict(NamedTuple):
    """Say what became of one mutant."""

    module: str
    line: int
    operator: str
    change: str
    outcome: str


def exempt(tree: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """Find what needs no test: annotations, the text of errors, caches, imports for type checkers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise):
            yield node
        elif isinstance(node, ast.If):
            yield from [node] if "TYPE_CHECKING" in ast.dump(node.test) else []
        elif isinstance(node, ast.arg | ast.AnnAssign) and node.annotation:
            yield node.annotation
        elif isinstance(node, ast.FunctionDef):
            yield from [node.returns] if node.returns else []
            yield from (one for one in node.decorator_list if "cache" in ast.dump(one))


def mutants(module: str, session: Path) -> list[MutationSpec]:
    """List the mutants of a module, in the order of its text."""
    nodes = exempt(ast.parse(Path(module).read_text("utf-8")))
    # From one column further left, where the `@` of a decorator stands.
    spans = [((at.lineno, at.col_offset - 1), (at.end_lineno, at.end_col_offset)) for at in nodes]
    with use_db(str(session), WorkDB.Mode.create) as work:
        init([Path(module)], work, {})
        every = [one for item in work.work_items for one in item.mutations]
    wanted = (one for one in every if KINDS.fullmatch(one.operator_name))
    kept = (one for one in wanted if not any(start <= tuple(one.start_pos) < end for start, end in spans))
    return sorted(kept, key=lambda one: (tuple(one.start_pos), one.operator_name, one.occurrence))


def enter(tree: Path) -> None:
    """Give this worker a copy of its own to change, and go there."""
    os.chdir(shutil.copytree(tree, tree.with_name(f"worker-{os.getpid()}")))


def judge(mutant: MutationSpec, command: str, timeout: float) -> Verdict:
    """Make a mutant, run the tests on it, and undo it."""
    result = mutate_and_test([mutant], command, timeout)
    if result.worker_outcome is not WorkerOutcome.NORMAL:
        raise RuntimeError(f"{mutant}: {result.worker_outcome}\n{result.output}")
    outcome = "killed" if TEST_NAMED.search(result.output) else "broken"
    if result.test_outcome is TestOutcome.SURVIVED or result.output == "timeout":
        outcome = "timed out" if result.output == "timeout" else "survived"
    changed = re.findall(r"^([-+])(?![-+])(.*)", result.diff, re.MULTILINE)
    change = "\n".join(f"{sign} {' '.join(line.split())}" for sign, line in changed)
    return Verdict(str(mutant.module_path), mutant.start_pos[0], mutant.operator_name[5:], change, outcome)


def command_of(module: str) -> tuple[str, float]:
    """Run the tests of a module as it is; give the command, and the seconds it may take on a mutant."""
    command = [sys.executable, "-m", "pytest", *OPTIONS.split(), *TESTS[module]]
    started = time.monotonic()
    clean = subprocess.run(command, capture_output=True, text=True, check=False)
    if clean.returncode:
        raise click.ClickException(f"the tests of {module} fail as it is:\n{clean.stdout}{clean.stderr}")
    return shlex.join(command), 10 + 4 * (time.monotonic() - started)


def summary(verdicts: list[Verdict]) -> dict[str, float]:
    """Count outcomes. The score is of those that it takes a test to notice."""
    counts = {name: sum(one.outcome == name for one in verdicts) for name in OUTCOMES}
    judged = max(len(verdicts) - counts["broken"], 1)
    return {"mutants": len(verdicts), **counts, "score %": round(100 * (1 - counts["survived"] / judged), 1)}


@click.command(help=__doc__.partition("\n")[0])
@click.option("--module", "names", multiple=True, type=click.Choice([Path(path).stem for path in TESTS]))
@click.option("--jobs", default=1, type=click.IntRange(min=1), help="How many mutants to try at a time.")
@click.option(
    "--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Keep the verdicts here."
)
def main(names: tuple[str, ...], jobs: int, file: Path | None) -> None:
    """Try every mutant of the modules named, or of all, and print what became of them."""
    chosen = [path for path in TESTS if not names or Path(path).stem in names]
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory(prefix="patauth-mutation-") as folder:
        tree = Path(folder, "tree")
        tree.mkdir()
        for source in (Path(__file__).parents[1] / name for name in COPIED):
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, tree / source.name)
        with chdir(tree):
            commands = {module: command_of(module) for module in chosen}
            found = [one for module in chosen for one in mutants(module, Path(folder, "session"))]
        with ProcessPoolExecutor(jobs, initializer=enter, initargs=(tree,)) as pool:
            tries = [pool.submit(judge, one, *commands[str(one.module_path)]) for one in found]
            done = as_completed(tries)
            with click.progressbar(done, length=len(tries), label="mutants", show_pos=True) as bar:
                verdicts += (one.result() for one in bar)
    verdicts.sort(key=lambda one: (chosen.index(one.module), one.line, one.operator, one.change))
    rows = {module: summary([one for one in verdicts if one.module == module]) for module in chosen}
    rows["all"] = summary(verdicts)
    click.echo(f"{'module':26}" + "".join(f"{name:>10}" for name in rows["all"]))
    for module, row in rows.items():
        click.echo(f"{module:26}" + "".join(f"{value:>10}" for value in row.values()))
    for one in verdicts:
        if one.outcome == "survived":
            click.echo(f"\n{one.module}:{one.line} {one.operator}\n{one.change}")
    if file:
        kept = {"modules": rows, "verdicts": [one._asdict() for one in verdicts]}
        file.write_text(json.dumps(kept, indent=1), "utf-8")


if __name__ == "__main__":
    main()
