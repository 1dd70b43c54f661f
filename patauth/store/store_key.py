"""The store key: one script makes it once, and a process that still knows a lost key puts it back.

{store}:key     32 bytes, or `OUTSIDE` where the setting `secret_key` keeps the key out of the store
{store}:check   the check value of the key: an Authority whose key gives another value refuses every call
"""

from __future__ import annotations

import secrets

from ..crypto.keyring import Keyring
from ..errors import StoreUnavailable
from .keys import Keys
from .scripts import Call, Script, understood

OUTSIDE = b"outside"
_STORE_KEY = Script("store_key")


class StoreKey:
    """The key of one store, as this process knows it. `keyring` is None before the first `settle`."""

    def __init__(self, keys: Keys, secret_key: bytes | None) -> None:
        self._names = (keys.store_key, keys.store_check)
        self._given = Keyring(secret_key) if secret_key is not None else None
        self.keyring: Keyring | None = None

    def settle(self, call: Call) -> tuple[Keyring, bool]:
        """Make, read or put back the key over a connection.

        Return the keyring, and whether this wrote anything.

        Raise `StoreUnavailable` when the store has another key; `detail` then names `secret_key`.
        """
        mine = self._given or self.keyring or Keyring(secrets.token_bytes(32))
        wrote_any = False
        for _ in range(2):  # the first round adopts a key without a check value, the second confirms it
            offered = OUTSIDE if self._given else mine.store_key
            arguments = (b"", offered, mine.check_value)  # the script does not use the clock
            command = _STORE_KEY.in_full(("EVALSHA", b"", 2, *self._names, *arguments))
            wrote, key, check = understood(call([command])[0], int, bytes, bytes)[:3]
            wrote_any = wrote_any or wrote == 1
            if self._given is not None:
                # A store that was made without the setting can go on with it, given the same key.
                if key not in (OUTSIDE, mine.store_key) or check not in (b"", mine.check_value):
                    raise _refused("the setting secret_key is not the key that this store was made with")
            else:
                mine = self._adopt(mine, key)
            if check == mine.check_value:
                self.keyring = mine
                return mine, wrote_any
            if check:
                break
        raise _refused("the store key does not match its check value")

    def _adopt(self, mine: Keyring, key: bytes) -> Keyring:
        if key in (b"", OUTSIDE):
            raise _refused("this store was made with the setting secret_key; set it to the same value")
        if len(key) != 32:
            raise _refused("the store key is not 32 bytes; was another store put in its place?")
        if self.keyring is not None and key != self.keyring.store_key:
            raise _refused("the store key has changed; was another store put in its place?")
        return mine if key == mine.store_key else Keyring(key)  # another process may have made it


def _refused(why: str) -> StoreUnavailable:
    return StoreUnavailable(detail=f"secret_key: {why}")
