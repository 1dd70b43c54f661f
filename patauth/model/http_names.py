"""Names of HTTP that settings hold: schemes of challenges, header fields, origins and issuers."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

CHALLENGES = ("basic", "bearer")


def words_of(value: Any) -> tuple[str, ...]:
    """Return the words of a text, or the texts of a list. Raise `TypeError`."""
    words = tuple(value.split() if isinstance(value, str) else value)
    if not all(isinstance(word, str) for word in words):
        raise TypeError("give texts")
    return words


def read_challenges(value: Any) -> tuple[str, ...]:
    """Return the schemes of challenges in a text or a list. Raise `ValueError`."""
    schemes = tuple(word.lower() for word in words_of(value))
    if not schemes or len(set(schemes)) != len(schemes) or not set(schemes) <= set(CHALLENGES):
        raise ValueError("give 'basic', 'bearer' or both, each once")
    return schemes


def read_header_names(value: Any) -> tuple[str, ...]:
    """Return the names of header fields in a text or a list. Raise `ValueError`."""
    names = words_of(value)
    if not all(re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,63}", name) for name in names):
        raise ValueError("give names of header fields, such as 'X-API-Key'")
    return names


def read_token_headers(value: Any) -> tuple[str, ...]:
    """Return the names of header fields that may hold a token. Raise `ValueError`."""
    names = read_header_names(value)
    # These have a meaning of their own, or are removed from each request.
    taken = [name for name in names if re.fullmatch("(?i)authorization|cookie|host|origin|patauth.*", name)]
    if taken:
        raise ValueError(f"{taken[0]} cannot hold a token; choose another name, such as 'X-API-Key'")
    return names


def read_origins(value: Any) -> tuple[str, ...]:
    """Return origins as browsers send them (RFC 6454 §6.2) in a text or a list. Raise `ValueError`."""
    origins = words_of(value)
    if origins == ("*",):
        return origins
    for origin in origins:
        match = re.fullmatch(r"([a-z][a-z0-9+.-]*)://([^\s/?#@,;\"'\\A-Z*]+)", origin)
        if match is None or f"{match[1]}:{match[2].rpartition(':')[2]}" in ("http:80", "https:443"):
            raise ValueError(
                f"{origin!r} is no origin as browsers send it; give 'https://app.example' in lower case,"
                " without a path and without the scheme's own port, or '*' alone"
            )
    return origins


_ISSUER = re.compile(
    r"(https?)://([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[[0-9A-Fa-f:.]+\])"
    r"(?::([1-9][0-9]{0,4}))?((?:/[A-Za-z0-9._~-]+)*)"
)


def read_issuer(value: Any) -> str:
    """Return an issuer (RFC 8414 §2) as it is, because clients compare texts; http only on this machine.

    Raise `ValueError`.
    """
    match = _ISSUER.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[3] or 0) > 65_535 or {".", ".."} & set(match[4].split("/")):
        raise ValueError("give a URL such as https://auth.example.com, without query, fragment or last '/'")
    if match[2].startswith("["):
        IPv6Address(match[2][1:-1])  # raises ValueError
    if match[1] == "http" and not is_loopback(match[2]):
        raise ValueError("give an https URL; http is for this machine alone (localhost, 127.0.0.1, [::1])")
    return str(value)


def is_loopback(host: str) -> bool:
    """Return whether a host of a URL is this machine by its spelling; no name is looked up."""
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    return address == IPv6Address("::1") or address in ip_network("127.0.0.0/8")
