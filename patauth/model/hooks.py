"""Functions of the host that settings hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .caller import Caller

Rule = Callable[[Caller, str], bool]  # takes a caller, and the id of an owner or a tenant
# Takes the environ; or its name, "package.module:function" or "package.module.function".
Hook = Callable[[dict[str, Any]], Any] | str


def read_rule(value: Any) -> Rule:
    """Return a function of a caller and an id. Raise `ValueError`."""
    if not callable(value):
        raise ValueError("give a function of the caller and an id; a text cannot be one")
    return value  # type: ignore[no-any-return]


def read_hook(value: Any) -> Hook:
    """Return a function of the environ, or its name. Raise `ValueError`."""
    if callable(value) or (isinstance(value, str) and re.fullmatch(r"\w+(?:\.\w+)*[.:]\w+(?:\.\w+)*", value)):
        return value  # type: ignore[no-any-return]
    raise ValueError("give a function of the environ, or its name as package.module:function")
