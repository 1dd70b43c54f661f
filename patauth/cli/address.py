"""Addresses to listen on, as people type them."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import click

from ..model.http_names import is_loopback
from .context import Failure


@dataclass(frozen=True, slots=True)
class Address:
    """A host with a port, or the path of a Unix socket (None: no path). `option` is how it was given."""

    text: str
    option: str
    host: str = ""
    port: int = 0
    path: str | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it, as far as its spelling tells. A path is no such address."""
        return self.path is None and is_loopback(self.host)

    @property
    def url(self) -> str:
        """The URL of an address with a port."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def listen(self) -> socket.socket:
        """Return a socket that listens on host and port. Raise `Failure` if there can be none."""
        try:
            if ":" not in self.host:
                return socket.create_server((self.host, self.port))
            # [::] is all addresses, those of IPv4 too.
            both = socket.has_dualstack_ipv6()
            return socket.create_server((self.host, self.port), family=socket.AF_INET6, dualstack_ipv6=both)
        except OSError as problem:
            raise self.not_listening(problem) from None

    def not_listening(self, problem: OSError) -> Failure:
        """Return what says why nobody can listen there."""
        why = os.strerror(problem.errno) if problem.errno else problem  # the text, if the path is too long
        return Failure(f"cannot listen on {self.text} ({why}); choose another address with {self.option}")

    def check_path(self, path: str) -> None:
        """Raise `Failure` unless a socket can be made at the path. One that nobody serves is removed."""
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                if os.path.exists(path):
                    if not Path(path).is_socket():
                        raise Failure(
                            f"cannot listen on {self.text}: there is something else than a socket; choose"
                            f" another path with {self.option}"
                        )
                    probe.settimeout(1)
                    with suppress(ConnectionRefusedError):
                        probe.connect(path)
                        raise OSError(errno.EADDRINUSE, "")
                    os.remove(path)
            with socket.socket(socket.AF_UNIX) as probe:
                probe.bind(path)
            os.remove(path)
        except OSError as problem:
            raise self.not_listening(problem) from None


def check_free(addresses: Sequence[Address]) -> None:
    """Raise `Failure` unless the addresses are free, and all of them at the same time.

    gunicorn would retry for five seconds and end in a traceback.
    """
    with ExitStack() as taken:
        for address in addresses:
            if address.path is None:
                taken.enter_context(address.listen())
            else:
                address.check_path(address.path)


class AddressType(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click
    """Reads HOST:PORT and [IPV6]:PORT, and unix:PATH if `paths`."""

    name = "address"

    def __init__(self, *, paths: bool = False) -> None:
        self._paths = paths

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Return the address. Raise `click.BadParameter` for any other text."""
        option = param.opts[0] if param else ""
        if self._paths and value.startswith("unix:"):
            path = value.removeprefix("unix:").removeprefix("//")
            if not path:
                self.fail("give a path after unix:", param, ctx)
            return Address(value, option, path=path)
        host, colon, port = value.rpartition(":")
        if not colon or not port.isdigit() or not 0 < int(port) < 65_536:
            others = ", [IPV6]:PORT or unix:PATH" if self._paths else " or [IPV6]:PORT"
            self.fail(f"give HOST:PORT (port 1 to 65535){others}", param, ctx)
        return Address(value, option, host.strip("[]"), int(port))
