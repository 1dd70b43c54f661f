"""The command that copies a store, in a process of its own: killed, cut off, to several servers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from patauth import Authority, InvalidCredentials, IssuedPat, Owner
from patauth.crypto.profiles import PROFILES
from tests.moving import move
from tests.support.acl import FOR_COPY, logged_in, logged_out
from tests.support.authorities import issue
from tests.support.clusters import running_cluster
from tests.support.copies import content
from tests.support.processes import PATAUTH, environment
from tests.support.sentinels import running_sentinels
from tests.support.servers import Server, binaries, until


@contextmanager
def filled(url: str, count: int = 300) -> Iterator[tuple[Authority, list[IssuedPat]]]:
    """An Authority, and so many PATs of many owners."""
    with closing(Authority.from_url(url, hash_profile=PROFILES["testing"])) as authority:
        yield authority, [issue(authority, owner=Owner(f"owner-{number}")) for number in range(count)]


def command(source: str, target: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PATAUTH, "store", "copy", source, target, "--output", "json"],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def assert_all_work(url: str, made: list[IssuedPat], gone: list[IssuedPat]) -> None:
    with closing(Authority.from_url(url, hash_profile=PROFILES["testing"])) as moved:
        for issued in made:
            assert moved.verify_basic(issued.pat.id, issued.secret).pat_id == issued.pat.id
        for issued in gone:
            with pytest.raises(InvalidCredentials):
                moved.verify_basic(issued.pat.id, issued.secret)
        assert {pat.id for pat in moved.list()} == {issued.pat.id for issued in made}


def test_a_thousand_pats_move_from_local_to_a_cluster_over_two_kills(tmp_path: Path) -> None:
    """As 100 000 do by `python -m tests.moving`; each is used there, and what ended meanwhile is not."""
    figures = move(tmp_path, 1000)
    assert (figures["used"], figures["ended PATs refused"]) == (1000, 200)


@pytest.mark.parametrize("binary", binaries())
def test_a_cluster_moves_to_another_one_of_the_other_kind(tmp_path: Path, binary: str) -> None:
    other = next((name for name in binaries() if name != binary), binary)
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    with (
        running_cluster(binaries()[binary], tmp_path / "from") as source,
        running_cluster(binaries()[other], tmp_path / "to") as target,
        filled(source.url) as (_, made),
    ):
        done = command(source.url, target.url)
        assert (done.returncode, json.loads(done.stdout)["pats"]) == (0, 300)
        assert content(source.client(), "patauth") == content(target.client(), "patauth")
        assert_all_work(target.url, made, [])


def test_a_target_that_fails_over_meanwhile_is_made_whole_by_the_next_run(
    tmp_path: Path, server: Server
) -> None:
    """By order and by a kill; what ends in the source meanwhile has ended."""
    with (
        running_sentinels(binaries()["valkey"], tmp_path) as sentinels,
        filled(server.url, 1000) as (authority, made),
    ):
        gone, here = [], logged_out(server.url)
        for fail in (sentinels.fail_over, lambda: sentinels.primary.kill()):
            until(lambda: sentinels.ready)
            run = subprocess.Popen([*PATAUTH, "store", "copy", here, sentinels.url], env=environment())
            until(lambda: sentinels.primary.client().dbsize() > 50)
            fail()
            run.wait(60)
            gone.append(made.pop())
            authority.delete(gone[-1].pat.id)
        until(lambda: command(here, sentinels.url).returncode == 0)
        assert_all_work(sentinels.url, made, gone)


def test_a_source_that_goes_away_is_5_and_a_store_that_is_used_is_1(tmp_path: Path, server: Server) -> None:
    source = Server(binaries()["valkey"], tmp_path)
    try:
        with filled(source.url, 20) as (_, made):
            pass
        source.kill()
        lost = command(source.url, f"local:{tmp_path / 'to'}")
        assert (lost.returncode, lost.stdout) == (5, "")
        source.start()
        done = command(source.url, f"local:{tmp_path / 'to'}")
        assert (done.returncode, done.stderr.count("TO is complete")) == (0, 1)
        assert_all_work(f"local:{tmp_path / 'to'}", made, [])
        again = command(source.url, f"local:{tmp_path / 'to'}")
        assert (again.returncode, again.stdout) == (1, "")
        assert "TO is in use" in again.stderr
    finally:
        source.stop()


@pytest.mark.parametrize("kind", ["source", "target"])
def test_the_rights_of_the_documents_are_enough(tmp_path: Path, kind: str) -> None:
    (tmp_path / "cluster").mkdir()
    (tmp_path / "server").mkdir()
    options = ("--user", *FOR_COPY)
    with running_cluster(binaries()["valkey"], tmp_path / "cluster", *options) as cluster:
        server = Server(binaries()["valkey"], tmp_path / "server", *options)
        try:
            narrow = logged_in(cluster.url), logged_in(server.url)
            urls = narrow if kind == "source" else narrow[::-1]
            with filled(urls[0], 30) as (_, made):
                done = command(*urls)
            assert done.returncode == 0, done.stderr
            assert "p%" not in done.stdout + done.stderr
            assert done.stderr.count("can be seen by other users") == 2
            assert_all_work(urls[1], made, [])
        finally:
            server.stop()
