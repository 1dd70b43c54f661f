"""The processes of a run: verifiers that share an Authority or an app, and all who change something."""

from __future__ import annotations

import logging
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from multiprocessing.connection import Connection

import requests

from patauth import Authority, InvalidCredentials, StoreUnavailable
from tests.failover.traffic import SETTINGS, Changes, Noted, Round, Signals, verify

# Threads of each process that verifies: always, now and then, cut off from the Sentinels, by HTTP.
_VERIFIERS = {"busy": 1, "idle": 2, "far": 1, "http": 6}
_context = multiprocessing.get_context("spawn")


def signals() -> Signals:
    """Return signals that processes share."""
    return Signals(_context.Event(), _context.Event())


class Worker:
    """A process that plays a role in each round: "changes", or that of a verifier.

    `url` is that of the store, or of the app for "http".
    """

    def __init__(self, role: str, url: str, durability: str, shared: Signals) -> None:
        self._connection, theirs = _context.Pipe()
        given = (theirs, role, url, durability, shared)
        self._process = _context.Process(target=_serve, args=given, daemon=True)
        self._process.start()
        theirs.close()
        self._connection.recv()  # it is ready

    def begin(self, given: Round) -> None:
        """Let it begin a round."""
        self._connection.send(given)

    def end(self) -> Noted:
        """Wait for its end of a round that is over; return what it has noted."""
        noted = self._connection.recv()
        assert isinstance(noted, Noted)
        return noted

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(5)
        self._process.kill()


def _serve(connection: Connection, role: str, url: str, durability: str, shared: Signals) -> None:
    logging.disable()  # a refusal is a line of the audit trail, and there are thousands
    with ExitStack() as stack, suppress(EOFError):
        if role != "http":
            authority = stack.enter_context(Authority.from_url(url, durability=durability, **SETTINGS))
        connection.send(None)
        while True:
            given, noted = connection.recv(), Noted()
            if role == "changes":
                works = Changes(authority, given, shared, noted).works()
            else:
                ask = _over_http(url) if role == "http" else authority.authenticate
                works = [
                    partial(verify, f"{role}-{number}", ask, given, shared, noted)
                    for number in range(_VERIFIERS[role])
                ]
            with ThreadPoolExecutor(len(works)) as pool:
                for done in [pool.submit(work) for work in works]:
                    done.result()
            connection.send(noted)


def _over_http(url: str) -> Callable[[str], None]:
    """Return a function that shows an Authorization value to an app, and raises what the status says."""
    own = threading.local()

    def ask(value: str) -> None:
        if not hasattr(own, "session"):
            own.session = requests.Session()
        answer = own.session.get(f"{url}/me", headers={"Authorization": value}, timeout=10)
        if answer.status_code == 401:
            raise InvalidCredentials
        if answer.status_code == 503:
            raise StoreUnavailable
        answer.raise_for_status()

    return ask
