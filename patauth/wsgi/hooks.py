"""Functions of the host that a setting may name, such as `identify`."""

from __future__ import annotations

import inspect
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from traceback import extract_tb
from typing import Any, TypeVar

from ..errors import ConfigurationError
from ..files import why_untrusted
from ..model.hooks import Hook, read_hook
from ..settings import Settings, read_named

T = TypeVar("T")


def load(name: str, hook: Hook | None) -> Any:
    """Return the function of a setting; None for None.

    The setting may be the function or its name, "package.module:function" or "package.module.function". Look
    for the module in the working directory too, as gunicorn does, but last. Raise `ConfigurationError`, which
    says what is wrong.
    """
    if hook is None:
        return None
    hook = read_named(name, read_hook, hook)
    if not isinstance(hook, str):
        return check_sync(name, hook)
    module, _, path = hook.partition(":") if ":" in hook else hook.rpartition(".")
    found = _imported(name, module)
    try:
        for part in path.split("."):
            found = getattr(found, part, None)
    except Exception as problem:  # of a `__getattr__` of the module's own
        raise ConfigurationError(f"{name}: {hook} {_failure(problem)}") from None
    if not callable(found):
        raise ConfigurationError(f"{name}: the module {module} has no function {path}")
    return check_sync(name, found)


def check_sync(name: str, function: T) -> T:
    """Return a function of the host. Raise `ConfigurationError` if it is async."""
    for called in (function, getattr(function, "__call__", None)):  # noqa: B004 - of an object
        if inspect.iscoroutinefunction(called):
            raise ConfigurationError(
                f"{name}: give a function that is not async; patauth calls it in a thread, where it may wait"
            )
    return function


def check_hooks(settings: Settings) -> None:
    """Load the functions that settings name. Raise `ConfigurationError`."""
    for name in ("identify", "reauthenticate"):
        load(name, getattr(settings, name))


def _imported(name: str, module: str) -> Any:
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that a file there takes the place of no installed module
    if _is_in(folder, module):
        status = os.stat(folder)  # its owner may be who installs the application, and needs not be this user
        if why := why_untrusted(folder, status, owner=status.st_uid, of_code=True):
            raise ConfigurationError(f"{name}: {module} is in the working directory, and {why}")
    try:
        return import_module(module)
    except ModuleNotFoundError as problem:
        why = f"there is no module {problem.name}, neither in {folder} nor installed"
    except SyntaxError as problem:
        why = f"{module} is no Python: {problem}"
    except (Exception, SystemExit) as problem:
        why = f"{module} {_failure(problem)}"
    raise ConfigurationError(f"{name}: {why}")


def _is_in(folder: str, module: str) -> bool:
    """Return whether the file or folder of a module or its package is in a folder. It is not imported."""
    try:
        spec = find_spec(module.partition(".")[0])
    except ValueError:  # such as `__main__`, which runs already
        return False
    if spec is None:
        return False
    places = spec.submodule_search_locations or [spec.origin or ""]
    return any(os.path.isabs(place) and os.path.dirname(place) == folder for place in places)


def _failure(problem: BaseException) -> str:
    """Return the type and place of a failure, but not its text, which may contain anything."""
    last = extract_tb(problem.__traceback__)[-1]
    return f"fails with {type(problem).__name__} in {last.filename}, line {last.lineno}"
