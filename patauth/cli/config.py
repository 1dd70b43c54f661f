"""`patauth config`: the settings in effect, where each comes from, and whether they are usable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from ..crypto.profiles import Profile
from ..model.quota import Quota
from ..model.sinks import shown, sinks_of
from ..settings import Settings
from ..store.factory import open_store
from ..store.url import HIDDEN, StoreUrl, masked
from ..wsgi.hooks import check_hooks
from ..wsgi.surfaces import PAGE, check_page
from .context import (
    ADDRESSES_UNKNOWN,
    IDENTIFY_UNKNOWN,
    NO_PAGE,
    lacks_page,
    message,
    named_settings,
    options,
    served,
    source_of,
    warnings_as_messages,
    without_credentials,
)
from .options import Group, wide_option
from .output import print_facts, print_table
from .table import Column

_COLUMNS = (Column("NAME", whole=True), Column("VALUE", 20), Column("FROM", 12))


@click.group(cls=Group)
def config() -> None:
    """Show and check the settings.

    They come from PATAUTH_<NAME> in the environment; --store wins over PATAUTH_STORE_URL. Settings that an
    application makes in its own code are not visible here.

    \b
    Example:
      patauth config show --store local:./patauth-data
    """


@config.command()
@wide_option
def show(wide: bool) -> None:
    """Show all settings, and where each comes from. Secrets are masked.

    Durations are in seconds. The store is not contacted. On a terminal, long values are cut; --wide shows
    them whole.

    \b
    Examples:
      patauth config show
      patauth config show --output json | jq -r .settings.request_quota.value
    """
    found = {name: (value, _source(name)) for name, value in _values(named_settings()).items()}
    print_table(
        {"settings": {name: {"value": value, "from": source} for name, (value, source) in found.items()}},
        _COLUMNS,
        [(name, _text(value), source) for name, (value, source) in found.items()],
        wide=wide,
    )


@config.command()
def check() -> None:
    """Check that the settings can be used.

    They must be valid, what they need must be installed, the functions that they name must be there, and
    files and folders of keys, secrets and a local: store must be out of the reach of other users. They are
    judged as `patauth serve` uses them. The store is not contacted; `patauth doctor` does that. If something
    is wrong, the exit code is 2 and the reason is on stderr.

    \b
    Example:
      patauth config check --store local:./patauth-data
    """
    from ..jwt.issuer import open_signed_tokens, signing_keys
    from ..store.local.binary import find_engine
    from ..store.local.folder import check_folder

    settings = served(named_settings())
    check_hooks(settings)
    if settings.identify is not None:
        check_page(settings.surfaces, settings.identify, settings.page_folder)
    with warnings_as_messages():
        open_store(settings).close()
        open_signed_tokens(settings)
    for url in sinks_of(settings.events).webhooks:
        from ..events.webhook import Webhook

        Webhook(url, settings.webhook_secret)  # needs a library
    directory = StoreUrl.read(settings.store_url).directory
    if directory is not None:
        find_engine(directory)
        check_folder(directory)
    if settings.issuer is not None and (keys := signing_keys(settings)) is not None:
        keys.keys()
    if settings.trusted_proxies and not settings.proxy_networks:
        message(f"Note: {ADDRESSES_UNKNOWN}")
    if PAGE in settings.surfaces and settings.identify is None:
        message(f"Note: {IDENTIFY_UNKNOWN}")
    if lacks_page(settings):
        message(f"Note: {NO_PAGE}")
    print_facts({"valid": True}, [("valid", "yes")])


def _source(name: str) -> str:
    if name == "store_url" and options().store is not None:
        return "--store"
    return source_of(name) or "default"


def _values(settings: Settings) -> dict[str, Any]:
    """Return the settings by name, as the environment would spell them; secrets are masked."""
    values = {field.name: _plain(field.name, getattr(settings, field.name)) for field in fields(settings)}
    return {name: value if name == "store_url" else _hidden(value) for name, value in values.items()}


def _hidden(value: Any) -> Any:
    """Return a value without credentials that were put into the wrong setting."""
    if isinstance(value, str):
        return without_credentials(value, options().host)
    if isinstance(value, list):
        return [_hidden(one) for one in value]
    return {_hidden(name): _hidden(one) for name, one in value.items()} if isinstance(value, dict) else value


def _plain(name: str, value: Any) -> Any:
    if name == "store_url":
        return masked(value)
    if name == "durability":
        return "engine" if value is None else f"replicas:{value}" if isinstance(value, int) else value
    if isinstance(value, bytes):  # secret_key
        return HIDDEN
    if name == "pepper":
        return [f"{pepper.id}:{HIDDEN}" if pepper else "none" for pepper in value]
    if name == "events":
        return [shown(word) for word in value]
    if name == "webhook_secret":
        return [HIDDEN for _ in value]
    if isinstance(value, Quota):
        return str(value)
    if isinstance(value, Profile):
        return value.name
    if name == "credential_prefixes":
        return [",".join(triple) for triple in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


def _text(value: Any) -> str:
    if value is None or value == "" or value == []:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return " ".join(value) if isinstance(value, list | dict) else str(value)
