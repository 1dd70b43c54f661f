"""Functions of the host that a setting may name, such as `identify`."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from traceback import extract_tb
from typing import Any

from ..errors import ConfigurationError
from ..model.hooks import Hook, read_hook
from ..settings import Settings, read_named


def load(name: str, hook: Hook | None) -> Any:
    """Return the function of a setting, which may be its name, "package.module:function"; None for None.

    Its module is looked for in the working directory too, as gunicorn looks for an application. Raise
    `ConfigurationError`, which says what is wrong.
    """
    if hook is None:
        return None
    hook = read_named(name, read_hook, hook)
    if not isinstance(hook, str):
        return hook
    module, _, path = hook.partition(":")
    found = _imported(name, module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise ConfigurationError(f"{name}: the module {module} has no function {path}")
    return found


def check_hooks(settings: Settings) -> None:
    """Load the functions that settings name. Raise `ConfigurationError`."""
    for name in ("identify", "reauthenticate"):
        load(name, getattr(settings, name))


def _imported(name: str, module: str) -> Any:
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return import_module(module)
    except ModuleNotFoundError as problem:
        why = f"there is no module {problem.name}, neither in {folder} nor installed"
    except SyntaxError as problem:
        why = f"{module} is no Python: {problem}"
    except Exception as problem:  # its text is not told, because the host may put anything there
        last = extract_tb(problem.__traceback__)[-1]
        why = f"{module} fails with {type(problem).__name__} in {last.filename}, line {last.lineno}"
    raise ConfigurationError(f"{name}: {why}")
