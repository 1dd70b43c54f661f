"""The gate's rules (CONTRACT.md §3), and that no spelling of a protected path is ever public."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import Phase, example, given, settings, target
from hypothesis import strategies as st
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, RequestRedirect, Rule

from patauth.errors import ConfigurationError
from patauth.wsgi import gate as module
from patauth.wsgi.gate import Gate, Kind, Verdict
from tests.support.hostile_requests import ESCAPES, NO_ASCII, SEPARATORS, WORDS
from tests.support.searches import examples
from tests.support.tables import each

PUBLIC, OPTIONAL, ODD = Verdict(Kind.PUBLIC), Verdict(Kind.OPTIONAL), Verdict(Kind.ODD)


def wire(text: str) -> str:
    """A path as PEP 3333 spells it."""
    return text.encode().decode("latin-1")


def needs(*scopes: str) -> Verdict:
    return Verdict(Kind.PROTECTED, frozenset(scopes))


NO_METHOD = Verdict(Kind.PROTECTED, None)


# plain paths
# -----------

PLAIN: list[tuple[str, dict[str, object], tuple[str, str, str], Verdict]] = [
    ("everything is protected by default", {}, ("GET", "", "/x"), needs()),
    ("an exact public path", {"public": ["/healthz"]}, ("GET", "", "/healthz"), PUBLIC),
    ("an exact pattern is no prefix", {"public": ["/healthz"]}, ("GET", "", "/healthz/x"), needs()),
    ("a last slash counts", {"public": ["/healthz"]}, ("GET", "", "/healthz/"), needs()),
    ("case counts", {"public": ["/healthz"]}, ("GET", "", "/Healthz"), needs()),
    ("a star is any rest, slashes too", {"public": ["/static/*"]}, ("GET", "", "/static/a/b"), PUBLIC),
    ("a star is an empty rest too", {"public": ["/static/*"]}, ("GET", "", "/static/"), PUBLIC),
    ("a star after a slash needs the slash", {"public": ["/static/*"]}, ("GET", "", "/static"), needs()),
    ("a star within a segment", {"public": ["/st*"]}, ("GET", "", "/static"), PUBLIC),
    ("outside of protect", {"protect": ["/api/*"]}, ("GET", "", "/home"), PUBLIC),
    ("nothing is protected", {"protect": []}, ("GET", "", "/x"), PUBLIC),
    ("protect by the joined path", {"protect": ["/app/x"]}, ("GET", "/app", "/x"), needs()),
    ("protect by PATH_INFO alone", {"protect": ["/x"]}, ("GET", "/app", "/x"), needs()),
    ("a forged SCRIPT_NAME (fact 8)", {"protect": ["/api/*"]}, ("GET", "/api", "/x"), needs()),
    ("public by the joined path", {"public": ["/app/x"]}, ("GET", "/app", "/x"), PUBLIC),
    ("public not by PATH_INFO alone", {"public": ["/x"]}, ("GET", "/app", "/x"), needs()),
    ("a rule", {"require": {"GET /r": "a"}}, ("GET", "", "/r"), needs("a")),
    ("a rule for all methods", {"require": {"/r": "a"}}, ("PURGE", "", "/r"), needs("a")),
    ("a list means all", {"require": {"/r": ["a", "b"]}}, ("GET", "", "/r"), needs("a", "b")),
    ("an empty list demands no scope", {"require": {"/r": []}}, ("GET", "", "/r"), needs()),
    ("all matching rules hold", {"require": {"/r*": "a", "GET /r": "b"}}, ("GET", "", "/r"), needs("a", "b")),
    ("a rule by PATH_INFO alone", {"require": {"/r": "a"}}, ("GET", "/app", "/r"), needs("a")),
    ("rules by both names", {"require": {"/r": "a", "/app/r": "b"}}, ("GET", "/app", "/r"), needs("a", "b")),
    ("a GET rule covers HEAD", {"require": {"GET /r": "a"}}, ("HEAD", "", "/r"), needs("a")),
    ("and HEAD's own", {"require": {"GET /r": "a", "HEAD /*": "b"}}, ("HEAD", "", "/r"), needs("a", "b")),
    ("a HEAD rule is none for GET", {"require": {"HEAD /r": "a"}}, ("GET", "", "/r"), NO_METHOD),
    ("rules, none for the method", {"require": {"GET /r": "a"}}, ("POST", "", "/r"), NO_METHOD),
    ("methods are case-sensitive", {"require": {"GET /r": "a"}}, ("get", "", "/r"), NO_METHOD),
    ("a path without a rule", {"require": {"GET /r": "a"}}, ("POST", "", "/s"), needs()),
    ("a rule beats public", {"public": ["/*"], "require": {"/r": "a"}}, ("GET", "", "/r"), needs("a")),
    ("and another method's", {"public": ["/*"], "require": {"PUT /r": "a"}}, ("GET", "", "/r"), NO_METHOD),
    ("a rule without protect", {"protect": [], "require": {"/r": "a"}}, ("GET", "", "/r"), needs("a")),
    ("an optional path", {"optional": ["/feed"]}, ("GET", "", "/feed"), OPTIONAL),
    ("an exact optional path is no prefix", {"optional": ["/feed"]}, ("GET", "", "/feed/x"), needs()),
    ("optional not by PATH_INFO alone", {"optional": ["/feed"]}, ("GET", "/app", "/feed"), needs()),
    ("optional by the joined path", {"optional": ["/app/feed"]}, ("GET", "/app", "/feed"), OPTIONAL),
    ("optional outside of protect", {"protect": [], "optional": ["/f"]}, ("GET", "", "/f"), OPTIONAL),
    ("optional wins over public", {"public": ["/*"], "optional": ["/f"]}, ("GET", "", "/f"), OPTIONAL),
    ("a rule beats optional", {"optional": ["/*"], "require": {"/r": "a"}}, ("GET", "", "/r"), needs("a")),
    ("also another method's", {"optional": ["/*"], "require": {"PUT /r": "a"}}, ("GET", "", "/r"), NO_METHOD),
    ("a path with a blank", {"require": {"GET /a b": "a"}}, ("GET", "", "/a b"), needs("a")),
    ("an empty path is /", {"require": {"/": "a"}}, ("GET", "", ""), needs("a")),
    ("an empty PATH_INFO is the app's /", {"require": {"/": "a"}}, ("GET", "/app", ""), needs("a")),
    ("and the mount with a slash", {"protect": ["/app/*"]}, ("GET", "/app", ""), needs()),
    ("and public as the mount is written", {"public": ["/app"]}, ("GET", "/app", ""), PUBLIC),
    ("PATH_INFO without its slash", {"require": {"/r": "a"}}, ("GET", "", "r"), needs("a")),
    ("and never public by joining two words", {"public": ["/appx"]}, ("GET", "/app", "x"), needs()),
    ("the asterisk form", {}, ("OPTIONS", "", "*"), needs()),
    ("patterns are text, paths are bytes", {"public": ["/é"]}, ("GET", "", "/\xc3\xa9"), PUBLIC),
    ("so latin-1 is another path", {"public": ["/é"]}, ("GET", "", "/\xe9"), needs()),
    ("full-width is another letter", {"protect": ["/admin"]}, ("GET", "", wire("/ａdmin")), PUBLIC),
    ("a dash, not C1", {}, ("GET", "", wire("/–")), needs()),
]  # fmt: skip


def test_a_plain_path_is_judged_by_the_three_settings() -> None:
    for what, options, request, verdict in PLAIN:
        assert Gate(**options).decide(*request) == verdict, what  # type: ignore[arg-type]


# paths that apps read differently
# --------------------------------

# (what, SCRIPT_NAME, PATH_INFO): each is some app's way to say /admin/x.
SPELLINGS = [
    ("dot segments", "", "/pub/../admin/x"),
    ("one dot", "", "/./admin/x"),
    ("above the root", "", "/../admin/x"),
    ("two slashes", "", "//admin/x"),
    ("slashes, then dots: not RFC 3986's order", "", "/pub//../../admin/x"),
    ("RFC 3986 drops an empty segment", "", "/pub/y//../../../admin/x"),
    ("backslash", "", "\\admin\\x"),
    ("dots between backslashes", "", "/pub\\..\\admin/x"),
    ("a parameter", "", "/admin;v=1/x"),
    ("a parameter in `..`", "", "/pub/..;/admin/x"),
    ("a parameter to the end", "", "/admin/x;/../.."),
    ("a parameter that is a whole segment", "", "/;a=b/admin/x"),
    ("decoded slash", "", "/admin%2fx"),
    ("decoded dots, upper case", "", "/pub/%2E%2E/admin/x"),
    ("decoded twice", "", "/pub/%252e%252e%252fadmin/x"),
    ("decoded five times", "", "/pub/%252525252e%252525252e/admin/x"),
    ("decoded backslash", "", "/pub%5c..%5Cadmin/x"),
    ("decoded semicolon", "", "/admin%3bv/x"),
    ("decoding reveals a parameter that hides dots", "", "/pub/%2e%2e%3b/admin/x"),
    ("a NUL ends a C string", "", "/admin/x\0.png"),
    ("a decoded NUL", "", "/admin/x%00.png"),
    ("a tab that is dropped", "", "/ad\tmin/x"),
    ("a new line at the end", "", "/admin/x\n"),
    ("next line, C1, in UTF-8", "", "/admin/x\xc2\x85"),
    ("a network-path reference", "", "//host/admin/x"),
    ("the absolute form (fact 8)", "", "http://evil/admin/x"),
    ("the absolute form, one slash", "", "http:/admin/x"),
    ("out of the mount", "/app", "/../admin/x"),
    ("out of the mount and back", "/app", "/../app/admin/x"),
    ("a mount with a parameter", "/app;v", "/y/../admin/x"),
    ("a letter decoded once more", "", "/%61dmin/x"),
    ("and with dots", "", "/pub/.%2e/%61dmin/x"),
    ("bytes that are no UTF-8 (bottle drops them)", "", "/adm\xffin/x"),
    ("overlong bytes are dropped too", "", "/adm\xc0\xafin/x"),
    ("dots around such a byte", "", "/pub/.\xff./admin/x"),
]


def test_no_other_spelling_of_a_protected_path_is_public() -> None:
    for gate in (
        Gate(protect=["/admin/*"]),
        Gate(protect=[], require={"POST /admin/x": "a"}),
        Gate(public=["/pub/*", "/app/pub/*", "/static/*"]),
    ):
        for what, script, info in SPELLINGS:
            assert gate.decide("GET", script, info).kind is not Kind.PUBLIC, what


def test_a_path_without_its_slash_may_go_on_with_the_host_of_a_url() -> None:
    """waitress and uWSGI pass on `GET :80/admin/x`. webob's `path_url` of it is http://host:80/admin/x."""
    gate = Gate(protect=["/admin/*"])
    for path in (":80/admin/x", "@h/admin/x", ".example/admin/x"):
        assert gate.decide("GET", "", path).kind is not Kind.PUBLIC, path


ODDITIES = [
    "/a/./b",
    "/a/..",
    "/..",
    "/.",
    "/a//b",
    "/a;b",
    "/a\\b",
    "/a\0",
    "/a\x1f",
    "/a\x7f",
    "/a\xc2\x80",
] + [
    f"/a%{digits}"
    for lower in ("2e", "2f", "5c", "3b", "25", "00")
    for digits in {lower, lower.upper(), lower.capitalize()}
]


def test_an_odd_path_whose_readings_agree_has_their_verdict() -> None:
    for gate, verdict in (
        (Gate(), needs()),
        (Gate(require={"/*": "s"}), needs("s")),
        (Gate(optional=["/*"]), OPTIONAL),
        (Gate(protect=["/elsewhere/*"]), PUBLIC),
        (Gate(public=["/*"]), PUBLIC),
        (Gate(public=["/elsewhere/*"], require={"GET /elsewhere/x": "s"}), needs()),
    ):
        for path in ODDITIES:
            refused = module._CONTROL.search(path) and verdict != PUBLIC
            assert gate.decide("GET", "", path) == (ODD if refused else verdict), path


def test_an_odd_path_whose_readings_differ_is_refused() -> None:
    for options in (
        {"public": ["/a"]},
        {"optional": ["/a"]},
        {"protect": ["/a"]},
        {"require": {"/a": "s"}},
    ):
        gate = Gate(**options)  # type: ignore[arg-type]
        for path in ("/a;b", "/a?b", "/a#b", "/b/../a", "/a%3bb", "/a%3Fb", "/a%23b", "//a", "\\a", "/a\0b"):
            assert gate.decide("GET", "", path) == ODD, (options, path)


def test_a_callable_that_demands_scopes_is_not_asked_about_a_path_with_several_readings() -> None:
    gate = Gate(public=["/static/*"], optional=["/feed*"], unknown_rules=True)
    for path in (*ODDITIES, "/%61dmin", "/feed;x", "/feed//"):
        assert gate.decide("GET", "", path) == ODD, path
    assert gate.decide("GET", "", "/reports") == needs()
    assert gate.decide("GET", "", "/feed/1") == OPTIONAL
    assert gate.decide("GET", "", "/static//a;b") == PUBLIC


def test_a_dot_segment_counts_at_the_end_too() -> None:
    for protect, path in [("/admin/", "/admin/."), ("/admin/", "/admin/x/.."), ("/admin", "/admin/x/..")]:
        assert Gate(protect=[protect]).decide("GET", "", path) == ODD, path


# (SCRIPT_NAME, PATH_INFO): each is some app's way to say /app/admin/x.
UNDER_A_MOUNT = [
    ("/app/.", "/admin/x"),
    ("/pub/../app", "/admin/x"),
    ("/app/", "/admin/x"),
    ("//app", "/admin/x"),
    ("/app;v=1", "/admin/x"),
    ("/app;v=1", "/pub/../admin/x"),
    ("/%2e/app", "/pub/../admin/x"),
    ("/%61pp", "/pub/../admin/x"),
    ("/x\\..\\app", "/admin/x"),
    ("/app", "/./admin/x"),
    ("/app", "//admin/x"),
    ("/app", "admin/../admin/x"),
]


def test_an_odd_mount_and_an_odd_rest_are_read_together_and_each_by_itself() -> None:
    for script, info in UNDER_A_MOUNT:
        assert Gate(protect=["/app/admin/*"]).decide("GET", script, info) == ODD, (script, info)
        assert Gate(protect=["/elsewhere"]).decide("GET", script, info) == PUBLIC, (script, info)


def test_a_mount_and_a_rest_with_more_readings_together_than_are_judged_are_refused() -> None:
    """Neither has so many by itself."""
    mount = "/%61;" * 3
    for script, info in [(mount, "/x"), ("", mount)]:
        assert Gate(protect=["/elsewhere"]).decide("GET", script, info) == PUBLIC, (script, info)
    assert Gate(protect=["/elsewhere"]).decide("GET", mount, mount) == ODD


NOT_ODD = ["/a.b", "/...", "/.well-known/x", "/a..", "/a%2", "/100%", "/a%41", "/a b", wire("/ĉ–")]


def test_what_the_contract_does_not_call_odd_is_not_refused() -> None:
    for path in NOT_ODD:
        assert Gate().decide("GET", "", path) == needs(), path


def test_an_odd_path_within_a_public_subtree_is_public_until_a_reading_leaves_it() -> None:
    gate = Gate(public=["/static/*"])
    assert gate.decide("GET", "", "/static/a;v=1//b") == PUBLIC
    assert gate.decide("GET", "", "/static/a/../b") == PUBLIC
    assert gate.decide("GET", "", "/static/a/../../b") == ODD
    assert gate.decide("GET", "", "/static/.") == ODD  # normpath makes it /static, which is not public


def test_normalising_inside_a_mount_does_not_make_another_mounts_hole() -> None:
    # Joined, this is the public /app/pub/x; an app that normalises PATH_INFO serves /app/pub/x within /app.
    gate = Gate(public=["/app/pub/*"])
    assert gate.decide("GET", "/app", "/pub/../../app/pub/x") == ODD


def test_a_path_with_several_readings_that_is_not_odd_obeys_the_rules_of_all() -> None:
    gate = Gate(require={"/a%*": "literal", "GET /admin": "admin"})
    assert gate.decide("GET", "", "/%61dmin") == needs("admin")
    assert gate.decide("POST", "", "/%61dmin") == NO_METHOD
    assert gate.decide("GET", "", "/a%64min") == needs("literal", "admin")
    assert gate.decide("GET", "", "/files/100%41") == needs()


@each(
    "info",
    [
        "/%" + "25" * 3000 + "2e",
        "/a;\\..%2f" * 900,
        "/\xff%ff\0;" * 1500,
        "/\\.." * 4000,
        "/f/..;/%252e%252e/\\y//%00z;q/./w\x01\xff",
    ],
)
def test_a_path_made_to_be_expensive_is_refused(info: str) -> None:
    assert Gate(protect=["/elsewhere"]).decide("GET", "", info) == ODD


FRAGMENTS = [
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
        "\x00",
        "\x85",
        "\xc2\x80",
        "\xc3\xa9",
        "\xff",
        "/\xff",
        "a",
        "http://x",
    ),
]
ANY_8_KB = st.builds(
    lambda pieces, length: ("/" + "".join(text * count for text, count in pieces))[:length],
    st.lists(
        st.tuples(st.sampled_from(FRAGMENTS), st.sampled_from([1, 1, 1, 2, 5, 50, 400, 3000])), max_size=12
    ),
    st.sampled_from([100, 250, 1000, 8192]),
)


@settings(max_examples=examples(300), deadline=None, phases=[Phase.generate, Phase.target])
@given(ANY_8_KB, st.sampled_from(["", "/a", "/a/..;b%25"]))
def test_no_path_costs_more_than_a_small_budget_of_steps(info: str, script: str) -> None:
    """FINDINGS A10, REQUIREMENTS E6: a search for the dearest path, by what passes through `_further`."""
    passed: list[str] = []
    further, judged = module._further, Counter[str]()

    def counting(path: str) -> Iterator[str]:
        passed.append(path)
        return further(path)

    class Counting(Gate):
        def _judge(self, method: str, names: tuple[str, ...]) -> Verdict:
            judged["readings"] += 1
            return super()._judge(method, names)

    gates = [
        Counting(public=["/static/*"], require={"GET /reports*": "r", "/admin*": "a"}),
        Counting(protect=["/admin*"]),
        Counting(optional=["/feed*"], unknown_rules=True),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_further", counting)
        for gate in gates:
            passed.clear()
            judged.clear()
            gate.decide("GET", script, info)
            spent = sum(module._STEPS_OF_READING + len(path) for path in passed)
            target(float(spent), label=str(gates.index(gate)))
            assert spent <= module._STEPS
            assert judged["readings"] <= 2 + 2 * module._STEPS // module._STEPS_OF_READING


@each(("script", "info"), [("", "/\u2215"), ("", "/\udcff"), ("app", "/x")])
def test_what_is_no_path_of_pep_3333_is_refused(script: str, info: str) -> None:
    assert Gate(public=["/*"]).decide("GET", script, info) == ODD


def test_a_verdict_is_remembered_until_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """By method, mount and path; judged again, it comes out as before."""
    gate, judged = Gate(require={"GET /r": "a"}), []
    decide = gate._decide
    monkeypatch.setattr(gate, "_decide", lambda *request: judged.append(request) or decide(*request))
    requests = [("GET", "", "/r"), ("POST", "", "/r"), ("GET", "/app", "/r"), ("GET", "", "/s")]
    verdicts = [gate.decide(*request) for request in requests]
    assert verdicts == [needs("a"), NO_METHOD, needs("a"), needs()]
    assert [gate.decide(*request) for request in requests] == verdicts
    assert judged == requests
    for number in range(module._REMEMBERED):
        gate.decide("GET", "", f"/{number}")
    judged.clear()
    assert [gate.decide(*request) for request in requests] == verdicts
    assert judged == requests


def test_strangers_paths_do_not_grow_memory() -> None:
    gate = Gate()
    for number in range(3 * module._REMEMBERED):
        gate.decide("GET", "", f"/{number}")
        gate.decide("GET", "", "/" + "x" * 1000)
        assert len(gate._remembered) <= module._REMEMBERED
    assert ("GET", "", "/" + "x" * 1000) not in gate._remembered


# configuration
# -------------

MISTAKES: list[tuple[str, dict[str, object], str]] = [
    ("a star inside", {"protect": ["/a*b"]}, "before its end"),
    ("two stars", {"protect": ["/**"]}, "before its end"),
    ("no slash", {"public": ["reports"]}, "start with '/'"),
    ("a lone star", {"protect": ["*"]}, "start with '/'"),
    ("empty", {"public": [""]}, "start with '/'"),
    ("a method in protect", {"protect": ["GET /x"]}, "start with '/'"),
    ("a query", {"protect": ["/x?y=1"]}, "query"),
    ("white space at the end", {"protect": ["/x "]}, "white space"),
    ("percent-encoded", {"protect": ["/a%20b"]}, "plain text"),
    ("odd: dots", {"protect": ["/a/../b"]}, "odd"),
    ("odd: slashes", {"public": ["//a"]}, "odd"),
    ("odd: semicolon", {"require": {"/a;b": "s"}}, "odd"),
    ("lone surrogate", {"protect": ["/\ud800"]}, "not text"),
    ("a string iterates its letters", {"protect": "/x"}, r"\['/x/\*'\]"),
    ("public as a string", {"public": "/x"}, "list"),
    ("None", {"protect": None}, "list"),
    ("bytes", {"protect": [b"/x"]}, "string"),
    ("bytes as the list", {"protect": b"/x"}, "string"),
    ("a key without a path", {"require": {"GET": "s"}}, "METHOD /path"),
    ("a key without a slash", {"require": {"reports": "s"}}, "METHOD /path"),
    ("an empty key", {"require": {"": "s"}}, "METHOD /path"),
    ("lower-case method", {"require": {"get /x": "s"}}, "upper-case"),
    ("two blanks", {"require": {"FETCH  /x": "s"}}, "start with '/'"),
    ("a star as method", {"require": {"* /x": "s"}}, "METHOD /path"),
    ("a key that is no string", {"require": {1: "s"}}, "METHOD /path"),
    ("require as a list", {"require": ["GET /x"]}, "map 'METHOD"),
    ("an empty scope", {"require": {"/x": ""}}, "not a scope"),
    ("an empty scope in a list", {"require": {"/x": ["a", ""]}}, "not a scope"),
    ("two scopes in a string", {"require": {"/x": "a b"}}, "several scopes are a list"),
    ("a scope that is no string", {"require": {"/x": [1]}}, "not a scope"),
    ("no scopes at all", {"require": {"/x": None}}, "scope"),
    ("a mapping of scopes", {"require": {"/x": {"a": 1}}}, "scope"),
    ("scopes that cannot be hashed", {"require": {"/x": [["a"]]}}, "not a scope"),
]


def test_a_setting_that_could_not_mean_what_it_says_is_refused() -> None:
    for what, options, words in MISTAKES:
        with pytest.raises(ConfigurationError) as caught:
            Gate(**options)  # type: ignore[arg-type]
        assert re.search(words, str(caught.value)), what


# properties
# ----------


def kept_slash(normalise: Callable[[str], str]) -> Callable[[str], str]:
    """A last slash distinguishes paths here, as it does on plain ones; normpath would drop it."""

    def normalised(path: str) -> str:
        result = "/" + normalise(path).lstrip("/")
        return result if not path.endswith("/") or result.endswith("/") else result + "/"

    return normalised


def until_stable(step: Callable[[str], str]) -> Callable[[str], str]:
    def stable(path: str) -> str:
        while (further := step(path)) != path:
            path = further
        return path

    return stable


def then(*steps: Callable[[str], str]) -> Callable[[str], str]:
    def run(path: str) -> str:
        for step in steps:
            path = step(path)
        return path

    return run


def decoded(path: str) -> str:
    return unquote(path, "latin-1")


def authority_cut(path: str) -> str:
    try:
        return urlsplit(path).path
    except ValueError:
        return path


rooted = lambda path: "/" + path.lstrip("/")  # noqa: E731
merged = lambda path: re.sub("/+", "/", path)  # noqa: E731
no_parameters = lambda path: re.sub(";[^/]*", "", path)  # noqa: E731
to_slash = lambda path: path.replace("\\", "/")  # noqa: E731
dots = kept_slash(posixpath.normpath)

APPS: dict[str, Callable[[str], str]] = {
    "as it stands": lambda path: path,
    "werkzeug, merge_slashes": then(rooted, merged),
    "posixpath.normpath": dots,
    "urllib unquote": decoded,
    "unquote, normpath": then(decoded, dots),
    "normpath, unquote": then(dots, decoded),
    "unquote until stable, normpath": then(until_stable(decoded), dots),
    "servlet": then(no_parameters, decoded, dots),
    "servlet that decodes first": then(decoded, no_parameters, dots),
    "two servlets": then(decoded, dots, no_parameters, decoded, no_parameters, dots),
    "all after ; is parameters": then(lambda path: path.partition(";")[0], dots),
    "decode, all after ; is parameters": then(decoded, lambda path: path.partition(";")[0], merged),
    "IIS": then(decoded, to_slash, dots),
    "IIS that decodes twice": then(decoded, decoded, to_slash, merged, dots),
    "IIS behind a servlet": then(no_parameters, to_slash, decoded, to_slash, no_parameters, dots),
    "C string": then(decoded, lambda path: path.partition("\0")[0], dots),
    "str.strip": then(decoded, lambda path: path.strip("\0\t\r\n"), dots),
    "bottle": lambda path: path.encode("latin-1").decode("utf-8", "ignore").encode().decode("latin-1"),
    "urlsplit": then(authority_cut, dots),
}  # fmt: skip


def matches(patterns: Iterable[str], path: str) -> bool:
    return any(path.startswith(p[:-1]) if p.endswith("*") else path == p for p in patterns)


def guarded(protect: list[str], public: list[str], ruled: list[str], whole: str, info: str) -> bool:
    """The contract's three sentences, for a path that an app has made canonical."""
    return (
        matches(ruled, whole)
        or matches(ruled, info)
        or (not matches(public, whole) and (matches(protect, whole) or matches(protect, info)))
    )


patterns = st.lists(
    st.sampled_from(
        ["/*", "/", "/admin", "/admin/*", "/admin*", "/a/b", "/app", "/app/*", "/app/pub/*", "/pub", "/pub/*"]
    ),
    max_size=3,
)
scripts = st.sampled_from(["", "", "", "/app", "/pub", "/admin", "/app;v", "/app/..", "/%61pp"])
pieces = st.sampled_from([*SEPARATORS, *SEPARATORS, *WORDS, *ESCAPES, *NO_ASCII])
infos = st.one_of(
    st.lists(pieces, max_size=9).map("".join),
    st.lists(pieces, max_size=9).map(lambda some: "/" + "".join(some)),
    st.tuples(st.lists(pieces, max_size=5).map("".join), st.sampled_from(["/admin", "/admin/x", "/a/b"])).map(
        "".join
    ),
)


@settings(max_examples=examples(300), deadline=None)
@given(patterns, patterns, patterns, scripts, infos)
@example(["/*"], ["/app/pub/*"], [], "/app", "/pub/../../app/pub/x")
@example(["/admin"], [], [], "/app", "/../app/admin")
@example(["/*"], ["/pub/*"], [], "", "/pub/.")
def test_no_spelling_of_a_protected_path_is_public(
    protect: list[str], public: list[str], ruled: list[str], script: str, info: str
) -> None:
    verdict = Gate(protect, public, {f"PUT {path}": "s" for path in ruled}).decide("GET", script, info)
    for name, app in APPS.items():
        inner, outer = app(info or "/"), app(script + info or "/")
        mount = app(script).rstrip("/") if script else ""
        readings = {(script + inner, inner), (mount + inner, inner), (outer, outer.removeprefix(script))}
        if not info:  # the app's root; `public` sees the mount as the server spells it
            readings = {(script or "/", "/"), (outer, outer.removeprefix(script) or "/")}
        for whole, path in readings:
            if guarded(protect, public, ruled, whole, path):
                assert verdict.kind is not Kind.PUBLIC, f"{name} reads {whole!r}, {path!r}"


@settings(max_examples=examples(150), deadline=None)
@given(patterns, scripts, infos)
def test_no_path_that_werkzeug_routes_to_a_protected_view_is_public(
    public: list[str], script: str, info: str
) -> None:
    routes = Map(
        [
            Rule("/admin", endpoint="admin"),
            Rule("/admin/<path:x>", endpoint="admin"),
            Rule("/<path:x>", endpoint=""),
        ],
        merge_slashes=False,
    )
    for routes.merge_slashes in (False, True):
        try:
            text = info.encode("latin-1").decode("utf-8", "replace")  # as werkzeug's Request does
            endpoint, _ = routes.bind("host", script or "/").match(text, "GET")
        except (RequestRedirect, HTTPException):
            continue
        if endpoint == "admin":
            gate = Gate(protect=[], public=public, require={"/admin*": "s"})
            assert gate.decide("GET", script, info).kind is not Kind.PUBLIC


plain_segments = st.text("abpu.-_~ é", min_size=1).filter(lambda text: text not in (".", ".."))
plain_words = st.sampled_from(["admin", "pub", "app", "a", "b"])
plain_paths = st.lists(plain_words | plain_segments, max_size=4).map(
    lambda segments: wire("/" + "/".join(segments))
)


@given(patterns, patterns, patterns, st.sampled_from(["", "/app", "/pub"]), plain_paths)
def test_a_plain_path_is_public_exactly_when_the_contract_says_so(
    protect: list[str], public: list[str], ruled: list[str], script: str, info: str
) -> None:
    verdict = Gate(protect, public, dict.fromkeys(ruled, "s")).decide("GET", script, info)
    has_rule = matches(ruled, script + info) or matches(ruled, info)
    if guarded(protect, public, ruled, script + info, info):
        assert verdict == needs(*(["s"] if has_rule else []))
    else:
        assert verdict == PUBLIC


@given(patterns, patterns, scripts, infos)
def test_only_an_odd_path_or_one_that_is_too_dear_is_refused(
    protect: list[str], public: list[str], script: str, info: str
) -> None:
    if Gate(protect, public).decide("GET", script, info).kind is Kind.ODD:
        assert is_odd(script, info) or is_too_dear(script, info)


def is_too_dear(script: str, info: str) -> bool:
    readings = module._Readings(module._STEPS, module._STEPS_OF_READING)
    try:
        return not list(readings.of(script, info))
    except module._TooMany:
        return True


def is_odd(script: str, info: str) -> bool:
    """What the contract calls an odd path."""
    path = script + ("" if info.startswith("/") or not info else "/") + info
    return bool(
        any(segment in (".", "..") for segment in path.split("/"))
        or any(sign in path or sign in script + info for sign in ("//", ";", "\\", "?", "#"))
        or any(ord(sign) < 32 or ord(sign) == 127 for sign in path)
        or any("\x80" <= sign < "\xa0" for sign in path.encode("latin-1").decode("utf-8", "ignore"))
        or re.search(r"\xc2[\x80-\x9f]", path)
        or re.search("%(2e|2f|5c|3b|25|00|3f|23)", path + "|" + script + info, re.IGNORECASE)
    )


@given(st.text(), st.text(), st.text())
def test_any_three_strings_get_a_verdict_and_the_same_one_again(method: str, script: str, info: str) -> None:
    gate = Gate(["/a*"], ["/a/b"], {"GET /c*": "s"})
    assert gate.decide(method, script, info) == gate.decide(method, script, info)
    assert gate.decide(method, script, info) == gate._decide(method, script, info)
