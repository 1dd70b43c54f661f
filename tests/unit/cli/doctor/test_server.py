"""What `patauth doctor` makes of a server's facts: those of real engines, and those that are rare."""

from __future__ import annotations

from patauth import Authority, Settings
from patauth.cli.doctor.finding import Finding
from patauth.cli.doctor.server import judge_server, judge_servers
from patauth.store.server_facts import ServerFacts, read_facts
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
    "min-replicas-to-write": "1",
}


def judged(
    check: str,
    *,
    info: dict | None = None,
    config: dict | None = None,
    durability: str = "engine",
    **facts: object,
) -> Finding:
    settings = Settings.of(store_url="redis://localhost", durability=durability)
    values = {"ahead": 0.0, **facts}
    server = ServerFacts({**HEALTHY_INFO, **(info or {})}, {**HEALTHY_CONFIG, **(config or {})}, **values)
    (found,) = [finding for finding in judge_server(server, settings) if finding.check == check]
    return found


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
        ("replication", {"info": {"connected_slaves": "1"}}, "warning", "nobody waits"),
        ("replication", {"info": {"connected_slaves": "1"}, "durability": "replicas:1"}, "ok", "wait for 1"),
        ("replication", {"info": {"connected_slaves": "1"}, "durability": "replicas:2"},
         "problem", "asks for 2"),
        ("replication", {"info": {"connected_slaves": "1"}, "config": {"min-replicas-to-write": "0"},
                         "durability": "replicas:1"}, "warning", "goes on writing"),
        ("replication", {"info": {"connected_slaves": "2"}, "durability": "replicas:1"},
         "warning", "1 of 2 replicas"),
        ("replication", {"info": {"connected_slaves": "2"}, "durability": "replicas:1", "promotable": 1},
         "ok", "wait for 1"),
        ("replication", {"info": {"connected_slaves": "2"}, "durability": "replicas:2", "promotable": 3},
         "warning", "2 of 3 replicas"),
        ("clock", {"ahead": 0.9}, "ok", "agree"),
        ("clock", {"ahead": -3.0}, "warning", "3.0 s behind"),
        ("clock", {"ahead": 3600.0}, "problem", "ahead of"),
        ("clock", {"ahead": 1.2, "unsure": 0.3}, "ok", "agree"),
        ("clock", {"ahead": None}, "warning", "TIME"),
    ):  # fmt: skip
        found = judged(check, **given)
        assert found.level == level, (check, given)
        assert said in found.text, (check, given)


def node(number: int, config: dict | None = None, **facts: object) -> ServerFacts:
    """A healthy node of a cluster of two."""
    values = {"ahead": 0.0, "address": f"h:{number}", "slots": 8192, **facts}
    return ServerFacts(
        {**HEALTHY_INFO, "cluster_enabled": "1"}, {**HEALTHY_CONFIG, **(config or {})}, **values
    )


def test_the_nodes_of_a_cluster_are_judged_together() -> None:
    """The rest, that each node is asked, is for a real cluster: tests/system/test_cluster.py."""
    down = ServerFacts(address="h:2", slots=8192, failure="timed out")
    for nodes, level, said in (
        ([node(1), node(2)], "ok", "2 primaries"),
        ([node(1), node(2, slots=8000)], "problem", "192 of 16384 slots"),
        ([node(1), down], "problem", "h:2 does not answer"),
        ([node(1), node(2, {"cluster-require-full-coverage": "yes"})], "warning", "all owners"),
        ([node(1, {"cluster-allow-reads-when-down": "yes"}), node(2)], "warning", "introspection"),
        ([node(1, address="")], "problem", "as if it were alone"),
    ):
        found = judge_servers(nodes, Settings.of(store_url="redis://localhost"))
        first = next(one for one in found if one.check == "cluster")
        assert first.level == level, said
        assert said in first.text


def test_what_holds_for_all_nodes_is_said_once_and_else_with_the_address() -> None:
    settings = Settings.of(store_url="redis://localhost")
    found = list(judge_servers([node(1), node(2, {"appendonly": "no"})], settings))
    assert [one.text.partition(": ")[0] for one in found if one.check == "persistence"] == ["h:1", "h:2"]
    assert [one.level for one in found if one.check == "persistence"] == ["ok", "problem"]
    assert [one.text for one in found if one.check == "version"] == ["This is valkey 9.1.2."]


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
        facts = ServerFacts({}, config, ahead=0.0, sentinels=known, answering=answering)
        settings = Settings.of(store_url="redis+sentinel://h/s", sentinel_lost=lost)
        found = [one for one in judge_servers([facts], settings) if one.check == "sentinel"]
        assert [one.level for one in found] == levels, (known, answering, lost, config)
        assert said in " ".join(f"{one.text} {one.remedy}" for one in found)


@shared_engines
def test_facts_are_the_same_on_every_engine(store_url: str, engine: str, prefix: str) -> None:
    settings = Settings.of(store_url=logged_out(store_url), key_prefix=prefix)
    assert read_facts(settings).store_key is False
    with Authority(settings) as authority:
        authority.ping()
    facts = read_facts(settings)
    assert facts.kind == {"redis-server": "redis"}.get(engine, "valkey")
    assert (facts.append_only, facts.eviction, facts.memory_limit) == (True, "noeviction", 0)
    assert (facts.info["role"], facts.number("connected_slaves"), facts.denied) == ("master", 0, ())
    assert facts.store_key is True
    assert facts.keys is not None
    assert facts.ahead is not None
    assert abs(facts.ahead) < 0.5 + facts.unsure
