"""What a request presents before anything is decided: its Authorization value, and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import InvalidRequest, MissingCredentials
from ..operations.failures import forwarded_address

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def authorization(environ: WSGIEnvironment) -> str:
    """The Authorization value; a token in the URL is never read, and refused beside another (RFC 6750 §2)."""
    value: str = environ.get("HTTP_AUTHORIZATION", "")
    if value and "&access_token=" in "&" + environ.get("QUERY_STRING", ""):
        raise InvalidRequest("send credentials once: in the Authorization header, and never in the URL")
    if not value:
        raise MissingCredentials
    return value


def client_address(environ: WSGIEnvironment, trusted_proxies: int) -> str | None:
    """The client's address as far as it can be believed (setting `trusted_proxies`)."""
    return forwarded_address(environ.get("REMOTE_ADDR"), environ.get("HTTP_X_FORWARDED_FOR"), trusted_proxies)
