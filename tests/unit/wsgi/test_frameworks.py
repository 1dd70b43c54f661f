"""What the adapters of frameworks share."""

from __future__ import annotations

import sys
from importlib import import_module

import pytest

from patauth.wsgi.frameworks import of_extra
from tests.support.tables import each


@each("framework", ["fastapi", "flask"])
def test_an_adapter_without_its_framework_names_the_extra(
    framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, framework, None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, f"patauth.{framework}", raising=False)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'patauth\[{framework}\]'"):
        import_module(f"patauth.{framework}")


def test_what_the_application_lacks_is_named_as_python_names_it() -> None:
    with pytest.raises(ModuleNotFoundError, match="'nowhere_at_all'"), of_extra("flask"):
        import_module("nowhere_at_all")
