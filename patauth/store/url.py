"""Store URLs: read which engine a URL names and where it is, and show the URL without its password."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from ..errors import ConfigurationError

Engine = Literal["memory", "local", "server"]

HIDDEN = "***"
_SERVERS = ("redis://", "rediss://", "unix://")
_SCHEME = re.compile(r"(?:redis|valkey)s?(?:\+[a-z]+)?:(?://)?|unix:(?://)?")
_PASSWORD = re.compile(r"(?i)([?&][^=&#]*password[^=&#]*=)[^&#]*")


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """The parts of a store URL. `repr` shows no password.

    `engine` is "memory" (`memory:`), "local" (`local:DIR`) or "server" (`redis://`, `rediss://`, `unix://`,
    and the `valkey…` spellings of the first two). `directory` is the DIR of `local:DIR`. `server` is the
    URL as redis-py reads it, and may hold a password.
    """

    engine: Engine
    shown: str  # the URL with its password hidden
    directory: Path | None = None
    server: str = ""

    def __repr__(self) -> str:
        return f"<StoreUrl {self.shown}>"

    @classmethod
    def read(cls, text: str) -> StoreUrl:
        """Read a store URL. Raise `ConfigurationError`, which never repeats the URL."""
        if text in ("memory:", "memory://"):
            return cls("memory", text)
        if text.startswith("local:"):
            directory = unquote(text.removeprefix("local:"))
            if not directory:
                raise ConfigurationError(
                    "store_url: 'local:' needs a directory, for example local:./patauth-data"
                )
            return cls("local", text, Path(directory))
        server = text
        if server.startswith(("valkey://", "valkeys://")):
            server = server.replace("valkey", "redis", 1)
        if not server.startswith(_SERVERS):
            raise ConfigurationError("store_url: give memory:, local:DIR, redis://, rediss:// or unix://")
        return cls("server", masked(text), server=server)


def masked(url: str) -> str:
    """Return a store URL, or any text given in its place, without anything that may be a password.

    That is all before an `@`, since some write the password where a user name belongs, and parameters such as
    `password=`.
    """
    # Hide up to the last "@": a password may hold "@" and "/" that nobody has escaped.
    before, at, after = url.rpartition("@")
    if at and not url.startswith(("local:", "unix:///")):  # where "@" is a part of a path
        scheme = _SCHEME.match(url)
        # Within a parameter, what stands behind the "@" is the rest of the password.
        url = (scheme[0] if scheme else "") + HIDDEN + ("" if _PASSWORD.search(before) else at + after)
    return _PASSWORD.sub(rf"\1{HIDDEN}", url)
