"""argon2id, and how many at a time.

A PAT's secret has 256 random bits, so argon2 is not what stops guessing: it is the second line behind the
secret tag (OWASP and NIST ask for it of anything that looks like a password). That shapes this module: the
cost is OWASP's floor and not raised, and above all it is bounded. A hash takes 19 MiB and about 18 ms of a
core, so at most `slots` run at once in a process, `queue` threads wait for up to `max_wait`, and the rest
is told at once to come back. Nothing a store says can make a hash cost more than the caps below.

Digest and salt are kept raw, with the three costs beside them: 60 bytes where the encoded text takes 97.
"""

from __future__ import annotations

import hmac
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..concurrency.slots import Slot, Slots
from ..errors import ConfigurationError, Overloaded, StoreUnavailable
from .pepper import NO_PEPPER, Pepper
from .profiles import Profile, out_of_bounds

SALT_BYTES = 16  # RFC 9106 §4: 128 bits
DIGEST_BYTES = 32  # RFC 9106 §4: 256 bits


@dataclass(frozen=True, slots=True)
class Digest:
    """The argon2id digest of a secret, and what it takes to compute it again. `repr` shows only the costs."""

    salt: bytes = field(repr=False)  # 16 bytes
    digest: bytes = field(repr=False)  # 32 bytes
    memory_kib: int
    time_cost: int
    parallelism: int
    pepper: bytes = field(default=NO_PEPPER, repr=False)  # 4 bytes, the mark of the pepper that was used


class Hasher:
    """Computes and checks digests, a bounded number at a time; one per process, safe to share by threads.

    `slots`: hashes at the same time. `queue`: threads that may wait for a slot. `max_wait`: seconds that each
    waits. `peppers`: oldest to newest; all are known, and the last is used (None: to hash without).
    `computed` counts the argon2 computations done. Raises `ConfigurationError`.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        slots: int,
        queue: int,
        max_wait: float = 0.1,
        peppers: Sequence[Pepper | None] = (),
    ) -> None:
        problem = out_of_bounds(profile.memory_kib, profile.time_cost, profile.parallelism)
        if problem:
            raise ConfigurationError(f"hash profile {profile.name}: {problem}")
        if slots < 1 or queue < 0 or max_wait < 0:
            raise ConfigurationError("hash_slots must be at least 1, hash_queue at least 0")
        self.profile = profile
        self.max_wait = max_wait
        self.computed = 0
        self._limit = slots
        self._queue = queue
        self._peppers = {pepper.mark: pepper for pepper in peppers if pepper is not None}
        newest = peppers[-1] if peppers else None
        self._newest = NO_PEPPER if newest is None else newest.mark
        self.after_fork()

    def after_fork(self) -> None:
        """In a child: all slots free. Whoever held one, or a lock, stayed behind in the parent."""
        self._slots = Slots(self._limit, self._queue)

    def hash(self, secret: bytes) -> Digest:
        """A digest of `secret` with a fresh random salt, at the profile's costs, with the newest pepper.

        Raises `Overloaded`.
        """
        salt = secrets.token_bytes(SALT_BYTES)
        costs = (self.profile.memory_kib, self.profile.time_cost, self.profile.parallelism)
        keyed = self._keyed(secret, self._newest)
        return Digest(salt, self._compute(keyed, salt, *costs), *costs, self._newest)

    def is_due(self, stored: Digest) -> bool:
        """Whether a digest has other costs than the profile, or not the newest pepper: to be made anew."""
        profile = self.profile
        return (
            stored.memory_kib != profile.memory_kib
            or stored.time_cost != profile.time_cost
            or stored.parallelism != profile.parallelism
            or stored.pepper != self._newest
        )

    def verify(self, secret: bytes, stored: Digest) -> bool:
        """Whether `stored` is a digest of `secret`; compared in constant time.

        Raises `Overloaded`, and `StoreUnavailable` if the record cannot be one of ours, or needs a pepper
        that is not there: that is found before any memory is taken, and is no verdict on the secret.
        """
        problem = out_of_bounds(stored.memory_kib, stored.time_cost, stored.parallelism)
        # A digest cut to a few bytes would be matched by chance, so lengths are as exact as costs.
        if not problem and (len(stored.salt) != SALT_BYTES or len(stored.digest) != DIGEST_BYTES):
            problem = f"salt and digest of {len(stored.salt)} and {len(stored.digest)} bytes"
        if problem:
            raise StoreUnavailable(detail=f"a stored argon2 digest is refused: {problem}")
        keyed = self._keyed(secret, stored.pepper)
        digest = self._compute(keyed, stored.salt, stored.memory_kib, stored.time_cost, stored.parallelism)
        return hmac.compare_digest(digest, stored.digest)

    def _keyed(self, secret: bytes, mark: bytes) -> bytes:
        """What argon2 gets of a secret, with the pepper of that mark."""
        if mark == NO_PEPPER:
            return secret
        if mark not in self._peppers:
            raise StoreUnavailable(
                detail="pepper: a PAT was hashed with one that is not in this setting; the SHA-256 of its id"
                f" begins with {mark.hex()}"
            )
        return self._peppers[mark].mix(secret)

    def _compute(
        self, secret: bytes, salt: bytes, memory_kib: int, time_cost: int, parallelism: int
    ) -> bytes:
        """One computation in a slot, which this thread gives back whatever happens to it or its client."""
        slot = self._slots.take(self.max_wait)
        if slot is None:
            detail = f"no hash slot came free in {self.max_wait} s, or {self._queue} threads wait already"
            raise Overloaded(retry_after=1, detail=detail)
        pool = _real_threads()
        if pool is None:
            try:
                digest = _argon2id(secret, salt, memory_kib, time_cost, parallelism)
            finally:
                self._slots.give_back(slot)
        else:
            digest = _computed_in(pool, slot, secret, salt, memory_kib, time_cost, parallelism)
            self._slots.give_back(slot)
        self.computed += 1  # for tests and metrics: may miss one when threads meet
        return digest


def _argon2id(secret: bytes, salt: bytes, memory_kib: int, time_cost: int, parallelism: int) -> bytes:
    """The raw digest (RFC 9106, version 0x13). argon2-cffi releases the GIL meanwhile."""
    # Imported at the first hash: it takes as long as a hash, and many processes never compute one.
    from argon2.exceptions import HashingError
    from argon2.low_level import Type, hash_secret_raw

    try:
        return hash_secret_raw(
            secret,
            salt,
            time_cost=time_cost,
            memory_cost=memory_kib,
            parallelism=parallelism,
            hash_len=DIGEST_BYTES,
            type=Type.ID,
        )
    except HashingError as error:  # in practice: no memory or no thread to be had
        raise Overloaded(retry_after=1, detail=f"argon2: {error}") from error


def _real_threads() -> Any:
    """gevent's pool of real threads, where gevent has replaced threads; else None.

    A greenlet gives way only where it waits, so a hash would hold up all the others of its worker.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return None
    return sys.modules["gevent"].get_hub().threadpool


def _computed_in(pool: Any, slot: Slot, secret: bytes, salt: bytes, *costs: int) -> bytes:
    """The digest, computed in a thread of `pool`."""

    # A function of its own, with nothing given to it, that does not raise: gevent prints what fails in its
    # pool, arguments and all. It holds the slot while it runs, also when its greenlet has given up meanwhile.
    def compute(held: Slot = slot) -> bytes | Exception:
        try:
            return _argon2id(secret, salt, *costs)
        except Exception as problem:
            return problem

    found: bytes | Exception = pool.apply(compute)
    if isinstance(found, Exception):
        raise found
    return found
