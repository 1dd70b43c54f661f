"""What must be made anew in a forked child: sockets, locks, whatever a lost thread may have held.

`preload_app` and multiprocessing fork a process whose other threads vanish with whatever they held, and
whose sockets are then shared: a reply could reach the wrong process.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from threading import Lock
from types import MethodType
from typing import Any

# What to call of which object; by the id of its reference, in order of registration.
_hooks: dict[int, tuple[weakref.ref[Any], Callable[[Any], None]]] = {}
_held: weakref.WeakSet[Lock] = weakref.WeakSet()
_acquired: list[Lock] = []  # while a fork is under way


def after_fork_in_child(method: Callable[[], None]) -> None:
    """Call a bound method in each forked child, as long as its object lives."""
    # Single steps on a dict, no lock: two threads that register at once lose nothing, and none is left locked
    # by a fork in between.
    # No WeakMethod: as the interpreter ends it can outlive itself, and says so on stderr.
    assert isinstance(method, MethodType)
    hooks = _hooks
    ours = weakref.ref(method.__self__, lambda dead: hooks.pop(id(dead), None))
    hooks[id(ours)] = ours, method.__func__


def hold_over_fork(lock: Lock) -> None:
    """Fork only while nobody else holds `lock`, as long as it lives: what it guards is whole in the child."""
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
        except Exception as problem:  # the others must run all the same: theirs are the shared sockets
            failed = problem
    if failed is not None:
        raise failed  # Python shows it (sys.unraisablehook); os.fork() itself does not fail


os.register_at_fork(before=_acquire, after_in_parent=_release, after_in_child=_run)
