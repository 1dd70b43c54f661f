"""`patauth doctor`: what it finds on real servers, and what it makes of facts that are rare."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from patauth import Authority, Settings
from patauth.cli import program
from patauth.cli.doctor.finding import Finding
from patauth.cli.doctor.gunicorn import judge_gunicorn
from patauth.cli.doctor.judgements import judge_server, judge_settings
from patauth.store.server_facts import ServerFacts, read_facts
from tests.support.cli import Run
from tests.support.paths import EXAMPLES
from tests.support.servers import Server, binaries


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No gunicorn of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in ("GUNICORN_CMD_ARGS", "FORWARDED_ALLOW_IPS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """A server of this test alone, to be configured badly."""
    running = Server(binaries()["valkey"], tmp_path)
    yield running
    running.stop()


def doctor(url: str, *words: str) -> Result:
    return CliRunner().invoke(program, ["doctor", "--store", url, "--output", "json", *words])


def levels(result: Result) -> dict[str, str]:
    """The gravest level of each check."""
    order = ["ok", "warning", "problem"]
    found: dict[str, str] = {}
    for finding in json.loads(result.stdout)["findings"]:
        found[finding["check"]] = max(found.get(finding["check"], "ok"), finding["level"], key=order.index)
    return found


def test_a_local_store_is_healthy_as_it_is_made(url: str) -> None:
    result = doctor(url)
    assert (result.exit_code, result.stderr) == (0, "")
    assert set(levels(result).values()) == {"ok"}
    assert set(levels(result)) == {
        "engine", "folder", "store", "version", "persistence", "eviction", "memory", "replication", "clock",
        "store key", "settings", "python",
    }  # fmt: skip


def test_the_table_has_a_line_for_each_finding_and_one_for_what_to_do(own: Server) -> None:
    with own.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    result = CliRunner().invoke(program, ["doctor", "--store", own.url])
    assert result.exit_code == 1
    assert "problem  eviction" in result.stdout
    assert "-> Set `maxmemory-policy noeviction`" in result.stdout
    assert "\x1b[" not in result.stdout


def test_every_finding_that_is_not_ok_says_what_to_do(own: Server) -> None:
    with own.client() as client:
        client.config_set("maxmemory-policy", "volatile-ttl")
        client.config_set("appendonly", "no")
    found = json.loads(doctor(own.url).stdout)
    assert found["problems"] == 2
    for finding in found["findings"]:
        assert list(finding) == ["level", "check", "finding", "remedy"]
        assert finding["finding"].endswith(".")
        assert (finding["remedy"] is None) == (finding["level"] == "ok")
    assert levels(doctor(own.url))["persistence"] == "problem"


def test_a_user_who_may_not_ask_is_told_what_cannot_be_known(own: Server) -> None:
    """F25: with the rights that docs/deployment.md gives, and no more."""
    line = next(
        line
        for line in (EXAMPLES.parent / "docs/deployment.md").read_text().splitlines()
        if "ACL SETUSER" in line
    )
    with own.client() as client:
        client.execute_command(*line.replace("PASSWORD", "hush").split())
    result = doctor(f"unix://patauth:hush@{own.socket}")
    found = levels(result)
    assert result.exit_code == 0
    assert {found[check] for check in ("version", "persistence", "eviction", "memory", "replication")} == {
        "warning"
    }
    assert (found["store"], found["clock"]) == ("ok", "ok")
    assert result.stdout.count("may not ask (INFO and CONFIG") == 5
    assert "hush" not in result.output


def test_facts_are_the_same_on_every_engine(store_url: str, engine: str, prefix: str) -> None:
    if engine == "memory":
        return
    settings = Settings.of(store_url=store_url, key_prefix=prefix)
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
    assert abs(facts.ahead) < 0.5


def test_an_unreachable_store_is_5_and_the_rest_is_still_told() -> None:
    result = doctor("unix:///nonexistent/socket")
    assert result.exit_code == 5
    assert levels(result)["store"] == "problem"
    assert levels(result)["python"] == "ok"


def test_a_store_of_another_key_is_5_and_says_so(own: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with Authority.from_url(own.url) as authority:
        authority.ping()
    monkeypatch.setenv("PATAUTH_SECRET_KEY", "0a" * 32)
    result = doctor(own.url)
    assert result.exit_code == 5
    assert "secret_key" in result.stdout
    assert "0a0a" not in result.output


def test_no_store_and_a_wrong_one_are_usage_errors() -> None:
    assert CliRunner().invoke(program, ["doctor"]).exit_code == 2
    assert doctor("mysql://x").exit_code == 2


def test_a_store_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    result = doctor(f"local:{tmp_path / 'new'}")
    assert result.exit_code == 0
    assert "does not exist yet" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_no_engine_is_5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATAUTH_ENGINE", "/nonexistent")
    result = doctor(f"local:{tmp_path / 'new'}")
    assert result.exit_code == 5
    assert levels(result)["engine"] == "problem"


def test_a_folder_that_is_open_to_others_is_seen_before_its_use_closes_it(run: Run, url: str) -> None:
    directory = Path(url.removeprefix("local:"))
    directory.chmod(0o750)
    try:
        result = doctor(url)
    finally:
        directory.chmod(0o700)
    assert result.exit_code == 0
    assert levels(result)["folder"] == "warning"
    assert "mode 0750" in result.stdout


def test_memory_is_warned_of() -> None:
    result = doctor("memory:")
    assert (result.exit_code, levels(result)["store"]) == (0, "warning")


# -- facts that are hard to bring about ------------------------------------------------------------

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


@pytest.mark.parametrize(
    ("check", "given", "level", "said"),
    [
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
        ("clock", {"ahead": 0.9}, "ok", "agree"),
        ("clock", {"ahead": -3.0}, "warning", "3.0 s behind"),
        ("clock", {"ahead": 3600.0}, "problem", "ahead of"),
        ("clock", {"ahead": 1.2, "unsure": 0.3}, "ok", "agree"),
        ("clock", {"ahead": None}, "warning", "TIME"),
    ],
)  # fmt: skip
def test_what_a_server_says_of_itself_is_judged(check: str, given: dict, level: str, said: str) -> None:
    found = judged(check, **given)
    assert found.level == level
    assert said in found.text


@pytest.mark.parametrize(
    ("given", "store_key", "expected"),
    [
        ({"store_url": "redis://localhost"}, True, {("warning", "store key")}),
        ({"store_url": "redis://localhost", "secret_key": b"k" * 32}, False, {("ok", "store key")}),
        ({"store_url": "local:x"}, True, {("ok", "store key")}),
        ({"store_url": "redis://10.0.0.1", "secret_key": b"k" * 32}, None, {("warning", "transport")}),
        ({"store_url": "valkey://db", "secret_key": b"k" * 32}, None, {("warning", "transport")}),
        ({"store_url": "rediss://db", "secret_key": b"k" * 32}, None, set()),
        ({"store_url": "redis://[::1]", "secret_key": b"k" * 32}, None, set()),
        ({"store_url": "local:x", "keep_authorization": True}, None, {("warning", "settings")}),
        ({"store_url": "local:x", "trusted_proxies": 1}, None, {("ok", "settings")}),
    ],
)
def test_risky_settings_are_named(
    given: dict, store_key: bool | None, expected: set[tuple[str, str]]
) -> None:
    found = {
        (f.level, f.check) for f in judge_settings(Settings.of(**given), ServerFacts(store_key=store_key))
    }
    assert expected <= found
    warnings = {entry for entry in found if entry[0] != "ok"}
    assert warnings == {entry for entry in expected if entry[0] != "ok"}


def test_that_pats_may_last_for_ever_is_said_and_is_no_warning() -> None:
    never = [f for f in judge_settings(Settings.of(store_url="local:x"), None) if "max_lifetime" in f.text]
    assert [finding.level for finding in never] == ["ok"]
    limited = judge_settings(Settings.of(store_url="local:x", max_lifetime="30d"), None)
    assert not [finding for finding in limited if "max_lifetime" in finding.text]


# -- gunicorn ------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "conf", "environ", "expected"),
    [
        (None, None, {}, []),
        (None, "", {}, ["warning"]),
        ("--workers 2", None, {}, ["warning"]),
        (None, "forwarder_headers = ''", {}, ["ok"]),
        ("--forwarder-headers ''", "", {}, ["ok"]),
        ("--forwarder-headers=''", "forwarder_headers = 'SCRIPT_NAME'", {}, ["ok"]),
        (None, "forwarded_allow_ips = ''", {}, ["ok"]),
        (None, "forwarded_allow_ips = '*'", {}, ["problem"]),
        ("--forwarded-allow-ips *", None, {}, ["problem"]),
        (None, "forwarded_allow_ips = '*'\nforwarder_headers = []", {}, ["warning"]),
        (None, "import os\nforwarded_allow_ips = os.environ['X']", {}, ["warning"]),
        (None, "if True:\n    forwarder_headers = ''", {}, ["warning"]),
        (None, "forwarder_headers = ''\nlimit_request_field_size = 0", {}, ["ok", "warning"]),
        (None, "", {"FORWARDED_ALLOW_IPS": "*"}, ["problem", "warning"]),
        ("-c nowhere.py", None, {}, ["warning"]),
        ("-c other.py", "", {}, ["ok"]),
        ("'unbalanced", None, {}, ["warning"]),
        (None, "not python at all", {}, []),
    ],
)
def test_the_dangerous_defaults_of_gunicorn_are_seen(
    tmp_path: Path, arguments: str | None, conf: str | None, environ: dict[str, str], expected: list[str]
) -> None:
    (tmp_path / "other.py").write_text("forwarder_headers = ['']")
    if conf is not None:
        (tmp_path / "gunicorn.conf.py").write_text(conf)
    if arguments is not None:
        environ = {**environ, "GUNICORN_CMD_ARGS": arguments}
    assert [finding.level for finding in judge_gunicorn(environ, tmp_path, 0)] == expected


def test_the_configuration_is_read_and_never_run(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nforwarder_headers = ''"
    )
    assert [finding.level for finding in judge_gunicorn({}, tmp_path, 0)] == ["ok"]
    assert not (tmp_path / "ran").exists()


def test_the_example_configuration_is_safe() -> None:
    assert [finding.level for finding in judge_gunicorn({}, EXAMPLES, 0)] == ["ok"]


def test_a_visible_configuration_is_part_of_the_report(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--forwarded-allow-ips=*")
    result = doctor(url)
    assert (result.exit_code, levels(result)["gunicorn"]) == (1, "problem")
