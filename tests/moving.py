"""A store of many PATs moves from `local:` to a cluster, and each PAT is used there.

    python -m tests.moving --pats 100000

`patauth store copy` is killed twice, with SIGKILL, at about a third and two thirds. PATs end in the source
after each kill. The third run finds the stores equal, and the fourth opens the copy; then all that remains is
authenticated, and what ended is not.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from patauth import Authority, InvalidCredentials
from patauth.crypto.profiles import PROFILES
from patauth.store.local.engine import LocalEngine
from tests.benchmarks.calls import SCOPE
from tests.benchmarks.cases import authority_at
from tests.benchmarks.fill import EACH, Known, fill
from tests.support.authorities import wrong_secret
from tests.support.cli import local_store
from tests.support.clusters import Cluster, running_cluster
from tests.support.processes import PATAUTH, environment
from tests.support.servers import binaries, until

ENDED_EACH = 100  # PATs that end in the source after each kill
SAMPLE = 100  # one of so many PATs is compared in full, and shown with a wrong secret

_authority: Authority  # of a process that verifies


def copying(source: str, target: str, *options: str) -> subprocess.Popen[str]:
    command = [*PATAUTH, "store", "copy", source, target, *options]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)


def keys_in(cluster: Cluster) -> int:
    return sum(node.client().dbsize() for node in cluster.nodes)


def killed_at(keys: float, cluster: Cluster, source: str) -> float:
    """Copy until the cluster has so many keys, and kill it; the seconds that it took."""
    start = time.monotonic()
    with copying(source, cluster.url) as process:
        until(lambda: keys_in(cluster) >= keys, 600)
        process.kill()
    assert process.returncode == -9
    return time.monotonic() - start


def _start(url: str) -> None:
    global _authority
    _authority = authority_at(url, hash_profile=PROFILES["testing"])


def _use(known: Known) -> str:
    """Authenticate a PAT; return its id if that was right."""
    principal = _authority.verify_basic(known.pat_id, known.secret)
    assert (principal.subject.id, principal.scopes) == (known.owner_id, {SCOPE})
    return principal.pat_id


def used(url: str, known: Sequence[Known]) -> int:
    """Use each PAT once, in as many processes as there are cores; how many passed."""
    with (
        multiprocessing.get_context("fork").Pool(len(os.sched_getaffinity(0)), _start, (url,)) as pool,
        click.progressbar(
            pool.imap_unordered(_use, known, chunksize=100),
            length=len(known), label="Using each PAT", file=sys.stderr,
        ) as bar,
    ):  # fmt: skip
        return len(set(bar))


def refused(authority: Authority, shown: Iterable[tuple[str, str]]) -> int:
    """Show ids with secrets; how many were refused."""
    count = 0
    for pat_id, secret in shown:
        try:
            authority.verify_basic(pat_id, secret)
        except InvalidCredentials:
            count += 1
    return count


def move(folder: Path, pats: int) -> dict[str, object]:
    """Make the PATs, move them, use them; the figures."""
    figures: dict[str, object] = {}

    def timed(name: str, process: subprocess.Popen[str]) -> str:
        start = time.monotonic()
        told, _ = process.communicate()
        figures[f"{name}, s"] = round(time.monotonic() - start, 1)
        assert process.returncode == 0
        return told

    engine = LocalEngine(folder / "source")
    with (
        local_store(folder / "source") as source,
        running_cluster(binaries()["valkey"], folder) as cluster,
        authority_at("unix://" + engine.acquire()) as before,  # nothing waits for the disk
        authority_at(cluster.url) as after,
    ):
        known = fill(before.settings.store_url, pats + 2 * ENDED_EACH)
        ended, known = known[: 2 * ENDED_EACH], known[2 * ENDED_EACH :]
        keys = pats + 3 * pats / EACH  # the records, and three indexes of each owner
        for third in (1, 2):
            seconds = killed_at(keys * third / 3, cluster, source)
            figures[f"run {third}, killed at {third}/3, s"] = round(seconds, 1)
            for one in ended[third - 1 :: 2]:
                before.delete(one.pat_id)
        figures["told"] = timed("run 3", copying(source, cluster.url)).split("\n")
        timed("run 4, nothing differs", copying(source, cluster.url, "--final"))
        for one in known[::SAMPLE]:
            assert after.get(one.pat_id) == before.get(one.pat_id)
        totals = [side.list(limit=1, count=True).total for side in (before, after)]
        assert totals == [len(known)] * 2
        start = time.monotonic()
        figures["used"] = used(cluster.url, known)
        figures["using them, s"] = round(time.monotonic() - start, 1)
        wrong = wrong_secret(after)
        figures["wrong secrets refused"] = refused(after, ((one.pat_id, wrong) for one in known[::SAMPLE]))
        figures["ended PATs refused"] = refused(after, ((one.pat_id, one.secret) for one in ended))
        assert figures["used"] == len(known)
        assert figures["wrong secrets refused"] == len(known[::SAMPLE])
        assert figures["ended PATs refused"] == len(ended)
        engine.release()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pats", type=int, default=100_000, help="how many PATs remain, a multiple of 50")
    with tempfile.TemporaryDirectory(prefix="patauth-moving-") as folder:
        for name, figure in move(Path(folder), parser.parse_args().pats).items():
            print(f"{name}: {figure}")


if __name__ == "__main__":
    main()
