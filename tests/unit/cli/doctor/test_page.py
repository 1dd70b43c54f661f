"""What `patauth doctor` finds about the page for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from patauth import Settings
from patauth.cli.doctor.page import judge_page
from patauth.wsgi import surfaces

WHO = {"identify": "os:getcwd"}
PAGE = {"surfaces": ["oauth", "page"]}


def found(**given: Any) -> list[tuple[str, str]]:
    return [(one.level, one.text) for one in judge_page(Settings.of(store_url="local:x", **given))]


def test_without_people_there_is_nothing_to_say() -> None:
    assert found() == []


def test_what_the_page_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, level, text in (
        ({"identify": "nowhere_at_all:who"}, "problem", "identify: there is no module nowhere_at_all"),
        ({**WHO, "reauthenticate": "os:sep"}, "problem", "reauthenticate: the module os has no function sep"),
        (PAGE, "warning", "identify is not set here"),
        (PAGE | WHO, "ok", "identify is os:getcwd. The page sends people who are signed out to nowhere"),
        (WHO, "ok", "nowhere (login_url is not set)"),
        (WHO | {"login_url": "/in?next={next}"}, "ok", "signed out to /in?next={next}."),
    ):
        with monkeypatch.context() as environment:
            if "surfaces" in given:
                environment.setenv("PATAUTH_SURFACES", "oauth page")
            ((found_level, found_text),) = found(**given)
        assert found_level == level, given
        assert text in found_text, given


def test_a_folder_of_its_own_that_the_page_could_not_use_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "base.html").write_text('{% extends "base.html" %}')
    for given in ({}, PAGE):  # without PATAUTH_SURFACES, patauth serve has the page
        ((level, text),) = found(**given, **WHO, page_folder=tmp_path)
        assert (level, "base.html extends itself" in text) == ("problem", True)


def test_a_page_that_nothing_can_draw_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surfaces, "find_spec", lambda name: None)
    ((level, text),) = found(**WHO)
    assert (level, "patauth serve has no page without jinja2" in text) == ("warning", True)
    monkeypatch.setenv("PATAUTH_SURFACES", "oauth page")
    ((level, text),) = found(**PAGE, **WHO)
    assert level == "problem"
    assert "patauth[page]" in text
    monkeypatch.setenv("PATAUTH_SURFACES", "oauth")
    assert [level for level, _ in found(**WHO)] == ["ok"], "it is off"
