"""Share code among the adapters of frameworks: keys `PATAUTH_<NAME>` of a configuration, and extras."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from ..settings import CODE_ONLY, Settings
from .hooks import check_sync

_PREFIX = "PATAUTH_"
# Settings that are also arguments of the gate, so that they hold for any Authority that the app gets.
_OF_GATE = ("surfaces", "identify", "reauthenticate", "challenges", "token_headers")


def configured(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings that a configuration has, and the arguments of the gate, both by name.

    A value of None counts as missing. Warn of `PATAUTH_*` names that are neither. Raise `ConfigurationError`
    for an async function.
    """
    known = {field.name for field in fields(Settings)}
    settings, gate = {}, {}
    for key, value in config.items():
        if not key.startswith(_PREFIX) or value is None:
            continue
        name = key.removeprefix(_PREFIX).lower()
        if name in known:
            settings[name] = value
        if name in (*CODE_ONLY, *_OF_GATE):
            gate[name] = check_sync(name, value)
        elif name not in known:
            warnings.warn(f"{key} is not a setting of patauth; is it misspelt?", stacklevel=4)
    return settings, gate


@contextmanager
def of_extra(framework: str) -> Iterator[None]:
    """Import a framework. If it is not installed, the error names the extra of the same name."""
    try:
        yield
    except ModuleNotFoundError as problem:
        if problem.name != framework:
            raise
        text = f"patauth.{framework} needs {framework}: pip install 'patauth[{framework}]'"
        raise ModuleNotFoundError(text, name=framework) from None
