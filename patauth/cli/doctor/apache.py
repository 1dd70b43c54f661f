"""What `patauth doctor` finds in the configuration of Apache with mod_wsgi."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from .finding import Finding, ok, problem, warning

_HOST = re.compile(r"(?ims)^[ \t]*<VirtualHost\s+([^>]*)>(.*?)^[ \t]*</VirtualHost>")
_SERVES = re.compile(r"(?im)^\s*WSGIScriptAlias(?:Match)?\s")
_PASSES = re.compile(r"(?im)^\s*WSGIPassAuthorization\s+\"?(\w+)")
_REMEDY = "Write `WSGIPassAuthorization On` next to WSGIScriptAlias, and reload Apache."


def judge_apache(path: Path, text: str) -> Iterator[Finding]:
    """Judge each virtual host that serves applications by mod_wsgi, and what stands outside of them.

    A host that says nothing has what the rest of the file says. Included files are not seen.
    """
    rest = _HOST.sub("", text)
    for name, lines in (("", rest), *_HOST.findall(text)):
        if not _SERVES.search(lines):
            continue
        where = f"{path.name}, VirtualHost {name.strip()}," if name else path.name
        said = {word.lower() for word in _PASSES.findall(lines) or _PASSES.findall(rest)}
        if said == {"on"}:
            yield ok("mod_wsgi", f"{where} passes Authorization on (WSGIPassAuthorization On).")
        elif said:
            yield problem(
                "mod_wsgi",
                f"{where} does not say WSGIPassAuthorization On everywhere, so Apache keeps the Authorization"
                " header from the app: a request with credentials gets the 401 of one without.",
                _REMEDY,
            )
        else:
            yield warning(
                "mod_wsgi",
                f"{where} does not say WSGIPassAuthorization On. Unless another file of Apache does, Apache"
                " keeps the Authorization header from the app, and all requests get 401.",
                _REMEDY,
            )
