"""The page for people in Chromium: with and without its script, by keyboard, on small screens."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from patauth.wsgi import page as page_package
from patauth.wsgi.page.texts import read
from tests.support.authorities import Make
from tests.support.browser import caching
from tests.support.npm import FOLDER as NPM
from tests.support.page import (
    LANGUAGES,
    PATH,
    STATES,
    Host,
    complaints,
    filled,
    hosting,
    long_words,
    open_window,
    send,
    showing,
    visiting,
)
from tests.support.rights import MY_READ
from tests.support.servers import Server, binaries
from tests.support.tables import each

CLIPBOARD = ["clipboard-read", "clipboard-write"]
TEXTS = Path(page_package.__file__).parent / "texts"
SECRET = re.compile(r"pats?_[0-9A-Za-z_]{40,}")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
NARROW = {"width": 320, "height": 640}
WIDE = {"width": 1280, "height": 800}
ZOOMED = {"width": 640, "height": 400}  # what 200 % leave of WIDE


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that may be killed."""
    server = Server(binaries()["valkey"], tmp_path_factory.mktemp("page"))
    yield server
    server.stop()


@pytest.fixture
def host(make_at: Make) -> Iterator[Host]:
    with hosting(make_at) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with visiting(browser, viewport=WIDE, permissions=CLIPBOARD) as window:
        yield window
        assert complaints(window) == []


@pytest.fixture
def plain(browser: Browser) -> Iterator[Page]:
    """A window that runs no script."""
    with visiting(browser, viewport=WIDE, java_script_enabled=False) as window:
        yield window


def violations(page: Page) -> list[str]:
    """Return what axe finds against WCAG 2.2 A and AA."""
    if not page.evaluate("'axe' in window"):
        page.evaluate((NPM / "node_modules/axe-core/axe.min.js").read_text() + ";0")
    found = page.evaluate("(rules) => axe.run({runOnly: rules, resultTypes: ['violations']})", RULES)
    assert len(found["passes"]) > 8
    return [f"{one['id']}: {node['html']}" for one in found["violations"] for node in one["nodes"]]


def overflow(page: Page) -> int:
    """Return by how many pixels the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def headings(page: Page) -> list[int]:
    return [int(tag[1]) for tag in page.eval_on_selector_all("h1, h2, h3", "all => all.map(e => e.tagName)")]


def api(host: Host, token: str) -> int:
    """Return the status that curl gets from the application with a token."""
    return int(
        subprocess.run(
            ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "@-", f"{host.url}/api/reports"],
            input=f"Authorization: Bearer {token}", capture_output=True, text=True, check=True, timeout=20,
        ).stdout
    )  # fmt: skip


def shown(page: Page, which: str) -> str:
    """Return a text of the answer that shows a secret, opened or not."""
    return page.locator(f"#{which}").text_content() or ""


def copied(page: Page) -> str:
    return str(page.evaluate("navigator.clipboard.readText()"))


def row(page: Page, name: str) -> Locator:
    return page.locator("tbody tr").filter(has=page.locator(f"th bdi:text('{name}')"))


def state_of(page: Page, name: str) -> str:
    return row(page, name).locator("b").inner_text()


# -- every state ---------------------------------------------------------------------------------------------


@each("name", STATES)
def test_a_state_can_be_used_by_everybody_in_light_and_dark_and_fits_a_small_screen(
    page: Page, own_server: Server, name: str
) -> None:
    page.set_viewport_size(WIDE)
    page.emulate_media(color_scheme="light")
    with showing(own_server, name, page):
        assert STATES[name].shows in page.inner_text("main")
        levels = headings(page)
        assert (levels[0], levels.count(1)) == (1, 1)
        assert all(later - before <= 1 for before, later in pairwise(levels))
        assert violations(page) == []
        for viewport in (ZOOMED, NARROW):
            page.set_viewport_size(viewport)
            assert (viewport, overflow(page)) == (viewport, 0)
        page.emulate_media(color_scheme="dark")
        assert violations(page) == []
        if page.locator("#problem").count():
            expect(page.locator("#problem")).to_be_focused()
        if page.locator("[aria-invalid]").count():
            # A link of the summary leads to the field, which the error describes.
            page.click("#problem a")
            field = page.locator(":target")
            assert field.get_attribute("aria-invalid") == "true"
            described = (field.get_attribute("aria-describedby") or "").split()
            assert page.inner_text(f"#{described[-1]}") == page.inner_text("#problem a")
        assert complaints(page) == []


# -- languages -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pseudo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the application's own, with a language that is written from right to left."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "texts").mkdir()
    lines = (TEXTS / "en.toml").read_text().splitlines()
    worded = [re.sub(r'= "(.*)"$', r'= "مرحبا \1"', line) for line in lines]
    (folder / "texts" / "ar-XB.toml").write_text("\n".join(worded))
    return folder


@each("language", [*LANGUAGES, "ar-XB"])
def test_each_language_is_chosen_by_the_browser_or_by_hand_and_fits_a_small_screen(
    browser: Browser, make_at: Make, pseudo: Path, language: str
) -> None:
    texts = read((pseudo / "texts" if language == "ar-XB" else TEXTS) / f"{language}.toml")
    with (
        hosting(make_at, page_folder=pseudo) as host,
        visiting(browser, viewport=NARROW, locale=language) as page,
    ):
        host.sign_in(f"person-{language}")
        host.make("laptop", expires_in=timedelta(days=3), networks=["203.0.113.0/24"])
        for place, title in (("", "title"), ("/new", "form.new_title")):
            page.goto(host.url + PATH + place)
            assert page.get_attribute("html", "lang") == language
            assert page.inner_text("h1") == texts[title]
            assert overflow(page) == 0
        assert violations(page) == []
        filled(page)
        page.fill("[name=name]", "laptop")
        send(page)
        assert page.inner_text("#problem a") == texts["error.name_taken"]
        page.fill("[name=name]", "phone")
        send(page)
        assert page.inner_text("h1") == texts["reveal.title"].format(name="phone")
        assert overflow(page) == 0
        # By hand; the links keep it.
        page.goto(f"{host.url}{PATH}?lang=en")
        assert page.inner_text("h1") == "Personal access tokens"
        page.click(f"footer a[lang='{language}']")
        row(page, "laptop").get_by_text(texts["action.rotate"]).click()
        assert page.inner_text("h1").startswith(texts["rotate.title"].split("{")[0])
        assert complaints(page) == []


@each("language", LANGUAGES)
def test_a_list_of_long_words_fits_each_width_in_each_language(
    browser: Browser, host: Host, language: str
) -> None:
    host.sign_in(f"person-{language}")
    long_words(host)
    with visiting(browser, locale=language) as page:
        for query in ("", "?show=revoked"):
            page.goto(host.url + PATH + query)
            for width in (320, 480, 640, 864, 865, 912, 992, 1087, 1088, 1280):
                page.set_viewport_size({"width": width, "height": 700})
                assert (query, width, overflow(page)) == (query, width, 0)


IS_LEFT = """(part) => {
    const words = document.createRange()
    words.selectNodeContents(part)
    const box = words.getBoundingClientRect(), room = part.closest("th, td, main").getBoundingClientRect()
    return box.left - room.left < room.right - box.right
}"""


def test_a_language_from_right_to_left_mirrors_the_page(
    browser: Browser, make_at: Make, pseudo: Path
) -> None:
    def places(language: str) -> list[bool]:
        """Return whether the words of each part are at the left of where they are."""
        page.goto(f"{host.url}{PATH}?lang={language}")
        parts = ("h1", ".button", "thead th:first-child", "tbody th", "td:last-child")
        return [page.locator(part).evaluate(IS_LEFT) for part in parts]

    with hosting(make_at, page_folder=pseudo) as host, visiting(browser, viewport=WIDE) as page:
        host.make("laptop")
        assert places("en") == [True, False, True, True, True]
        assert places("ar-XB") == [False, True, False, False, False]
        assert page.get_attribute("html", "dir") == "rtl"
        page.goto(f"{host.url}{PATH}/new?lang=ar-XB")
        # What is code stays as it is.
        assert page.locator("#networks").evaluate("(field) => getComputedStyle(field).direction") == "ltr"


# -- the whole story -----------------------------------------------------------------------------------------


def test_a_pat_is_made_copied_used_rotated_and_revoked(page: Page, host: Host) -> None:
    page.goto(host.url)
    page.click("text=Tokens")
    page.click("text=New token")
    filled(page, "build server")
    send(page)
    url, made = page.url, shown(page, "token")
    assert not page.locator("#token").is_visible()
    page.click("[data-copy=token]")
    expect(page.get_by_role("status")).to_have_text("Copied: Token")
    assert copied(page) == made
    assert SECRET.fullmatch(made)
    assert api(host, made) == 200
    for which in ("id", "secret"):
        page.click(f"[data-copy={which}]")
        assert copied(page) == shown(page, which)
    page.click("summary >> nth=0")
    assert page.locator("#token").inner_text() == made
    # No secret is in the URL, the title, the history or what the browser stores.
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie, history.state]") == [
        0, 0, "", None,
    ]  # fmt: skip
    assert (SECRET.search(url), SECRET.search(page.title())) == (None, None)
    page.click("text=Done")
    assert made not in page.content()
    assert state_of(page, "build server") == "active"
    assert "today" in row(page, "build server").inner_text()

    row(page, "build server").get_by_text("Rotate").click()
    page.check("text=1 hour")
    send(page)
    assert "The old secret works until" in page.inner_text("main")
    rotated = shown(page, "token")
    assert (api(host, made), api(host, rotated), made != rotated) == (200, 200, True)
    page.click("text=Done")

    for action, status, state in (("Disable", 401, "disabled"), ("Enable", 200, "active")):
        row(page, "build server").get_by_text(action).click()
        send(page)
        assert state_of(page, "build server") == state
        expect(page.get_by_role("status")).to_contain_text(f"“build server” is {action.lower()}d.")
        expect(page.get_by_role("status")).to_be_focused()
        assert api(host, rotated) == status

    row(page, "build server").get_by_text("Edit").click()
    page.fill("[name=description]", "Nightly")
    page.check("text=In 7 days")
    send(page)
    assert "Nightly" in row(page, "build server").inner_text()
    assert state_of(page, "build server") == "expires soon"

    row(page, "build server").get_by_text("Revoke").click()
    assert "Programs that use this token stop working at once." in page.inner_text("main")
    page.fill("[name=reason]", "Left the team")
    send(page)
    assert [api(host, token) for token in (made, rotated)] == [401, 401]
    page.click("text=Show revoked tokens")
    assert (state_of(page, "build server"), "Left the team" in row(page, "build server").inner_text()) == (
        "revoked", True,
    )  # fmt: skip


def test_all_of_it_works_without_a_script_on_a_small_screen_too(plain: Page, host: Host) -> None:
    page = plain
    page.set_viewport_size(NARROW)
    page.goto(host.url + PATH)
    page.click("text=New token")
    assert not page.locator("[data-tools]").is_visible()
    page.fill("[name=name]", "build server")
    page.check("[value='reports:read']")
    page.click("text=Create token")
    assert not page.locator("#token").is_visible()
    assert page.locator("[data-copy]:visible").count() == 0
    page.click("summary >> nth=0")
    made = page.locator("#token").inner_text()
    assert (api(host, made), overflow(page)) == (200, 0)
    page.click("text=Done")
    assert overflow(page) == 0
    assert f"{host.authority.list()[0].expires_at:%Y-%m-%d %H:%MZ}" in row(page, "build server").inner_text()
    row(page, "build server").get_by_text("Rotate").click()
    page.click("main form button")
    page.click("summary >> nth=0")
    rotated = page.locator("#token").inner_text()
    assert (api(host, made), api(host, rotated)) == (200, 200)
    page.click("text=Done")
    page.click("text=Edit")
    page.fill("[name=name]", "")
    page.locator("[name=name]").evaluate("(field) => { field.required = false }")
    page.click("text=Save")
    expect(page.locator("#problem")).to_be_focused()
    page.fill("[name=name]", "laptop")
    page.click("text=Save")
    row(page, "laptop").get_by_text("Revoke").click()
    page.click("main form button")
    assert [api(host, token) for token in (made, rotated)] == [401, 401]
    assert host.pats() == ["laptop"]


class Keyboard:
    """Somebody who has no mouse: Tab, Space, Enter and letters."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def go(self, selector: str) -> None:
        """Press Tab until an element has the focus; wherever that is on the way, it is seen."""
        for _ in range(80):
            self._page.keyboard.press("Tab")
            seen, found = self._page.evaluate(
                """(selector) => {
                    const at = document.activeElement
                    const style = getComputedStyle(at), box = at.getBoundingClientRect()
                    const outline = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2
                    const inside = box.bottom > 0 && box.top < innerHeight && box.width > 1
                    return [at === document.body || (outline && inside), at.matches(selector)]
                }""",
                selector,
            )
            assert seen, f"the focus is not seen at {seen} before {selector}"
            if found:
                return
        raise AssertionError(f"Tab does not lead to {selector}")

    def press(self, selector: str, key: str = "Enter") -> None:
        """Press a key on an element. If that leads to another page, it is there afterwards."""
        self.go(selector)
        self._page.keyboard.press(key)

    def follow(self, selector: str) -> None:
        """Press Enter on a link or button that leads to another page."""
        self.go(selector)
        with self._page.expect_navigation():
            self._page.keyboard.press("Enter")


def test_all_of_it_works_by_keyboard_alone_and_the_focus_is_always_seen(page: Page, host: Host) -> None:
    keyboard = Keyboard(page)
    page.goto(host.url + PATH)
    keyboard.press(".skip")
    assert page.url.endswith("#main")
    keyboard.follow("a.button")
    keyboard.go("[name=name]")
    page.keyboard.type("build server")
    keyboard.go("[data-filter]")
    page.keyboard.type("see rep")
    page.keyboard.press("Enter")
    assert page.locator("[name=scope]:visible").count() == 1
    keyboard.press("[name=scope]", "Space")
    keyboard.go("[name=expires_in]")
    page.keyboard.press("ArrowDown")
    assert page.locator("[value='60d']").is_checked()
    keyboard.follow("main form button:not([type])")
    keyboard.press("[data-copy=token]", "Space")
    expect(page.get_by_role("status")).to_have_text("Copied: Token")
    made = copied(page)
    assert api(host, made) == 200
    page.goto(host.url + PATH)
    keyboard.follow("td a[href$=rotate]")
    keyboard.go("[name=overlap]")
    page.keyboard.press("ArrowUp")
    keyboard.follow("main form button")
    keyboard.press("summary")
    assert page.locator("#token").is_visible()
    rotated = shown(page, "token")
    assert (api(host, made), api(host, rotated)) == (401, 200)
    keyboard.follow("a.button")
    keyboard.go("[name=q]")
    page.keyboard.type("BUILD")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    keyboard.follow("td a[href$=revoke]")
    keyboard.go("[name=reason]")
    keyboard.follow("main form button")
    assert api(host, rotated) == 401


def test_what_others_have_disabled_is_not_offered_to_be_enabled(page: Page, host: Host) -> None:
    def offered() -> list[str]:
        page.goto(host.url + PATH)
        return row(page, "build server").locator("a").all_inner_texts()

    pat = host.make("build server").pat
    assert offered() == ["Edit", "Rotate", "Disable", "Revoke"]
    host.authority.disable(pat.id, by=host.person)
    assert offered() == ["Edit", "Rotate", "Enable", "Revoke"]
    host.authority.disable(pat.id)
    assert offered() == ["Edit", "Rotate", "Revoke"]


def test_who_asks_for_contrast_or_own_colours_gets_them(page: Page, host: Host) -> None:
    def colours() -> list[str]:
        return [
            page.locator(part).evaluate("(e) => getComputedStyle(e).color") for part in ("h1", "header span")
        ]

    host.make("build server")
    page.goto(host.url + PATH)
    title, quiet = colours()
    assert title != quiet
    page.emulate_media(contrast="more")
    assert colours() == [title, title]
    page.emulate_media(contrast="no-preference", forced_colors="active")
    # Colours of ours are gone; what they have told is told by words and borders.
    border = page.locator("td b").evaluate("(e) => getComputedStyle(e).borderTopColor")
    assert border != "rgba(0, 0, 0, 0)"
    assert state_of(page, "build server") == "active"


# -- sent twice, back, reload, two windows -------------------------------------------------------------------


def new_window(page: Page) -> Page:
    return open_window(page.context)


def no_secret(page: Page) -> bool:
    """Return whether nothing of an answer that shows a secret is there."""
    return SECRET.search(page.content()) is None and not page.locator("#token").count()


def test_the_answer_that_shows_a_secret_shows_it_once(page: Page, host: Host) -> None:
    page.goto(f"{host.url}{PATH}/new")
    filled(page)
    send(page)
    made = shown(page, "token")
    page.reload()  # the browser sends the form again
    assert host.steps == ["POST  200", "POST  409"]
    assert no_secret(page)
    assert "was made already" in page.inner_text("main")
    page.goto(host.url + PATH)
    page.go_back()
    assert no_secret(page)
    assert (host.pats(), api(host, made)) == (["build server"], 200)


def test_the_back_button_after_a_form_leads_to_an_empty_form_that_makes_no_second_pat(
    page: Page, host: Host
) -> None:
    page.goto(f"{host.url}{PATH}/new")
    filled(page)
    send(page)
    page.go_back()
    assert no_secret(page)
    filled(page)
    send(page)
    assert "You have a token of this name already." in page.inner_text("#problem")
    assert host.pats() == ["build server"]


def test_a_double_click_sends_once_and_its_answer_is_seen(page: Page, host: Host) -> None:
    page.goto(f"{host.url}{PATH}/new")
    filled(page)
    host.delay = 0.5  # s; else the answer would be there before the second click
    page.get_by_text("Create token").scroll_into_view_if_needed()
    box = page.get_by_text("Create token").bounding_box()
    assert box is not None
    with page.expect_navigation():
        for _ in range(2):
            page.mouse.click(box["x"] + 5, box["y"] + 5)
            page.wait_for_timeout(50)
    assert SECRET.fullmatch(shown(page, "token"))
    assert (host.steps, host.pats()) == (["POST  200"], ["build server"])


def test_the_form_for_a_new_pat_in_two_windows_makes_one(page: Page, host: Host) -> None:
    page.goto(f"{host.url}{PATH}/new")
    second = new_window(page)
    second.goto(f"{host.url}{PATH}/new")
    for window in (page, second):
        filled(window)
    key = page.get_attribute("[name=form_key]", "value")
    second.locator("[name=form_key]").evaluate("(field, key) => { field.value = key }", key)
    send(page)
    send(second)
    assert "was made already" in second.inner_text("main")
    assert no_secret(second)
    assert host.pats() == ["build server"]
    second.get_by_role("link", name="Rotate").click()
    assert second.inner_text("h1") == "Rotate “build server”"


def test_a_rotation_in_two_windows_happens_once(page: Page, host: Host) -> None:
    pat = host.make("build server").pat
    second = new_window(page)
    for window in (page, second):
        window.goto(f"{host.url}{PATH}/{pat.id}/rotate")
    send(page)
    rotated = shown(page, "token")
    send(second)
    assert "changed in the meantime" in second.inner_text("#problem")
    assert no_secret(second)
    page.reload()
    assert no_secret(page)
    assert api(host, rotated) == 200


def test_a_stale_edit_changes_nothing_and_shows_what_is_there_now(page: Page, host: Host) -> None:
    pat = host.make("build server").pat
    second = new_window(page)
    for window in (page, second):
        window.goto(f"{host.url}{PATH}/{pat.id}/edit")
    page.fill("[name=name]", "renamed")
    send(page)
    second.fill("[name=description]", "of the second window")
    send(second)
    assert "changed in the meantime" in second.inner_text("#problem")
    assert second.input_value("[name=name]") == "renamed"
    assert host.authority.get(pat.id).description is None
    second.fill("[name=description]", "of the second window")
    send(second)
    changed = host.authority.get(pat.id)
    assert (changed.name, changed.description) == ("renamed", "of the second window")


def test_a_revocation_in_two_windows_is_told_apart_from_one_that_failed(page: Page, host: Host) -> None:
    pat = host.make("build server").pat
    second = new_window(page)
    for window in (page, second):
        window.goto(f"{host.url}{PATH}/{pat.id}/revoke")
    send(page)
    send(second)
    assert "It may have been revoked." in second.inner_text("main")


def test_a_form_whose_sending_was_stopped_can_be_sent_again(page: Page, host: Host) -> None:
    def stop(route: Route) -> None:
        route.fetch()  # it has arrived
        route.abort("aborted")  # as by the key Escape

    page.clock.install()
    page.goto(f"{host.url}{PATH}/new")
    filled(page)
    page.route(f"**{PATH}", stop, times=1)
    with page.expect_event("requestfailed"):
        page.get_by_text("Create token").click(no_wait_after=True)
    sent = "() => document.querySelector('[data-once]').dataset.sent"
    assert page.evaluate(sent) == "yes"
    page.clock.run_for(6000)
    assert page.evaluate(sent) is None
    send(page)
    assert "was made already" in page.inner_text("main")


# -- a browser with a back-forward cache, and a host without https -------------------------------------------


@pytest.fixture(scope="module")
def people(browser: Browser) -> Iterator[Browser]:
    """Chromium as people have it, with its back-forward cache; app.test is this machine."""
    with caching(browser, "--host-resolver-rules=MAP app.test 127.0.0.1") as running:
        yield running


def test_the_back_forward_cache_keeps_no_secret(people: Browser, make_at: Make) -> None:
    with hosting(make_at) as host, visiting(people) as page:
        page.goto(f"{host.url}{PATH}")
        page.evaluate("addEventListener('pageshow', (event) => { window.kept = event.persisted })")
        page.click("text=New token")
        page.evaluate("history.back()")
        # This page, which shows no secret, does come back from the cache; so the cache is there.
        page.wait_for_function("window.kept === true")
        page.goto(f"{host.url}{PATH}/new")
        filled(page)
        send(page)
        page.click("text=Done")
        assert page.inner_text("h1") == "Personal access tokens"
        page.evaluate("history.back()")
        page.wait_for_timeout(300)
        assert no_secret(page)
        # If a browser kept it all the same, the script would have emptied it, and leaves it.
        page.goto(f"{host.url}{PATH}/new")
        filled(page, "second")
        send(page)
        page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
        assert [shown(page, which) for which in ("token", "id", "secret")] == ["", "", ""]
        with page.expect_navigation(url=f"**{PATH}"):
            page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
        assert host.pats() == ["build server", "second"]


def test_without_https_forms_and_copying_work(people: Browser, make_at: Make) -> None:
    with hosting(make_at) as host, visiting(people, permissions=CLIPBOARD) as page:
        here = host.url.replace("127.0.0.1", "app.test")
        page.goto(f"{here}{PATH}/new")
        assert page.evaluate("[isSecureContext, navigator.clipboard === undefined]") == [False, True]
        filled(page)
        send(page)
        made = shown(page, "token")
        assert f"{here}/" in page.inner_text("pre")
        page.click("[data-copy=token]")
        expect(page.get_by_role("status")).to_have_text("Copied: Token")
        expect(page.locator("[data-copy=token]")).to_be_focused()
        page.click("text=Done")
        row(page, "build server").get_by_text("Revoke").click()
        send(page)
        assert api(host, made) == 401
        page.goto(host.url)  # where the clipboard can be read
        assert copied(page) == made
        # Chromium tells developers that one of the fields means nothing without https.
        assert [said for said in complaints(page) if "Cross-Origin-Opener-Policy" not in said] == []


def test_what_was_not_copied_is_said(page: Page, host: Host) -> None:
    page.goto(f"{host.url}{PATH}/new")
    filled(page)
    send(page)
    page.evaluate("""() => {
        navigator.clipboard.writeText = () => Promise.reject(new DOMException("", "NotAllowedError"))
        document.execCommand = () => false
    }""")
    page.click("[data-copy=secret]")
    expect(page.get_by_role("status")).to_have_text(re.compile(r"^Not copied: Secret \(password\)\. "))
    expect(page.locator("[data-copy=secret]")).to_be_focused()


# -- what the script adds ------------------------------------------------------------------------------------


def test_times_are_those_of_the_persons_zone_in_their_form(browser: Browser, host: Host) -> None:
    pat = host.make("build server").pat
    assert pat.expires_at is not None
    with visiting(browser, locale="en-GB", timezone_id="Asia/Tokyo") as page:
        page.goto(host.url + PATH)
        there = pat.expires_at.astimezone(ZoneInfo("Asia/Tokyo"))
        expires = page.locator("td time")
        assert expires.get_attribute("title") == f"{there.day} {there:%b %Y, %H:%M}"
        assert expires.inner_text() == "in 30 days"
        assert expires.get_attribute("datetime") == f"{pat.expires_at:%Y-%m-%d %H:%MZ}"
        assert page.inner_text("td small") == f"{there.day} {there:%b %Y, %H:%M}"
        page.click("text=Edit")
        assert f"As it is: {there.day} {there:%b %Y, %H:%M}" in page.inner_text("main")
        page.goto(f"{host.url}{PATH}?lang=de")
        assert expires.inner_text() == "in 30 Tagen"
        assert expires.get_attribute("title") == f"{there:%d.%m.%Y, %H:%M}"


def test_numbers_are_in_the_persons_form(browser: Browser, make_at: Make) -> None:
    with hosting(make_at, max_pats_per_owner=10_000) as host:
        for script, shown in ((True, "10.000"), (False, "10000")):
            with visiting(browser, locale="de", java_script_enabled=script) as page:
                page.goto(host.url + PATH)
                assert shown in page.inner_text("main")


OWN_TIMES = """{% extends "patauth/base.html" %}
{% block footer %}
{{ super() }}
<p>Open <time>Mondays</time>, closed for <time datetime="P2D">two days</time></p>
{% endblock %}
"""


def test_times_of_the_application_stay_as_they_are_and_no_secret_stays(
    page: Page, make_at: Make, tmp_path: Path
) -> None:
    (tmp_path / "base.html").write_text(OWN_TIMES)
    with hosting(make_at, page_folder=tmp_path) as host:
        page.goto(f"{host.url}{PATH}/new")
        assert page.inner_text("footer + p") == "Open Mondays, closed for two days"
        filled(page)
        send(page)
        assert SECRET.fullmatch(shown(page, "token"))
        page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide'))")
        assert shown(page, "token") == ""


def test_an_error_in_another_part_of_the_script_leaves_no_secret(browser: Browser, host: Host) -> None:
    with visiting(browser) as page:
        page.add_init_script("delete Intl.RelativeTimeFormat")
        page.goto(f"{host.url}{PATH}/new")
        filled(page)
        send(page)
        assert complaints(page) != []
        assert page.locator("[data-copy]:visible").count() == 4
        page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide'))")
        assert shown(page, "token") == ""


@each("ends_in, words", [
    (timedelta(days=2, minutes=5), "in 2 days"),
    (timedelta(days=1, minutes=5), "in 24 hours"),
    (timedelta(minutes=90, seconds=59), "in 9[01] minutes"),
])  # fmt: skip
def test_an_expiry_is_told_in_days_hours_or_minutes(
    page: Page, host: Host, ends_in: timedelta, words: str
) -> None:
    host.sign_in(f"{ends_in.days}-days")
    host.make("one", expires_in=ends_in)
    page.goto(host.url + PATH)
    assert re.fullmatch(words, page.locator("td time").inner_text())


def test_the_script_helps_to_choose_scopes_and_sums_up(page: Page, host: Host) -> None:
    page.goto(f"{host.url}{PATH}/new?name=build+server&scope=builds:start&expires_in=7d")
    assert host.pats() == []
    summary = page.locator("[data-summary]")

    def said() -> list[str]:
        return summary.locator("dd").all_inner_texts()

    name, scope, ends, networks = said()
    assert (name, scope, networks) == ("build server", "builds:start", "everywhere")
    assert re.fullmatch(r"In 7 days .+ 20[0-9]{2}.+", ends)
    page.click("text=Read only")
    assert page.eval_on_selector_all("[name=scope]:checked", "all => all.map(e => e.value)") == [
        "builds:read", "reports:read", MY_READ,
    ]  # fmt: skip
    page.fill("[data-filter]", "REPORTS:W")
    assert page.locator("[name=scope]:visible").count() == 1
    assert page.locator("[value='reports:write']").is_visible()
    assert page.locator("#scope fieldset:visible").count() == 1
    page.fill("[name=expires_at]", "2030-01-31")
    page.fill("[name=networks]", "203.0.113.0/24")
    assert page.locator("#custom").is_checked()
    assert said()[2:] == ["At the end of this day (UTC): 2030-01-31", "203.0.113.0/24"]
    page.check("[value=never]")
    assert said()[2] == "Never"
