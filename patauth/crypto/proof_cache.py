"""The proof cache: it computes an argon2 verdict once, then remembers it for a while.

A proof says that one secret does, or does not, match one stored digest. It says nothing about the PAT. Each
request still reads the record, and finds no proof if the record has another salt or digest. So revocation,
expiry and rotation act at once, whatever this cache remembers.

The key of a proof is a MAC under a random key that never leaves the process. It covers every part of the
question together with its length. Without the lengths, an attacker could shift bytes between the parts
until one question reads like another, and the verdict on a known secret would answer for an unknown one
(exporter-toolkit, CVE-2022-46146).
"""

from __future__ import annotations

import copy
import secrets
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from hashlib import blake2b
from weakref import WeakValueDictionary

from ..errors import Overloaded, PatAuthError
from .hashing import Digest, Hasher

_KEY_BYTES = 32
# The lengths of PAT id, salt, digest and mark, then the three costs. The secret is last and needs no length.
# This head is so short that all parts together fit into one block of blake2b, 128 bytes.
_HEAD = struct.Struct(">4B3I")
_RENEWAL = 900.0  # s between two new digests of one PAT's secret
_LONGEST_HASH = 1.0  # s for which a thread waits for another one's hash, beyond the wait for a slot


class ProofCache:
    """Remembers at most `entries` verdicts of a `Hasher`, each for `ttl` seconds.

    It remembers the verdicts True and False, but no errors. `timer` gives seconds that never go back. A
    process needs one; threads can share it.
    """

    def __init__(
        self, hasher: Hasher, *, ttl: float, entries: int, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._hasher = hasher
        self.is_due = hasher.is_due
        self._ttl = ttl
        self._entries = entries
        self.timer = timer
        self.after_fork()

    def after_fork(self) -> None:
        """Start with an empty cache in a forked child.

        A thread that stayed in the parent may have been in the middle of a change at that moment.
        """
        self._lock = threading.RLock()  # a signal handler may come in while its own thread holds it
        self._mac = blake2b(key=secrets.token_bytes(_KEY_BYTES), digest_size=32)
        self._verdicts = _Recent(self._entries, self._ttl, self.timer)
        self._renewed = _Recent(self._entries, _RENEWAL, self.timer)
        # Weak, so that a flight ends together with a leader that an exception from outside stops.
        # By PAT id, and 0 or 1: a PAT has at most two secrets, so more hashes of it at a time do no good.
        self._flights: WeakValueDictionary[tuple[bytes, int], _Flight] = WeakValueDictionary()

    def check(
        self,
        pat_id: bytes,
        secret: bytes,
        stored: Digest,
        paused: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> bool:
        """Return whether `stored`, the digest in the record of `pat_id`, is a digest of `secret`.

        If several threads ask the same question at the same time, only one of them hashes. A context of
        `paused` is around the wait for a hash. Raise `Overloaded`, also if two other hashes of this PAT are
        under way, and `StoreUnavailable` if the digest cannot be one of ours.
        """
        try:
            key = self._key(pat_id, secret, stored)
        except struct.error:  # no record of ours has such a number; the hasher says what is wrong
            return self._hasher.verify(secret, stored, _owner_tag(pat_id))
        verdict = self._verdicts.get(key)
        if verdict is None:
            with paused():
                return self._compute_once(key, pat_id, secret, stored)
        return verdict

    def believed_until(self, pat_id: bytes, secret: bytes, stored: Digest) -> float | None:
        """Return until when, by `timer`, `check` accepts a secret without a hash; None: it does not."""
        return self._verdicts.until(self._key(pat_id, secret, stored))

    def _key(self, pat_id: bytes, secret: bytes, stored: Digest) -> bytes:
        salt, digest, pepper = stored.salt, stored.digest, stored.pepper
        lengths = (len(pat_id), len(salt), len(digest), len(pepper))
        head = _HEAD.pack(*lengths, stored.memory_kib, stored.time_cost, stored.parallelism)
        mac = self._mac.copy()  # a copy takes half as long as a new keyed hash
        mac.update(b"".join((head, pat_id, salt, digest, pepper, secret)))
        return mac.digest()

    def renew(self, pat_id: bytes, secret: bytes) -> Digest | None:
        """Return a new digest of a secret that has passed `check`; None if there was one within 15 minutes.

        The interval bounds the work while processes with an old and a new setting run side by side, since
        each would undo what the other does. Raise `Overloaded`.
        """
        with self._lock:
            if self._renewed.get(pat_id):
                return None
            self._renewed.put(pat_id, True)
        digest = self.hash_again(secret, _owner_tag(pat_id))
        key = self._key(pat_id, secret, digest)
        with self._lock:
            self._verdicts.put(key, True)
        return digest

    def hash_again(self, secret: bytes, owner: str) -> Digest:
        """Return a new digest, for `renew`. Raise `Overloaded`."""
        return self._hasher.hash(secret, owner)

    def _compute_once(self, key: bytes, pat_id: bytes, secret: bytes, stored: Digest) -> bool:
        """Hash in the first thread that asks, the leader. The others wait for its verdict or its error."""
        with self._lock:
            verdict = self._verdicts.get(key)  # it may be there since the caller looked
            if verdict is not None:
                return verdict
            flights = [self._flights.get((pat_id, number)) for number in (0, 1)]
            flight = next((one for one in flights if one is not None and one.key == key), None)
            if flight is None:
                if None not in flights:
                    raise Overloaded(detail="two hashes of one PAT are under way already")
                place = (pat_id, flights.index(None))
                mine = self._flights[place] = _Flight(key)
        if flight is not None:
            return flight.join(self._hasher.wait + _LONGEST_HASH)
        try:
            mine.verdict = self._hasher.verify(secret, stored, _owner_tag(pat_id))
            return mine.verdict
        except PatAuthError as error:
            mine.error = error
            raise
        finally:
            mine.landed.set()
            with self._lock:
                if mine.verdict is not None:
                    self._verdicts.put(key, mine.verdict)
                self._flights.pop(place, None)


def _owner_tag(pat_id: bytes) -> str:
    return pat_id[:4].hex()


class _Recent:
    """Keeps at most `entries` values, each for `ttl` seconds. The least recently used value makes room.

    A read needs no lock, and an exception from outside leaves nothing inconsistent: each step is a single
    operation on a dict.
    """

    def __init__(self, entries: int, ttl: float, timer: Callable[[], float]) -> None:
        self._entries = entries
        self._ttl = ttl
        self._timer = timer
        self._kept: OrderedDict[bytes, tuple[float, bool]] = OrderedDict()  # until when, value

    def get(self, key: bytes) -> bool | None:
        """Return the value of a key, or None."""
        found = self._kept.get(key)
        if found is None or self._timer() >= found[0]:
            return None
        try:
            self._kept.move_to_end(key)
        except KeyError:  # another thread has made room
            pass
        return found[1]

    def until(self, key: bytes) -> float | None:
        """Return until when a key has the value True; None if it has not."""
        until, value = self._kept.get(key, (0.0, False))
        return until if value else None

    def put(self, key: bytes, value: bool) -> None:
        """Keep a value. Only one thread at a time may call this."""
        self._kept.pop(key, None)  # so that the new value goes to the recent end
        self._kept[key] = (self._timer() + self._ttl, value)
        while len(self._kept) > self._entries:
            self._kept.popitem(last=False)


class _Flight:
    """A computation under way, then its verdict or error. Both stay None if an exception stops its thread."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.landed = threading.Event()
        self.verdict: bool | None = None
        self.error: PatAuthError | None = None

    def join(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds, and return the leader's verdict.

        Raise its error, or `Overloaded`.
        """
        self.landed.wait(timeout)
        if self.verdict is not None:
            return self.verdict
        if self.error is not None:
            raise copy.copy(self.error)  # one copy for each thread, since a raise writes a traceback into it
        raise Overloaded(detail="the thread that computed the same hash gave no verdict")
