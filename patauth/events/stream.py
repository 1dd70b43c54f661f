"""The sink `stream:NAME`: two capped streams in the store, of changes and of refusals."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import StoreUnavailable
from ..store.event_stream import EventStream
from .outbox import Letter, Undelivered


class StreamWriter:
    """Writes letters to a stream, over the store's connections and within a deadline of its own."""

    most = 100
    in_order = True  # all letters wait for the same store

    def __init__(self, name: str, stream: EventStream) -> None:
        self.name = f"stream:{name}"
        self._stream = stream

    def deliver(self, letters: Sequence[Letter], *, are_refusals: bool, dropped: int) -> None:
        """Write all letters. Raise `Undelivered` when the store does not answer, or its memory is full."""
        lines = [letter.line for letter in letters]
        try:
            self._stream.add("refusals" if are_refusals else "changes", lines, dropped)
        except StoreUnavailable as problem:
            raise Undelivered(str(problem.detail or problem)) from None
