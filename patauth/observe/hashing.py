"""A hasher and a proof cache that tell observers what they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

from ..concurrency.slots import Slots
from ..crypto.hashing import Digest, Hasher, Taken
from ..crypto.proof_cache import ProofCache
from ..errors import Overloaded, StoreUnavailable
from .authentication import looked_up
from .observer import Observers


class ObservedHasher(Hasher):
    """Hashes, and tells observers. The other arguments are those of `Hasher`."""

    def __init__(self, observers: Observers, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._observers = observers

    def hash(self, secret: bytes, owner: str) -> Digest:
        """Return a digest of `secret`, as `Hasher.hash` does."""
        try:
            return super().hash(secret, owner)
        except Overloaded:
            self._observers.hash_rejected()
            raise

    def compute(self, lanes: Sequence[Slots], owner: str, secret: bytes, salt: bytes, *costs: int) -> bytes:
        """Return a raw digest, as `Hasher.compute` does."""
        end = self._observers.hash()
        try:
            digest = super().compute(lanes, owner, secret, salt, *costs)
        except BaseException as problem:
            end(problem)
            raise
        end(None)
        return digest

    def take_slots(self, lanes: Sequence[Slots], owner: str) -> list[Taken]:
        """Wait for a slot of each lane, as `Hasher.take_slots` does."""
        self._observers.hash_waiters(1)
        try:
            return super().take_slots(lanes, owner)
        finally:
            self._observers.hash_waiters(-1)


class ObservedProofCache(ProofCache):
    """Remembers verdicts, and tells observers. The other arguments are those of `ProofCache`."""

    def __init__(self, observers: Observers, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._observers = observers

    def hash_again(self, secret: bytes, owner: str) -> Digest:
        """Return a new digest. If there is none, the request is served all the same: that is no rejection."""
        return Hasher.hash(self._hasher, secret, owner)  # not the observed one, which would count it

    def check(
        self,
        pat_id: bytes,
        secret: bytes,
        stored: Digest,
        paused: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> bool:
        """Return whether `stored` is a digest of `secret`, as `ProofCache.check` does."""
        result: Literal["hit", "miss"] = "hit"

        def hashing() -> AbstractContextManager[None]:
            nonlocal result
            result = "miss"
            return paused()

        try:
            return super().check(pat_id, secret, stored, hashing)
        except StoreUnavailable:  # a kind of Overloaded, and no rejection
            raise
        except Overloaded:
            self._observers.hash_rejected()
            raise
        finally:
            looked_up()
            self._observers.proof_lookup(result)
