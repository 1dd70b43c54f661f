"""What must be made anew in a forked child: sockets, locks, whatever a lost thread may have held.

`preload_app` and multiprocessing fork a process whose other threads vanish with whatever they held, and
whose sockets are then shared: a reply could reach the wrong process.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable

_hooks: dict[int, weakref.WeakMethod[Callable[[], None]]] = {}  # by their own id, in order of registration


def after_fork_in_child(method: Callable[[], None]) -> None:
    """Call a bound method in each forked child, as long as its object lives."""
    # Single steps on a dict, no lock: two threads that register at once lose nothing, and none is left locked
    # by a fork in between.
    hook = weakref.WeakMethod(method, lambda dead: _hooks.pop(id(dead), None))
    _hooks[id(hook)] = hook


def _run() -> None:
    failed = None
    for hook in list(_hooks.values()):  # a copy: an object may die meanwhile
        method = hook()
        try:
            if method is not None:
                method()
        except Exception as problem:  # the others must run all the same: theirs are the shared sockets
            failed = problem
    if failed is not None:
        raise failed  # Python shows it (sys.unraisablehook); os.fork() itself does not fail


os.register_at_fork(after_in_child=_run)
