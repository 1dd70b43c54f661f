"""Read Django's settings of patauth, and make the Authority of the process from them."""

from __future__ import annotations

import atexit
from dataclasses import fields
from threading import Lock
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed

from ..authority import Authority
from ..concurrency.forks import hold_over_fork
from ..settings import Settings
from ..wsgi.frameworks import configured

OWN = ("PATAUTH_AUTHORITY", "PATAUTH_USER")  # known here alone


def gate_arguments() -> dict[str, Any]:
    """Return the arguments of the gate. Warn of names that are no settings."""
    return _given()[1]


def keywords() -> dict[str, Any]:
    """Return the settings of patauth that Django's settings have, by name."""
    shared: Authority | None = getattr(settings, "PATAUTH_AUTHORITY", None)
    if shared is not None:
        return {field.name: getattr(shared.settings, field.name) for field in fields(Settings)}
    return _given()[0]


def authority() -> Authority:
    """Return the Authority of this process: it is made once, at the first call, and closed at the end.

    It is PATAUTH_AUTHORITY, or one with the settings of Django and of the environment. Raise
    `ConfigurationError`.
    """
    shared: Authority | None = getattr(settings, "PATAUTH_AUTHORITY", None)
    return _process.authority() if shared is None else shared


def _given() -> tuple[dict[str, Any], dict[str, Any]]:
    ours = {name: getattr(settings, name) for name in dir(settings) if name.startswith("PATAUTH_")}
    return configured({name: value for name, value in ours.items() if name not in OWN})


class _Process:
    """Holds the Authority that was made for this process."""

    def __init__(self) -> None:
        self._lock = Lock()
        hold_over_fork(self._lock)
        self._authority: Authority | None = None

    def authority(self) -> Authority:
        with self._lock:
            if self._authority is None:
                self._authority = Authority.from_env(**keywords())
            return self._authority

    def forget(self) -> None:
        """Close the Authority. The next call makes one from the settings of that moment."""
        with self._lock:
            made, self._authority = self._authority, None
        if made is not None:
            made.close()


_process = _Process()
atexit.register(_process.forget)


def _changed(*, setting: str, **_: Any) -> None:
    """Close the Authority when a test overrides the settings that it was made of."""
    if setting.startswith("PATAUTH_"):
        _process.forget()


setting_changed.connect(_changed)
