from __future__ import annotations

import re
import tomllib

import pytest

from patauth.cli.doctor import installation
from patauth.cli.doctor.installation import judge_installation
from tests.support.paths import ROOT

# Others together, or for tests.
OTHERS = ("demo", "bench", "clients", "docs", "mutation", "release", "test")


def test_it_knows_each_extra_and_its_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    packages = {
        extra: tuple(re.split(r"[\[<>=;]", line)[0] for line in lines)
        for extra, lines in project["optional-dependencies"].items()
        if extra not in OTHERS
    }
    assert packages == installation._EXTRAS


def test_an_extra_is_not_installed_if_one_of_its_packages_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "_EXTRAS", {"all": ("click",), "half": ("click", "no-such-package")})
    found, *_ = judge_installation()
    assert "extras installed: all; not installed: half." in found.text
