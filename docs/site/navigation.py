"""The navigation of the site: which page is in which part, and in which order."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

DOCS = Path(__file__).parents[1]
START = "index"

# Part -> pages. A pattern takes the pages that are named nowhere else, so a new page has its place at once.
PARTS: dict[str, tuple[str, ...]] = {
    "Start": ("tutorial", "calling", "python", "examples"),
    "How to: frameworks": (
        "how-to/flask", "how-to/django", "how-to/django-rest-framework", "how-to/fastapi", "how-to/asgi",
        "how-to/falcon", "how-to/bottle", "how-to/pyramid", "how-to/wsgi",
    ),
    "How to: servers": (
        "how-to/servers", "how-to/gunicorn", "how-to/waitress", "how-to/uwsgi", "how-to/apache",
        "how-to/uvicorn", "how-to/nginx", "how-to/systemd",
    ),
    "How to: tasks": (
        "page", "how-to/session-or-token", "how-to/single-page-app", "how-to/testing", "jwt", "moving-from",
        "how-to/*",
    ),
    "How to: operate": ("deployment", "operations", "cli", "logs", "metrics", "traces", "scanners", "*"),
    "Reference": ("gate", "settings", "management", "events", "errors", "reference/*"),
    "Explanation": (
        "promises", "security", "architecture", "decisions", "storage", "performance", "scaling",
        "comparison",
    ),
    "Project": ("changes", "contributing", "releasing", "newcomer"),
}  # fmt: skip


def pages() -> list[str]:
    """Return the names of all pages but the first, without `.md`."""
    found = (path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md"))
    return sorted(page for page in found if page != START)


def parts() -> dict[str, list[str]]:
    """Return the pages of each part, in order."""
    named = {page for patterns in PARTS.values() for page in patterns}
    left = [page for page in pages() if page not in named]
    return {part: list(_expanded(patterns, left)) for part, patterns in PARTS.items()}


def _expanded(patterns: Iterable[str], left: list[str]) -> Iterable[str]:
    for pattern in patterns:
        if "*" in pattern:  # within one folder
            yield from (
                page for page in left if fnmatch(page, pattern) and page.count("/") == pattern.count("/")
            )
        else:
            yield pattern


def added_to(page: str, text: str) -> str:
    """Return the text of a page, for the first page with the navigation of the site."""
    if page != START:
        return text
    trees = (
        "\n".join(["```{toctree}", ":hidden:", f":caption: '{part}'", "", *listed, "```"])
        for part, listed in parts().items()
    )
    return "\n\n".join([text, *trees, ""])
