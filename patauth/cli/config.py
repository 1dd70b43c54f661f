"""`patauth config`: the settings in effect, where each comes from, and whether they can be used."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import click

from .options import Group, local_directory, named_settings, options, warnings_as_messages
from .output import print_facts, print_json, print_table

if TYPE_CHECKING:
    from ..settings import Settings

_HIDDEN = "***"


@click.group(cls=Group)
def config() -> None:
    """Show and check the settings.

    They come from PATAUTH_<NAME> in the environment; --store wins over PATAUTH_STORE_URL. What an application
    sets in its own code is not seen here.

    \b
    Example:
      patauth config show --store local:./patauth-data
    """


@config.command()
def show() -> None:
    """Show all settings in effect, and where each comes from. Secrets are masked.

    Durations are in seconds. The store is not asked.

    \b
    Examples:
      patauth config show
      patauth config show --output json | jq -r .settings.request_quota.value
    """
    settings = named_settings()
    found = {name: {"value": value, "from": _source(name)} for name, value in _values(settings).items()}
    if options().json:
        print_json({"settings": found})
    else:
        rows = [(name, _text(each["value"]), str(each["from"])) for name, each in found.items()]
        print_table(("NAME", "VALUE", "FROM"), rows)


@config.command()
def check() -> None:
    """Check that the settings are valid and what they name is installed; the store is not asked.

    Exit code 2, and the reason on stderr, if not. `patauth doctor` looks at the store, too.

    \b
    Example:
      patauth config check --store local:./patauth-data
    """
    from pathlib import Path

    from ..jwt.issuer import open_signed_tokens
    from ..store.factory import open_store
    from ..store.local.binary import find_engine

    settings = named_settings()
    with warnings_as_messages():
        open_store(settings).close()
        open_signed_tokens(settings)
    directory = local_directory(settings.store_url)
    if directory is not None:
        find_engine(Path(directory))
    if options().json:
        print_json({"valid": True})
    else:
        print_facts([("valid", "yes")])


def _source(name: str) -> str:
    if name == "store_url" and options().store is not None:
        return "--store"
    for variable in (f"PATAUTH_{name.upper()}", f"PATAUTH_{name.upper()}_FILE"):
        if variable in os.environ:
            return variable
    return "default"


def _values(settings: Settings) -> dict[str, Any]:
    """The settings by name, as they would be written: numbers, texts, lists; secrets masked."""
    from dataclasses import fields

    return {field.name: _plain(field.name, getattr(settings, field.name)) for field in fields(settings)}


def _plain(name: str, value: Any) -> Any:
    from collections.abc import Mapping

    from ..crypto.profiles import Profile
    from ..model.quota import Quota

    if name == "store_url":
        return masked_url(value)
    if name == "durability":
        return "engine" if value is None else f"replicas:{value}"
    if isinstance(value, bytes):  # secret_key
        return _HIDDEN
    if name == "pepper":
        return [f"{pepper.id}:{_HIDDEN}" if pepper else "none" for pepper in value]
    if isinstance(value, Quota):
        return str(value)
    if isinstance(value, Profile):
        return value.name
    if name == "credential_prefixes":
        return [",".join(triple) for triple in value]
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


def _text(value: Any) -> str:
    if value is None or value == "" or value == []:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return " ".join(value) if isinstance(value, list | dict) else str(value)


def masked_url(url: str) -> str:
    """A store URL that can be shown: its password, wherever it may stand, is masked."""
    if local_directory(url) is not None:
        return url
    # Up to the last "@": a password may hold "@" and "/" that should have been escaped.
    url = re.sub(r"(?s)^([^:/]+://[^:@/]*):.*@", rf"\1:{_HIDDEN}@", url)
    return re.sub(r"(?i)([?&][^=&#]*password[^=&#]*=)[^&#]*", rf"\1{_HIDDEN}", url)
