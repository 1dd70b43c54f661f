"""The proof cache: an argon2 verdict is computed once, then remembered for a while.

A proof says that one secret does, or does not, match one stored digest; it says nothing about the PAT. The
record is read on each request all the same, and with another salt or digest in it the proof is simply not
found. So revocation, expiry and rotation act at once, whatever is remembered here.

The key of a proof is a MAC under a random key that never leaves the process. It covers every part of the
question with its length: joined without lengths, parts of one question can be shifted until they read as
another's, and a known digest then answers for an unknown secret (exporter-toolkit, CVE-2022-46146).
"""

from __future__ import annotations

import copy
import secrets
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from weakref import WeakValueDictionary

from ..errors import ConfigurationError, Overloaded, PatAuthError
from .hashing import Digest, Hasher

_KEY_BYTES = 32
# Lengths of PAT id, salt, digest and mark, then the three costs. The secret is last and needs no length.
# Short enough that all parts of ours fit into one block of blake2b, 128 bytes.
_HEAD = struct.Struct(">4B3I")
_RENEWAL = 900.0  # s between two new hashes of one PAT's secret
_LONGEST_HASH = 1.0  # s that a follower grants its leader beyond the wait for a slot


class ProofCache:
    """Verdicts of a `Hasher`, each remembered for `ttl` seconds, at most `entries` of them.

    True and False are both remembered, errors are not. `timer` gives seconds that never step back. One per
    process, safe to share by threads. Raises `ConfigurationError`.
    """

    def __init__(
        self, hasher: Hasher, *, ttl: float, entries: int, timer: Callable[[], float] = time.monotonic
    ) -> None:
        if ttl < 0 or entries < 1:
            raise ConfigurationError("proof_ttl must be at least 0, proof_entries at least 1")
        self._hasher = hasher
        self.is_due = hasher.is_due
        self._ttl = ttl
        self._entries = entries
        self._timer = timer
        self.after_fork()

    def after_fork(self) -> None:
        """In a child: nothing remembered, nothing under way.

        A thread that stayed behind in the parent may have been changing the cache at that very moment, so
        the child starts with a new one.
        """
        self._lock = threading.Lock()
        self._mac = blake2b(key=secrets.token_bytes(_KEY_BYTES), digest_size=32)
        self._verdicts = _Recent(self._entries, self._ttl, self._timer)
        self._renewed = _Recent(self._entries, _RENEWAL, self._timer)
        # Weak: a leader that is stopped from outside at a bad moment takes its flight with it.
        self._flights: WeakValueDictionary[bytes, _Flight] = WeakValueDictionary()

    def check(self, pat_id: bytes, secret: bytes, stored: Digest) -> bool:
        """Whether `stored`, the digest in the record of `pat_id`, is one of `secret`.

        However many threads ask the same at once, one of them hashes. Raises what `Hasher.verify` raises.
        """
        try:
            key = self._key(pat_id, secret, stored)
        except struct.error:  # a number that no record of ours has; the hasher has the words for it
            return self._hasher.verify(secret, stored)
        verdict = self._verdicts.get(key)
        return self._compute_once(key, secret, stored) if verdict is None else verdict

    def _key(self, pat_id: bytes, secret: bytes, stored: Digest) -> bytes:
        salt, digest, pepper = stored.salt, stored.digest, stored.pepper
        lengths = (len(pat_id), len(salt), len(digest), len(pepper))
        head = _HEAD.pack(*lengths, stored.memory_kib, stored.time_cost, stored.parallelism)
        mac = self._mac.copy()  # keyed once: a copy takes half the time of keying anew
        mac.update(b"".join((head, pat_id, salt, digest, pepper, secret)))
        return mac.digest()

    def renew(self, pat_id: bytes, secret: bytes) -> Digest | None:
        """A new digest of a secret that was found right; None if one was made lately.

        Once in 15 minutes for a PAT: while an old and a new version run side by side, each would undo what
        the other does. Raises `Overloaded`.
        """
        with self._lock:
            if self._renewed.get(pat_id):
                return None
            self._renewed.put(pat_id, True)
        digest = self._hasher.hash(secret)
        key = self._key(pat_id, secret, digest)
        with self._lock:
            self._verdicts.put(key, True)
        return digest

    def _compute_once(self, key: bytes, secret: bytes, stored: Digest) -> bool:
        """The first thread to come hashes; those who come meanwhile get its verdict or its error."""
        with self._lock:
            verdict = self._verdicts.get(key)  # it may have landed since the caller looked
            if verdict is not None:
                return verdict
            flight = self._flights.get(key)
            if flight is None:
                mine = self._flights[key] = _Flight()
        if flight is not None:
            return flight.join(self._hasher.max_wait + _LONGEST_HASH)
        try:
            mine.verdict = self._hasher.verify(secret, stored)
            return mine.verdict
        except PatAuthError as error:
            mine.error = error
            raise
        finally:
            mine.landed.set()
            with self._lock:
                if mine.verdict is not None:
                    self._verdicts.put(key, mine.verdict)
                self._flights.pop(key, None)


class _Recent:
    """At most `entries` values, each for `ttl` seconds; what was unused longest makes room.

    cachetools' TTLCache needs a lock to be read, takes about three times as long, and an exception from
    outside can leave it in pieces. Here each step is a single one of a dict.
    """

    def __init__(self, entries: int, ttl: float, timer: Callable[[], float]) -> None:
        self._entries = entries
        self._ttl = ttl
        self._timer = timer
        self._kept: OrderedDict[bytes, tuple[float, bool]] = OrderedDict()  # until when, value

    def get(self, key: bytes) -> bool | None:
        """The value of a key, or None."""
        found = self._kept.get(key)
        if found is None or self._timer() >= found[0]:
            return None
        try:
            self._kept.move_to_end(key)
        except KeyError:  # another thread has made room
            pass
        return found[1]

    def put(self, key: bytes, value: bool) -> None:
        """Keep a value; one thread at a time."""
        self._kept.pop(key, None)  # a new one goes to the young end
        self._kept[key] = (self._timer() + self._ttl, value)
        while len(self._kept) > self._entries:
            self._kept.popitem(last=False)


class _Flight:
    """One computation under way, and what came of it; neither, if its thread was stopped from outside."""

    def __init__(self) -> None:
        self.landed = threading.Event()
        self.verdict: bool | None = None
        self.error: PatAuthError | None = None

    def join(self, timeout: float) -> bool:
        """The leader's verdict. Raises its error, or `Overloaded` when there is none in `timeout` seconds."""
        self.landed.wait(timeout)
        if self.verdict is not None:
            return self.verdict
        if self.error is not None:
            raise copy.copy(self.error)  # a copy for each thread: raising writes a traceback into it
        raise Overloaded(retry_after=1, detail="the thread that computed the same hash gave no verdict")
