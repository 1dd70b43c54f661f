"""A copy of a store: whole, resumable, closed until it is complete, and never over what is newer."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from patauth import Authority, Conflict, Forbidden, InvalidCredentials, IssuedPat, Owner, StoreUnavailable
from patauth.crypto.keyring import Keyring
from patauth.model.instants import NEVER
from patauth.operations.notify import notify
from patauth.store import copy
from patauth.store.keys import Keys
from patauth.store.store_key import CLOSED, OUTSIDE, SEALED
from tests.support.authorities import Make, issue, maker, wrong_secret
from tests.support.clocks import NOW
from tests.support.copies import Sides, content, sides
from tests.support.servers import ALONE, Server, binaries, shared_engines
from tests.support.tables import each
from tests.support.tenants import cut_off, forge_all, send

pytestmark = shared_engines

ALICE, BOB, CAROL = Owner("alice"), Owner("bob"), Owner("c*[o]?\\l}")
MARK = CLOSED + bytes(16)
OURS, THEIRS = bytes(range(32)), bytes(32)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that is there for this module alone."""
    server = Server(binaries()["valkey"], tmp_path_factory.mktemp("second"))
    yield server
    server.stop()


@pytest.fixture
def source(engine: str, servers: dict[str, Any]) -> Any:
    """The server of FROM, of each kind in turn."""
    return servers[engine]


@pytest.fixture
def target(engine: str, servers: dict[str, Any], second: Server) -> Any:
    """The server of TO: of another kind, where there is one."""
    other = [name for name in servers if name != engine]
    return second if ALONE or not other else servers[other[0]]


@pytest.fixture
def both(source: Any, target: Any, prefix: str) -> Iterator[Sides]:
    with sides(source.url, target.url, prefix) as opened:
        yield opened


@pytest.fixture
def there(target: Any, prefix: str) -> Iterator[Make]:
    """Makes Authorities at TO."""
    with maker(target.url, prefix) as make_one:
        yield make_one


@pytest.fixture
def holds(source: Any, target: Any, prefix: str) -> Callable[..., tuple[Any, Any]]:
    """What FROM and TO hold of all that a copy carries."""

    def held(**given: bool) -> tuple[Any, Any]:
        found = []
        for server in (source, target):
            with server.client() as client:
                found.append(content(client, prefix, **given))
        return found[0], found[1]

    return held


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a few keys and members."""
    monkeypatch.setattr(copy, "_KEYS", 4)
    monkeypatch.setattr(copy, "_MEMBERS", 4)


def populate(authority: Authority) -> list[IssuedPat]:
    """PATs of several owners, used, rotated and disabled; with an expiry and without."""
    made = [
        issue(authority, f"{owner.id} {number}", owner=owner, **expiry)
        for owner in (ALICE, BOB, CAROL)
        for number, expiry in enumerate([{"never_expires": True}, {"expires_in": timedelta(days=9)}])
    ]
    made[1] = authority.rotate(made[1].pat.id, overlap=timedelta(hours=1))
    authority.verify_basic(made[0].pat.id, made[0].secret)
    authority.disable(made[2].pat.id)
    authority.disable_owner(CAROL.id)
    return made


def test_all_is_carried_and_works_there(both: Sides, make: Make, there: Make, holds: Any) -> None:
    """Records, owners and indexes of all tenants, with the instants at which they end; and nothing else."""
    here = make()
    made = populate(here)
    other = issue(make(tenant="other"))
    issue(make(key_prefix="patauth:elsewhere"))
    run = both.run()
    assert (run.counts["pats"], run.counts["owners"], run.counts["ownerRecords"]) == (7, 4, 1)
    assert (run.counts["indexEntries"], run.counts["accessTokens"]) == (42, 0)
    before, after = holds()
    assert before == after
    assert len(before) > 20

    moved = there()
    for issued in made:
        assert moved.get(issued.pat.id) == here.get(issued.pat.id)
        with pytest.raises(InvalidCredentials):
            moved.verify_basic(issued.pat.id, wrong_secret(moved))
    for issued in (made[0], made[1], made[3]):
        assert moved.verify_basic(issued.pat.id, issued.secret).pat_id == issued.pat.id
    for issued in (made[2], made[4], made[5]):
        with pytest.raises(InvalidCredentials):
            moved.verify_bearer(issued.token)
    with pytest.raises(Forbidden):
        issue(moved, owner=CAROL)
    with pytest.raises(Conflict):
        issue(moved, "alice 0", owner=ALICE)
    assert {pat.id for pat in moved.list()} == {issued.pat.id for issued in made}
    assert there(tenant="other").verify_bearer(other.token).pat_id == other.pat.id


def test_what_was_announced_is_not_announced_again_by_the_copy(
    both: Sides, make: Make, there: Make, holds: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "patauth.audit")  # somebody has to listen
    here, week = make(), [7 * 86_400]
    issue(here, expires_in=timedelta(days=1))
    (ids,) = notify(here.operations.actor(None), week)
    assert len(ids) == 1
    both.run()
    before, after = holds()
    assert before == after
    assert list(notify(there().operations.actor(None), week)) == [[]]


def test_what_is_kept_of_removed_pats_is_carried(both: Sides, make: Make, there: Make, holds: Any) -> None:
    here = make()
    made = populate(here)
    here.delete(made[0].pat.id, "moved")
    here.revoke_owner("bob", "left us")
    run = both.run()
    assert (run.counts["pats"], run.counts["removedPats"]) == (3, 3)
    before, after = holds()
    assert before == after
    asks = 'state eq "revoked"'
    for given in ({}, {"owner_id": "bob"}):
        found = there().list(filters=asks, sort="revokedAt,name", **given)
        assert found == here.list(filters=asks, sort="revokedAt,name", **given)
        assert len(found) == (2 if given else 3)
    with pytest.raises(InvalidCredentials):
        there().verify_bearer(made[0].token)


@each("carried", [True, False])
def test_access_tokens_are_carried_on_demand(
    source: Any, target: Any, holds: Any, prefix: str, make: Make, carried: bool
) -> None:
    """Without it, TO has none, not even one that an earlier run has carried."""
    prefix += f"-{carried}"
    here = make(key_prefix=prefix, max_tokens_per_secret=5)
    issued = issue(here)
    access = here.exchange(issued.pat.id, issued.secret)
    with sides(source.url, target.url, prefix) as both, maker(target.url, prefix) as there:
        both.run(with_access_tokens=True)
        run = both.run(with_access_tokens=carried)
        assert run.counts["accessTokens"] == carried
        with source.client() as client, target.client() as other:
            assert content(client, prefix, with_access_tokens=carried) == content(
                other, prefix, with_access_tokens=True
            )
        moved = there()
        if carried:
            assert moved.verify_bearer(access.value).pat_id == issued.pat.id
            here.revoke(access.value)
        else:
            with pytest.raises(InvalidCredentials):
                moved.verify_bearer(access.value)


def test_streams_of_events_stay_behind(both: Sides, make: Make, there: Make) -> None:
    with make(events="stream:audit") as authority:
        issued = issue(authority)
        authority.operations.events.close(10)
        assert authority.operations.event_counts().changes == 1  # type: ignore[union-attr]
    assert not both.run().differing
    with there(events="stream:audit") as copied:
        assert copied.verify_bearer(issued.token).pat_id == issued.pat.id
        assert copied.operations.event_counts() == (0, 0, 0, 0, {}, (0, 0))


def test_a_second_run_writes_only_what_differs(both: Sides, make: Make, holds: Any) -> None:
    here = make()
    made = populate(here)
    assert both.run().writes > 10
    assert both.run().writes == 0
    here.delete(made[0].pat.id)
    # The record, its six entries, when the owner's indexes end, the sequence; what is kept, its two entries,
    # and when their indexes end.
    assert both.run().writes == 11 + 5
    before, after = holds()
    assert before == after


def test_an_index_of_thousands_is_carried(both: Sides, make: Make, holds: Any) -> None:
    """It takes several pieces, of members that come, change and go."""
    here = make()
    here.ping()
    forged = forge_all(here, [(number, NOW + number, NEVER) for number in range(3_000)])
    assert both.run().counts["indexEntries"] == 9_000
    index = Keys(here.settings.key_prefix, "default").tenant_created
    send(here, ("ZREM", index, *(one.raw for one in forged[::2])), ("ZADD", index, "XX", 7, forged[1].raw))
    assert both.run().counts["indexEntries"] == 7_500
    before, after = holds()
    assert before == after


def test_an_index_that_comes_whole_is_carried_in_pieces(target: Any, tmp_path: Path, prefix: str) -> None:
    """A server with large listpacks tells all members at once, whatever COUNT is. No script takes so many."""
    server = Server(binaries()["valkey"], tmp_path, "--zset-max-listpack-entries", "20000")
    try:
        with maker(server.url, prefix) as make_one, sides(server.url, target.url, prefix) as both:
            here = make_one()
            here.ping()
            forge_all(here, [(number, NOW + number, NEVER) for number in range(5_000)])
            assert both.run().counts["indexEntries"] == 15_000
            with server.client() as client, target.client() as other:
                assert content(client, prefix) == content(other, prefix)
    finally:
        server.stop()


# -- which stores may be written --------------------------------------------------------------------------


def check_of(key: bytes) -> bytes:
    return Keyring(key).check_value


@each(
    ("key", "check", "may"),
    [
        (None, None, True),
        (MARK, check_of(OURS), True),
        (SEALED + OURS, check_of(OURS), True),
        (SEALED + OUTSIDE, check_of(OURS), True),
        (OURS, check_of(OURS), False),
        (OUTSIDE, check_of(OURS), False),
        (THEIRS, check_of(THEIRS), False),
        (MARK, check_of(THEIRS), False),
        (SEALED + THEIRS, check_of(THEIRS), False),
        (None, check_of(OURS), False),
        (OURS, None, False),
        (SEALED + bytes(26), check_of(OURS), False),  # 32 bytes are a key
    ],
)
def test_only_an_empty_store_or_an_unused_copy_of_this_store_is_written(
    source: Any, target: Any, prefix: str, key: bytes | None, check: bytes | None, may: bool
) -> None:
    keys = Keys(prefix, "default")
    with source.client() as client, target.client() as other, sides(source.url, target.url, prefix) as both:
        client.set(keys.store_key, OURS)
        client.set(keys.store_check, check_of(OURS))
        for name, value in ((keys.store_key, key), (keys.store_check, check)):
            other.delete(name)
            if value is not None:
                other.set(name, value)
        if may:
            both.run()
            assert other.get(keys.store_key) == SEALED + OURS
            assert other.get(keys.store_check) == check_of(OURS)
        else:
            with pytest.raises(Conflict):
                both.copy().begin()
            assert (other.get(keys.store_key), other.get(keys.store_check)) == (key, check)
        assert client.get(keys.store_key) == OURS


@each(
    ("key", "check"),
    [
        (None, None),
        (None, check_of(OURS)),
        (OURS, None),
        (MARK, check_of(OURS)),
        (SEALED + OURS, check_of(OURS)),
    ],
)
def test_only_a_store_in_use_is_copied(
    source: Any, target: Any, prefix: str, key: bytes | None, check: bytes | None
) -> None:
    keys = Keys(prefix, "default")
    with source.client() as client, target.client() as other, sides(source.url, target.url, prefix) as both:
        for name, value in ((keys.store_key, key), (keys.store_check, check)):
            client.delete(name)
            if value is not None:
                client.set(name, value)
        with pytest.raises(Conflict):
            both.copy().begin()
        assert (client.get(keys.store_key), client.get(keys.store_check)) == (key, check)
        assert other.get(keys.store_key) is None


def test_a_store_with_keys_but_without_a_store_key_is_left_as_it_is(
    both: Sides, make: Make, target: Any, prefix: str
) -> None:
    populate(make())
    with target.client() as client:
        client.set(f"{prefix}:{{0123abcd}}:p:twelve bytes", b"theirs")
        with pytest.raises(Conflict):
            both.copy().begin()
        assert client.get(Keys(prefix, "default").store_key) is None


def test_a_key_that_only_a_newer_version_knows_is_not_lost_without_a_word(
    both: Sides, make: Make, there: Make, source: Any, prefix: str
) -> None:
    make().ping()
    with source.client() as client:
        client.set(f"{prefix}:{{0123abcd}}:z:later", b"?")
    with pytest.raises(StoreUnavailable) as caught:
        both.run()
    assert "z:later" in str(caught.value.detail)
    with pytest.raises(StoreUnavailable):
        there().ping()


def test_the_store_of_a_secret_key_is_copied_and_still_wants_it(both: Sides, make: Make, there: Make) -> None:
    issued = issue(make(secret_key=OURS))
    both.run()
    for wrong in ({}, {"secret_key": THEIRS}):
        with pytest.raises(StoreUnavailable):
            there(**wrong).verify_bearer(issued.token)
    assert there(secret_key=OURS).verify_bearer(issued.token).pat_id == issued.pat.id


# -- nothing goes backwards -------------------------------------------------------------------------------


def test_nobody_uses_a_copy_before_it_is_complete(both: Sides, make: Make, there: Make) -> None:
    """Not a process that comes, nor one with the setting `secret_key`; and neither makes a key of its own."""
    here = make()
    issued = issue(here)
    run = both.copy()
    run.begin()
    for _ in run.write():
        for given in ({}, {"secret_key": OURS}):
            for call in (lambda one: one.ping(), lambda one: one.verify_bearer(issued.token), issue):
                with pytest.raises(StoreUnavailable) as caught:
                    call(there(**given))
                assert "patauth store copy" in str(caught.value.detail)
    for _ in run.compare():
        pass
    run.end()
    assert there().verify_bearer(issued.token).pat_id == issued.pat.id


def test_a_copy_that_somebody_has_used_is_not_written_any_more(
    both: Sides, make: Make, there: Make, holds: Any
) -> None:
    """A PAT that was revoked there does not come back, whoever runs the copy again, in whatever direction."""
    here = make()
    issued = issue(here)
    both.run()
    moved = there()
    moved.delete(issued.pat.id)
    here.verify_bearer(issued.token)
    before = holds()
    for again in (both, Sides(both.target, both.source)):
        with pytest.raises(Conflict, match="TO is in use"):
            again.run()
    assert holds() == before
    with pytest.raises(InvalidCredentials):
        moved.verify_bearer(issued.token)


def test_to_be_asked_once_is_to_be_used(both: Sides, make: Make, there: Make) -> None:
    make().ping()
    both.run()
    there().ping()
    with pytest.raises(Conflict, match="TO is in use"):
        both.run()


def test_what_ended_between_two_runs_has_ended_there(
    both: Sides, make: Make, there: Make, holds: Any
) -> None:
    here = make()
    made = populate(here)
    both.run(with_access_tokens=True)
    here.delete(made[0].pat.id)
    here.rotate(made[1].pat.id, overlap=timedelta(0))
    here.revoke_owner(BOB.id)
    both.run(with_access_tokens=True)
    before, after = holds(with_access_tokens=True)
    assert before == after
    for issued in made:
        with pytest.raises(InvalidCredentials):
            there().verify_bearer(issued.token)


def use(here: Authority, made: list[IssuedPat]) -> None:
    here.verify_basic(made[3].pat.id, made[3].secret)


@each(
    "change",
    [
        lambda here, made: issue(here, "new"),
        lambda here, made: here.delete(made[0].pat.id),
        lambda here, made: here.update(made[1].pat.id, expires_in=timedelta(days=1)),
        lambda here, made: here.enable_owner(CAROL.id),
        lambda here, made: here.disable_owner(ALICE.id),
        use,
    ],
)
def test_a_change_of_the_source_after_its_keys_were_written_is_told(
    source: Any, target: Any, prefix: str, make: Make, change: Any
) -> None:
    """TO stays closed; the next run carries the change, and opens it."""
    prefix += f"-{id(change)}"
    here = make(key_prefix=prefix)
    made = populate(here)
    with sides(source.url, target.url, prefix) as both, maker(target.url, prefix) as there:
        run = both.copy()
        run.begin()
        for _ in run.write():
            pass
        change(here, made)
        for _ in run.compare():
            pass
        assert run.differing
        with pytest.raises(StoreUnavailable):
            there().ping()
        assert not both.run().differing
        there().ping()


def test_a_creation_while_the_stores_are_compared_is_told(
    both: Sides, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after the last step, when all keys have been compared."""
    monkeypatch.setattr(copy, "_KEYS", 4)
    here = make()
    populate(here)

    def last_step(at: int | None) -> int:
        """Make a PAT at a step of the comparison, and return the number of the last one."""
        run = both.copy()
        run.begin()
        for _ in run.write():
            pass
        was_made = False
        for number, _ in enumerate(run.compare()):
            if number == at:
                issue(here, f"at {at}")
                was_made = True
        assert bool(run.differing) == was_made
        return number

    last = last_step(None)
    assert last > 5
    for at in (0, last // 2):
        last_step(at)
    while (last := last_step(at := last)) < at:  # SCAN may take a step less the next time
        pass


# -- two at a time ----------------------------------------------------------------------------------------


def test_of_two_runs_the_later_one_goes_on(
    both: Sides, make: Make, there: Make, holds: Any, small: None, pauses: list[float]
) -> None:
    """The earlier one ends at its next piece. The later one waits for what that has sent."""
    here = make()
    made = populate(here)
    first = both.copy()
    first.begin()
    pieces = first.write()
    next(pieces)
    here.delete(made[0].pat.id)
    pauses.clear()
    second = both.copy()
    second.begin()
    assert pauses == [0.5]
    before = holds()[1]
    with pytest.raises(Conflict, match="another copy"):
        list(pieces)
    for step in (lambda: list(first.write()), first.end):
        with pytest.raises(Conflict, match="another copy"):
            step()
    assert holds()[1] == before
    for _ in second.write():
        pass
    second.end()
    assert {pat.id for pat in there().list()} == {issued.pat.id for issued in made[1:]}


def test_a_piece_that_comes_too_late_is_not_written(
    both: Sides, make: Make, holds: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copy, "IN_FLIGHT", -1)
    populate(make())
    with pytest.raises(StoreUnavailable):
        both.run()
    assert holds()[1] == {}


# -- interrupted ------------------------------------------------------------------------------------------


@each("which", ["source", "target"])
def test_calls_that_fail_for_a_moment_are_repeated(
    source: Any, target: Any, prefix: str, make: Make, pauses: list[float], small: None, which: str
) -> None:
    """Whether they were run or not. Before each next try, what was sent is done or comes too late."""
    prefix += f"-{which}"
    populate(make(key_prefix=prefix))
    numbers = itertools.count(1)
    failed = []
    with sides(source.url, target.url, prefix) as both:
        transport = getattr(both, which)._transport
        call = transport.call

        def failing(commands: Sequence[tuple[Any, ...]], *given: Any, **named: Any) -> Any:
            number = next(numbers) if commands[0][0] in ("EVALSHA", "GET", "ZSCAN", "HSCAN") else 1
            replies = [] if number % 6 == 0 else call(commands, *given, **named)
            if number % 3 == 0:
                failed.append(commands)
                raise StoreUnavailable(detail="for a moment")
            return replies

        run = both.copy()
        run.begin()
        pauses.clear()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(transport, "call", failing)
            for _ in run.write():
                pass
        assert len(failed) >= 2
        assert pauses == [0.5] * len(failed)
        for _ in run.compare():
            pass
        assert not run.differing
        run.end()
    with source.client() as client, target.client() as other:
        assert content(client, prefix) == content(other, prefix)


@pytest.mark.parametrize(("which", "name"), [("source", "FROM: cut"), ("target", "TO: cut")])
def test_an_error_names_the_side_that_has_failed(
    both: Sides, make: Make, pauses: list[float], which: str, name: str
) -> None:
    populate(make())
    run = both.copy()
    run.begin()
    with cut_off(getattr(both, which)._transport, 3), pytest.raises(StoreUnavailable) as caught:
        list(run.write())
    assert caught.value.detail == name


@pytest.mark.system
@pytest.mark.parametrize("which", ["source", "target"])
def test_a_copy_may_be_cut_off_after_any_command(
    both: Sides,
    make: Make,
    there: Make,
    holds: Any,
    target: Any,
    prefix: str,
    small: None,
    pauses: list[float],
    which: str,
) -> None:
    """The store changes between runs, and nobody uses the copy; the first run that ends makes it whole."""
    here = make(max_pats_per_owner=1000, max_tokens_per_secret=5)
    made, count, was_cut, was_closed = populate(here), 0, True, 0
    transport, mark = getattr(both, which)._transport, Keys(prefix, "default").store_key
    while was_cut:
        with cut_off(transport, count) as left:
            both.run(with_access_tokens=True)
        was_cut = left[0] < 0
        with target.client() as client:
            is_closed = (client.get(mark) or b"").startswith(CLOSED)
        if is_closed:
            was_closed += 1
            with pytest.raises(StoreUnavailable):
                there().ping()
        if was_cut:
            here.delete(made.pop(0).pat.id)
            made.append(issue(here, f"{count}", owner=(ALICE, BOB)[count % 2]))
            here.exchange(made[-1].pat.id, made[-1].secret)
        count += 7
    assert was_closed > 20
    before, after = holds(with_access_tokens=True)
    assert before == after
    moved = there()
    assert {pat.id for pat in moved.list()} == {issued.pat.id for issued in made}
    assert moved.verify_bearer(made[-1].token).pat_id == made[-1].pat.id
