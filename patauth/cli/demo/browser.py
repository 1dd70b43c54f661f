"""A browser for the person who has started the demo, where there is one."""

from __future__ import annotations

import os
import sys
import webbrowser


def open_browser(url: str) -> bool:
    """Open a URL in a browser with windows on this desktop, and return whether that was possible.

    Nothing is opened where the output goes to a program. Over ssh the browser would be on the wrong machine,
    and one without windows would take the terminal.
    """
    desktop = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not desktop or over_ssh() or not sys.stdout.isatty():
        return False
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    in_terminal = type(browser) is webbrowser.GenericBrowser  # one that the demo would wait for, such as w3m
    return not in_terminal and browser.open(url)


def over_ssh() -> bool:
    """Return whether the person is at another machine."""
    return "SSH_CONNECTION" in os.environ
