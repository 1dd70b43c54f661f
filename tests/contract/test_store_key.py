"""The store key: one for all, put back, never replaced, and no store of another key is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from patauth import StoreUnavailable
from patauth.crypto.keyring import Keyring
from patauth.store.keys import Keys
from patauth.store.store_key import OUTSIDE, StoreKey
from patauth.store.transport.wire import Command
from tests.support.authorities import Make, issue
from tests.support.servers import Server

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
    assert key == (ring.store_key if given is None else held[0] or OUTSIDE)
    assert mine.settle(store.call) == (ring, False), "settled once, it stays"


def test_a_process_that_holds_the_key_puts_it_back_and_takes_no_other(store: Any) -> None:
    mine = StoreKey(store.keys, None)
    ring, _ = mine.settle(store.call)
    store.set(None, None)
    assert mine.settle(store.call)[0].store_key == ring.store_key
    assert store.get() == (ring.store_key, ring.check_value)
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
