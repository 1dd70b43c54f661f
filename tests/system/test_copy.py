"""The command that copies a store, in a process of its own: killed, cut off, to several servers."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from patauth import Authority, InvalidCredentials, IssuedPat, Owner, StoreUnavailable
from patauth.crypto.profiles import PROFILES
from patauth.store import copy
from patauth.store.keys import Keys
from patauth.store.store_key import CLOSED, SEALED
from tests.moving import move
from tests.support.acl import FOR_COPY, logged_in, logged_out
from tests.support.authorities import issue
from tests.support.clusters import Node, free_ports, running_cluster
from tests.support.copies import content, sides
from tests.support.processes import PATAUTH, environment
from tests.support.sentinels import Member, running_sentinels
from tests.support.servers import Server, binaries, until


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An empty server that only one test uses."""
    server = Server(binaries()["valkey"], tmp_path_factory.mktemp("own"))
    yield server
    server.stop()


@contextmanager
def filled(url: str, count: int = 300) -> Iterator[tuple[Authority, list[IssuedPat]]]:
    """An Authority, and so many PATs of many owners."""
    with closing(Authority.from_url(url, hash_profile=PROFILES["testing"])) as authority:
        yield authority, [issue(authority, owner=Owner(f"owner-{number}")) for number in range(count)]


def command(source: str, target: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Copy as the last run does, or with other options."""
    return subprocess.run(
        [*PATAUTH, "store", "copy", source, target, "--output", "json", *(options or ("--final",))],
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


def test_nobody_uses_a_copy_before_the_word_that_nothing_uses_the_source(tmp_path: Path, own: Server) -> None:
    """However often it was found equal: what ends in FROM until then ends in TO, too."""
    target = Server(binaries()["valkey"], tmp_path)
    try:
        with filled(own.url, 5) as (authority, made):
            for _ in range(2):
                equal = command(own.url, target.url, "--access-tokens")
                assert (equal.returncode, "stays closed" in equal.stderr) == (0, True)
                with closing(Authority.from_url(target.url)) as early, pytest.raises(StoreUnavailable):
                    early.verify_bearer(made[0].token)
            authority.delete(made[0].pat.id)
        done = command(own.url, target.url)
        assert (done.returncode, "TO is complete" in done.stderr) == (0, True)
        assert_all_work(target.url, made[1:], made[:1])
    finally:
        target.stop()


# -- which servers are read and written ---------------------------------------------------------------------


def test_a_node_of_a_cluster_is_no_store(tmp_path: Path, own: Server) -> None:
    """A node that is named alone has a part of the keys; it is refused as FROM and as TO."""
    with running_cluster(binaries()["valkey"], tmp_path) as cluster, filled(cluster.url, 60):
        for node in cluster.nodes:
            for urls, name in (((node.url, own.url), "FROM"), ((cluster.url, node.url), "TO")):
                refused = command(*urls)
                assert (refused.returncode, refused.stdout) == (2, "")
                assert f"{name}: the server is a node of a cluster" in refused.stderr
                assert "redis+cluster://" in refused.stderr
        with own.client() as client:
            assert client.dbsize() == 0


def test_a_replica_is_neither_read_nor_written(tmp_path: Path, own: Server) -> None:
    """It may lack what has ended."""
    primary_port, replica_port = free_ports(2)
    primary = Member(binaries()["valkey"], tmp_path / "primary", primary_port)
    replica = Member(binaries()["valkey"], tmp_path / "replica", replica_port)
    try:
        with filled(primary.url, 5):
            replica.follow(primary)
            for urls, name in (((replica.url, own.url), "FROM"), ((primary.url, replica.url), "TO")):
                refused = command(*urls)
                assert (refused.returncode, refused.stdout) == (2, "")
                assert f"{name}: the server is a replica" in refused.stderr
        with own.client() as client:
            assert client.dbsize() == 0
    finally:
        replica.stop()
        primary.stop()


def test_a_node_that_is_replaced_while_its_keys_are_read_ends_the_copy(
    tmp_path: Path, own: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SCAN on a replica may miss keys. The next run finds all of them."""
    monkeypatch.setattr(copy, "_KEYS", 20)
    (tmp_path / "nodes").mkdir()
    (tmp_path / "replica").mkdir()
    with running_cluster(binaries()["valkey"], tmp_path / "nodes") as cluster:
        replica = Node(binaries()["valkey"], tmp_path / "replica", *free_ports(2))
        try:
            cluster.add_replica(replica, cluster.nodes[0])
            with filled(cluster.url) as (_, made), sides(cluster.url, own.url, "patauth") as both:
                both.run()
                run = both.copy()
                run.begin()
                pieces = run.write()
                next(pieces)
                replica.cluster("FAILOVER")
                until(lambda: b"role:master" in replica.info("replication"))
                until(lambda: b"role:slave" in cluster.nodes[0].info("replication"))
                with pytest.raises(StoreUnavailable) as caught:
                    list(pieces)
                assert caught.value.detail.startswith(
                    "FROM: a server that was being read is no primary any more"
                )
                assert not both.run().differing
                assert_all_work(own.url, made, [])
        finally:
            replica.stop()


def test_a_copy_is_opened_when_all_replicas_have_it(
    tmp_path: Path, own: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever `durability` says: a replica that takes over at once has all of it, and the seal."""
    monkeypatch.setattr(copy, "PATIENCE", 0.3)
    primary_port, replica_port = free_ports(2)
    primary = Member(binaries()["valkey"], tmp_path / "primary", primary_port)
    replica = Member(binaries()["valkey"], tmp_path / "replica", replica_port)
    mark = Keys("patauth", "default").store_key
    try:
        replica.follow(primary)
        with filled(own.url, 50), sides(own.url, primary.url, "patauth") as both:
            replica.freeze()
            with pytest.raises(StoreUnavailable) as caught:
                both.run()
            assert caught.value.detail.startswith("TO: not all replicas of a server (1)")
            with primary.client() as client:
                assert client.get(mark).startswith(CLOSED)
            replica.thaw()
            both.run()
            primary.kill()
            with replica.client() as client, own.client() as other:
                assert client.get(mark).startswith(SEALED)
                assert content(client, "patauth") == content(other, "patauth")
    finally:
        replica.stop()
        primary.stop()


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_server_that_stands_still_for_a_second_ends_no_copy(tmp_path: Path, own: Server, side: str) -> None:
    target = Server(binaries()["valkey"], tmp_path)
    try:
        with filled(own.url, 1000) as (_, made):
            copying = [*PATAUTH, "store", "copy", own.url, target.url, "--final"]
            run = subprocess.Popen(copying, env=environment())
            with target.client() as client:
                until(lambda: client.dbsize() > 50)
            still = own if side == "source" else target
            still.freeze()
            time.sleep(1.0)
            still.thaw()
            assert run.wait(60) == 0
            assert_all_work(target.url, made, [])
    finally:
        target.stop()


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
