"""In Chromium: a form of another site changes nothing in a Django app, by whichever password it comes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser

from patauth import Authority, IssuedPat, Owner
from tests.support import django_site
from tests.support.authorities import Make, issue
from tests.support.browser import submit
from tests.support.rights import MY_MANAGE
from tests.support.wsgi import serving

API = "/personal-access-tokens/v1"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "django")


@pytest.fixture
def authority(make_at: Make) -> Authority:
    return make_at(surfaces=["oauth", "isc"])


def any_page(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/html")])
    return [b"<!doctype html><title>A page</title>"]


@contextmanager
def app(authority: Authority, **given: Any) -> Iterator[str]:
    """Serve the Django project; its URL."""
    from django.core.handlers.wsgi import WSGIHandler

    with (
        django_site.site(authority, user=django_site.user_of, public=["/public*"], **given),
        serving(WSGIHandler(), tls=True) as url,
    ):
        yield url.replace("127.0.0.1", "localhost")


@pytest.fixture(scope="module")
def session() -> str:
    """The session of the victim, who has signed in. Their cookie has this value."""

    def sign_in() -> str:
        from django.test import Client

        client = Client()
        django_site.person("mallory")
        client.force_login(django_site.person("victim"))
        return client.cookies["sessionid"].value

    with ThreadPoolExecutor(1) as threads:  # playwright keeps an event loop in this one
        return threads.submit(sign_in).result()


def targets(pat: IssuedPat) -> list[str]:
    """Views: an ordinary one, an exempt one, one of Django REST framework; and patauth's own API."""
    return ["/change", "/exempt", "/api/who", f"{API}/{pat.pat.id}/rotate"]


@pytest.mark.parametrize("same_site", ["None", "Lax"])
@pytest.mark.parametrize("way", ["saved", "the attacker's", "the victim's"])
def test_a_foreign_form_with_a_password_changes_nothing(
    browser: Browser, authority: Authority, session: str, same_site: str, way: str
) -> None:
    """The password is saved in the victim's browser or is in the form's URL, and the cookie is the victim's.

    A cookie without SameSite, which Chromium takes for Lax, is sent with a form in its first two minutes.
    """
    from tests.support.django_views import changes

    victim = issue(authority, "victim's", owner=Owner("victim"), scope=["reports:read", MY_MANAGE])
    attacker = issue(authority, "attacker's", owner=Owner("mallory"), scope=["reports:read", MY_MANAGE])
    used = attacker if way == "the attacker's" else victim
    typed = {"username": victim.pat.id, "password": victim.secret}
    given: dict[str, Any] = {"http_credentials": typed} if way == "saved" else {}
    cookie = {"sameSite": "None", "secure": True} if same_site == "None" else {}
    with (
        app(authority) as url,
        serving(any_page) as foreign,
        browser.new_context(ignore_https_errors=True, **given) as profile,
    ):
        target = url if way == "saved" else url.replace("://", f"://{used.pat.id}:{used.secret}@")
        profile.add_cookies([{"name": "sessionid", "value": session, "url": url, **cookie}])
        page = profile.new_page()
        assert '"user": "victim"' in page.goto(f"{url}/public").text(), "the cookie opens"
        assert page.goto(f"{target}/path/x").status == 200, "the password opens"
        before = list(authority.list())
        for path in targets(used):
            changes.clear()
            page.goto(foreign)
            assert submit(page, target + path) == 403, path
            assert changes == []
        assert list(authority.list()) == before
        for one in (victim, attacker):
            assert authority.verify_basic(one.pat.id, one.secret)


def test_the_same_form_changes_things_without_the_check_and_from_the_own_site(
    browser: Browser, authority: Authority, session: str
) -> None:
    """The controls: the victim's cookie and password do arrive, and the forms do reach the views."""
    from tests.support.django_views import changes

    victim = issue(authority, "victim's", owner=Owner("victim"), scope=["reports:read", MY_MANAGE])
    with (
        app(authority, MIDDLEWARE=django_site.instead("CsrfViewMiddleware")) as url,
        serving(any_page) as foreign,
        browser.new_context(ignore_https_errors=True) as profile,
    ):
        target = url.replace("://", f"://{victim.pat.id}:{victim.secret}@")
        cookie = {"name": "sessionid", "value": session, "url": url, "sameSite": "None", "secure": True}
        profile.add_cookies([cookie])
        page = profile.new_page()
        page.goto(foreign)
        changes.clear()
        assert submit(page, f"{url}/public/change") == 200
        assert changes == ["victim"], "by the cookie alone, on a public path"
        for path in ("/change", "/exempt"):
            page.goto(foreign)
            assert submit(page, target + path) == 403, "the password opens nothing for it"
    with app(authority) as url, browser.new_context(ignore_https_errors=True) as profile:
        target = url.replace("://", f"://{victim.pat.id}:{victim.secret}@")
        token = "a" * 32
        profile.add_cookies([{"name": "csrftoken", "value": token, "url": url}])
        page = profile.new_page()
        *views, rotate = targets(victim)
        for path in views:
            page.goto(f"{url}/public")
            assert submit(page, target + path, FORM, "csrfmiddlewaretoken", token) == 200, path
        assert changes == ["victim"] * 4, "from the own site, with Django's token"
        page.goto(f"{url}/public")
        assert submit(page, target + rotate) == 200, "the same for patauth's own API"
