"""The command line: which parts to run, with which options, and where the figures go."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.support.servers import Server, binaries

from .measure import Pinning
from .options import Options
from .report import Part, goals_table, header, machine, write_json, write_page

DESCRIPTION = "Measure what patauth costs and what others cost, on this machine and in one run."


def _requests(options: Options) -> Part:
    from . import perrequest

    return perrequest.run(options)


def _profile(options: Options) -> Part:
    from . import stages

    with options.pinned_server() as (server, folder):
        return stages.run(server, folder, options.pinning, rounds=options.rounds, calls=options.calls)


def _imports(options: Options) -> Part:
    from . import imports

    options.pinning.pin_client()
    try:
        return imports.run(options.rounds)
    finally:
        options.pinning.undo()


def _scale(options: Options) -> Part:
    from . import scale

    def server(stack: ExitStack) -> Server:
        return stack.enter_context(options.server())[0]

    return scale.run(server, options.pats, options.pinning, rounds=options.rounds, calls=options.calls)


def _owners(options: Options) -> Part:
    from . import owners

    with options.server() as (server, _):
        most = min(options.pats)
        return owners.run(server, most, rounds=options.rounds)


def _throughput(options: Options) -> Part:
    from . import throughput

    with options.server() as (server, folder):
        rounds = 1 if options.smoke else max(3, options.rounds // 3)
        shapes = throughput.SHAPES[:1] if options.smoke else throughput.SHAPES
        return throughput.run(server, folder, rounds=rounds, seconds=options.seconds, shapes=shapes)


def _slots(options: Options) -> Part:
    from . import slots

    return slots.run(options.owners)


def _engines(options: Options) -> Part:
    from . import engines

    options.pinning.pin_client()
    try:
        with tempfile.TemporaryDirectory(prefix="patauth-bench-") as folder:
            return engines.run(
                options.binary, Path(folder), options.pinning, rounds=options.rounds, calls=options.calls
            )
    finally:
        options.pinning.undo()


def _paths(options: Options) -> Part:
    from . import paths

    return paths.run(20 * options.rounds if not options.smoke else 10)


PARTS: dict[str, Callable[[Options], Part]] = {
    "requests": _requests,
    "profile": _profile,
    "imports": _imports,
    "scale": _scale,
    "owners": _owners,
    "throughput": _throughput,
    "slots": _slots,
    "engines": _engines,
    "paths": _paths,
}
OF_PAGE = ("requests", "profile", "imports", "scale", "owners", "engines", "throughput")


def main() -> None:
    """Run the parts, print each as it is done, and write the figures."""
    engines = binaries()
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=DESCRIPTION)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default: requests")
    parser.add_argument("--engine", choices=engines, default="valkey", help="default: the wheel's Valkey")
    parser.add_argument("--pin", choices=("same", "cross", "free"), default="same", help="client and server")
    parser.add_argument("--rounds", type=int, default=15, help="of all cases; default: 15")
    parser.add_argument("--calls", type=int, default=500, help="of each case in a round; default: 500")
    parser.add_argument(
        "--pats",
        type=int,
        nargs="+",
        default=[10_000, 100_000, 1_000_000],
        help="scale, and owners: the smallest",
    )
    parser.add_argument("--seconds", type=int, default=3, help="throughput: of each run of wrk; default: 3")
    parser.add_argument("--owners", type=int, default=100_000, help="slots; default: 100000")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the tables there, each by its heading")
    parser.add_argument("--smoke", action="store_true", help="tiny: shows that it runs, and measures nothing")
    given = parser.parse_args()
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {min(unknown)!r}; there is: {', '.join(PARTS)}")
    if given.rounds < 2 or given.calls < 1:
        parser.error("give at least 2 rounds of 1 call")
    if given.page is not None and (given.smoke or sorted(given.parts) != sorted(OF_PAGE)):
        parser.error(f"--page has the figures of one run: give {' '.join(OF_PAGE)}, without --smoke")
    small = given.smoke
    options = Options(
        binary=engines[given.engine],
        pinning=Pinning(given.pin),
        rounds=2 if small else given.rounds,
        calls=20 if small else given.calls,
        smoke=small,
        pats=(200, 400) if small else tuple(given.pats),
        seconds=1 if small else given.seconds,
        owners=2000 if small else given.owners,
    )
    facts = machine()
    print(header(facts), flush=True)
    done: list[Part] = []
    for name in given.parts or ["requests"]:
        try:
            part = PARTS[name](options)
        except ModuleNotFoundError as missing:
            parser.exit(1, f"{missing.name} is not installed: pip install -e '.[bench]'\n")
        done.append(part)
        print(f"\n{part}", flush=True)
        if given.json is not None:  # after each part, so that one which fails takes no other with it
            write_json(given.json, facts, done)
    if any(part.goals for part in done):
        print(f"\n{goals_table(done)}")
    if given.page is not None:
        try:
            write_page(given.page, facts, done)
        except ValueError as problem:
            parser.exit(1, f"{problem}\n")


if __name__ == "__main__":
    main()
