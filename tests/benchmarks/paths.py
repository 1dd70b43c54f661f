"""What a stranger can make the gate spend: a search for the dearest request without good credentials.

Each try is one refused request through the middleware; its cost is the time of the processor that the thread
used, the least of several tries, so that other work on the machine does not count. The search changes what
has been dearest so far. The verdicts that the gate remembers are cleared before each try.
"""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Iterable
from typing import Any

from patauth import Authority, PatAuthMiddleware

from .measure import show_progress
from .report import Goal, Part, Table

BOUND = 1.0  # ms; REQUIREMENTS E6
LENGTHS = (250, 1000, 8192)  # characters of a path
MOUNTS = ("", "/a", "/a/..;b%25")
GATES: dict[str, dict[str, Any]] = {
    "public, require": {"public": ["/static/*"], "require": {"GET /reports*": "r", "/admin*": "a"}},
    "protect /admin*": {"protect": ["/admin*"]},
    "optional, a callable": {"optional": ["/feed*"], "require": lambda environ: ()},
    "100 rules": {"public": ["/s/*"], "require": {**{f"GET /r{i}*": "r" for i in range(100)}, "/*": "z"}},
}
FRAGMENTS = (
    *(
        "%25",
        "%2525",
        "%252f",
        "%2e",
        "%61",
        "%3b",
        "%5c",
        "%3f",
        "%",
        "..",
        ".",
        "./",
        "/.",
        "/..",
        "//",
        "/",
    ),
    *(
        ";",
        ";a",
        "/a;b",
        "\\",
        "?",
        "#",
        ":",
        "\0",
        "\x85",
        "\xc2\x80",
        "\xc3\xa9",
        "\xff",
        "/\xff",
        "a",
        "http://x",
    ),
)
AUTHORIZATIONS = (
    *(
        "",
        "Basic " + "QWxhZGRpbjpv" * 80,
        "Basic " + "=" * 1000,
        "Bearer " + "x" * 8000,
        "Bearer a.b.c" * 600,
    ),
    *("Basic QQ==, " * 600, " " * 8000, "Digest " + 'a="b", ' * 1000, "Bearer " + "eyJ" * 1000 + "." * 2),
)
TRIES = 5  # of each request


def _app(environ: Any, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b""]


def _milliseconds(gate: PatAuthMiddleware, environ: dict[str, Any]) -> float:
    best = float("inf")
    for _ in range(TRIES):
        gate._gate._remembered.clear()
        sent = dict(environ)
        start = time.thread_time()
        gate(sent, lambda status, fields, exc_info=None: bytes)  # type: ignore[arg-type, return-value]
        best = min(best, time.thread_time() - start)
    return 1000 * best


def _changed(path: str, length: int, choose: random.Random) -> str:
    at = choose.randint(1, len(path))
    more = choose.choice(FRAGMENTS) * choose.choice((1, 1, 1, 2, 5, 50, 400, 3000))
    return (path[:at] + more + path[at:])[:length]


def search(gate: PatAuthMiddleware, mount: str, length: int, steps: int) -> tuple[float, dict[str, Any]]:
    """Return the dearest request that the search found, and what it costs (ms)."""
    choose = random.Random(f"{mount} {length}")
    dearest: tuple[float, dict[str, Any]] = (0.0, {})
    for _ in range(steps):
        path = dearest[1].get("PATH_INFO", "/") if choose.random() < 0.7 else "/"
        for _ in range(choose.randint(1, 5)):
            path = _changed(path, length, choose)
        environ = {
            "REQUEST_METHOD": "GET", "SCRIPT_NAME": mount, "PATH_INFO": path, "QUERY_STRING": "",
            "HTTP_AUTHORIZATION": choose.choice(AUTHORIZATIONS), "REMOTE_ADDR": "203.0.113.9",
        }  # fmt: skip
        cost = _milliseconds(gate, environ)
        if cost > dearest[0]:
            dearest = (cost, environ)
    return dearest


def run(steps: int) -> Part:
    """The part `paths`. `steps`: requests of each search."""
    rows: list[tuple[str, str, int, float, int]] = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "store 'memory:'")
        authority = Authority.from_url("memory:")
    with authority:
        plain = PatAuthMiddleware(_app, authority)
        usual = _milliseconds(plain, {"REQUEST_METHOD": "GET", "PATH_INFO": "/reports/1", "QUERY_STRING": ""})
        for name, options in GATES.items():
            gate = PatAuthMiddleware(_app, authority, **options)
            for mount in MOUNTS:
                for length in LENGTHS:
                    show_progress(f"{name}, mount {mount!r}, {length} characters")
                    cost, environ = search(gate, mount, length, steps)
                    rows.append((name, mount, length, cost, len(environ["PATH_INFO"])))
    show_progress("")
    worst = max(rows, key=lambda row: row[3])
    goal = Goal("E6", "the dearest request without good credentials, ms", worst[3], BOUND)
    table = Table("Dearest requests", ("gate", "mount", "at most", "ms", "characters"), rows)
    method = (
        f"A search of {steps} refused requests for each line. Times are of the CPU, the least of {TRIES}"
        f" tries; a plain refused request costs {usual:.3f} ms."
    )
    figures = {
        "cases": {f"{row[0]} {row[1]} {row[2]}": {"ms": row[3]} for row in rows},
    }
    return Part("paths", method, [table], figures, [goal])
