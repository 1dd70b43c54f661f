"""The pages about Django: their blocks, put into a project that `django-admin` has made."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from patauth.store.local.engine import LocalEngine
from tests.support.documents import read, sections
from tests.support.processes import environment

DJANGO, REST = "docs/how-to/django.md", "docs/how-to/django-rest-framework.md"


def test_every_block_works_in_a_new_project(tmp_path: Path) -> None:
    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment(), capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    run("-m", "django", "startproject", "project", ".")
    for name, text in [file for page in (DJANGO, REST) for section in sections(page) for file in section]:
        assert name, text
        folder = tmp_path if name == "tests.py" else tmp_path / "project"
        with (folder / name).open("a") as file:
            file.write(f"\n{text}")
    with (tmp_path / "project" / "urls.py").open("a") as file:
        file.write(URLS)
    with (tmp_path / "project" / "settings.py").open("a") as file:
        file.write("PATAUTH_IDENTIFY = 'project.callers.identify'\n")
    try:
        assert "no issues" in run("manage.py", "check", "--fail-level", "DEBUG")
        (command,) = re.findall(r"^python (manage.py patauth .*)$", read(DJANGO), re.M)
        shown = run(*command.split())
        assert "alice" in shown
        assert "alice" in run("manage.py", "patauth", "pat", "list")
        (tmp_path / "more.py").write_text(MORE)
        run("manage.py", "test", "tests", "more")
    finally:
        LocalEngine(tmp_path / "patauth-data").stop()


URLS = """
from project import views
urlpatterns += [
    path("reports", views.reports),
    path("later", views.later),
    path("typed", views.typed),
    path("api/reports", views.ApiReports.as_view()),
]
"""

# What the text of the pages says of what their blocks make.
MORE = """
from datetime import timedelta
from django.contrib.auth.models import User
from django.test import TestCase
from patauth import Owner
from patauth.django import authority

class MoreTest(TestCase):
    def test_a_caller_has_the_user_of_that_name(self):
        User.objects.create_user("alice")
        given = dict(owner=Owner("alice"), scope=["reports:read"], expires_in=timedelta(minutes=5))
        issued = authority().create(name="more", **given)
        headers = {"Authorization": f"Bearer {issued.token}"}
        self.assertEqual(self.client.get("/later", headers=headers).json(), {"user": "alice"})
        for path in ("/reports", "/typed", "/api/reports"):
            self.assertEqual(self.client.get(path).status_code, 401)
            self.assertEqual(self.client.get(path, headers=headers).json(), {"hello": "alice"})
        self.assertEqual(self.client.get("/static/x").status_code, 404)
        self.assertEqual(self.client.get("/admin/").status_code, 302)
"""
