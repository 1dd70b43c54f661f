"""The templates of the page, with those of an application."""

from __future__ import annotations

from pathlib import Path

import pytest

from patauth import ConfigurationError
from patauth.wsgi.page.rendering import Example, Rendering

OURS = '{% extends "patauth/base.html" %}\n'


def test_what_an_application_could_not_show_is_said_at_the_start(tmp_path: Path) -> None:
    base = tmp_path / "base.html"
    for text, said in (
        ('{% extends "base.html" %}', "base.html extends itself; extend patauth/base.html"),
        (OURS + "{% block head %}", "base.html, line 2: "),
        (OURS + "\n{{ t( }}", "base.html, line 3: "),
        (
            OURS + "{% block head %}{{ 1 | shout }}{% endblock %}",
            "base.html, line 2: No filter named 'shout'",
        ),
        (OURS + "{% block haed %}{% endblock %}", "no block haed; fill title, head, header, main, footer"),
        (OURS + "{% block header %}{{ vist.person }}{% endblock %}", "'vist' is undefined"),
        (OURS + "{% block header %}{{ visit.preson }}{% endblock %}", "no attribute 'preson'"),
        (OURS + "{% block header %}{{ visit.person.owner }}{% endblock %}", "no attribute 'owner'"),
        (OURS + "{% block header %}{{ t('tilte') }}{% endblock %}", "KeyError: 'tilte'"),
        ('{% extends "patauth/bse.html" %}', "TemplateNotFound: patauth/bse.html"),
        (OURS + '{% block footer %}{% include "no.html" %}{% endblock %}', "TemplateNotFound: no.html"),
    ):
        base.write_text(text, "utf-8")
        with pytest.raises(ConfigurationError, match=f"page_folder: .*{said}"):
            Rendering(tmp_path)
    base.write_bytes((OURS + "Universit\xe4t").encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"page_folder: .*base\.html cannot be read: 'utf-8' codec"):
        Rendering(tmp_path)
    base.write_text('{% extends "b.html" %}')
    (tmp_path / "b.html").write_text('{% extends "base.html" %}')
    with pytest.raises(ConfigurationError, match=r"base\.html extends or includes itself, by way of others"):
        Rendering(tmp_path)


def test_a_folder_that_is_named_as_a_file_or_holds_what_is_not_read_is_said_at_the_start(
    tmp_path: Path,
) -> None:
    for number, (name, said) in enumerate((
        ("d.html", "d.html cannot be read"),
        ("text/nl.toml", "nl.toml is not read; move it to .*texts"),
        ("nl.toml", "nl.toml is not read; move it to .*texts"),
    )):  # fmt: skip
        folder = tmp_path / str(number)
        (folder / name).mkdir(parents=True)
        with pytest.raises(ConfigurationError, match=f"page_folder: .*{said}"):
            Rendering(folder)


def test_what_an_application_can_show_is_shown_as_it_was_at_the_start(tmp_path: Path) -> None:
    base = tmp_path / "base.html"
    base.write_text(
        OURS + "{% block title %}{{ visit.person.owner.id if visit.person else 'out' }}{% endblock %}"
        "{% block footer %}{% block imprint %}{{ visit.login_url or visit.link('new') }}{% endblock %}"
        "{% endblock %}"
    )
    (tmp_path / "pyproject.toml").write_text("of another program")
    (tmp_path / "layout.html").write_text("{% block own %}{% endblock %}")
    (tmp_path / "other.html").write_text('{% extends "layout.html" %}{% block own %}{% endblock %}')
    rendering = Rendering(tmp_path)
    base.write_text("{{ broken while it runs")
    answer = rendering.answer(
        200, "base.html", {"visit": Example(rendering, None), "t": rendering.languages.of("", None)}
    )
    assert b"<title>out</title>" in answer.body
