"""Scripts that tell an observer of each call of the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..store.deadline import Deadline
from ..store.scripts import Filled, Scripts, Wait, operation_of
from ..store.transport.protocol import Transport
from ..store.transport.wire import Command
from .observer import Observer


class ObservedScripts(Scripts):
    """Runs scripts, and tells an observer of each call. The other arguments are those of `Scripts`.

    `whole` is the transport to all servers, where `transport` is to one of them.
    """

    __slots__ = ("_observer", "_whole")

    def __init__(
        self,
        observer: Observer,
        transport: Transport,
        clock: Callable[[], int] | None,
        wait: Wait,
        begin: Callable[[], Deadline],
        whole: Transport | None = None,
    ) -> None:
        super().__init__(transport, clock, wait, begin)
        self._observer = observer
        self._whole = whole or transport

    def _with(self, deadline: Callable[[], Deadline], transport: Transport | None = None) -> Scripts:
        other = ObservedScripts(
            self._observer, transport or self._transport, self._clock, self.wait, self._begin, self._whole
        )
        other.deadline = deadline
        return other

    def ask(self, filled: Filled, at: float) -> Any:
        """Send a prepared call and return the answer, as `Scripts.ask` does."""
        end = self._observer.store_operation(filled.call.script.name)
        try:
            reply = super().ask(filled, at)
        except BaseException as problem:
            self._ended(problem, end)
            raise
        self._ended(None, end)
        return reply

    def call(self, commands: Sequence[Command], retry: bool = False) -> list[Any]:
        """Send plain commands and return their replies, as `Scripts.call` does."""
        end = self._observer.store_operation(operation_of(commands[0]))
        try:
            replies = super().call(commands, retry)
        except BaseException as problem:
            self._ended(problem, end)
            raise
        self._ended(None, end)
        return replies

    def _ended(self, problem: BaseException | None, end: Callable[[BaseException | None], object]) -> None:
        end(problem)
        self._observer.connections(self._whole.connections)
