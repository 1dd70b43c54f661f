"""Links of the Markdown pages, made right for the site, and pages that stand outside of this folder.

In the repository a link names a file. On the site it has the title of the page or section that it leads to. A
file outside of `docs` has a page there that shows it, or a copy to download.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Page of the site -> the file whose text it has.
MIRRORED = {
    "changes": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "examples": "examples/README.md",
    "security": "SECURITY.md",
}
_PAGES = {file: f"docs/{page}.md" for page, file in MIRRORED.items()}

_LINK = re.compile(r"(\[[^\[\]]*\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
_NAMES_A_FILE = re.compile(r"\[[\w/.-]+\.md\]")
_FENCED = re.compile(r"(^```.*?^```$)", re.M | re.S)


def for_site(page: str, text: str) -> str:
    """Return the text of a page with links that hold on the site; of a mirrored one, the text of its file."""
    here = f"docs/{page}.md"
    at = here
    if page in MIRRORED:
        at = MIRRORED[page]
        text = (ROOT / at).read_text("utf-8")

    def moved(link: re.Match[str]) -> str:
        opening, target, rest = link.groups()
        if re.match(r"[a-z]+:", target):
            return link[0]
        file = os.path.normpath(os.path.join(os.path.dirname(at), target))
        opening = _NAMES_A_FILE.sub("[]", opening)
        return opening + os.path.relpath(_shown(file), os.path.dirname(here)) + rest

    return outside_of_code(text, lambda prose: _LINK.sub(moved, prose))


def outside_of_code(text: str, change: Callable[[str], str]) -> str:
    """Return the text with what is in no code block changed."""
    return "".join(part if number % 2 else change(part) for number, part in enumerate(_FENCED.split(text)))


def _shown(file: str) -> str:
    """Return what the site has in place of a file: the page of a mirrored one, or of a folder of examples."""
    if (ROOT / file).is_dir():
        file = f"{file.split('/')[0]}/README.md"
    return _PAGES.get(file, file)
