"""Read what a request shows before anything is decided: its credentials, and the client's address."""

from __future__ import annotations

import re
from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING

from ..errors import InvalidRequest
from ..model.address import WITHOUT_ADDRESS, Address, is_proxy

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

# What may have credentials or the query: servers and front servers have many names for the URL, and Apache
# repeats variables behind REDIRECT_. CONTENT_ is the body's.
_LEFT_OUT = re.compile(r"AUTHORIZATION|COOKIE|QUERY|_UR[IL]\Z|\A(?:HTTP_REFERER\Z|REDIRECT_|CONTENT_)")

PAT_ID = "patauth.pat_id"  # where an environ has the id of the verified caller's PAT, for the access log

_LONGEST = 64  # characters of an entry in X-Forwarded-For; an address with port and zone is shorter


def carried(environ: WSGIEnvironment, token_headers: Iterable[str] = ()) -> str:
    """Return the Authorization value, or the token of a token header as `Bearer …`; empty without either.

    `token_headers`: their names in the environ. A token in the URL is never read. Two carriers in one request
    are an `InvalidRequest` (RFC 6750 §2).
    """
    value: str = environ.get("HTTP_AUTHORIZATION", "")
    for name in token_headers:
        token = environ.get(name)
        if token:
            if value:
                raise InvalidRequest("send credentials once, in one header")
            value = "Bearer " + token
    if value and "&access_token=" in "&" + environ.get("QUERY_STRING", ""):
        raise InvalidRequest("send credentials once, in one header, and never in the URL")
    return value


def bare(environ: WSGIEnvironment, token_headers: Iterable[str] = ()) -> WSGIEnvironment:
    """Return a copy of an environ without body, query, cookies and credentials."""
    kept = {
        name: value
        for name, value in environ.items()
        if name.startswith("wsgi.") or (isinstance(value, str) and not _LEFT_OUT.search(name))
    }
    for name in token_headers:
        kept.pop(name, None)
    return {**kept, "QUERY_STRING": "", "wsgi.input": BytesIO()}


def without_body(environ: WSGIEnvironment) -> WSGIEnvironment:
    """Return a copy of an environ with an empty body: reading it takes nothing away and never waits.

    The environ's own body may have been read already, and some servers wait for more after its end.
    """
    kept = {name: value for name, value in environ.items() if name != "HTTP_TRANSFER_ENCODING"}
    return {**kept, "CONTENT_LENGTH": "0", "wsgi.input": BytesIO()}


def client_address(
    trusted_proxies: int, proxy_networks: tuple[str, ...], environ: WSGIEnvironment
) -> Address:
    """Return REMOTE_ADDR, or behind n trusted proxies the n-th X-Forwarded-For entry from the right.

    Each proxy appends the address that called it. So the trusted proxies wrote the last n entries, and the
    client wrote all entries before those. With fewer than n entries, the request came around the outer
    proxies: REMOTE_ADDR is then the only address that the client could not choose, so that way does not
    escape the failure quota. The same holds for an empty entry. Empty entries count, because skipping one
    would move the count into what the client wrote.

    `proxy_networks`: where the proxies are. An entry is believed if it comes from there: from a peer, or
    through proxies, that are all in these networks. Otherwise the address at which that chain ends counts.
    Without networks, the field of any sender is read, and its address is not known for certain. Nor is the
    address of a request that some other proxy has passed on.
    """
    peer: str | None = environ.get("REMOTE_ADDR")
    forwarded: str | None = environ.get("HTTP_X_FORWARDED_FOR")
    if peer in WITHOUT_ADDRESS:
        peer = None
    if trusted_proxies < 1 or (proxy_networks and not is_proxy(peer or "", proxy_networks)):
        is_direct = forwarded is None and "HTTP_FORWARDED" not in environ
        return Address(peer, peer if is_direct else None)
    # An unusually long entry is no address, and none of these stays in the memory of `is_proxy`.
    entries = [entry.strip(" \t")[:_LONGEST] for entry in (forwarded or "").rsplit(",", trusted_proxies)]
    chain = entries[-trusted_proxies:]
    if len(chain) < trusted_proxies or not all(chain):
        return Address(peer, None)
    client, *proxies = chain
    if not proxy_networks:
        return Address(client, None)
    for proxy in reversed(proxies):
        if not is_proxy(proxy, proxy_networks):
            return Address(proxy, None)
    return Address(client, client)
