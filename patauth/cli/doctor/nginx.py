"""What `patauth doctor` finds in nginx's configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from .finding import Finding, ok, problem, warning

_WORD = re.compile(
    r"""#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{};]|(?:\$\{\w*\}|[^\s{};])+""", re.DOTALL
)
_DUMP = re.compile(r"(?m)^# configuration file /.*:$")  # `nginx -T` writes this before each file
_NO_SERVER = ("location", "types")  # blocks in which the directive cannot stand


def judge_nginx(path: Path, text: str) -> Iterator[Finding]:
    """Judge a file of nginx's: what it says itself, and what another file may say."""
    found = list(_directives(text))
    names = {words[0] for _, words in found}
    if any(words == ["underscores_in_headers", "on"] for _, words in found):
        yield problem(
            "nginx",
            f"{path.name} lets header names with an underscore through (underscores_in_headers on). Behind"
            " most servers X_Forwarded_For is X-Forwarded-For then, so clients add to what nginx says of"
            " them, and can set SCRIPT_NAME where the server reads it from a header.",
            "Remove `underscores_in_headers on`; nginx drops such names by default.",
        )
    elif not names & {"proxy_pass", "uwsgi_pass"}:
        return
    elif _DUMP.search(text) or ("http" in names and not any(_may_say_more(*one) for one in found)):
        yield ok("nginx", f"{path.name} drops header names with an underscore.")
    else:
        yield warning(
            "nginx",
            f"{path.name} says nothing of header names with an underscore, and another file of nginx may let"
            " them through: unknown here.",
            "Run `nginx -T > all.conf`, which writes all files into one, and give --server-config all.conf.",
        )


def _may_say_more(blocks: tuple[str, ...], words: list[str]) -> bool:
    is_include = words[0] == "include" and not words[-1].endswith("mime.types")
    return is_include and not set(blocks) & set(_NO_SERVER)


def _directives(text: str) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Yield the names of the blocks around each directive, and its words. A block begins with one, too."""
    blocks: list[str] = []
    words: list[str] = []
    for word in _WORD.findall(text):
        if word in ("{", ";"):
            if words:
                yield tuple(blocks), words
            if word == "{":
                blocks.append(words[0] if words else "")
            words = []
        elif word == "}":
            del blocks[-1:]
        elif not word.startswith("#"):
            words.append(word.strip("\"'"))
