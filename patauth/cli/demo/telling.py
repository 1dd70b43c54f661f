"""How the stories of `patauth demo` are told and checked, step by step.

Each step prints the request as a curl line, the answer, and what the answer means. The meaning is printed
only after the answer is checked. If an answer is not the one that the story tells, `Untrue` ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import click

from ...errors import PatAuthError
from .request import NoReply, Reply, Request

_SHOWN = ("WWW-Authenticate", "Retry-After", "RateLimit", "RateLimit-Policy", "Location")


class Untrue(Exception):
    """A step of the story failed."""


class Telling:
    """Tells the steps of a story and checks them.

    `tell` prints one line. `steps` records what was asked and answered.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.steps: list[dict[str, Any]] = []
        self._tell = tell

    @contextmanager
    def _step(self, title: str) -> Iterator[None]:
        number = len(self.steps) + 1
        self.steps.append({"step": number, "title": title, "requests": [], "statuses": []})
        self._tell("\n" + click.style(f"{number}. {title}", bold=True))
        try:
            yield
        except (Untrue, NoReply, PatAuthError, ValueError) as problem:  # ValueError: an unexpected body
            raise Untrue(f"step {number} ({title}) failed: {problem}") from problem

    def _ask(self, request: Request, status: int) -> Reply:
        self._show(request.curl())
        return self._answer(request.send(), status)

    def _show(self, line: str) -> None:
        self.steps[-1]["requests"].append(line)
        self._tell(click.style(f"   $ {line}", fg="cyan"))

    def _answer(self, reply: Reply, status: int) -> Reply:
        """Print an answer, and check its status."""
        self.steps[-1]["statuses"].append(reply.status)
        phrase = HTTPStatus(reply.status).phrase
        self._tell(click.style(f"   {reply.status} {phrase}", fg="green" if reply.status < 400 else "yellow"))
        for name, value in reply.fields:
            if name in _SHOWN:
                self._tell(f"   {name}: {value}")
        if reply.summary:
            self._tell(f"   {reply.summary}")
        self._check(reply.status == status, f"{status}, but got {reply.status}")
        return reply

    def _check(self, truth: object, expected: str) -> None:
        if not truth:
            raise Untrue(f"expected {expected}")

    def _mean(self, sentence: str) -> None:
        self.steps[-1]["meaning"] = sentence
        self._tell(f"   => {sentence}")
