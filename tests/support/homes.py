"""The table of homes: each framework on each server, and what is sent to each pair of them.

`tests/system/test_homes.py` compares every answer with one oracle. `MARKS` is where a server itself, before
patauth, answers in another way; docs/how-to/servers.md has the same.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.support.routed_apps import ADAPTED, EXTENSION
from tests.support.web_servers import ASGI_SERVERS, SERVERS

# By framework, the app of tests/support/routed_apps.py or routed_asgi.py that is asked.
WSGI = {
    "plain WSGI": "plain", "Flask": EXTENSION, "Django": ADAPTED, "wrapped Django": "django",
    "Falcon": "falcon", "Bottle": "bottle", "Pyramid": "pyramid",
}  # fmt: skip
ASGI = {"FastAPI": "fastapi", "Starlette": "starlette", "Django": ADAPTED}
HOMES = {**dict.fromkeys(SERVERS, WSGI), **dict.fromkeys(ASGI_SERVERS, ASGI)}

UPLOAD = 3_000_000  # bytes


class Case(NamedTuple):
    """A request, and the status of its answer. `carrier`: `bearer`, `basic`, a `bad` token, or nothing."""

    column: str  # of the table
    status: int
    target: str
    carrier: str = ""
    method: str = "GET"
    fields: tuple[str, ...] = ()
    body: int = 0  # bytes


PREFLIGHT = ("Origin: https://app.example", "Access-Control-Request-Method: GET")
CASES = {
    "good bearer": Case("good bearer", 200, "/reports/7", "bearer"),
    "Basic": Case("Basic", 200, "/reports/7", "basic"),
    "bad": Case("bad", 401, "/reports/7", "bad"),
    "none": Case("none", 401, "/reports/7"),
    "dots": Case("odd path", 400, "/pub/../reports/7"),
    "escaped dots": Case("odd path", 400, "/pub/%2e%2e/reports/7"),
    "escaped slash": Case("odd path", 400, "/pub/..%2freports/7"),
    "backslash": Case("odd path", 400, "/pub/..%5creports/7"),
    "preflight": Case("preflight", 204, "/reports/7", method="OPTIONS", fields=PREFLIGHT),
    "refused upload": Case("refused upload", 401, "/reports/7", method="POST", body=UPLOAD),
    "stream": Case("stream", 200, "/stream", "bearer"),
    "HEAD": Case("HEAD", 200, "/reports/7", "bearer", "HEAD"),
    "refused HEAD": Case("HEAD", 401, "/reports/7", method="HEAD"),
}


class Mark(NamedTuple):
    """What a server itself makes of a case."""

    status: int
    reason: str
    frameworks: tuple[str, ...] = ()  # the only ones that this holds for


DJANGO = ("Django", "wrapped Django")
_RESOLVED = "the server resolves the dots, so patauth judges the path where they lead"
_BODY_OF_HEAD = "Django leaves it to the server to send no body, and this server to the app"
MARKS: dict[tuple[str, str], Mark] = {
    ("waitress", "HEAD"): Mark(200, _BODY_OF_HEAD, DJANGO),
    ("uWSGI", "HEAD"): Mark(200, _BODY_OF_HEAD, DJANGO),
    ("uWSGI", "dots"): Mark(401, _RESOLVED),
    ("mod_wsgi", "dots"): Mark(401, _RESOLVED),
    ("mod_wsgi", "escaped dots"): Mark(401, _RESOLVED),
    ("mod_wsgi", "escaped slash"): Mark(404, "Apache refuses an escaped slash (`AllowEncodedSlashes`)"),
}


def table() -> list[list[str]]:
    """Return the rows of the table in docs/how-to/servers.md: a server, its frameworks, and each column.

    A cell has the statuses of this server, each with the number of its mark.
    """
    columns: dict[str, list[str]] = {}
    for name, case in CASES.items():
        columns.setdefault(case.column, []).append(name)
    rows = [["server", "frameworks", *columns]]
    for server, frameworks in HOMES.items():
        cells = []
        for names in columns.values():
            cells.append(", ".join(dict.fromkeys(_status(server, name) for name in names)))
        rows.append([server, ", ".join(frameworks), *cells])
    return rows


def _status(server: str, case: str) -> str:
    mark = MARKS.get((server, case))
    return f"{mark.status} ({reasons().index(mark.reason) + 1})" if mark else str(CASES[case].status)


def reasons() -> list[str]:
    """Return why servers answer otherwise, in the order of their numbers."""
    return list(dict.fromkeys(mark.reason for mark in MARKS.values()))
