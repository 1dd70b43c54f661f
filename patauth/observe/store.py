"""Scripts that tell observers of each call of the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..store.scripts import Filled, Scripts, script_of
from ..store.transport.protocol import Transport
from ..store.transport.wire import Command
from .observer import Observers


class ObservedScripts(Scripts):
    """Runs scripts, and tells observers of each call. The other arguments are those of `Scripts`."""

    def __init__(self, observers: Observers, transport: Transport, *args: Any) -> None:
        super().__init__(transport, *args)
        self._observers = observers
        self._connections = transport.connections  # to all servers, also where a view has one of them

    def ask(self, filled: Filled, at: float) -> Any:
        """Send a prepared call and return the answer, as `Scripts.ask` does."""
        end = self._observers.store_operation("EVALSHA", filled.call.script.name)
        try:
            reply = super().ask(filled, at)
        except BaseException as problem:
            end(problem)
            raise
        else:
            end(None)
            return reply
        finally:
            self._observers.connections(self._connections)

    def call(self, commands: Sequence[Command], retry: bool = False) -> list[Any]:
        """Send plain commands and return their replies, as `Scripts.call` does."""
        end = self._observers.store_operation(str(commands[0][0]), script_of(commands[0]))
        try:
            replies = super().call(commands, retry)
        except BaseException as problem:
            end(problem)
            raise
        else:
            end(None)
            return replies
        finally:
            self._observers.connections(self._connections)
