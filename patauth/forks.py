"""What must be made anew in a forked child: sockets, locks, whatever a lost thread may have held.

`preload_app` and multiprocessing fork a process whose other threads vanish with whatever they held, and
whose sockets are then shared: a reply could reach the wrong process.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable

_hooks: list[weakref.WeakMethod[Callable[[], None]]] = []


def after_fork_in_child(method: Callable[[], None]) -> None:
    """Call a bound method in each forked child, as long as its object lives."""
    _hooks[:] = [hook for hook in _hooks if hook() is not None]
    _hooks.append(weakref.WeakMethod(method))


def _run() -> None:
    for hook in _hooks:
        method = hook()
        if method is not None:
            method()


os.register_at_fork(after_in_child=_run)
