"""The store key: one script makes it once, and a process that still knows a lost key puts it back. All other
checks read it, and compare it here.

{store}:key     32 bytes, or `OUTSIDE` where the setting `secret_key` keeps the key out of the store
{store}:check   the check value of the key: an Authority whose key gives another value refuses every call

In a copy of another store (copy.py), something else stands in the place of the key:

CLOSED and 16 random bytes   the copy is not complete: nobody can use it
SEALED and the key           nobody has used it yet: the first process that has the key takes the seal off
"""

from __future__ import annotations

import secrets

from ..crypto.keyring import Keyring
from ..errors import StoreUnavailable
from .keys import Keys
from .record import not_understood
from .scripts import PRELUDE, Call, Script, understood

OUTSIDE = b"outside"
CLOSED, SEALED = b"closed", b"sealed"  # lua/copy_begin.lua and lua/copy_use.lua have them, too
_KEY_BYTES = 32
_STORE_KEY, _USE = Script("store_key", PRELUDE), Script("copy_use", PRELUDE)


class StoreKey:
    """The key of one store, as this process knows it. `keyring` is None before the first `settle`.

    The key itself stays in here: a `Keyring` only has what is derived from it. It is an argument
    only when the store lacks a part of it, since a server shows arguments (MONITOR, SLOWLOG).
    """

    def __init__(self, keys: Keys, secret_key: bytes | None) -> None:
        self._names = keys.of_store
        self._is_outside = secret_key is not None
        self._key = secret_key  # None: not known yet
        self.keyring: Keyring | None = None

    def settle(self, call: Call) -> tuple[Keyring, bool]:
        """Make, read or put back the key over a connection.

        Return the keyring, and whether this wrote anything.

        Raise `AnotherKey`, or `StoreUnavailable`.
        """
        mine = self._key or secrets.token_bytes(_KEY_BYTES)
        ring = self.keyring or Keyring(mine)
        wrote_any = False
        # The first round adopts a key without a check value, or finds a seal that another process takes off.
        for _ in range(2):
            key, check = read_key(call, self._names)
            if key is None or check is None:
                wrote, key, check = self._write(call, OUTSIDE if self._is_outside else mine, ring)
                wrote_any = wrote_any or wrote
            if is_copy(key, CLOSED):
                raise AnotherKey(
                    detail="this store has no key yet: it is a copy that is not open;"
                    " stop what uses its source, and run `patauth store copy` with --final"
                )
            is_sealed = is_copy(key, SEALED)
            key = key.removeprefix(SEALED) if is_sealed else key
            if not self._is_outside:
                self._check_adoptable(key)
                if key != mine:  # another process may have made it
                    mine, ring = key, Keyring(key)
            # A store that was made without the setting can go on with it, given the same key.
            elif key not in (OUTSIDE, mine) or check not in (b"", ring.check_value):
                raise _refused("the setting secret_key is not the key that this store was made with")
            if check == ring.check_value:
                if is_sealed:
                    if not self._take_off_seal(call):
                        continue
                    wrote_any = True
                self._key, self.keyring = mine, ring
                return ring, wrote_any
            if check:
                break
        raise _refused("the store key does not match its check value")

    def _write(self, call: Call, offered: bytes, ring: Keyring) -> tuple[bool, bytes, bytes]:
        """Write what the store lacks. Return whether anything was written, and what the store has now."""
        arguments = (b"", offered, ring.check_value)  # the script does not use the clock
        command = _STORE_KEY.in_full(("EVALSHA", b"", 2, *self._names, *arguments))
        wrote, key, check = understood(call([command])[0], int, bytes, bytes)[:3]
        return wrote == 1, key, check

    def _take_off_seal(self, call: Call) -> bool:
        """Begin to use a copy. Return whether it was still sealed."""
        command = _USE.in_full(("EVALSHA", b"", 1, self._names[0], b""))
        return bool(understood(call([command])[0], int)[0])

    def _check_adoptable(self, key: bytes) -> None:
        if key in (b"", OUTSIDE):
            raise _refused("this store was made with the setting secret_key; set it to the same value")
        if len(key) != _KEY_BYTES:
            raise _refused("the store key is not 32 bytes; was another store put in its place?")
        if self.keyring is not None and key != self._key:
            raise _refused("the store key has changed; was another store put in its place?")


def read_key(call: Call, names: tuple[bytes, bytes]) -> tuple[bytes | None, bytes | None]:
    """Return what a store has: its key and the check value, each None if it is missing."""
    found = understood(call([("MGET", *names)])[0])
    if len(found) != 2 or not all(isinstance(value, bytes | None) for value in found):
        raise not_understood("answer", "not a store key and a check value")
    return found[0], found[1]


def is_copy(key: bytes | None, mark: bytes) -> bool:
    """Return whether what stands in the place of a store key is a mark of copies, `CLOSED` or `SEALED`."""
    return key is not None and len(key) != _KEY_BYTES and key.startswith(mark)


class AnotherKey(StoreUnavailable):
    """The store has another key than this process, or no usable one. `detail` names `secret_key`."""


def _refused(why: str) -> AnotherKey:
    return AnotherKey(detail=f"secret_key: {why}")
