"""Forks: reset in the child what it must not share with its parent, such as sockets and locks.

`preload_app` and multiprocessing fork a process. The child has none of the other threads, but the locks that
these held. It also shares the sockets of the parent, so a reply could reach the wrong process.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from threading import Lock
from types import MethodType
from typing import Any

# An object and its function to call, by the id of the reference to the object, in order of registration.
_hooks: dict[int, tuple[weakref.ref[Any], Callable[[Any], None]]] = {}
_held: weakref.WeakSet[Lock] = weakref.WeakSet()
_acquired: list[Lock] = []  # while a fork is under way


def after_fork_in_child(method: Callable[[], None]) -> None:
    """Register a bound method. Each forked child calls it, as long as its object exists."""
    # Single operations on a dict need no lock: two threads that register at the same time lose nothing, and a
    # fork in between leaves nothing locked.
    # Not a WeakMethod: when the interpreter ends, its callback can fail, and Python reports that on stderr.
    assert isinstance(method, MethodType)
    hooks = _hooks
    ours = weakref.ref(method.__self__, lambda dead: hooks.pop(id(dead), None))
    hooks[id(ours)] = ours, method.__func__


def hold_over_fork(lock: Lock) -> None:
    """Hold `lock` during each fork, as long as the lock exists.

    So the data that it guards is consistent in the child.
    """
    _held.add(lock)


def _acquire() -> None:
    _acquired.extend(sorted(_held, key=id))
    for lock in _acquired:
        lock.acquire()


def _release() -> None:
    while _acquired:
        _acquired.pop().release()


def _run() -> None:
    _release()
    failed = None
    for reference, function in list(_hooks.values()):  # a copy: an object may die meanwhile
        ours = reference()
        try:
            if ours is not None:
                function(ours)
        except Exception as problem:  # the other hooks must run in any case: they close shared sockets
            failed = problem
    if failed is not None:
        raise failed  # Python reports it (sys.unraisablehook); os.fork() itself does not fail


os.register_at_fork(before=_acquire, after_in_parent=_release, after_in_child=_run)
