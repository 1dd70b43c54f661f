"""The command line: which parts to run, with which options, and where the figures go."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.servers import Server, binaries

from .measure import Pinning
from .report import Part, header, machine, write_json

DESCRIPTION = "Measure what patauth costs and what others cost, on this machine and in one run."


@dataclass(frozen=True, slots=True)
class Options:
    """Holds what the command line says."""

    binary: str  # of the engine
    pinning: Pinning
    rounds: int
    calls: int
    smoke: bool
    pats: tuple[int, ...]
    seconds: int
    workers: tuple[int, ...]
    owners: int
    appendonly: bool  # whether the server writes an append-only file

    @contextmanager
    def server(self, *options: str) -> Iterator[tuple[Server, Path]]:
        """Run a server; yield it and its folder, which parts may use. Remove both afterwards."""
        folder = Path(tempfile.mkdtemp(prefix="patauth-bench-"))
        try:
            file = ("--appendonly", "yes" if self.appendonly else "no", "--auto-aof-rewrite-percentage", "0")
            server = Server(self.binary, folder, *file, *options)
            try:
                yield server, folder
            finally:
                server.stop()
        finally:
            shutil.rmtree(folder)

    @contextmanager
    def pinned_server(self) -> Iterator[tuple[Server, Path]]:
        """Run a server like `server`, with client and server pinned to their CPUs."""
        self.pinning.pin_client()
        try:
            with self.server() as (server, folder):
                self.pinning.pin_server(server.process.pid)
                yield server, folder
        finally:
            self.pinning.undo()


def _requests(options: Options) -> Part:
    from . import perrequest

    with options.pinned_server() as (server, folder):
        return perrequest.run(server, folder, options.pinning, rounds=options.rounds, calls=options.calls)


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
        return throughput.run(server, folder, rounds=rounds, seconds=options.seconds, workers=options.workers)


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
        help="scale, and owners: the first",
    )
    parser.add_argument("--seconds", type=int, default=3, help="throughput: of each run of wrk; default: 3")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="throughput: of gunicorn")
    parser.add_argument("--owners", type=int, default=100_000, help="slots; default: 100000")
    parser.add_argument("--appendonly", action="store_true", help="the server writes a file (everysec)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--smoke", action="store_true", help="tiny: shows that it runs, and measures nothing")
    given = parser.parse_args()
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {min(unknown)!r}; there is: {', '.join(PARTS)}")
    if given.rounds < 2 or given.calls < 1:
        parser.error("give at least 2 rounds of 1 call")
    small = given.smoke
    options = Options(
        binary=engines[given.engine],
        pinning=Pinning(given.pin),
        rounds=2 if small else given.rounds,
        calls=20 if small else given.calls,
        smoke=small,
        pats=(200, 400) if small else tuple(given.pats),
        seconds=1 if small else given.seconds,
        workers=(1,) if small else tuple(given.workers),
        owners=2000 if small else given.owners,
        appendonly=given.appendonly,
    )
    facts = machine()
    print(header(facts), flush=True)
    done = []
    for name in given.parts or ["requests"]:
        try:
            part = PARTS[name](options)
        except ModuleNotFoundError as missing:
            parser.exit(1, f"{missing.name} is not installed: pip install -e '.[bench]'\n")
        done.append(part)
        print(f"\n{part}", flush=True)
    if given.json is not None:
        write_json(given.json, facts, done)


if __name__ == "__main__":
    main()
