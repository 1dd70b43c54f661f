"""argon2id digests of secrets, and a bound on how many are computed at the same time.

A PAT's secret has 256 random bits, so argon2 is not what stops guesses. It is the second line of defence
after the secret tag: OWASP and NIST demand it for anything that looks like a password. So the cost is
OWASP's minimum, and above all it is bounded. A hash takes 19 MiB and about 18 ms of a core. At most `slots`
hashes run at the same time in a process, and others wait for a slot. Who waits too long, or finds the queue
full, is told to try again. Owners take turns, so nobody waits for all the hashes of another owner. New
digests, which creation and rotation make, take at most half of the slots, and each owner one at a time: so
somebody who makes many does not hold up the checks of other people's secrets. Whatever the store says, a hash
never costs more than the limits in profiles.py.

A record holds digest and salt as raw bytes, and the three costs: 60 bytes. The encoded text has 97.
"""

from __future__ import annotations

import hmac
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from ..concurrency.slots import Slot, Slots
from ..errors import ConfigurationError, Overloaded, StoreUnavailable
from .pepper import NO_PEPPER, Pepper
from .profiles import Profile, out_of_bounds

Taken = tuple[Slots, Slot]

SALT_BYTES = 16  # RFC 9106 §4: 128 bits
DIGEST_BYTES = 32  # RFC 9106 §4: 256 bits


@dataclass(frozen=True, slots=True)
class Digest:
    """The argon2id digest of a secret, with all that is needed to compute it again.

    `repr` shows only the costs.
    """

    salt: bytes = field(repr=False)  # 16 bytes
    digest: bytes = field(repr=False)  # 32 bytes
    memory_kib: int
    time_cost: int
    parallelism: int
    pepper: bytes = field(default=NO_PEPPER, repr=False)  # 4 bytes: the mark of the pepper that was used


class Hasher:
    """Computes and checks digests, a bounded number at a time. A process needs one; threads can share it.

    `slots` is how many hashes run at the same time, `queue` how many threads may wait for a slot, and as many
    to make new digests, and `wait` for how many seconds. `peppers` go from oldest to newest: digests with any
    of them verify, and new ones use the last (None: new digests use none). `computed` counts the argon2
    computations. What observes hashes extends `hash`, `compute` and `take_slots`. Raise `ConfigurationError`.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        slots: int,
        queue: int,
        wait: float,
        peppers: Sequence[Pepper | None] = (),
    ) -> None:
        problem = out_of_bounds(profile.memory_kib, profile.time_cost, profile.parallelism)
        if problem:
            raise ConfigurationError(f"hash profile {profile.name}: {problem}")
        import argon2.low_level  # noqa: F401 - it takes as long as a hash; the first one must not wait for it

        self.profile = profile
        self.wait = wait
        self.computed = 0
        self._limit = slots
        self._queue = queue
        self._peppers = {pepper.mark: pepper for pepper in peppers if pepper is not None}
        newest = peppers[-1] if peppers else None
        self._newest = NO_PEPPER if newest is None else newest.mark
        self.after_fork()

    def after_fork(self) -> None:
        """Free all slots in a forked child: the threads that held one, or a lock, stayed in the parent."""
        self._slots = Slots(self._limit, self._queue)
        self._new = Slots(max(1, self._limit // 2), self._queue, per_tag=1)

    def hash(self, secret: bytes, owner: str) -> Digest:
        """Return a digest of `secret` with a random salt, at the profile's costs, with the newest pepper.

        `owner` is the tag of the owner whose turn it is. Raise `Overloaded`.
        """
        salt = secrets.token_bytes(SALT_BYTES)
        costs = (self.profile.memory_kib, self.profile.time_cost, self.profile.parallelism)
        keyed = self._keyed(secret, self._newest)
        digest = self.compute((self._new, self._slots), owner, keyed, salt, *costs)
        return Digest(salt, digest, *costs, self._newest)

    def is_due(self, stored: Digest) -> bool:
        """Return whether a digest is due for a new one: its costs or pepper are not those of new digests."""
        profile = self.profile
        return (
            stored.memory_kib != profile.memory_kib
            or stored.time_cost != profile.time_cost
            or stored.parallelism != profile.parallelism
            or stored.pepper != self._newest
        )

    def verify(self, secret: bytes, stored: Digest, owner: str) -> bool:
        """Return whether `stored` is a digest of `secret`. Compare in constant time.

        `owner` is the tag of the owner whose turn it is. Raise `Overloaded`. Raise `StoreUnavailable` if the
        digest cannot be one of ours, or needs a pepper that is not in the setting. That happens before argon2
        runs, and is no verdict on the secret.
        """
        problem = out_of_bounds(stored.memory_kib, stored.time_cost, stored.parallelism)
        # A secret could match a digest of a few bytes by chance, so the lengths must be exact.
        if not problem and (len(stored.salt) != SALT_BYTES or len(stored.digest) != DIGEST_BYTES):
            problem = f"salt and digest of {len(stored.salt)} and {len(stored.digest)} bytes"
        if problem:
            raise StoreUnavailable(detail=f"a stored argon2 digest is refused: {problem}")
        keyed = self._keyed(secret, stored.pepper)
        costs = (stored.memory_kib, stored.time_cost, stored.parallelism)
        digest = self.compute((self._slots,), owner, keyed, stored.salt, *costs)
        return hmac.compare_digest(digest, stored.digest)

    def _keyed(self, secret: bytes, mark: bytes) -> bytes:
        """Return what argon2 hashes for a secret, with the pepper of this mark."""
        if mark == NO_PEPPER:
            return secret
        if mark not in self._peppers:
            raise StoreUnavailable(
                detail="pepper: a PAT was hashed with one that is not in this setting; the SHA-256 of its id"
                f" begins with {mark.hex()}"
            )
        return self._peppers[mark].mix(secret)

    def compute(self, lanes: Sequence[Slots], owner: str, secret: bytes, salt: bytes, *costs: int) -> bytes:
        """Compute a digest in a slot of each lane.

        The slots come free whatever happens to this thread or its client.
        """
        taken = self.take_slots(lanes, owner)
        pool = _real_threads()
        if pool is None:
            try:
                digest = _argon2id(secret, salt, *costs)
            finally:
                _give_back(taken)
        else:
            digest = _computed_in(pool, taken, secret, salt, *costs)
            _give_back(taken)
        self.computed += 1  # two threads at the same time may count as one
        return digest

    def take_slots(self, lanes: Sequence[Slots], owner: str) -> list[Taken]:
        """Wait for a slot of each lane, and return them. Raise `Overloaded`."""
        taken: list[Taken] = []
        end = monotonic() + self.wait
        try:
            for lane in lanes:
                slot = lane.take(end - monotonic(), owner)
                if slot is None:
                    detail = (
                        f"no hash slot came free in {self.wait:g} s, or {self._queue} threads wait already"
                    )
                    raise Overloaded(detail=detail)
                taken.append((lane, slot))
        except BaseException:
            _give_back(taken)
            raise
        return taken


def _give_back(taken: Sequence[Taken]) -> None:
    for lane, slot in taken:
        lane.give_back(slot)


def _argon2id(secret: bytes, salt: bytes, memory_kib: int, time_cost: int, parallelism: int) -> bytes:
    """Return the raw digest (RFC 9106, version 0x13). argon2-cffi releases the GIL while it computes."""
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
    except HashingError as error:  # in practice, a lack of memory or threads
        raise Overloaded(detail=f"argon2: {error}") from error


def _real_threads() -> Any:
    """Return gevent's pool of real threads if gevent has replaced threads, else None.

    A greenlet lets others run only while it waits, so a hash would hold up all other greenlets of its worker.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return None
    return sys.modules["gevent"].get_hub().threadpool


def _computed_in(pool: Any, taken: Sequence[Taken], secret: bytes, salt: bytes, *costs: int) -> bytes:
    """Compute a digest in a thread of `pool`, and return it."""

    # gevent prints an error in its pool together with the arguments, so this function gets no arguments and
    # does not raise. It holds the slots while it runs, also if its greenlet has given up by then. And no
    # longer: a greenlet among many that are busy may wait long for its turn.
    def compute() -> bytes | Exception:
        try:
            return _argon2id(secret, salt, *costs)
        except Exception as problem:
            return problem
        finally:
            for lane, slot in taken:
                lane.free(slot)

    found: bytes | Exception = pool.apply(compute)
    if isinstance(found, Exception):
        raise found
    return found
