"""Debian's Chromium, driven by playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

# Root needs --no-sandbox. The others keep Chromium from calling its maker's servers.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
).split()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Chromium without a window. While it runs, `asyncio.run` fails in this thread.

    playwright keeps an event loop running here.
    """
    path = shutil.which("chromium")
    if path is None:
        pytest.fail("tests of pages need Chromium, which is not on PATH: apt-get install chromium")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=path, args=FLAGS) as browser,
    ):
        yield browser


def caching(browser: Browser, *more: str) -> Browser:
    """Run another Chromium, one with the back-forward cache that playwright switches off, and more flags."""
    return browser.browser_type.launch(
        executable_path=shutil.which("chromium"),
        args=[*FLAGS, *more],
        ignore_default_args=["--disable-back-forward-cache"],
    )


# Sends a form, as any page can make a browser do. `name` is the whole of a text/plain body.
SUBMIT = """([action, enctype, name, value]) => {
    const form = Object.assign(document.createElement("form"), {action, enctype, method: "post"})
    if (name) form.append(Object.assign(document.createElement("input"), {name, value}))
    document.body.append(form)
    form.submit()
}"""


def submit(page: Page, action: str, enctype: str = "text/plain", name: str = "", value: str = "") -> int:
    """Let a page send a form; return the status of the answer, to which the browser goes."""
    with page.expect_navigation() as landed:
        page.evaluate(SUBMIT, [action, enctype, name, value])
    return landed.value.status
