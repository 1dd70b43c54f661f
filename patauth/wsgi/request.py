"""What a request presents before anything is decided: its Authorization value, and the client's address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InvalidRequest, MissingCredentials

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def authorization(environ: WSGIEnvironment) -> str:
    """Return the Authorization value. Raise `MissingCredentials` where there is none.

    A token in the URL is never read. Next to an Authorization value it is an `InvalidRequest` (RFC 6750 §2).
    """
    value: str = environ.get("HTTP_AUTHORIZATION", "")
    if not value:
        raise MissingCredentials
    if "&access_token=" in "&" + environ.get("QUERY_STRING", ""):
        raise InvalidRequest("send credentials once: in the Authorization header, and never in the URL")
    return value


def client_address(environ: WSGIEnvironment, trusted_proxies: int) -> str | None:
    """Return REMOTE_ADDR, or behind n trusted proxies the n-th X-Forwarded-For entry from the right.

    Each proxy appends the address that called it. So the trusted proxies wrote the last n entries, and the
    client wrote all entries before those. With fewer than n entries, the request came around the outer
    proxies: REMOTE_ADDR is then the only address that the client could not choose, and nobody escapes the
    quota of failures by that way. The same holds for an empty entry. Empty entries count, because skipping
    one would move the count into what the client wrote.
    """
    remote_addr: str | None = environ.get("REMOTE_ADDR")
    if trusted_proxies < 1:
        return remote_addr
    entries = environ.get("HTTP_X_FORWARDED_FOR", "").rsplit(",", trusted_proxies)
    if len(entries) < trusted_proxies:
        return remote_addr
    return entries[-trusted_proxies].strip(" \t") or remote_addr
