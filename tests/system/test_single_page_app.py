"""The single-page app of its how-to page, in Chromium: both blocks as they are, on origins of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, Page

from patauth import Authority
from tests.support.authorities import issue
from tests.support.documents import blocks
from tests.support.servers import Server, binaries
from tests.support.wsgi import serving

PAGE = "docs/how-to/single-page-app.md"

# What the script of the page does with api.js, and what it can read of the answer.
CALL = """async ([name, path]) => {
    const answer = await (await import("/api.js"))[name](path)
    return [answer.status, Object.fromEntries(answer.headers), await answer.text()]
}"""
SIGN_IN = "async given => (await import('/api.js')).signIn(...given)"


class Running(NamedTuple):
    origin: str
    elsewhere: str
    authority: Authority
    store: Server


@contextmanager
def serving_page(api: list[str]) -> Iterator[str]:
    """A page with api.js, whose API is the one of the list; its origin."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/api.js":
            start_response("200 OK", [("Content-Type", "text/javascript")])
            return [blocks(PAGE, "js")[0].replace("https://api.example", api[0]).encode()]
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b"<!doctype html><title>A page</title>"]

    with serving(app) as origin:
        yield origin


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    api: list[str] = []
    store = Server(binaries()["valkey"], tmp_path)
    try:
        with serving_page(api) as origin, serving_page(api) as elsewhere:
            text = blocks(PAGE, "python")[0].replace("local:./patauth-data", store.url)
            names: dict[str, Any] = {"__name__": "app"}
            exec(compile(text.replace("https://page.example", origin), PAGE, "exec"), names)
            with names["app"].extensions["patauth"] as authority, serving(names["app"]) as url:
                api.append(url)
                yield Running(origin, elsewhere, authority, store)
    finally:
        store.stop()


@pytest.fixture
def page(browser: Browser, running: Running) -> Iterator[Page]:
    with browser.new_context() as profile:
        opened = profile.new_page()
        opened.goto(running.origin)
        yield opened


def call(page: Page, name: str = "call") -> tuple[int, dict[str, str], str]:
    return tuple(page.evaluate(CALL, [name, "/reports"]))


def test_it_exchanges_and_calls_and_reads_why_it_is_refused(page: Page, running: Running) -> None:
    assert call(page)[0] == 401, "nobody has signed in"
    issued = issue(running.authority, scope=["reports:read", "reports:write"])
    assert page.evaluate(SIGN_IN, [issued.pat.id, issued.secret, "reports:read"]) == 900
    status, fields, text = call(page)
    assert (status, "alice" in text, fields["ratelimit-policy"]) == (200, True, '"requests";q=100;w=10')

    running.authority.delete(issued.pat.id)
    status, fields, text = call(page)
    assert (status, '"invalid_token"' in text) == (401, True)
    assert fields["www-authenticate"].startswith("Bearer realm="), "no browser opens its dialog"

    other = issue(running.authority, "other", scope=["other"])
    page.evaluate(SIGN_IN, [other.pat.id, other.secret])
    status, _, text = call(page)
    assert (status, '"scope":"reports:read"' in text.replace(" ", "")) == (403, True)
    with pytest.raises(Exception, match="not valid"):
        page.evaluate(SIGN_IN, [other.pat.id, issued.secret])


def test_past_the_quota_it_reads_when_to_come_again(page: Page, running: Running) -> None:
    few = issue(running.authority, scope=["reports:read"], request_quota="1/2")
    page.evaluate(SIGN_IN, [few.pat.id, few.secret])
    assert call(page)[0] == 200
    status, fields, _ = call(page)
    assert (status, int(fields["retry-after"]) in (1, 2)) == (429, True)
    assert call(page, "callAgain")[0] == 200


def test_while_the_store_is_down_it_reads_that(page: Page, running: Running) -> None:
    issued = issue(running.authority, scope=["reports:read"])
    page.evaluate(SIGN_IN, [issued.pat.id, issued.secret])
    running.store.stop()
    status, fields, text = call(page)
    assert (status, int(fields["retry-after"]) > 0) == (503, True)
    assert '"temporarily_unavailable"' in text


def test_the_same_page_at_another_origin_cannot(page: Page, running: Running) -> None:
    issued = issue(running.authority, scope=["reports:read"])
    page.goto(running.elsewhere)
    with pytest.raises(Exception, match="Failed to fetch"):
        page.evaluate(SIGN_IN, [issued.pat.id, issued.secret])
    with pytest.raises(Exception, match="Failed to fetch"):
        call(page)


def test_it_leaves_nothing_behind(page: Page, running: Running) -> None:
    """Neither a store of the browser nor the history has a credential, and another load of it has none."""
    issued = issue(running.authority, scope=["reports:read"])
    page.evaluate(SIGN_IN, [issued.pat.id, issued.secret])
    assert call(page)[0] == 200
    kept = page.evaluate("() => [localStorage.length, sessionStorage.length, document.cookie, location.href]")
    assert kept == [0, 0, "", f"{running.origin}/"]
    assert page.context.cookies() == []
    page.reload()
    assert call(page)[0] == 401
