"""`patauth.django.authority()` and what it is made of."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from importlib.machinery import PathFinder

import pytest
from django.test import Client, override_settings

import patauth.django
from patauth import Authority, ConfigurationError
from tests.support.authorities import bearer, issue
from tests.support.django_site import site
from tests.support.processes import environment
from tests.support.servers import Server

pytestmark = pytest.mark.filterwarnings("ignore:store 'memory.:UserWarning")


def test_it_is_made_once_and_again_after_a_setting_has_changed(server: Server, prefix: str) -> None:
    with site(None, store_url=server.url, key_prefix=prefix):
        first = patauth.django.authority()
        assert patauth.django.authority() is first
        with override_settings(PATAUTH_REALM="other"):
            second = patauth.django.authority()
            assert (second.settings.realm, second.settings.key_prefix) == ("other", prefix)
        with override_settings(LANGUAGE_CODE="de"):
            third = patauth.django.authority()
            assert third is patauth.django.authority()
        assert third.settings.realm == "patauth"
        token = issue(third, never_expires=True).token
        assert Client().get("/who", headers={"Authorization": bearer(token)}).status_code == 200


def test_an_authority_of_ones_own_takes_the_place_of_the_settings(real: Authority) -> None:
    with site(real, realm="other"):
        assert patauth.django.authority() is real


def test_djangos_settings_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATAUTH_REALM", "environment")
    monkeypatch.setenv("PATAUTH_REQUEST_QUOTA", "7/10")
    with site(None, store_url="memory:", realm="settings", request_quota=None):
        settings = patauth.django.authority().settings
    assert (settings.realm, str(settings.request_quota)) == ("settings", "7/10")


def test_functions_may_be_named_as_django_names_them() -> None:
    dotted, ours = "tests.support.django_site.user_of", "tests.support.django_site:user_of"
    for name in (dotted, ours):
        with site(None, store_url="memory:", identify=name, user=name):
            assert patauth.django.authority().settings.identify == name


def test_without_a_store_the_site_does_not_start() -> None:
    with site(None), pytest.raises(ConfigurationError, match="PATAUTH_STORE_URL"):
        Client().get("/")


def test_without_django_the_import_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if f"{name}.".startswith(("django.", "patauth.django."))]:
        monkeypatch.delitem(sys.modules, name)
    found = PathFinder.find_spec
    as_if_missing = lambda name, *rest: None if name == "django" else found(name, *rest)  # noqa: E731
    monkeypatch.setattr(PathFinder, "find_spec", as_if_missing)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'patauth\[django\]'"):
        import_module("patauth.django")


def test_a_child_process_uses_the_same_authority(server: Server, prefix: str) -> None:
    with site(None, store_url=server.url, key_prefix=prefix):
        issued = issue(patauth.django.authority(), never_expires=True)
        child = os.fork()
        if child == 0:
            headers = {"Authorization": bearer(issued.token)}
            os._exit(0 if Client().get("/who", headers=headers).status_code == 200 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert patauth.django.authority().get(issued.pat.id)


def test_a_project_without_users_and_sessions_is_served(server: Server, prefix: str) -> None:
    program = (
        "from django.conf import settings\n"
        "import django\n"
        "settings.configure(\n"
        f"    PATAUTH_STORE_URL={server.url!r}, PATAUTH_KEY_PREFIX={prefix!r}, ROOT_URLCONF=(),\n"
        "    INSTALLED_APPS=['patauth.django'], MIDDLEWARE=['patauth.django.PatAuthMiddleware'],\n"
        "    ALLOWED_HOSTS=['*'], SECRET_KEY='x' * 50, LOGGING_CONFIG=None)\n"
        "django.setup()\n"
        "from django.core.management import call_command\n"
        "call_command('check', fail_level='DEBUG')\n"
        "from django.test import Client\n"
        "from tests.support.authorities import bearer, issue\n"
        "import patauth.django\n"
        "token = issue(patauth.django.authority()).token\n"
        "for headers in ({}, {'Authorization': bearer(token)}):\n"
        "    answer = Client().get('/nothing', headers=headers)\n"
        "    print(answer.status_code, hasattr(answer.wsgi_request, 'user'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.splitlines()[-2:]) == (0, ["401 False", "404 False"]), done.stderr


def test_the_package_is_imported_before_django_is_set_up_and_the_authority_ends_with_the_process(
    server: Server, prefix: str
) -> None:
    program = (
        "import patauth.django\n"
        "from django.conf import settings\n"
        "from django.apps import apps\n"
        "assert not apps.models_ready\n"
        f"settings.configure(PATAUTH_STORE_URL={server.url!r}, PATAUTH_KEY_PREFIX={prefix!r})\n"
        "close = patauth.Authority.close\n"
        "patauth.Authority.close = lambda self: print('closed', close(self))\n"
        "patauth.django.authority().ping()\n"
        "print('end')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], env=environment(), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\nclosed None\n", "")
