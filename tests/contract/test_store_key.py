"""The store key: one for all, put back, never replaced, and no store of another key is used."""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from patauth import StoreUnavailable
from patauth.crypto.keyring import Keyring
from patauth.store.keys import Keys
from patauth.store.store_key import CLOSED, OUTSIDE, SEALED, StoreKey
from patauth.store.transport.wire import Command
from tests.support.authorities import Make, basic_of, issue
from tests.support.internals import transport_of
from tests.support.servers import Server, shared_engines
from tests.support.tables import each

OURS, THEIRS = bytes(range(32)), bytes(32)


@pytest.fixture
def store(server: Server, prefix: str) -> Any:
    """What the server holds of the key; `call` reaches it."""

    class Held:
        keys = Keys(prefix, "default")
        client = server.client()

        def call(self, commands: Sequence[Command]) -> list[Any]:
            return [self.client.execute_command(*command) for command in commands]

        def set(self, key: bytes | None, check: bytes | None) -> None:
            for name, value in ((self.keys.store_key, key), (self.keys.store_check, check)):
                self.client.delete(name)
                if value is not None:
                    self.client.set(name, value)

        def get(self) -> tuple[Any, Any]:
            return self.client.get(self.keys.store_key), self.client.get(self.keys.store_check)

    return Held()


def check_of(key: bytes) -> bytes:
    return Keyring(key).check_value


@pytest.mark.parametrize(
    ("held", "given", "good"),
    [
        pytest.param((None, None), None, True, id="a new store makes its key"),
        pytest.param((None, None), OURS, True, id="a new store is told that the key is outside"),
        pytest.param((OURS, check_of(OURS)), None, True, id="the stored key is used"),
        pytest.param((OURS, check_of(OURS)), OURS, True, id="the stored key moves to the setting"),
        pytest.param((OURS, check_of(OURS)), THEIRS, False, id="another setting"),
        pytest.param((OUTSIDE, check_of(OURS)), OURS, True, id="the right setting"),
        pytest.param((OUTSIDE, check_of(OURS)), THEIRS, False, id="the wrong setting"),
        pytest.param((OUTSIDE, check_of(OURS)), None, False, id="the setting is missing"),
        pytest.param((None, check_of(OURS)), None, False, id="the key is lost, and nobody has it"),
        pytest.param((None, check_of(OURS)), OURS, True, id="the mark is lost, the setting right"),
        pytest.param((None, check_of(OURS)), THEIRS, False, id="the mark is lost, the setting wrong"),
        pytest.param((OURS, None), None, True, id="the check value is lost"),
        pytest.param((OUTSIDE, None), None, False, id="the check value is lost, the setting missing"),
        pytest.param((OURS, check_of(THEIRS)), None, False, id="key and check value differ"),
        pytest.param((b"abc", check_of(b"abc")), None, False, id="three bytes are no key"),
        pytest.param((b"", b""), None, False, id="nothing is no key"),
        pytest.param((CLOSED + OURS[:16], check_of(OURS)), None, False, id="an unfinished copy"),
        pytest.param((CLOSED + OURS[:16], check_of(OURS)), OURS, False, id="the same, and the right setting"),
        pytest.param((CLOSED + OURS[:16], None), OURS, False, id="an unfinished copy without check value"),
        pytest.param((SEALED + OURS, check_of(THEIRS)), None, False, id="a copy of which the key is wrong"),
    ],
)
def test_each_state_of_a_store_meets_each_way_of_coming_to_it(
    store: Any, held: tuple[bytes | None, bytes | None], given: bytes | None, good: bool
) -> None:
    store.set(*held)
    mine = StoreKey(store.keys, given)
    if not good:
        before = store.get()
        with pytest.raises(StoreUnavailable) as caught:
            mine.settle(store.call)
        assert "key" in (caught.value.detail or "")
        assert mine.keyring is None
        assert store.get() == before, "who is refused changes nothing"
        return
    ring, wrote = mine.settle(store.call)
    assert wrote == (None in held)
    key, check = store.get()
    assert check == ring.check_value
    assert check_of(key if given is None else given) == check
    assert given is None or key == (held[0] or OUTSIDE)
    assert mine.settle(store.call) == (ring, False), "settled once, it stays"


@each(("sealed", "given"), [(SEALED + OURS, None), (SEALED + OURS, OURS), (SEALED + OUTSIDE, OURS)])
def test_the_first_process_that_uses_a_copy_takes_the_seal_off(
    store: Any, sealed: bytes, given: bytes | None
) -> None:
    """Once; and the key is no argument of what it sends."""
    store.set(sealed, check_of(OURS))
    sent: list[Any] = []

    def call(commands: Sequence[Command]) -> list[Any]:
        sent.extend(commands)
        return store.call(commands)

    mine = StoreKey(store.keys, given)
    ring, wrote = mine.settle(call)
    assert (ring.check_value, wrote) == (check_of(OURS), True)
    assert store.get() == (sealed.removeprefix(SEALED), check_of(OURS))
    assert not any(OURS in command for command in sent)
    assert mine.settle(call) == (ring, False)
    assert StoreKey(store.keys, given).settle(call)[1] is False


def test_a_process_that_holds_the_key_puts_it_back_and_takes_no_other(store: Any) -> None:
    mine = StoreKey(store.keys, None)
    mine.settle(store.call)
    made = store.get()
    store.set(None, None)
    assert mine.settle(store.call)[1], "it is written again"
    assert store.get() == made
    store.set(THEIRS, check_of(THEIRS))
    with pytest.raises(StoreUnavailable):
        mine.settle(store.call)
    assert store.get() == (THEIRS, check_of(THEIRS))


def test_a_store_that_loses_its_check_value_is_not_taken_over_by_who_has_no_key(
    make_at: Make, store: Any
) -> None:
    right = make_at(secret_key=OURS)
    issue(right)
    store.set(OUTSIDE, None)
    with pytest.raises(StoreUnavailable):
        make_at().ping()
    right.ping()
    assert store.get() == (OUTSIDE, check_of(OURS))


def test_in_a_store_of_another_key_nothing_is_removed(make_at: Make, store: Any) -> None:
    """A removal does without the server of the key, and not without the right key."""
    authority = make_at()
    issued = issue(authority)
    made = store.get()
    store.set(THEIRS, check_of(THEIRS))
    for remove in (
        lambda: authority.delete(issued.pat.id),
        lambda: authority.revoke_owner("alice"),
        lambda: authority.disable_owner("alice"),
        lambda: authority.disable(issued.pat.id),
    ):
        with pytest.raises(StoreUnavailable) as refused:
            remove()
        assert "secret_key" in (refused.value.detail or "")
    store.set(*made)
    assert authority.authenticate(basic_of(issued)).pat_id == issued.pat.id


@contextmanager
def overheard(server: Server) -> Iterator[Callable[[], list[bytes]]]:
    """Yield a function that returns what MONITOR has shown since the last call, one command in one item."""
    server = server.node_of("store")
    with server.connected() as connection, connection.makefile("rb") as lines, server.client() as client:
        connection.settimeout(10)
        connection.sendall(b"MONITOR\r\n")
        assert lines.readline() == b"+OK\r\n"

        def heard() -> list[bytes]:
            client.echo("that is all")
            found: list[bytes] = []
            while b"that is all" not in (line := lines.readline()):
                found.append(re.sub(rb"\\x(..)|\\(.)", unescaped, line))
            return found

        yield heard


def unescaped(match: re.Match[bytes]) -> bytes:
    plain = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}
    return bytes.fromhex(match[1].decode()) if match[1] else plain.get(match[2], match[2])


def shows(command: bytes, key: bytes) -> bool:
    spellings = (key, key.hex().encode(), key.hex().upper().encode(), urlsafe_b64encode(key).rstrip(b"="))
    return any(spelling in command for spelling in spellings)


def use(make_at: Make, server: Server, **given: Any) -> None:
    """Reconnect often, and do whatever looks at the store key."""
    for name in ("one", "two"):
        authority = make_at(url=server.url, **given)
        issued = issue(authority, name)
        for _ in range(3):
            transport_of(authority).close()
            authority.authenticate(basic_of(issued))
            authority.ping()
        authority.rotate(issued.pat.id)
        authority.disable_owner("alice")
        authority.enable_owner("alice")
        authority.list()
        authority.delete(issued.pat.id)


@shared_engines
def test_the_key_is_an_argument_of_the_call_that_makes_it_and_of_no_other(
    make_at: Make, servers: dict[str, Server], engine: str, prefix: str
) -> None:
    """A16: a server shows the arguments of commands to whoever may ask (MONITOR, SLOWLOG)."""
    server, names = servers[engine], Keys(prefix, "default")
    with overheard(server) as heard, server.client() as client:
        use(make_at, server)
        key = client.get(names.store_key)
        assert isinstance(key, bytes)
        making = [command for command in heard() if shows(command, key)]
        assert len(making) == 2, "the call itself, and the SET in its script"
        assert b"EVAL" in making[0]
        assert b"lua]" in making[1]

        use(make_at, server)
        assert not [command for command in heard() if shows(command, key)]

        held = make_at(url=server.url)
        held.ping()
        client.delete(names.store_key)
        held.ping()
        assert client.get(names.store_key) == key
        assert any(shows(command, key) for command in heard()), "a lost key is put back"


def test_a_key_outside_of_the_store_is_no_argument_at_all(make_at: Make, server: Server) -> None:
    with overheard(server) as heard:
        use(make_at, server, secret_key=OURS)
        assert not [command for command in heard() if shows(command, OURS)]


def test_no_public_name_of_an_authority_leads_to_the_key(make_at: Make, store: Any) -> None:
    """A17: whoever holds the key makes PATs of anybody, so it is nothing to hand out."""
    authority = make_at()
    issue(authority)
    key, check = store.get()
    found = list(reachable(authority, 5))
    assert check in found, "it looks into the keyring"
    assert key not in found


def reachable(value: Any, depth: int) -> Iterator[Any]:
    """Yield what the public names of an object lead to, and what those of that do."""
    yield value
    if depth == 0 or not type(value).__module__.startswith("patauth"):
        return
    for name in dir(value):
        if not name.startswith("_"):
            inner = getattr(value, name)
            yield from reachable(inner() if name == "keyring" and callable(inner) else inner, depth - 1)
