"""Remember what the store said about good credentials, so that it need not send it again.

The memo holds no verdict: each request asks the store for one, and says which version of the record it has
read. It holds no credential either. The name of a credential is a MAC of the whole text, under a random key
that never leaves the process. So nobody finds a name by trying, and an entry belongs to exactly that text.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from hashlib import blake2b
from typing import Generic, TypeVar

from ..concurrency.forks import after_fork_in_child
from ..store.record import SMALL, PatRecord

_LONGEST = 2048  # characters of a text with a name; a JWT usually has 600 to 1000

K = TypeVar("K")


class Memo(Generic[K]):
    """Remembers at least the last `most` things that were kept or found, and at most twice as many.

    Safe for many threads: each step is one operation on a dict. At worst, two threads at the same time forget
    something. A forked child starts with an empty memo, and with a key of its own.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._reset()
        after_fork_in_child(self._reset)

    def _reset(self) -> None:
        self._mac = blake2b(key=secrets.token_bytes(32), digest_size=16)
        # When the young half is full, it becomes the old one, and the old one goes.
        self._young: dict[bytes, K] = {}
        self._old: dict[bytes, K] = {}

    def find(self, text: str) -> tuple[bytes | None, K | None]:
        """Return the name of what was sent, and what is known under it.

        The name is None for a text that is not remembered, and for anything but a text.
        """
        try:
            if len(text) > _LONGEST:
                return None, None
            sent = text.encode("ascii")
        except (TypeError, AttributeError, UnicodeEncodeError):
            return None, None
        mac = self._mac.copy()  # a copy takes half as long as a new keyed hash
        mac.update(sent)
        name = mac.digest()
        known = self._young.get(name)
        if known is None:
            known = self._old.get(name)
            if known is not None:
                self._put(name, known)
        return name, known

    def keep(self, name: bytes, known: K, record: PatRecord, scopes: Iterable[str]) -> None:
        """Remember what is known by a record and scopes, unless they are large."""
        # An access token keeps scopes that its PAT's record may not have any more.
        if len(record.packed) + sum(map(len, scopes)) <= SMALL:
            self._put(name, known)

    def forget(self, name: bytes | None) -> None:
        """Forget what is known under a name."""
        if name is not None:
            self._young.pop(name, None)
            self._old.pop(name, None)

    def _put(self, name: bytes, known: K) -> None:
        if len(self._young) >= self._most and name not in self._young:
            self._old, self._young = self._young, {}
        self._young[name] = known
