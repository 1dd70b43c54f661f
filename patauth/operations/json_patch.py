"""JSON Patch (RFC 6902) of a JSON object: all operations or none, and only on the members that are allowed.

The library `jsonpatch` applies the operations. This module adds what the library leaves to its caller: which
members an operation may use, errors that are safe to send, and limits, because each copy of a document into
itself doubles it. The functions change no argument, and their results share no list or object with one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from jsonpatch import JsonPatch, JsonPatchException
from jsonpointer import EndOfList, JsonPointer, JsonPointerException

from ..errors import InvalidRequest

MAX_OPERATIONS = 32
MAX_POINTER = 1024  # characters of a path
MAX_TOKENS = 16  # names and indexes in a path
# Levels of objects and lists. Paths alone could make 32 x 16 levels, too many for Python's recursion.
MAX_DEPTH = 32
# The size of the document and of everything that the operations write, together. It limits the result and the
# work. A character counts 1 and a value 8, about as much as a reference: at most 16 384 values. The longest
# list of scopes, 256 of 128 characters, takes a quarter of it.
MAX_SIZE = 131_072
_VALUE = 8

# RFC 6902 §4: the member that each operation needs in addition to `op` and `path`.
NEEDS = {
    "add": "value",
    "remove": None,
    "replace": "value",
    "move": "from",
    "copy": "from",
    "test": "value",
}
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*")  # RFC 6901 §3
_SHOWN = re.compile(r"[ !#-&(-\[\]-~]{1,40}")  # printable ASCII without quotes and backslash


def check(
    operations: object, allowed: Collection[str] | None, *, value_may_be_missing: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Return the operations of a patch, checked, as a new list that can be applied many times.

    `operations`: a list of 1 to 32 objects from any source. `allowed`: the names of the top-level members
    that operations may write or read (as `test` and `copy` do); None is all of them, and the whole document.
    If the target is a member in `value_may_be_missing`, a missing `value` is a null, because some clients
    never send a null.
    Unknown members of an operation are dropped (RFC 6902 §4). Raise `InvalidRequest`, whose field is
    `operations` or `operation N …`, counted from 1. Its text repeats names only if they are short and plain.
    """
    if isinstance(allowed, str) or isinstance(value_may_be_missing, str):
        raise TypeError("check() takes collections of names, not a text")
    if isinstance(operations, Mapping):
        raise InvalidRequest("send an array of operations, even if it is only one", field="operations")
    if not isinstance(operations, list | tuple):
        raise InvalidRequest("send an array of operations", field="operations")
    if not 1 <= len(operations) <= MAX_OPERATIONS:
        raise InvalidRequest(f"send 1 to {MAX_OPERATIONS} operations", field="operations")
    checked = []
    room = MAX_SIZE
    for place, operation in enumerate(operations, 1):
        where = f"operation {place}"
        if not isinstance(operation, Mapping):
            raise InvalidRequest("send an object with op and path", field=where)
        op = operation.get("op")
        if not isinstance(op, str) or op not in NEEDS:
            problem = f"give one of {', '.join(sorted(NEEDS))}{_not(op)}"
            raise InvalidRequest(problem, field=f"{where} op")
        path = operation.get("path")
        tokens = _tokens(path, allowed, f"{where} path")
        kept = {"op": op, "path": path}
        if op == "remove" and not tokens:
            raise InvalidRequest("the whole document cannot be removed", field=f"{where} path")
        if NEEDS[op] == "from":
            kept["from"] = operation.get("from")
            source = _tokens(kept["from"], allowed, f"{where} from")
            if op == "move" and len(source) < len(tokens) and tokens[: len(source)] == source:
                # RFC 6902 §4.4
                raise InvalidRequest("a value cannot be moved into itself", field=f"{where} from")
        elif NEEDS[op] == "value":
            if "value" not in operation and not (len(tokens) == 1 and tokens[0] in value_may_be_missing):
                raise InvalidRequest("is missing; give null where nothing is meant", field=f"{where} value")
            kept["value"], room = _read(operation.get("value"), len(tokens), room, f"{where} value")
        checked.append(kept)
    return checked


def apply(document: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the document after all operations, which come from `check`; `document` itself does not change.

    Raise `InvalidRequest` with the field `operation N …` for the first operation that fails: its path does
    not exist, its `test` is false (RFC 6902 §4.6: `true` is not 1, but 1.0 is), or it writes more than
    `MAX_SIZE` allows. Raise it also if the result is not an object, or the document is not JSON.
    """
    patched, room = _read(document, 0, MAX_SIZE, "document")
    for place, operation in enumerate(operations, 1):
        where = f"operation {place}"
        op, path = operation["op"], operation["path"]
        if op in ("add", "replace", "copy", "move"):
            # A move makes nothing larger, but it can make the document deeper; and this check is work, too.
            member = NEEDS[op]
            written = operation["value"] if member == "value" else _find(patched, operation["from"], where)
            copied, room = _read(written, path.count("/"), room, f"{where} {member}")
            if member == "value":  # a copy: later operations may change it, and the patch is used again
                operation = {**operation, "value": copied}
        try:
            patched = JsonPatch([operation]).apply(patched, in_place=True)
        except (JsonPatchException, JsonPointerException, ValueError):
            # ValueError: the library's messages contain values, and Python refuses to print 5000 digits.
            if op == "test":
                raise InvalidRequest(
                    f"the test failed{_at(path)}; nothing was changed", field=where
                ) from None
            problem = "there is nothing" if op in ("remove", "replace") else "there is no such place"
            raise InvalidRequest(f"cannot {op}: {problem}{_at(path)}", field=f"{where} path") from None
    if not isinstance(patched, dict):
        raise InvalidRequest("the document has to stay an object", field="operations")
    return patched


def _tokens(pointer: object, allowed: Collection[str] | None, where: str) -> list[str]:
    """Return the reference tokens of a JSON Pointer, unescaped (RFC 6901 §4); the first must be allowed."""
    if not isinstance(pointer, str):
        raise InvalidRequest("give a JSON Pointer, such as '/name'", field=where)
    if len(pointer) > MAX_POINTER:
        raise InvalidRequest(f"longer than {MAX_POINTER} characters", field=where)
    if not _POINTER.fullmatch(pointer):
        raise InvalidRequest(
            f"a JSON Pointer starts with '/', and '~' is only in '~0' and '~1'{_not(pointer)}", field=where
        )
    tokens: list[str] = JsonPointer(pointer).parts
    if len(tokens) > MAX_TOKENS:
        raise InvalidRequest(f"more than {MAX_TOKENS} levels", field=where)
    if allowed is not None and (not tokens or tokens[0] not in allowed):
        names = ", ".join(sorted(allowed)) or "none"
        raise InvalidRequest(f"members that can be patched: {names}{_not(pointer)}", field=where)
    return tokens


def _find(document: Any, pointer: str, where: str) -> Any:
    """Return the value at the `from` of an operation. Raise `InvalidRequest` if it does not exist."""
    try:
        found = JsonPointer(pointer).resolve(document)
    except (JsonPointerException, ValueError):  # ValueError as in apply()
        found = EndOfList([])
    if isinstance(found, EndOfList):  # "-" is the place after the last item, which is empty (RFC 6901 §4)
        raise InvalidRequest(f"there is nothing{_at(pointer)}", field=f"{where} from")
    return found


def _read(value: Any, depth: int, room: int, where: str) -> tuple[Any, int]:
    """Return a copy of a JSON value for a place `depth` levels down, and the rest of `room` after it."""
    room -= _VALUE
    if isinstance(value, str):
        room -= len(value)
    elif isinstance(value, int):  # bool too
        room -= value.bit_length() // 3  # about its number of digits
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidRequest("JSON has only finite numbers", field=where)
    elif isinstance(value, list | tuple | Mapping):
        if depth >= MAX_DEPTH:
            raise InvalidRequest(f"more than {MAX_DEPTH} levels deep", field=where)
    elif value is not None:
        raise InvalidRequest("not a JSON value", field=where)
    # This is checked before the items and at each item, so that many references to one long list end early.
    if room < 0:
        raise InvalidRequest("too large, together with the document and the operations before", field=where)
    if isinstance(value, Mapping):
        members = {}
        for name, item in value.items():
            if not isinstance(name, str):
                raise InvalidRequest("JSON names members by texts", field=where)
            members[name], room = _read(item, depth + 1, room - len(name), where)
        return members, room
    if isinstance(value, list | tuple):
        items = []
        for item in value:
            copied, room = _read(item, depth + 1, room, where)
            items.append(copied)
        return items, room
    return value, room


def _not(text: object) -> str:
    """Return ", not '…'" for a message; nothing if the caller's text is long or has unusual characters."""
    return f", not '{text}'" if isinstance(text, str) and _SHOWN.fullmatch(text) else ""


def _at(pointer: str) -> str:
    return f" at '{pointer}'" if _SHOWN.fullmatch(pointer) else ""
