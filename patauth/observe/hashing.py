"""A hasher and a proof cache that tell an observer what they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..concurrency.slots import Slot, Slots
from ..crypto.hashing import Digest, Hasher
from ..crypto.proof_cache import ProofCache
from ..errors import Overloaded, StoreUnavailable
from .authentication import looked_up
from .observer import Observer


class ObservedHasher(Hasher):
    """Hashes, and tells an observer. The other arguments are those of `Hasher`."""

    def __init__(self, observer: Observer, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._observer = observer

    def hash(self, secret: bytes, owner: str) -> Digest:
        """Return a digest of `secret`, as `Hasher.hash` does."""
        try:
            return super().hash(secret, owner)
        except Overloaded:
            self._observer.hash_rejected()
            raise

    def _compute(self, lanes: Sequence[Slots], owner: str, secret: bytes, salt: bytes, *costs: int) -> bytes:
        end = self._observer.hash()
        try:
            digest = super()._compute(lanes, owner, secret, salt, *costs)
        except BaseException as problem:
            end(problem)
            raise
        end(None)
        return digest

    def _take(self, lanes: Sequence[Slots], owner: str) -> list[tuple[Slots, Slot]]:
        self._observer.hash_waiters(1)
        try:
            return super()._take(lanes, owner)
        finally:
            self._observer.hash_waiters(-1)


class ObservedProofCache(ProofCache):
    """Remembers verdicts, and tells an observer. The other arguments are those of `ProofCache`."""

    def __init__(self, observer: Observer, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._observer = observer

    def hash_again(self, secret: bytes, owner: str) -> Digest:
        """Return a new digest, and count no rejection: whoever gets none is served all the same."""
        return Hasher.hash(self._hasher, secret, owner)

    def check(
        self,
        pat_id: bytes,
        secret: bytes,
        stored: Digest,
        paused: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> bool:
        """Return whether `stored` is a digest of `secret`, as `ProofCache.check` does."""
        found = True

        def hashing() -> AbstractContextManager[None]:
            nonlocal found
            found = False
            return paused()

        try:
            return super().check(pat_id, secret, stored, hashing)
        except StoreUnavailable:
            raise
        except Overloaded:
            self._observer.hash_rejected()
            raise
        finally:
            looked_up()
            self._observer.proof_lookup(found=found)
