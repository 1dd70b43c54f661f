"""`durability=disk`: an end is acknowledged when it is on the server's disk, and never before."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from patauth import Authority, ConfigurationError, InvalidCredentials, Owner, PatAuthMiddleware
from patauth.cli import program
from patauth.store.scripts import NoDisk, NotDurable
from tests.support.acl import ON_DISK, ON_SERVER, logged_in
from tests.support.authorities import Make, basic_of, issue
from tests.support.rights import ALL_MANAGE
from tests.support.servers import Server, binaries
from tests.support.wsgi import Echo, request

# A server that does not know WAITAOF, as Redis before 7.2, and one that has no file to wait for.
UNFIT = {"unknown": ("--rename-command", "WAITAOF", ""), "no file": ("--appendonly", "no")}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts a server of this test's own. It flushes each write, since each end waits for that."""
    running: list[Server] = []

    def started(*options: str) -> Server:
        running.append(Server(binaries()["valkey"], tmp_path, "--appendfsync", "always", *options))
        return running[-1]

    yield started
    for server in running:
        server.stop()


def test_each_end_waits_for_the_disk_and_no_verification_does(
    start: Callable[..., Server], make_at: Make
) -> None:
    server = start()
    authority = make_at(url=server.url, durability="disk")
    issued, other = issue(authority), issue(authority, "other")
    ends: list[Callable[[Authority], object]] = [
        lambda one: one.update(issued.pat.id, scope=["reports:read"]),
        lambda one: one.disable(issued.pat.id),
        lambda one: one.delete(issued.pat.id),
        lambda one: one.disable_owner("alice"),
        lambda one: one.revoke_owner("alice"),
    ]
    for end in ends:
        before = server.calls()["waitaof"]
        end(authority)
        assert server.calls()["waitaof"] > before
    before = server.calls()["waitaof"]
    with pytest.raises(InvalidCredentials):
        authority.authenticate(basic_of(other))
    assert server.calls()["waitaof"] == before


def test_a_change_waits_for_the_disk_on_a_server_that_has_lost_its_scripts(
    start: Callable[..., Server], make_at: Make
) -> None:
    """It refuses the digest, and the wait behind it is worth nothing; the text has a wait of its own."""
    server = start()
    authority = make_at(url=server.url, durability="disk")
    issued = issue(authority)
    changes: list[Callable[[], object]] = [
        lambda: issue(authority, "other"),
        lambda: authority.update(issued.pat.id, name="renamed"),
    ]
    for change in changes:
        with server.client() as client:
            client.script_flush()
        before = server.calls()
        change()
        after = server.calls()
        assert (after["eval"] > before["eval"], after["waitaof"] > before["waitaof"]) == (True, True)
    assert sorted(pat.name for pat in authority.list(owner_id="alice")) == ["other", "renamed"]


def test_a_creation_waits_for_itself_and_for_what_its_maker_was_judged_by_in_another_slot(
    start: Callable[..., Server], make_at: Make
) -> None:
    """What is looked at before the hash is judged again, so nothing waits there."""
    server = start()
    authority = make_at(url=server.url, durability="disk")
    made = {
        who: issue(authority, "maker", owner=Owner(who), scope=[ALL_MANAGE, "a"]) for who in ("alice", "bob")
    }
    for who, waits in (("the application", 1), ("alice", 1), ("bob", 2)):
        by = authority.authenticate(basic_of(made[who])) if who in made else None
        before = server.calls()["waitaof"]
        authority.create(
            by=by, owner=Owner("alice"), name=f"by {who}", scope=["a"], expires_in=timedelta(days=1)
        )
        assert server.calls()["waitaof"] - before == waits, who


@pytest.mark.parametrize("why", UNFIT)
def test_a_server_that_cannot_wait_for_its_disk_is_a_configuration_error_at_start_and_503_for_requests(
    start: Callable[..., Server], make_at: Make, caplog: pytest.LogCaptureFixture, why: str
) -> None:
    server = start(*UNFIT[why])
    issued = issue(make_at(url=server.url))
    authority = make_at(url=server.url, durability="disk")
    with pytest.raises(ConfigurationError, match=r"\Adurability: .*appendonly yes"):
        authority.ping()
    for call in (lambda: authority.delete(issued.pat.id), lambda: authority.authenticate(basic_of(issued))):
        with pytest.raises(NoDisk):
            call()
    gate = PatAuthMiddleware(Echo(), authority, surfaces=["oauth", "isc"])
    with caplog.at_level(logging.WARNING, "patauth"):
        for path in ("/", "/personal-access-tokens/v1"):
            assert request(gate, path, authorization=basic_of(issued)).status_code == 503
            assert "durability: " in caplog.messages[-1]
    assert make_at(url=server.url).get(issued.pat.id) == issued.pat, "nothing was done"


def test_a_command_says_what_is_wrong_with_the_setting(
    start: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATAUTH_DURABILITY", "disk")
    url = start("--appendonly", "no").url
    for words in (
        ("pat", "list"),
        ("store", "ping"),
        ("owner", "revoke", "alice", "--yes"),
        ("serve", "--bind", f"unix:{tmp_path / 'bound'}"),
    ):
        result = CliRunner().invoke(program, [*words, "--store", url])
        assert (result.exit_code, result.stdout) == (2, ""), words
        assert result.stderr.startswith("Error: durability: "), words


def test_the_rights_of_the_documents_and_one_more_are_enough(
    start: Callable[..., Server], make_at: Make
) -> None:
    server = start()
    url = logged_in(server.url)
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", *ON_SERVER)
        with pytest.raises(ConfigurationError, match="durability"):
            make_at(url=url, key_prefix="patauth", durability="disk").ping()
        client.execute_command("ACL", "SETUSER", *ON_DISK)
    authority = make_at(url=url, key_prefix="patauth", durability="disk")
    authority.ping()
    authority.delete(issue(authority).pat.id)


def test_a_server_that_no_longer_waits_does_what_is_asked_and_acknowledges_nothing(
    start: Callable[..., Server], make_at: Make
) -> None:
    """For example, another server has taken its place. Verification needs no disk, and goes on."""
    server = start()
    authority = make_at(url=server.url, durability="disk")
    issued, other = issue(authority), issue(authority, "other")
    with server.client() as client:
        client.config_set("appendonly", "no")
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    with pytest.raises(NotDurable) as refused:
        authority.delete(issued.pat.id)
    assert "WAITAOF" in (refused.value.detail or "")
    with pytest.raises(InvalidCredentials):
        authority.authenticate(basic_of(issued))
    assert authority.authenticate(basic_of(other)).pat_id == other.pat.id
    with pytest.raises(ConfigurationError, match="durability"):
        make_at(url=server.url, durability="disk").ping()
