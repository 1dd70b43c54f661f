"""Everything that an object refers to, to any depth: to see what a process keeps in its memory."""

from __future__ import annotations

import gc
from types import ModuleType
from typing import Any


def texts_in(thing: Any) -> list[bytes]:
    """Return all texts and bytes that an object refers to. Types, modules and functions are left out."""
    seen: dict[int, Any] = {}  # the objects stay alive, so that no id is given twice
    todo, found = [thing], []
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, type | ModuleType) or callable(one):
            continue
        seen[id(one)] = one
        if isinstance(one, str):
            found.append(one.encode("utf-8", "surrogatepass"))
        elif isinstance(one, bytes | bytearray):
            found.append(bytes(one))
        todo.extend(gc.get_referents(one))
    return found
