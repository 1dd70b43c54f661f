"""A server that was made a replica, by hand or behind a name that moved: no read says what a PAT is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from patauth import Authority, IssuedPat, StoreUnavailable
from patauth.cli import program
from patauth.wsgi.service.app import Standalone
from tests.support.authorities import Make, basic_of, bearer, issue
from tests.support.clusters import free_ports
from tests.support.sentinels import Member
from tests.support.servers import binaries
from tests.support.wsgi import request

Read = Callable[[Authority, IssuedPat, str], object]

READS: dict[str, Read] = {
    "get": lambda a, pat, token: a.get(pat.pat.id),
    "introspect an access token": lambda a, pat, token: a.introspect(token),
    "introspect a PAT token": lambda a, pat, token: a.introspect(pat.token),
    "verify a secret": lambda a, pat, token: a.authenticate(basic_of(pat)),
    "verify an access token": lambda a, pat, token: a.authenticate(bearer(token)),
    "exchange": lambda a, pat, token: a.exchange(pat.pat.id, pat.secret),
    "list an owner": lambda a, pat, token: a.list(owner_id="alice", limit=10),
    "list an owner by name": lambda a, pat, token: a.list(owner_id="alice", sort="name"),
    "list the tenant": lambda a, pat, token: a.list(limit=10),
    "list by id": lambda a, pat, token: a.list(filters=f'id eq "{pat.pat.id}"'),
}


@pytest.fixture(params=list(binaries()))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Member]:
    server = Member(binaries()[request.param], tmp_path / "server", *free_ports(1))
    yield server
    server.stop()


def demote(server: Member) -> None:
    """Make a server the replica of another one, which it cannot reach."""
    with server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", *free_ports(1))


def test_each_read_is_503_at_a_replica_in_a_process_that_was_connected_and_in_a_new_one(
    make_at: Make, server: Member
) -> None:
    """Introspection went on to say "active" of what had been deleted at the new primary."""
    authority = make_at(url=server.url)
    issued = issue(authority)
    token = authority.exchange(issued.pat.id, issued.secret).value
    connected = {name: make_at(url=server.url) for name in READS}  # a pool refuses after some failures
    for name, read in READS.items():
        assert read(connected[name], issued, token), name
    demote(server)
    for name, read in READS.items():
        for process in (connected[name], make_at(url=server.url)):
            with pytest.raises(StoreUnavailable) as refused:
                pytest.fail(f"{name}: {read(process, issued, token)}")
            assert "READONLY" in (refused.value.detail or ""), name


def test_introspection_over_http_and_the_command_line_are_503_and_5_at_a_replica(
    make_at: Make, server: Member, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = make_at(url=server.url)
    issued = issue(authority)
    token = authority.exchange(issued.pat.id, issued.secret).value
    monkeypatch.setenv("PATAUTH_STORE_URL", server.url)
    monkeypatch.setenv("PATAUTH_KEY_PREFIX", prefix)

    def asked() -> tuple[int, int]:
        app, value = Standalone(authority), basic_of(issued)
        data = {"token": token}
        answer = request(app, "/oauth/introspect", method="POST", data=data, authorization=value)
        return answer.status_code, CliRunner().invoke(program, ["pat", "show", issued.pat.id]).exit_code

    assert asked() == (200, 0)
    demote(server)
    assert asked() == (503, 5)


def test_reads_write_nothing_and_work_when_the_memory_is_full(make_at: Make, server: Member) -> None:
    """What is written goes to replicas and files, and is refused by a full server."""
    authority = make_at(url=server.url)
    issued = issue(authority)
    token = authority.exchange(issued.pat.id, issued.secret).value
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        before = client.info("persistence")["rdb_changes_since_last_save"]
        for name, read in READS.items():
            if not name.startswith(("verify", "exchange")):  # these charge a quota
                assert read(authority, issued, token), name
        assert client.info("persistence")["rdb_changes_since_last_save"] == before
