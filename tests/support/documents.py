"""The documents, and what they are made of."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.support.paths import ROOT

OF_SITE = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("docs/**/*.md"))]
HOW_TO = [name for name in OF_SITE if name.startswith("docs/how-to/")]
OURS = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", *OF_SITE]
DOCUMENTS = [*OURS, "examples/README.md"]


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def blocks(name: str, language: str) -> list[str]:
    return [text for kind, text in blocks_of(read(name)) if kind == language]


def blocks_of(text: str) -> list[tuple[str, str]]:
    """The language and the text of each code block."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)


def prose(name: str) -> str:
    """The text without its code blocks."""
    return re.sub(r"^```.*?^```$", "", read(name), flags=re.M | re.S)


class File(NamedTuple):
    """A code block that says in its first line which file it is: `# app.py`, or `# app.py, continued`."""

    name: str
    text: str


def sections(page: str) -> list[list[File]]:
    """The files of each section of a how-to page, in order. A block that names no file has the name ""."""
    found: list[list[File]] = []
    whole: dict[str, str] = {}
    # A line of a block that begins with # is no heading.
    hidden = re.sub(
        r"^```.*?^```$", lambda block: block[0].replace("\n#", "\n\0#"), read(page), flags=re.M | re.S
    )
    for section in re.split(r"^#+ ", hidden, flags=re.M):
        found.append([])
        for language, text in blocks_of(section.replace("\0", "")):
            if language == "python":
                named = re.match(r"# ([\w/.]+\.py)(, continued)?\n", text)
                name, continued = named.groups() if named else ("", None)
                whole[name] = whole[name] + text if continued else text
                found[-1].append(File(name, whole[name]))
    return found
