"""The documentation site as a visitor has it: built without a warning, on a phone, light and dark.

tests/house/test_site.py has what can be told without building it.
"""

from __future__ import annotations

import functools
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from docs.site import navigation
from tests.support.browser import chromium
from tests.support.paths import ROOT

pytestmark = pytest.mark.system

PHONE = {"width": 390, "height": 844}
VISITED = ("index", "tutorial", "reference/python", "reference/cli", "reference/http", "settings", "errors")


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, by the command of CONTRIBUTING.md. A warning, such as a broken link or anchor, fails it."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", f"{folder}/trees"]
    done = subprocess.run(
        [*words, "docs", f"{folder}/html"], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "html"


@pytest.fixture(scope="module")
def url(built: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=built)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


class Visit:
    """A page in a browser, with what it has asked of others, and complained of."""

    def __init__(self, browser: Browser, url: str, scheme: str) -> None:
        self.page: Page = browser.new_page(viewport=PHONE, color_scheme=scheme)  # type: ignore[arg-type]
        self.outside: list[str] = []
        self.complaints: list[str] = []
        self.scheme = scheme
        self._url = url
        self.page.on("request", lambda request: self._seen(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _seen(self, address: str) -> None:
        if not address.startswith((self._url, "data:")):
            self.outside.append(address)

    def go(self, name: str) -> None:
        self.page.goto(f"{self._url}/{name}")

    def check(self) -> None:
        """No horizontal scrolling, no request to others, no error; text that can be read on its ground."""
        assert self.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, self.page.url
        assert self.outside == []
        assert self.complaints == []
        assert self.page.evaluate(CONTRAST) >= 7, self.page.url


# The contrast of running text by WCAG 2. Furo gives its colours as rgb().
CONTRAST = """() => {
    const light = colour => {
        const parts = colour.match(/[0-9.]+/g).slice(0, 3).map(part => part / 255)
            .map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
    }
    const text = light(getComputedStyle(document.querySelector("article p, #search-results")).color)
    const ground = light(getComputedStyle(document.body).backgroundColor)
    return (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05)
}"""


@pytest.fixture(params=["light", "dark"])
def visit(request: pytest.FixtureRequest, browser: Browser, url: str) -> Iterator[Visit]:
    found = Visit(browser, url, request.param)
    yield found
    found.page.close()


def test_pages_fit_a_phone_and_ask_nobody_else(visit: Visit) -> None:
    for name in VISITED:
        visit.go(f"{name}.html")
        assert visit.page.locator("article h1").count() == 1, name
        visit.check()


def test_the_search_finds_pages_and_names_of_the_code(visit: Visit) -> None:
    visit.go("index.html")
    visit.page.locator(".mobile-header label[for=__navigation]").click()
    visit.page.locator(".sidebar-search").fill("rotate")
    visit.page.locator(".sidebar-search").press("Enter")
    results = visit.page.locator("#search-results li a")
    visit.page.wait_for_function("document.querySelectorAll('#search-results li').length > 3")
    targets = results.evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert any("reference/python.html#patauth.Authority.rotate" in target for target in targets), targets
    assert any(target.startswith("management.html") for target in targets), targets
    visit.check()


def test_the_picture_of_a_request_is_shown_and_told(visit: Visit) -> None:
    """Its text and its ground follow the switch of the page, so it can be read in both schemes."""
    visit.go("index.html")
    picture = visit.page.locator("img[src$='request.svg']")
    assert picture.evaluate("picture => picture.complete && picture.naturalWidth > 0")
    told = picture.get_attribute("alt") or ""
    assert all(status in told for status in ("400", "401", "429", "503", "403"))
    visit.page.set_viewport_size({"width": 390, "height": 4000})  # nothing scrolls, or lies over it
    shots = {}
    for theme in ("auto", "light", "dark"):
        visit.page.evaluate("theme => { document.body.dataset.theme = theme }", theme)
        shots[theme] = picture.screenshot()
    assert shots["light"] != shots["dark"]
    assert shots["auto"] == shots[visit.scheme]


def test_tables_of_names_can_be_read_on_a_phone(visit: Visit) -> None:
    """Next to a name of the code stands what it means, without scrolling by more than a word."""
    over = {}
    for name in ("metrics", "traces", "errors", "events", "reference/cli", "reference/http"):
        visit.go(f"{name}.html")
        over[name] = visit.page.locator(".table-wrapper").evaluate_all(
            "found => found.map(table => table.scrollWidth - table.clientWidth)"
        )
    assert len([name for name in over if over[name]]) > 3, "pages with tables"
    assert {name for name in over if max(over[name], default=0) >= 40} == set()


def test_every_page_is_built_and_reached_from_the_first(built: Path) -> None:
    first = (built / "index.html").read_text("utf-8")
    linked = set(re.findall(r'href="([^"#]+)\.html', first))
    assert {page for listed in navigation.parts().values() for page in listed} <= linked


def test_nothing_of_the_site_names_a_script_or_font_of_others(built: Path) -> None:
    for path in [*built.rglob("*.html"), *built.rglob("*.css")]:
        text = path.read_text("utf-8")
        loaded = re.findall(r"""(?:src="|<link[^>]+href="|url\(["']?)(https?:)?//""", text)
        assert loaded == [], path.name
