"""Names of HTTP that settings hold: schemes of challenges, header fields, origins and issuers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

CHALLENGES = ("basic", "bearer")


# These have a meaning of their own, or are removed from each request.
_TAKEN = re.compile(
    "(?i)authorization|cookie|host|origin|patauth.*|remote-user|auth-type|content-.*|transfer-encoding"
    "|connection|x-forwarded-.*"
)
_ORIGIN = re.compile(
    r"([a-z][a-z0-9+.-]*)://(?:\[[0-9a-f:.]+\]|[^\x00-\x20\x7f\[\]/:?#@,;\"'\\A-Z*]+)(?::([0-9]+))?"
)
_PORTS_NOT_SENT = (("http", "80"), ("https", "443"))


def words_of(value: Any) -> tuple[str, ...]:
    """Return the words of a text, or the texts of a list. Raise `TypeError`."""
    if isinstance(value, str):
        return tuple(value.split())
    words = tuple(value) if isinstance(value, Iterable) else (None,)
    if not all(isinstance(word, str) for word in words):
        raise TypeError("give a list of texts, or one text with blanks between")
    return words


def names_of(value: Any) -> tuple[str, ...]:
    """Return the names in a text, with blanks or commas between, or in a list. Raise `TypeError`."""
    return words_of(value.replace(",", " ") if isinstance(value, str) else value)


def read_challenges(value: Any) -> tuple[str, ...]:
    """Return the schemes of challenges in a text or a list. Raise `ValueError`."""
    schemes = tuple(word.lower() for word in names_of(value))
    if not schemes or len(set(schemes)) != len(schemes) or not set(schemes) <= set(CHALLENGES):
        raise ValueError("give 'basic', 'bearer' or both, each once")
    return schemes


def read_header_names(value: Any) -> tuple[str, ...]:
    """Return the names of header fields in a text or a list. Raise `ValueError`."""
    names = names_of(value)
    for name in names:
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,63}", name) is None:
            raise ValueError(f"{name!r} names no header field; name each, such as 'X-API-Key'")
    return _each_once(names)


def read_token_headers(value: Any) -> tuple[str, ...]:
    """Return the names of header fields that may hold a token; "none" for none. Raise `ValueError`."""
    names = () if value == "none" else read_header_names(value)
    for name in names:
        if _TAKEN.fullmatch(name):
            raise ValueError(f"{name} cannot hold a token; choose another name, such as 'X-API-Key'")
    return names


def read_origins(value: Any) -> tuple[str, ...]:
    """Return origins as browsers send them (RFC 6454 §6.2) in a text or a list; "none" for none.

    Raise `ValueError`.
    """
    origins = () if value == "none" else names_of(value)
    if origins == ("*",):
        return origins
    for origin in origins:
        match = _ORIGIN.fullmatch(origin)
        if origin == "*":
            raise ValueError("give '*' alone, or give the origins")
        if not origin.isascii():
            raise ValueError(f"{origin!r}: write the host as browsers send it, 'https://xn--…'")
        if match is None:
            raise ValueError(
                f"{origin!r} is no origin as browsers send it; give 'https://app.example' in lower case,"
                " without a path, or '*' alone"
            )
        scheme, port = match[1], match[2]
        if port and (port[0] == "0" or int(port) > 65_535 or (scheme, port) in _PORTS_NOT_SENT):
            raise ValueError(f"{origin!r}: give no port, or one that browsers send, not the scheme's own")
    return _each_once(origins)


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    lower = [name.lower() for name in names]
    for number, name in enumerate(lower):
        if name in lower[:number]:
            raise ValueError(f"name {names[number]} once")
    return names


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


# A URL, or a path of this host: a browser reads `//` and `/\` as the beginning of another host.
_BEGIN = r"(?:https?://[A-Za-z0-9\[]|/(?![/\\]))"
_LOGIN_URL = re.compile(_BEGIN + r"(?:[!-\[\]-z|~]|\{next\})*")
_EXAMPLE_URL = re.compile(_BEGIN + r"[!#%&(-\[\]-_a-z~]*")


def read_login_url(value: Any) -> str:
    """Return where people sign in: a URL, or a path of this host. Raise `ValueError`."""
    rest = "; {next} in it stands for the path to come back to, and other braces are not allowed"
    return _url(value, _LOGIN_URL, rest)


def read_example_url(value: Any) -> str:
    """Return what a token opens: a URL, or a path of this host. Raise `ValueError`."""
    return _url(value, _EXAMPLE_URL, " without quotes, braces, dollar signs and backslashes")


def _url(value: Any, form: re.Pattern[str], rest: str) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ValueError(f"give an http(s) URL or a path that begins with one '/', in visible ASCII{rest}")
    return value


def is_loopback(host: str) -> bool:
    """Return whether a host of a URL is this machine by its spelling; no name is looked up."""
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    return address == IPv6Address("::1") or address in ip_network("127.0.0.0/8")
