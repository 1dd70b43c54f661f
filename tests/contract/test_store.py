"""The scripts and the store key: what the store promises below an Authority."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth import (
    Authority,
    ConfigurationError,
    Conflict,
    InvalidCredentials,
    InvalidToken,
    NotFound,
    Owner,
    RateLimited,
    StoreUnavailable,
)
from patauth.model import credentials
from patauth.model import quota as model_quota
from patauth.model.pat_id import PatId
from patauth.model.quota import Decision, Quota
from patauth.operations.sweep import sweep
from patauth.store.keys import Keys
from patauth.store.record import SCHEMA
from patauth.store.scripts import Scripts
from patauth.store.transport.protocol import Unanswered
from tests.support.authorities import Make, admit, basic_of, issue, wrong_secret
from tests.support.clocks import NOW, Clock
from tests.support.internals import VERSION, hasher_of, store_of
from tests.support.interventions import standing_in
from tests.support.servers import Server, binaries, shared_engines, until


@given(
    st.integers(1, 12),
    st.integers(600, 3600),  # slow enough that the real clock, by which keys expire, plays no part
    st.lists(st.integers(-100_000, 900_000), min_size=1, max_size=40),
)
def test_the_script_counts_as_the_arithmetic_does(
    make: Make, count: int, seconds: int, steps: list[int]
) -> None:
    """GCRA in Lua against `quota.admit`, the clock going back at times, and keys never expiring early."""
    clock = Clock()
    quota = Quota(count, seconds)
    authority = make(clock=clock, request_quota=quota)
    issued = issue(authority, never_expires=True)
    value = basic_of(issued)
    tat: int | None = None
    for step in steps:
        clock.advance(step)
        expected = model_quota.admit(tat, clock.now * 1000, quota)
        tat = expected.tat_us
        try:
            decision = admit(authority, value).decision
        except RateLimited as refusal:
            assert not expected.allowed
            decision = Decision(False, "requests", quota, 0, expected.wait_us)
            assert refusal.retry_after == decision.retry_after
        else:
            assert expected.allowed
            assert decision.backlog_us == expected.backlog_us
    authority.delete(issued.pat.id)


def test_who_waits_as_long_as_told_and_is_alone_succeeds(make: Make, clock: Clock) -> None:
    authority = make(clock=clock, request_quota="7/3")
    issued = issue(authority, never_expires=True)
    for _ in range(50):
        try:
            admit(authority, basic_of(issued))
        except RateLimited as refusal:
            clock.advance(refusal.retry_after * 1000)
            admit(authority, basic_of(issued))


def test_a_clock_that_goes_back_costs_at_most_one_window(make: Make, clock: Clock) -> None:
    authority = make(clock=clock)
    issued = issue(authority, never_expires=True)
    for _ in range(100):
        admit(authority, basic_of(issued))
    clock.advance(-3_600_000)
    passed = 0
    for _ in range(200):
        clock.advance(100)
        try:
            admit(authority, basic_of(issued))
            passed += 1
        except RateLimited:
            pass
    assert passed >= 100


@shared_engines
def test_one_round_trip_for_each_authenticated_request(
    make: Make, engine: str, servers: dict[str, Server]
) -> None:
    """Counted by the server: Basic with a proof, PAT token, access token."""
    authority = make(request_quota="100000/10")
    issued = issue(authority)
    access = authority.exchange(issued.pat.id, issued.secret)
    values = [basic_of(issued), "Bearer " + issued.token, "Bearer " + access.value]
    for value in values:
        authority.authenticate(value)
    before = servers[engine].calls()
    for value in values:
        for _ in range(10):
            authority.authenticate(value)
    after = servers[engine].calls()
    used = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    own = {"info", "client|setinfo", "config|get"}  # of the client that asks for these figures
    inside = {"mget": 30, "time": 30, "set": 30}  # called by the script, on the server
    assert {name: count for name, count in used.items() if name not in own} == {"evalsha": 30, **inside}


@shared_engines
def test_a_server_that_has_lost_its_scripts_is_sent_them_again(
    make: Make, engine: str, servers: dict[str, Server]
) -> None:
    authority = make()
    issued = issue(authority)
    authority.authenticate(basic_of(issued))
    servers[engine].client().script_flush()
    authority.authenticate(basic_of(issued))


@shared_engines
@pytest.mark.parametrize("which", ["pat", "token"])
def test_a_record_of_an_unknown_schema_or_cut_short_decides_nothing(
    make: Make, engine: str, servers: dict[str, Server], prefix: str, which: str
) -> None:
    authority = make()
    issued = issue(authority)
    access = authority.exchange(issued.pat.id, issued.secret)
    keys = Keys(prefix, "default")
    digest = authority.operations.format.bearer(access.value).digest  # type: ignore[union-attr]
    key = (
        keys.pat(PatId(issued.pat.id)) if which == "pat" else keys.access_token(PatId(issued.pat.id), digest)
    )
    client = servers[engine].client()
    record = client.get(key)
    assert record is not None
    assert record[:1] == SCHEMA  # type: ignore[index]
    client.set(key, b"9" + record[1:])  # type: ignore[index,operator]
    with pytest.raises(StoreUnavailable):
        authority.verify_bearer(access.value)
    for cut in range(26 if which == "token" else len(record)):  # type: ignore[arg-type]
        client.set(key, record[:cut])  # type: ignore[index]
        with pytest.raises((StoreUnavailable, InvalidToken)):
            authority.verify_bearer(access.value)
    client.set(key, record[:-1] + b"\xc1")  # type: ignore[index,operator]
    with pytest.raises(StoreUnavailable):
        authority.verify_bearer(access.value)


@shared_engines
def test_a_pat_of_a_newer_version_is_503_and_stays_as_it_is_until_its_owner_is_revoked(
    make: Make, engine: str, servers: dict[str, Server], prefix: str
) -> None:
    """In the middle of an upgrade, or after a rollback. Other PATs of the owner are used and made as ever."""
    authority = make()
    issued, other = issue(authority), issue(authority, "other")
    pat_id, token = issued.pat.id, authority.exchange(issued.pat.id, issued.secret).value
    client, key = servers[engine].client(), Keys(prefix, "default").pat(PatId(issued.pat.id))
    newer = b"3" + client.get(key)[1:]  # type: ignore[index,operator]
    client.set(key, newer)
    refused: dict[str, Callable[[], object]] = {
        "Basic": lambda: authority.authenticate(basic_of(issued)),
        "PAT token": lambda: authority.verify_bearer(issued.token),
        "access token": lambda: authority.verify_bearer(token),
        "exchange": lambda: authority.exchange(pat_id, issued.secret),
        "introspect": lambda: authority.introspect(token),
        "get": lambda: authority.get(pat_id),
        "list": authority.list,
        "list of the owner": lambda: authority.list(owner_id="alice"),
        "update": lambda: authority.update(pat_id, name="new"),
        "rotate": lambda: authority.rotate(pat_id),
        "disable": lambda: authority.disable(pat_id),
        "enable": lambda: authority.enable(pat_id),
        "delete": lambda: authority.delete(pat_id),
        "revoke": lambda: authority.revoke(issued.token),
        "disable the owner": lambda: authority.disable_owner("alice"),
        "enable the owner": lambda: authority.enable_owner("alice"),
    }
    for what, call in refused.items():
        with pytest.raises(StoreUnavailable) as caught:
            call()
        assert "another version of patauth" in str(caught.value.detail), what
        assert client.get(key) == newer, what
    with pytest.raises(Conflict):
        issue(authority)  # its name stays taken
    issue(authority, "third")
    for part in sweep(authority.operations.actor(None)):
        assert not any(part)
    assert authority.authenticate(basic_of(other)).pat_id == other.pat.id
    assert client.get(key) == newer
    assert authority.revoke_owner("alice") == 3
    assert client.get(key) is None


def _recheck(token: str) -> str:
    """The token with a right checksum."""
    return credentials._with_check(token[:-6])


@shared_engines
def test_a_record_that_names_another_pat_lends_nobody_its_identity(
    make: Make, engine: str, servers: dict[str, Server], prefix: str
) -> None:
    authority = make()
    alice, bob = issue(authority), issue(authority, "b")
    keys = Keys(prefix, "default")
    client = servers[engine].client()
    client.set(keys.pat(PatId(alice.pat.id)), client.get(keys.pat(PatId(bob.pat.id))) or b"")
    access = authority.exchange(bob.pat.id, bob.secret)
    stolen = _recheck(access.value.replace(bob.pat.id, alice.pat.id))
    for value in ("Bearer " + stolen, basic_of(alice)):
        with pytest.raises((InvalidCredentials, StoreUnavailable)):
            authority.authenticate(value)
    with pytest.raises((InvalidCredentials, StoreUnavailable)):
        authority.verify_basic(alice.pat.id, bob.secret)
    client.set(
        keys.access_token(PatId(alice.pat.id), authority.operations.format.bearer(stolen).digest),  # type: ignore[union-attr]
        client.get(
            keys.access_token(PatId(bob.pat.id), authority.operations.format.bearer(access.value).digest)
        )
        or b"",  # type: ignore[union-attr]
    )
    for call in (
        lambda: authority.authenticate("Bearer " + stolen),
        lambda: authority.introspect(stolen),
        lambda: authority.introspect(alice.token),
        lambda: authority.revoke(stolen),
        lambda: authority.get(alice.pat.id),
    ):
        with pytest.raises(StoreUnavailable):
            call()


@shared_engines
def test_a_key_of_the_wrong_type_is_never_an_accept(
    make: Make, engine: str, servers: dict[str, Server], prefix: str
) -> None:
    authority = make()
    issued = issue(authority)
    access = authority.exchange(issued.pat.id, issued.secret)
    client = servers[engine].client()
    for key in list(client.scan_iter(f"{prefix}:*")):
        kept = client.dump(key)
        if kept is None:  # a quota that was full again in the meantime
            continue
        client.delete(key)
        client.rpush(key, b"x")
        for value in ("Bearer " + access.value, basic_of(issued)):
            try:
                authority.authenticate(value)
            except (InvalidCredentials, StoreUnavailable):
                pass
            else:
                assert key.split(b"}:")[1][:2] != b"p:", "accepted without its PAT record"
        client.restore(key, 0, kept, replace=True)


def test_a_stored_digest_that_asks_for_too_much_memory_is_refused_before_it_is_taken(
    make_at: Make, server: Server, prefix: str
) -> None:
    """A record that says m = 4 GiB costs no memory (REQUIREMENTS C7)."""
    import resource

    authority = make_at()
    issued = issue(authority)
    key = Keys(prefix, "default").pat(PatId(issued.pat.id))
    client = server.client()
    record = client.get(key)
    hostile = record[: 69 + 67] + (4 * 2**20).to_bytes(4) + record[69 + 71 :]  # type: ignore[index,operator]
    client.set(key, hostile)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(StoreUnavailable):
        make_at().authenticate(basic_of(issued))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def test_a_pat_that_changes_before_its_token_is_written_is_looked_at_again(
    make_at: Make, server: Server, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between verification and issue: a use is no change, less scope is granted, a deletion refuses."""
    from dataclasses import replace

    from patauth.store.record import pack, unpack

    authority = make_at()
    issued = issue(authority)
    client = server.client()
    key = Keys(prefix, "default").pat(PatId(issued.pat.id))
    mint = authority.operations.format.mint_access_token
    meanwhile: list[bytes | None] = []

    def mint_late(pat_id: str) -> tuple[str, bytes]:
        if meanwhile:
            change = meanwhile.pop()
            if change is None:
                client.delete(key)
            else:
                client.set(key, change)
        return mint(pat_id)

    monkeypatch.setattr(authority.operations._exchanger._format, "mint_access_token", mint_late)
    record = unpack(client.get(key) or b"")  # type: ignore[arg-type]

    meanwhile.append(pack(replace(record, pat=replace(record.pat, last_used_ms=NOW)), record.version))
    assert authority.exchange(issued.pat.id, issued.secret).scope == ("reports:read", "reports:write")

    meanwhile.append(
        pack(replace(record, pat=replace(record.pat, scope=("reports:read",), sequence=2)), bytes(8))
    )
    assert authority.exchange(issued.pat.id, issued.secret).scope == ("reports:read",)

    meanwhile.append(pack(replace(record, pat=replace(record.pat, disabled=True)), VERSION))
    with pytest.raises(InvalidCredentials, match="disabled"):
        authority.exchange(issued.pat.id, issued.secret)

    client.set(key, pack(record, VERSION))
    meanwhile.append(None)
    with pytest.raises(InvalidCredentials):
        authority.exchange(issued.pat.id, issued.secret)


def test_a_disabled_record_ends_its_tokens_and_says_so_only_to_its_secret(
    make_at: Make, server: Server, prefix: str
) -> None:
    from dataclasses import replace

    from patauth.store.record import pack, unpack

    authority = make_at()
    issued = issue(authority)
    access = authority.exchange(issued.pat.id, issued.secret)
    client = server.client()
    key = Keys(prefix, "default").pat(PatId(issued.pat.id))
    record = unpack(client.get(key) or b"")  # type: ignore[arg-type]
    client.set(key, pack(replace(record, pat=replace(record.pat, disabled=True)), VERSION))
    assert authority.get(issued.pat.id).state == "disabled"
    with pytest.raises(InvalidToken):
        authority.verify_bearer(access.value)
    with pytest.raises(InvalidCredentials, match="is disabled"):
        authority.authenticate(basic_of(issued))
    with pytest.raises(InvalidCredentials) as caught:
        authority.verify_basic(issued.pat.id, wrong_secret(authority))
    assert "disabled" not in str(caught.value)


def test_a_previous_secret_passes_until_its_overlap_ends(make_at: Make, server: Server, prefix: str) -> None:
    """The record's second slot, as a rotation will fill it: the layout is laid now."""
    from dataclasses import replace

    from patauth.store.record import PatRecord, pack, unpack

    clock = Clock()
    authority = make_at(clock=clock)
    issued, other = issue(authority), issue(authority, "donor")
    access = authority.exchange(issued.pat.id, issued.secret)
    client = server.client()
    keys = Keys(prefix, "default")
    record = unpack(client.get(keys.pat(PatId(issued.pat.id))) or b"")  # type: ignore[arg-type]
    secret = authority.operations.format.basic(other.pat.id, other.secret).secret
    ring = store_of(authority).keyring
    fresh = replace(
        record.secrets[0], generation=2, tag=ring.secret_tag(PatId(issued.pat.id), secret),
        digest=hasher_of(authority).hash(secret, "owner"),
    )  # fmt: skip
    rotated = PatRecord(record.pat, (fresh, record.secrets[0]), overlap_end_ms=clock.now + 1000)
    client.set(keys.pat(PatId(issued.pat.id)), pack(rotated, VERSION))
    clock.advance(999)
    assert authority.verify_basic(issued.pat.id, issued.secret)
    assert authority.verify_basic(issued.pat.id, other.secret)
    assert authority.verify_bearer(access.value)
    late = authority.exchange(issued.pat.id, issued.secret)
    clock.advance(1)
    assert authority.verify_basic(issued.pat.id, other.secret)
    for call in (
        lambda: authority.verify_basic(issued.pat.id, issued.secret),
        lambda: authority.verify_bearer(access.value),
        lambda: authority.verify_bearer(late.value),
        lambda: authority.exchange(issued.pat.id, issued.secret),
    ):
        with pytest.raises(InvalidCredentials):
            call()
    new = authority.exchange(issued.pat.id, other.secret)
    assert authority.verify_bearer(new.value)


@pytest.fixture
def racing(make_at: Make, server: Server) -> list[Authority]:
    return [make_at() for _ in range(8)]


def test_processes_that_meet_an_empty_store_agree_on_one_store_key(racing: list[Authority]) -> None:
    barrier = threading.Barrier(8)
    made = []

    def first_use(authority: Authority, number: int) -> None:
        barrier.wait()
        made.append(issue(authority, f"pat {number}"))

    threads = [threading.Thread(target=first_use, args=(a, n)) for n, a in enumerate(racing)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({issued.pat.id[:8] for issued in made}) == 1
    for authority in racing:
        assert {pat.id for pat in authority.list(owner_id="alice")} == {issued.pat.id for issued in made}


def test_a_removal_waits_for_the_replicas_it_was_told_of(make_at: Make, server: Server) -> None:
    """There are fewer, so the removal is done but not acknowledged; once it need not wait, it is."""
    first = make_at()
    issued = issue(first)
    waiting = make_at(secret_key=None, durability="replicas:9", durability_timeout=0.05)
    with pytest.raises(StoreUnavailable, match="durable"):
        waiting.delete(issued.pat.id)
    with pytest.raises(InvalidCredentials):
        first.authenticate(basic_of(issued))


def test_what_is_done_and_may_not_be_waited_for_is_done_and_not_durable(
    make_at: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server refuses the wait, and not what was sent before it. So the removal is an event, and a PAT
    whose secret nobody was shown does not live."""
    server = Server(binaries()["valkey"], tmp_path)
    try:
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-wait")
        first = make_at(url=server.url)
        issued = issue(first)
        waiting = make_at(url=f"unix://app:pw@{server.socket}", durability="replicas:1")
        caplog.set_level("INFO", "patauth.audit")
        with pytest.raises(StoreUnavailable, match="durable") as refused:
            waiting.delete(issued.pat.id)
        assert "NOPERM" in (refused.value.detail or "")
        trail = [json.loads(one.getMessage()) for one in caplog.records if one.name == "patauth.audit"]
        assert [(one["type"], one["outcome"], one["patId"]) for one in trail] == [
            ("pat.revoked", "unknown", issued.pat.id)
        ]
        with pytest.raises(StoreUnavailable):
            issue(waiting)
        assert first.list(owner_id="alice") == []
    finally:
        server.stop()


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """A server, and its replica."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    binary = binaries()["valkey"]
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first = Server(binary, tmp_path / "first", "--port", port, "--repl-diskless-sync-delay", "0")
    second = Server(binary, tmp_path / "second", "--replicaof", f"127.0.0.1 {port}")
    until(lambda: second.client().info("replication")["master_link_status"] == "up", 20)
    yield first, second
    second.stop()
    first.stop()


def test_a_repeated_removal_is_not_acknowledged_before_the_first_one_is_durable(
    make_at: Make, primary: tuple[Server, Server]
) -> None:
    """The replica stands still. Who repeats, in a process that wrote nothing, has nothing of its own to wait
    for; it is the first removal that counts."""
    server, replica = primary

    def another() -> Authority:
        return make_at(url=server.url, durability="replicas:1", durability_timeout=0.05)

    first = another()
    one, two = issue(first, "one"), issue(first, "two", owner=Owner("bob"))
    fresh = [another() for _ in range(5)]
    for authority in fresh:
        authority.ping()
    replica.freeze()
    with pytest.raises(StoreUnavailable, match="durable"):
        first.delete(one.pat.id)
    with pytest.raises(StoreUnavailable, match="durable"):
        first.revoke_owner("bob")
    with pytest.raises(StoreUnavailable, match="durable"):
        fresh[0].delete(one.pat.id)
    with pytest.raises(StoreUnavailable, match="durable"):
        fresh[1].revoke_owner("bob")
    with pytest.raises(StoreUnavailable, match="durable"):  # another has overtaken it after it was read
        store_of(fresh[2]).pats.delete(one.pat)
    with pytest.raises(StoreUnavailable, match="durable"):
        fresh[3].disable_owner("alice")
    for issued in (one, two):
        with pytest.raises(InvalidCredentials):
            fresh[4].authenticate(basic_of(issued))
    replica.thaw()
    until(lambda: server.client().wait(1, 1000) == 1)
    assert fresh[1].revoke_owner("bob") == 0
    with pytest.raises(NotFound):
        fresh[0].delete(one.pat.id)


def test_the_trail_has_an_owners_revocation_even_if_it_is_not_durable_yet(make_at: Make, events: Any) -> None:
    first = make_at()
    issue(first, "one")
    issue(first, "two")
    events()
    with pytest.raises(StoreUnavailable):
        make_at(durability="replicas:9", durability_timeout=0.05).revoke_owner("alice")
    assert events() == [{"type": "owner.revoked", "outcome": "unknown", "ownerId": "alice", "pats": 2}]


def test_a_creation_that_may_have_happened_leaves_no_pat_behind(
    make_at: Make, server: Server, prefix: str
) -> None:
    """Its reply was lost, or it was not durable in time: nobody was shown the secret, so it must not live."""
    authority = make_at()
    authority.ping()
    lost: list[object] = []

    def lose_the_reply(real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        result = real(*given, **named)
        if lost:
            return result
        lost.append(result)
        raise Unanswered(detail="the reply was lost")

    with standing_in(Scripts, "run_durably", lose_the_reply), pytest.raises(StoreUnavailable):
        issue(authority)
    assert authority.list(owner_id="alice") == []
    assert list(server.client().scan_iter(f"{prefix}:*created")) == []
    issue(authority)
    waiting = make_at(durability="replicas:9", durability_timeout=0.05)
    with pytest.raises(StoreUnavailable):
        issue(waiting, "never")
    assert [pat.name for pat in authority.list(owner_id="alice")] == ["ci"]


@pytest.mark.parametrize(
    ("url", "durability"), [("memory:", "replicas:1"), ("local:./x", "replicas:1"), ("memory:", "disk")]
)
def test_replicas_and_a_disk_are_not_promised_where_there_are_none(
    make_at: Make, url: str, durability: str
) -> None:
    with pytest.raises(ConfigurationError, match="durability"):
        make_at(url=url, durability=durability)


def test_creations_expiry_is_the_records_life(make_at: Make, server: Server, prefix: str) -> None:
    authority = make_at(retention="1h")
    issued = issue(authority, expires_in=timedelta(minutes=10))
    left = server.client().pttl(Keys(prefix, "default").pat(PatId(issued.pat.id)))
    assert 69 * 60_000 < left <= 70 * 60_000
