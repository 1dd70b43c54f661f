"""What `patauth doctor` finds in the settings: risks, and choices that the operator should know of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ...model.http_names import is_loopback
from ...settings import Settings
from ...store.url import StoreUrl
from ..context import ADDRESSES_UNKNOWN
from .finding import Finding, ok, warning

if TYPE_CHECKING:
    from ...store.server_facts import ServerFacts


def judge_settings(settings: Settings, facts: ServerFacts | None) -> Iterator[Finding]:
    """Examine the settings. `facts` is None if the server was not asked."""
    yield from _store_key(settings, facts)
    yield from _transport(settings.store_url)
    if settings.keep_authorization:
        yield warning(
            "settings",
            "keep_authorization passes credentials on to the app, and to everything that it logs or calls.",
            "Remove the setting, unless the app itself needs them.",
        )
    if settings.trusted_proxies:
        yield ok(
            "settings",
            f"trusted_proxies is {settings.trusted_proxies}. This is right if every request comes through"
            " that many proxies of yours, and wrong if clients can reach the app without them.",
        )
        if not settings.proxy_networks:
            yield warning("settings", ADDRESSES_UNKNOWN, "Set proxy_networks if a PAT has networks.")
    if settings.max_lifetime is None:
        yield ok("settings", "max_lifetime is not set: a PAT may last for ever.")


def _store_key(settings: Settings, facts: ServerFacts | None) -> Iterator[Finding]:
    if settings.secret_key is not None:
        yield ok("store key", "The store key is kept outside of the store (secret_key).")
    elif settings.store_url.startswith("local:"):
        yield ok("store key", "The store key is in the store, which only this user can read.")
    elif facts is not None and facts.store_key is not False:
        yield warning(
            "store key",
            "The store key is in the store, so a dump of the server contains it.",
            "For a new store, set secret_key (PATAUTH_SECRET_KEY_FILE); a store's key cannot be changed.",
        )


def _transport(url: str) -> Iterator[Finding]:
    read = StoreUrl.read(url)
    servers = map(read.node, read.seeds) if read.seeds else [read.server]
    hosts = [urlsplit(server).hostname or "localhost" for server in servers if server.startswith("redis://")]
    if not all(map(is_loopback, hosts)):
        yield warning(
            "transport",
            "The connection to the server is not encrypted: others on the network can read the password and"
            " change what is sent.",
            "Use TLS (rediss://, rediss+cluster://, rediss+sentinel://), unless the network is yours alone.",
        )
