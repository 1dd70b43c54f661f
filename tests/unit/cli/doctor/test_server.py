"""What `patauth doctor` makes of a server's facts: those of real engines, and those that are rare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from patauth import Authority, Settings
from patauth.cli.doctor.finding import Finding
from patauth.cli.doctor.server import judge_servers
from patauth.store.server_facts import ServerFacts, read_nodes
from tests.support.acl import logged_out
from tests.support.servers import shared_engines

HEALTHY_INFO = {
    "server_name": "valkey",
    "valkey_version": "9.1.2",
    "redis_version": "7.2.4",
    "role": "master",
    "connected_slaves": "0",
    "used_memory": "1000",
    "aof_last_write_status": "ok",
}
HEALTHY_CONFIG = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory": "0",
    "maxmemory-policy": "noeviction",
}


def server(*, info: dict | None = None, config: dict | None = None, **facts: object) -> ServerFacts:
    """A healthy server, but for what is given."""
    values = {"ahead": 0.0, "waitaof": True, **facts}
    return ServerFacts({**HEALTHY_INFO, **(info or {})}, {**HEALTHY_CONFIG, **(config or {})}, **values)


def judged(nodes: Sequence[ServerFacts], check: str, **given: object) -> list[Finding]:
    settings = Settings.of(store_url="redis+sentinel://h/s", **given)
    return [finding for finding in judge_servers(nodes, settings) if finding.check == check]


def test_what_a_server_says_of_itself_is_judged() -> None:
    for check, given, level, said in (
        ("version", {"info": {"server_name": "redis", "valkey_version": "6.2.1"}}, "warning", "before 7.0"),
        ("version", {}, "ok", "valkey 9.1.2"),
        ("persistence", {"config": {"appendfsync": "no"}}, "warning", "not flushed"),
        ("persistence", {"config": {"appendfsync": "always"}}, "ok", "always"),
        ("persistence", {"info": {"aof_last_write_status": "err"}}, "problem", "failed"),
        ("persistence", {"config": {"appendonly": "no", "save": "3600 1"}}, "problem", "snapshots"),
        ("eviction", {"config": {"maxmemory-policy": "allkeys-lru"}}, "problem", "as soon as it has a limit"),
        ("eviction", {"config": {"maxmemory-policy": "volatile-lru", "maxmemory": "9"}}, "problem", "vanish"),
        ("memory", {"config": {"maxmemory": "1100"}}, "warning", "91%"),
        ("memory", {"config": {"maxmemory": "4000"}}, "ok", "25%"),
        ("replication", {"info": {"role": "slave"}}, "problem", "replica"),
        ("clock", {"ahead": 0.9}, "ok", "agree"),
        ("clock", {"ahead": -3.0}, "warning", "3.0 s behind"),
        ("clock", {"ahead": 3600.0}, "problem", "ahead of"),
        ("clock", {"ahead": 1.2, "unsure": 0.3}, "ok", "agree"),
        ("clock", {"ahead": None, "denied": ("TIME",)}, "warning", "TIME"),
    ):
        (found,) = judged([server(**given)], check)
        assert found.level == level, (check, given)
        assert said in found.text, (check, given)


def test_whether_a_server_can_wait_for_its_disk_is_judged_where_it_must() -> None:
    for given, level, said in (
        ({"config": {"appendfsync": "always"}}, "ok", "wait for the disk"),
        ({"info": {"server_name": "redis", "valkey_version": "8.2.1"}}, "ok", "wait for the disk"),
        ({"info": {"server_name": "redis", "valkey_version": "7.4.1"}}, "warning", "loss of power"),
        ({}, "warning", "loss of power"),
        ({"waitaof": False}, "problem", "WAITAOF"),
        ({"config": {"appendonly": "no"}}, "problem", "no append-only file"),
        ({"config": {"appendfsync": "no"}}, "problem", "not flushed"),
        ({"waitaof": None, "denied": ("COMMAND",)}, "warning", "COMMAND"),
    ):
        (found,) = judged([server(**given)], "durability", durability="disk")
        assert found.level == level, given
        assert said in found.text, given
    assert judged([server(waitaof=False)], "durability") == []


def shard(connected: int, least: str, *replicas: ServerFacts) -> list[ServerFacts]:
    """A primary that so many replicas are connected to, and those that the Sentinels know."""
    info, config = {"connected_slaves": str(connected)}, {"min-replicas-to-write": least}
    return [server(info=info, config=config, address="h:1"), *replicas]


def replica(number: int, **facts: object) -> ServerFacts:
    return server(info={"role": "slave"}, address=f"h:{number}", primary="h:1", **facts)


def test_replicas_are_judged_by_what_a_failover_may_undo() -> None:
    """Of a server that is alone in `store_url`, only the connected replicas are known."""
    two, never = [replica(2), replica(3)], replica(3, promotable=False)
    down = ServerFacts(address="h:3", primary="h:1", failure="timed out")
    for nodes, durability, level, said in (
        (shard(0, "0"), "engine", "ok", "0 replicas are"),
        (shard(1, "0"), "engine", "warning", "0 of 1 replica:"),
        (shard(1, "0"), "disk", "warning", "0 of 1 replica:"),
        (shard(2, "1"), "replicas:1", "warning", "1 of 2 replicas"),
        (shard(2, "1"), "replicas:2", "ok", "2 replicas are connected, and revocations wait for 2"),
        (shard(2, "1"), "replicas:3", "problem", "asks for 3 replicas with 2"),
        (shard(2, "0"), "replicas:2", "warning", "goes on writing"),
        (shard(2, "1", *two), "replicas:2", "ok", "wait for 2"),
        (shard(2, "1", *two), "replicas:1", "warning", "1 of 2 replicas"),
        (shard(2, "1", replica(2), never), "replicas:1", "ok", "wait for 1"),
        (shard(1, "1", replica(2), down), "replicas:2", "problem", "asks for 2 replicas with 1"),
        (shard(1, "1", replica(2), down), "replicas:1", "warning", "1 of 2 replicas"),
        (shard(1, "1"), "replicas:1", "warning", "1 of 1 replica: while one is missing"),
        (shard(2, "2"), "replicas:2", "warning", "2 of 2 replicas: while one is missing"),
        (shard(2, "3"), "replicas:2", "problem", "is 3 with 2 replicas"),
        (shard(0, "1"), "engine", "problem", "is 1 with 0 replicas"),
    ):
        found = judged(nodes, "replication", durability=durability)[0]
        assert (found.level, found.remedy == "") == (level, level == "ok"), (said, found)
        assert said in found.text, found


def test_a_replica_that_does_not_answer_is_named() -> None:
    down = ServerFacts(address="h:3", primary="h:1", failure="timed out")
    found = judged(shard(2, "1", replica(2), down), "replication", durability="replicas:2")
    assert [one.level for one in found] == ["ok", "warning"]
    assert found[1].text == "h:3, a replica of h:1, does not answer (timed out)."


def test_nodes_that_differ_in_version_or_clock_are_named() -> None:
    old = {"server_name": "redis", "valkey_version": "7.0.15"}
    nodes = [server(address="h:1"), server(address="h:2", info=old)]
    assert [one.level for one in judged(nodes, "version")] == ["ok", "ok", "warning"]
    assert "redis 7.0.15, valkey 9.1.2" in judged(nodes, "version")[-1].text
    for ahead, unsure, levels in (
        ((0.7, -0.7), 0.0, ["ok", "warning"]),
        ((0.7, -0.7), 0.3, ["ok"]),
        ((0.4, -0.4), 0.0, ["ok"]),
        ((0.0, None), 0.0, ["ok", "warning"]),
        ((90.0, 0.0), 0.0, ["problem", "ok", "problem"]),
        ((90.0, 90.0), 0.0, ["problem"]),
    ):
        one, other = (
            server(address=f"h:{at}", ahead=each, unsure=unsure) for at, each in enumerate(ahead, 1)
        )
        found = judged([one, other], "clock")
        assert [one.level for one in found] == levels, (ahead, unsure)
    apart = judged([server(address="h:1", ahead=-0.7), server(address="h:2", ahead=0.7)], "clock")[-1]
    assert apart.text.startswith("The clock of h:2 is 1.4 s ahead of that of h:1")


def node(number: int, config: dict | None = None, **facts: object) -> ServerFacts:
    """A healthy node of a cluster of two."""
    values = {"address": f"h:{number}", "slots": 8192, **facts}
    return server(info={"cluster_enabled": "1"}, config=config, **values)


def test_the_nodes_of_a_cluster_are_judged_together() -> None:
    """The rest, that each node is asked, is for a real cluster: tests/system/test_cluster.py."""
    down = ServerFacts(address="h:2", slots=8192, failure="timed out")
    for nodes, level, said in (
        ([node(1), node(2)], "ok", "2 primaries and 0 replicas"),
        ([node(1), node(2), replica(3)], "ok", "2 primaries and 1 replica."),
        ([node(1), node(2, slots=8000)], "problem", "Of 16384 slots, 192 have no node"),
        ([node(1), node(2, slots=8191)], "problem", "Of 16384 slots, 1 has no node"),
        ([node(1), down], "problem", "h:2 does not answer"),
        ([node(1), node(2, {"cluster-require-full-coverage": "yes"})], "warning", "all owners"),
        ([node(1, {"cluster-allow-reads-when-down": "yes"}), node(2)], "warning", "introspection"),
        ([node(1, address="", slots=None)], "problem", "as if it were alone"),
    ):
        first = judged(nodes, "cluster")[0]
        assert first.level == level, said
        assert said in first.text


def test_each_shard_is_judged_by_its_own_replicas() -> None:
    one, other = (server(info={"connected_slaves": str(at)}, address=f"h:{at}", slots=8192) for at in (1, 2))
    nodes = [one, other, replica(3), replace(replica(4), primary="h:2"), replace(replica(5), primary="h:2")]
    found = judged(nodes, "replication", durability="replicas:1")
    assert [finding.level for finding in found] == ["ok", "warning"]
    assert found[0].text.startswith("h:1: 1 replica is connected")
    assert found[1].text.startswith("h:2: A revocation waits for 1 of 2 replicas")
    assert "asks for 2 replicas with 1" in judged(nodes, "replication", durability="replicas:2")[0].text


def test_what_holds_for_all_nodes_is_said_once_and_else_with_the_address() -> None:
    nodes = [node(1), node(2, {"appendonly": "no"}), replica(3, config={"appendonly": "no"})]
    found = judged(nodes, "persistence")
    assert [one.text.partition(": ")[0] for one in found] == ["h:1", "h:2, h:3"]
    assert [one.level for one in found] == ["ok", "problem"]
    assert [one.text for one in judged(nodes, "version")] == ["This is valkey 9.1.2."]


def test_the_sentinels_and_what_happens_without_them_are_judged() -> None:
    safe = {"min-replicas-to-write": "1", "min-replicas-max-lag": "2"}
    for known, answering, lost, config, levels, said in (
        (3, 3, "refuse", {}, ["ok"], "3 Sentinels answer"),
        (3, 2, "refuse", {}, ["warning"], "one more lost"),
        (2, 2, "refuse", {}, ["warning"], "at least three"),
        (4, 2, "refuse", {}, ["problem"], "Only 2 of 4"),
        (3, 3, "continue", safe, ["ok"], "answer"),
        (3, 3, "continue", {}, ["ok", "warning"], "cut off"),
        (3, 3, "continue", {**safe, "min-replicas-to-write": "0"}, ["ok", "warning"], "cut off"),
        (3, 3, "continue", {**safe, "min-replicas-max-lag": "0"}, ["ok", "warning"], "cut off"),
        (3, 3, "continue", {**safe, "min-replicas-max-lag": "10"}, ["ok", "warning"], "cut off"),
    ):
        primary = server(config=config, address="h:1", sentinels=known, answering=answering)
        found = judged([primary, replica(2, config=safe)], "sentinel", sentinel_lost=lost)
        assert [one.level for one in found] == levels, (known, answering, lost, config)
        assert said in " ".join(f"{one.text} {one.remedy}" for one in found)


def test_a_primary_that_hangs_is_named_beside_what_the_sentinels_are() -> None:
    down = ServerFacts(address="h:1", failure="timed out", sentinels=3, answering=1)
    found = judged([down, replica(2)], "sentinel")
    assert [one.level for one in found] == ["problem", "problem"]
    assert "Only 1 of 3" in found[0].text
    assert found[1].text.startswith("h:1, the primary, does not answer")
    assert "timed out" in found[1].text


@shared_engines
def test_facts_are_the_same_on_every_engine(store_url: str, engine: str, prefix: str) -> None:
    settings = Settings.of(store_url=logged_out(store_url), key_prefix=prefix)
    assert read_nodes(settings)[0].store_key is False
    with Authority(settings) as authority:
        authority.ping()
    facts = read_nodes(settings)[0]
    assert facts.kind == {"redis-server": "redis"}.get(engine, "valkey")
    assert (facts.append_only, facts.eviction, facts.memory_limit) == (True, "noeviction", 0)
    assert (facts.info["role"], facts.number("connected_slaves"), facts.denied) == ("master", 0, ())
    assert facts.store_key is True
    assert facts.waitaof is (facts.kind == "valkey" or not (facts.version or "").startswith("7.0"))
    assert facts.keys is not None
    assert facts.ahead is not None
    assert abs(facts.ahead) < 0.5 + facts.unsure
