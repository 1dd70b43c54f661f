"""A write that reaches the engine after its caller was told that it failed: it does not happen then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from patauth import Authority, InvalidCredentials, IssuedPat, StoreUnavailable
from patauth.store import owner_changes, pats
from patauth.store.scripts import Script, Scripts
from tests.support.authorities import AS_INSTALLED, Make, issue
from tests.support.interventions import standing_in
from tests.support.servers import Server, binaries, until

AT_ONCE = timedelta(0)
SECONDS = 0.25  # that a request has


@pytest.fixture
def engine_of_its_own(tmp_path: Path) -> Iterator[Server]:
    server = Server(binaries()["valkey"], tmp_path)
    yield server
    server.stop()


@pytest.fixture
def authority(make_at: Make, engine_of_its_own: Server) -> Authority:
    return make_at(url=engine_of_its_own.url)


@pytest.fixture
def hasty(make_at: Make, engine_of_its_own: Server, authority: Authority) -> Authority:
    """One of the same store that gives up soon."""
    authority.ping()
    given = {**AS_INSTALLED, "command_timeout": SECONDS / 2, "request_seconds": SECONDS}
    return make_at(url=engine_of_its_own.url, **given)


def frozen_at(
    authority: Authority,
    server: Server,
    script: Script,
    call: Callable[[], object],
    way: str = "run_durably",
) -> None:
    """Freeze the engine just before a script is sent, and thaw it after the caller has given up.

    `way` is the method of `Scripts` that sends it.
    """
    frozen = []

    def freeze(real: Callable[..., Any], scripts: Scripts, this: Script, *given: Any, **named: Any) -> Any:
        if this is script and not frozen:
            frozen.append(this)
            server.freeze()
        return real(scripts, this, *given, **named)

    try:
        with standing_in(Scripts, way, freeze), pytest.raises(StoreUnavailable):
            call()
        assert frozen, "the script was sent"
    finally:
        time.sleep(SECONDS)  # as long as the request had: what was sent is late from now on
        server.thaw()
        until(server.answers)
    authority.ping()


def passes(authority: Authority, issued: IssuedPat) -> bool:
    try:
        authority.verify_basic(issued.pat.id, issued.secret)
    except InvalidCredentials:
        return False
    return True


def changed_once(authority: Authority) -> IssuedPat:
    """Make a PAT and change it: a server that lacks a script does nothing when its digest comes late."""
    issued = issue(authority)
    authority.update(issued.pat.id, description="changed")
    return issued


@pytest.mark.parametrize("overlap", [AT_ONCE, timedelta(hours=1)], ids=["at once", "an hour"])
def test_a_late_rotation_leaves_the_secret_that_is_known(
    authority: Authority, hasty: Authority, engine_of_its_own: Server, overlap: timedelta
) -> None:
    issued = changed_once(authority)
    call = lambda: hasty.rotate(issued.pat.id, overlap=overlap)  # noqa: E731
    frozen_at(authority, engine_of_its_own, pats._UPDATE, call)
    assert passes(authority, issued)
    again = authority.rotate(issued.pat.id)
    assert [passes(authority, one) for one in (issued, again)] == [True, True], "the repeat keeps its overlap"


def test_a_late_creation_makes_nothing_and_can_be_repeated(
    authority: Authority, hasty: Authority, engine_of_its_own: Server
) -> None:
    frozen_at(authority, engine_of_its_own, pats._CREATE, lambda: issue(hasty))
    assert authority.list() == authority.list(owner_id="alice") == []
    made = issue(authority)
    assert passes(authority, made)
    assert [pat.id for pat in authority.list()] == [made.pat.id]


def test_a_late_patch_changes_nothing(
    authority: Authority, hasty: Authority, engine_of_its_own: Server
) -> None:
    issued = changed_once(authority)
    operations = [{"op": "replace", "path": "/name", "value": "late"}]
    frozen_at(authority, engine_of_its_own, pats._UPDATE, lambda: hasty.patch(issued.pat.id, operations))
    assert authority.get(issued.pat.id).name == "ci"


def test_a_late_disable_does_not_undo_an_enable(
    authority: Authority, hasty: Authority, engine_of_its_own: Server
) -> None:
    issued = issue(authority)
    call = lambda: hasty.disable_owner("alice")  # noqa: E731
    frozen_at(authority, engine_of_its_own, owner_changes._BEGIN, call, "run")
    authority.enable_owner("alice")
    assert passes(authority, issued)
    assert passes(authority, issue(authority, name="another"))


def test_a_late_deletion_happens(authority: Authority, hasty: Authority, engine_of_its_own: Server) -> None:
    """What was asked for: to be told that it failed is no reason to keep a PAT alive."""
    issued = issue(authority)
    frozen_at(authority, engine_of_its_own, pats._DELETE, lambda: hasty.delete(issued.pat.id))
    until(lambda: not passes(authority, issued))
