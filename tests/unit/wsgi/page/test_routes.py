"""Who gets what at which path of the page, and what protects people from other sites."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patauth import Authority, Cors, PatAuthMiddleware, Person
from patauth.wsgi.page import rendering
from patauth.wsgi.page.visit import PATH
from patauth.wsgi.routing import Routes
from patauth.wsgi.site import Site
from patauth.wsgi.surfaces import open_routes
from tests.support.authorities import Make, basic_of, bearer, issue
from tests.support.clocks import Clock
from tests.support.tables import each
from tests.support.visitor import HERE, HOST, PEOPLE, Alone, Page, Visitor, behind_the_gate, by_cookie
from tests.support.wsgi import Echo, request

HOUR = 3_600_000
FORM = "application/x-www-form-urlencoded"
ACTIONS = ("edit", "rotate", "disable", "enable", "revoke")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
LEFT_OUT = {("HEAD", "another's"), ("HEAD", "missing")}  # a HEAD is told by its GET
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'"
)


@pytest.fixture
def authority(make: Make, clock: Clock) -> Authority:
    return make(clock=clock, max_pats_per_owner=1000, person_quota="100000/1", create_quota="100000/1")


@pytest.fixture
def app(authority: Authority, clock: Clock) -> Alone:
    return Alone(authority, clock)


@pytest.fixture
def alice(app: Alone) -> Visitor:
    return Visitor(app)


# -- the model of all paths ----------------------------------------------------------------------------------


class Who(NamedTuple):
    """What somebody may do, and the status that they are refused with before anything else."""

    user: str | None
    refused: int | None = None
    reads: bool = False
    revokes: bool = False
    changes: bool = False
    makes: bool = False
    authorization: bool = False


CALLERS = {
    "nobody": Who(None, 401),
    "a PAT": Who(None, 401, authorization=True),
    "somebody else's cookie": Who("mallory", 401),
    "without a right": Who("no right"),
    "a reader": Who("a reader", reads=True),
    "all scopes": Who("all scopes", reads=True, revokes=True),
    "a manager": Who("alice", reads=True, revokes=True, changes=True, makes=True),
    "a manager with a PAT": Who(
        "alice", reads=True, revokes=True, changes=True, makes=True, authorization=True
    ),
    "an operator": Who("an operator", reads=True, revokes=True, changes=True, makes=True),
    "another tenant": Who("elsewhere", 403),
}


def expected(method: str, path: str, whose: str, who: Who) -> int:
    """The status of a request with a good form, written down a second time."""
    if method not in ("GET", "HEAD", "POST") or (method == "POST" and path == "/new"):
        return 405
    if who.refused is not None:
        return who.refused
    if path == "":
        return 200 if (who.makes if method == "POST" else who.reads) else 403
    if path == "/new":
        return 200 if who.makes else 403
    if not (who.revokes if path == "/revoke" else who.changes):
        return 403
    if whose != "own":
        return 404
    return 303 if method == "POST" and path != "/rotate" else 200


def test_each_path_answers_each_method_to_each_caller_as_the_model_says_and_leaks_nothing(
    authority: Authority, alice: Visitor
) -> None:
    numbers = itertools.count()
    secrets: set[str] = set()

    def made(owner: Person, name: str) -> str:
        issued = issue(
            authority,
            f"{name} {next(numbers)}",
            owner=owner.owner,
            description=f"{owner.owner.id} hides",
            scope=["reports:read"],
        )
        secrets.update({issued.secret, issued.token})
        return issued.pat.id

    caller = issue(authority, "the caller's", scope=[*PEOPLE["alice"].scopes])
    secrets |= {caller.secret, caller.token}
    ids = {"own": made(PEOPLE["alice"], "alices"), "another's": made(PEOPLE["bob"], "bobs")}
    ids["missing"] = f"{0:032x}"
    places = [("", "own"), ("/new", "own"), *itertools.product((f"/{one}" for one in ACTIONS), ids)]
    asked = 0
    for (label, who), method, (path, whose) in itertools.product(CALLERS.items(), METHODS, places):
        if (method not in METHODS[:3] and label not in ("nobody", "a manager")) or (
            method,
            whose,
        ) in LEFT_OUT:
            continue
        status = expected(method, path, whose, who)
        below = path if path in ("", "/new") else f"/{ids[whose]}{path}"
        environ = {"HTTP_AUTHORIZATION": bearer(caller.token)} if who.authorization else {}
        visitor = Visitor(alice.app, who.user, **environ)
        form = None
        if method == "POST":
            form = filled(visitor, alice, path, below, f"new {next(numbers)}")
        answer = visitor.ask(method, below, data=form)
        asked += 1
        if status == 303:
            ids["own"] = made(PEOPLE["alice"], "alices")
        row = (label, method, path, whose, answer.problem)
        assert answer.status == status, row
        assert not [secret for secret in secrets if secret in answer.text], row
        assert "bobs" not in answer.text, row
        assert "bob hides" not in answer.text, row
        if status in (401, 403, 404, 405):
            assert "alices" not in answer.text, row
            assert not answer.forms, row
        if status == 405:
            assert answer.response.headers["Allow"] == ("GET, HEAD" if path == "/new" else "GET, HEAD, POST")
        assert ("WWW-Authenticate" in answer.response.headers) == (status in (401, 403)), row
        assert "Basic" not in answer.response.headers.get("WWW-Authenticate", ""), row
        assert bool(answer.secrets) == (method == "POST" and status == 200), row
        if answer.secrets:
            secrets.update(text for name, text in answer.secrets.items() if name != "id")
        if method == "HEAD":
            assert answer.text == "", row
            same = visitor.get(below).response.headers
            assert headers_of(answer) == [(name, value) for name, value in same if name != "RateLimit"], row
    assert asked == 10 * 2 * 17 + 10 * 7 + 2 * 5 * 17
    assert alice.app.app.seen == []  # type: ignore[attr-defined]


def filled(visitor: Visitor, alice: Visitor, path: str, below: str, name: str) -> dict[str, list[str]]:
    """The form as the caller has it. Who gets none sends what they can know: Alice's form for a new token."""
    shown = visitor.get("/new" if path == "" else below)
    posted = [form for form in shown.forms if form.method == "post"]
    form = posted[0] if posted else alice.get("/new").form.with_(overlap="now", sequence="1")
    return form.with_(name=name, scope="reports:read").fields if path == "" else form.fields


def headers_of(page: Page) -> list[tuple[str, str]]:
    return [(name, value) for name, value in page.response.headers if name != "RateLimit"]


def test_a_disabled_owner_sees_and_revokes_and_makes_nothing(authority: Authority, alice: Visitor) -> None:
    pat_id = issue(authority).pat.id
    form, ask = alice.new(name="another"), {one: alice.get(f"/{pat_id}/{one}").form for one in ACTIONS}
    authority.disable_owner("alice")
    shown = alice.get()
    assert (shown.status, "All your tokens are disabled" in shown.text) == (200, True)
    assert not shown.read.all("a", href=PATH + "/new")
    assert alice.send(form).status == 403
    assert alice.send(ask["revoke"].with_(reason="lost")).status == 303
    assert authority.list() == []


# -- whose paths they are ------------------------------------------------------------------------------------

ID = "0123456789abcdef" * 2
NOT_OURS = [
    *("", "/", PATH + "/", PATH + "x", PATH.title(), "/x" + PATH),
    *(PATH + "/New", PATH + "/new/", PATH + "//new"),
    *(PATH + "/assets", PATH + "/assets/", PATH + "/assets/page.css", PATH + "/assets/../new"),
    *(PATH + f"/{ID}", PATH + f"/{ID}/", PATH + f"/{ID}/edit/", PATH + f"/{ID}/Edit", PATH + f"/{ID}/delete"),
    *(PATH + f"/{ID.upper()}/edit", PATH + f"/{ID[1:]}/edit", PATH + f"/{ID}0/edit", PATH + "/x/edit"),
    *(PATH + f"/{ID}/edit/x", PATH + "/me/edit", PATH + "//edit", PATH + "/new/edit", PATH + "/assets/edit"),
    *(PATH + f"/{ID}/edit\n", PATH + f"/{ID}/edit\0", PATH + "/texts/en.toml", PATH + "/templates/base.html"),
]  # fmt: skip
OURS = [PATH, PATH + "/new", *(f"{PATH}/{ID}/{one}" for one in ACTIONS)]


def assets(app: Alone) -> list[str]:
    read = Visitor(app).get().read
    return [
        *(tag["href"] for tag in read.all("link")),
        *(tag["src"] for tag in read.all("script")),
    ]


def test_what_only_looks_like_a_path_of_the_page_is_the_applications(app: Alone) -> None:
    for path, method in itertools.product(NOT_OURS, ("GET", "POST", "HEAD")):
        answer = request(app, raw_path=path, method=method, environ={"HTTP_COOKIE": "user=alice"})
        assert answer.headers.get("X-App") == "echo", path
    for path in [*OURS, *assets(app)]:
        assert "X-App" not in request(app, path).headers, path


@each("order", itertools.permutations(["page", "isc", "oauth"]))
def test_the_page_and_the_management_api_stand_side_by_side_in_any_order(
    authority: Authority, order: tuple[str, ...]
) -> None:
    """Paths of both begin alike: the beginning of one's is the beginning of the other's."""
    site = Site(authority, identify=by_cookie())
    joined = Routes.joined(open_routes(site, [name]) for name in order)
    v1 = PATH + "/v1"
    theirs = [v1, *(f"{v1}/{one}" for one in ("bulk-update", "self", ID, f"{ID}/rotate", "edit", "new"))]
    for path in [*OURS, *theirs]:
        route = joined.find(path)
        assert route is not None, path
        environ = {"REQUEST_METHOD": "GET", "HTTP_COOKIE": "user=alice", "PATH_INFO": path, "HTTP_HOST": HOST}
        media_type = dict(route(environ).fields)["Content-Type"]
        assert media_type == ("text/html; charset=utf-8" if path in OURS else "application/json"), path
    for path in [PATH + "/v2", v1 + "/", v1 + f"/{ID}/edit", PATH + f"/{ID}"]:
        assert joined.find(path) is None, path


# -- where it is mounted -------------------------------------------------------------------------------------


@each(
    "mount, prefix",
    [("", ""), ("/app", ""), ("", "/auth/pats"), ("/a/b", "/c"), ("/t\u00c3\u00a9l\u00c3\u00a9 1", "")],
)
def test_all_links_and_forms_work_wherever_it_is_mounted(
    make: Make, clock: Clock, mount: str, prefix: str
) -> None:
    """The last mount is `/télé 1` as WSGI has it."""
    authority = make(
        clock=clock,
        path_prefix=prefix,
        login_url="/in?next={next}",
    )
    app = Alone(authority, clock)
    visitor = Visitor(app, mount=mount, prefix=prefix)
    written = visitor.base
    seen: set[str] = set()
    todo = [written]
    while todo:
        path = todo.pop()
        seen.add(path)
        page = visitor.ask("GET", path)
        assert page.status == 200, path
        if "text/html" not in page.response.headers["Content-Type"]:
            continue
        read = page.read
        found = [tag.get("href", "") for name in ("a", "link") for tag in read.all(name)]
        found += [tag["src"] for tag in read.all("script")] + [form.action for form in page.forms]
        for link in found:
            assert link.startswith((written, "#")), (path, link)
            if link.startswith(written) and link not in seen and "lang=" not in link:
                todo.append(link)
    assert len(seen) >= 5
    made = visitor.send(
        visitor.ask("GET", written + "/new").form.with_(name="ci" + mount + prefix, scope="reports:read")
    )
    assert made.status == 200, made.problem
    pat_id = made.secrets["id"]
    listed = visitor.ask("GET", written)
    links = [tag["href"] for tag in listed.read.all("a") if pat_id in tag["href"]]
    assert links == [f"{written}/{pat_id}/{one}" for one in ("edit", "rotate", "disable", "revoke")]
    gone = visitor.send(visitor.ask("GET", links[-1]).form)
    assert gone.response.headers["Location"] == f"{written}?changed={pat_id}&done=revoke"
    assert visitor.ask("GET", gone.response.headers["Location"]).status == 200
    out = Visitor(app, None, mount=mount, prefix=prefix).ask("GET", links[0])
    (sign_in,) = [tag["href"] for tag in out.read.all("a") if tag["href"].startswith("/in")]
    assert parse_qs(urlsplit(sign_in).query) == {"next": [links[0]]}


# -- other sites ---------------------------------------------------------------------------------------------

NO_METADATA = {"HTTP_SEC_FETCH_SITE": None}
FOREIGN: dict[str, dict[str, str | None]] = {
    "another site": {"HTTP_SEC_FETCH_SITE": "cross-site"},
    "another site of the same domain": {"HTTP_SEC_FETCH_SITE": "same-site"},
    "nobody's site": {"HTTP_SEC_FETCH_SITE": "none"},
    "what no browser says": {"HTTP_SEC_FETCH_SITE": "Same-Origin"},
    "another site with our Origin": {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_ORIGIN": f"https://{HOST}"},
    "another Origin": {**NO_METADATA, "HTTP_ORIGIN": "https://evil.example"},
    "an Origin that begins as ours": {**NO_METADATA, "HTTP_ORIGIN": f"https://{HOST}.evil.example"},
    "another port": {**NO_METADATA, "HTTP_ORIGIN": f"http://{HOST}:81"},
    "no origin": {**NO_METADATA, "HTTP_ORIGIN": "null"},
    "an empty Origin": {**NO_METADATA, "HTTP_ORIGIN": ""},
    "nothing at all": NO_METADATA,
}
OURS_TOO: list[dict[str, str | None]] = [
    {},
    {"HTTP_ORIGIN": "https://evil.example"},  # a browser that says same-origin is believed
    {**NO_METADATA, "HTTP_ORIGIN": f"http://{HOST}"},
    {**NO_METADATA, "HTTP_ORIGIN": f"https://{HOST.upper()}"},
]
FOLLOWED = {"HTTP_SEC_FETCH_MODE": "navigate", "HTTP_SEC_FETCH_DEST": "document"}


def nothing_happened(authority: Authority, before: object) -> bool:
    return [*authority.list(), *authority.list(filters='state eq "revoked"')] == before


@each("label", FOREIGN)
def test_a_form_that_another_site_sends_does_nothing_and_none_of_it_is_shown(
    authority: Authority, alice: Visitor, label: str
) -> None:
    made = issue(authority, f"hers, {label}").pat
    before = [*authority.list(), *authority.list(filters='state eq "revoked"')]
    new = alice.new("typed by another", description="typed by another", networks="typed by another")
    for form in [
        new,
        *(alice.get(f"/{made.id}/{one}").form.with_(name="typed by another") for one in ACTIONS),
    ]:
        answer = alice.send(form, **FOREIGN[label])
        assert (answer.status, answer.forms) == (403, [])
        assert answer.problem == "This request did not come from this page. Open the page and try again."
        for said in ("typed", made.name, "Alice"):
            assert said not in answer.text
    assert nothing_happened(authority, before)


@each("environ", OURS_TOO)
def test_a_form_of_this_site_is_heard(alice: Visitor, environ: dict[str, str | None]) -> None:
    assert alice.send(alice.new(f"ci {OURS_TOO.index(environ)}"), **environ).secrets


def test_a_form_needs_the_token_that_this_person_got_within_12_hours(
    authority: Authority, alice: Visitor, clock: Clock
) -> None:
    form, pat_id = alice.new("typed", description="<b>kept</b>"), issue(authority, never_expires=True).pat.id
    good = form.fields["csrf_token"][0]
    bobs = Visitor(alice.app, "bob").get("/new").form.fields["csrf_token"][0]
    before = authority.list()
    tokens: list[list[str]] = [
        [],
        [""],
        [bobs],
        [good + "x"],
        [good[:-1]],
        ["x" * 4096],
        ["", good],
        [bobs, good],
    ]
    for token in tokens:
        answer = alice.send(form.with_(csrf_token=token))
        assert answer.status == 403, token
        assert answer.problem.startswith("This page was open for too long.")
        assert answer.form.fields["name"] == ["typed"]
        assert answer.form.fields["description"] == ["<b>kept</b>"]
        assert not answer.secrets
        for action in ACTIONS:
            sent = alice.get(f"/{pat_id}/{action}").form.with_(csrf_token=token, reason="kept")
            assert alice.send(sent).status == 403, action
    assert authority.list() == before
    clock.advance(12 * HOUR - 1000)
    assert alice.send(form.with_(name="in time", form_key="A" * 22)).status == 200
    clock.advance(1000)
    late = alice.send(form)
    assert (late.status, late.form.fields["name"]) == (403, ["typed"])
    assert alice.send(late.form).status == 200


def test_a_form_is_shown_again_only_to_who_is_signed_in(alice: Visitor) -> None:
    form = alice.new("typed")
    for user, status in ((None, 401), ("elsewhere", 403), ("a reader", 403)):
        answer = Visitor(alice.app, user).send(form)
        assert (answer.status, answer.forms, "typed" in answer.text) == (status, [], False), user


@each(
    "environ, shown",
    [
        ({**FOLLOWED, "HTTP_SEC_FETCH_SITE": "cross-site"}, True),
        ({**FOLLOWED, "HTTP_SEC_FETCH_SITE": "same-site"}, True),
        ({**FOLLOWED, "HTTP_SEC_FETCH_SITE": "none"}, True),
        ({"HTTP_SEC_FETCH_SITE": "none"}, True),
        ({"HTTP_SEC_FETCH_SITE": None}, True),
        ({"HTTP_SEC_FETCH_SITE": "cross-site"}, False),
        ({"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_SEC_FETCH_MODE": "navigate"}, False),
        ({**FOLLOWED, "HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_SEC_FETCH_DEST": "iframe"}, False),
        ({**FOLLOWED, "HTTP_SEC_FETCH_SITE": "same-site", "HTTP_SEC_FETCH_DEST": "embed"}, False),
        ({"HTTP_SEC_FETCH_SITE": "same-site", "HTTP_SEC_FETCH_MODE": "no-cors"}, False),
        ({**FOLLOWED, "HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_SEC_FETCH_MODE": "cors"}, False),
        ({"HTTP_SEC_FETCH_SITE": None, "HTTP_ORIGIN": "https://evil.example"}, False),
    ],
)
def test_another_site_can_lead_people_here_but_not_look_inside(
    authority: Authority, alice: Visitor, environ: dict[str, str | None], shown: bool
) -> None:
    before = authority.list()
    for path in ("", "/new?name=from+a+link&scope=reports:read&expires_in=7d"):
        answer = alice.get(path, **environ)
        assert answer.status == (200 if shown else 403)
        assert [word in answer.text for word in ("Alice", "<form")] == [shown, shown and path != ""]
    assert authority.list() == before


# -- fields of answers ---------------------------------------------------------------------------------------


def test_every_answer_carries_the_fields_that_protect_it(authority: Authority, clock: Clock) -> None:
    def fail(environ: object) -> None:
        raise RuntimeError("broken")

    app = Alone(authority, clock)
    alice = Visitor(app)
    pat_id = issue(authority, "hers").pat.id
    answers = {
        "list": alice.get(),
        "new": alice.get("/new"),
        "edit": alice.get(f"/{pat_id}/edit"),
        "revoke": alice.get(f"/{pat_id}/revoke"),
        "signed out": Visitor(app, None).get(),
        "not found": alice.get(f"/{ID}/edit"),
        "method": alice.ask("PUT", "/new"),
        "foreign": alice.ask("POST", "", data={}, HTTP_SEC_FETCH_SITE="cross-site"),
        "wrong": alice.send(alice.new(name="")),
        "revealed": alice.send(alice.new()),
        "rotated": alice.send(alice.get(f"/{pat_id}/rotate").form),
        "fault": Visitor(Alone(authority, clock, identify=fail)).get(),
    }
    assert {name: answer.status for name, answer in answers.items()} == {
        "list": 200, "new": 200, "edit": 200, "revoke": 200, "signed out": 401, "not found": 404,
        "method": 405, "foreign": 403, "wrong": 400, "revealed": 200, "rotated": 200, "fault": 500,
    }  # fmt: skip
    for name, answer in answers.items():
        fields = answer.response.headers
        assert fields.getlist("Content-Security-Policy") == [POLICY], name
        assert fields.getlist("Cache-Control") == ["no-store"], name
        assert fields.getlist("X-Frame-Options") == ["DENY"], name
        assert fields.getlist("X-Content-Type-Options") == ["nosniff"], name
        assert fields.getlist("Cross-Origin-Opener-Policy") == ["same-origin"], name
        assert fields.getlist("Referrer-Policy") == ["same-origin"], name
        assert fields.getlist("Content-Type") == ["text/html; charset=utf-8"], name
        assert "Cookie" in fields["Vary"], name
        assert not [field for field, _ in fields if field.lower() == "set-cookie"], name
    moved = alice.send(alice.get(f"/{pat_id}/disable").form)
    assert (moved.status, moved.response.headers["Cache-Control"], moved.text) == (303, "no-store", "")


CORS: list[dict[str, Any]] = [
    {},
    {"cors": Cors(["https://a.example"])},
    {"cors": Cors(["*"])},
    {"cors": "app"},
]


@each("allowed", CORS)
def test_no_other_origin_reads_the_page_whatever_the_application_allows(
    authority: Authority, allowed: dict[str, Any]
) -> None:
    app = behind_the_gate(authority, surfaces=["page", "isc"], **allowed)
    visitor = Visitor(app, HTTP_ORIGIN="https://a.example", HTTP_SEC_FETCH_SITE="cross-site")
    preflight = {"HTTP_ACCESS_CONTROL_REQUEST_METHOD": "POST", "HTTP_ACCESS_CONTROL_REQUEST_HEADERS": "x"}
    style = Visitor(app).get().read.all("link", rel="stylesheet")[0]["href"]
    for path, method in itertools.product([*OURS, style], ("GET", "HEAD", "POST", "OPTIONS")):
        answer = visitor.ask(method, path, **FOLLOWED, **(preflight if method == "OPTIONS" else {}))
        assert not [
            name for name, _ in answer.response.headers if name.lower().startswith("access-control")
        ], path
        assert "X-App" not in answer.response.headers, path
        assert answer.status == 405 or method != "OPTIONS", path
    if isinstance(allowed.get("cors"), Cors):
        theirs = visitor.ask("OPTIONS", PATH + "/v1", **preflight)
        assert (theirs.status, "Access-Control-Allow-Origin" in theirs.response.headers) == (204, True)


def test_a_pat_does_not_open_the_page_behind_the_gate_either(authority: Authority) -> None:
    issued = issue(authority, scope=[*PEOPLE["alice"].scopes])
    for public in ([], ["/*"]):
        app = behind_the_gate(authority, public=public)
        for carrier in (
            {"HTTP_AUTHORIZATION": bearer(issued.token)},
            {"HTTP_AUTHORIZATION": basic_of(issued)},
        ):
            assert Visitor(app, None, **carrier).get().status == 401
            shown = Visitor(app, "bob", **carrier).get()
            assert (shown.status, "Bob" in shown.text, issued.pat.name in shown.read.texts) == (
                200,
                True,
                False,
            )
            assert Visitor(app, "bob", HTTP_AUTHORIZATION="Basic ???").get().status == 200


def test_a_setting_names_who_knows_who_is_signed_in_and_who_confirms_it(make: Make) -> None:
    authority = make(
        identify="tests.support.visitor:identify",
        reauthenticate="tests.support.visitor:never",
        surfaces=["page"],
    )
    alice = Visitor(PatAuthMiddleware(Echo(), authority))
    assert (alice.get().status, Visitor(alice.app, None).get().status) == (200, 401)
    assert alice.send(alice.new()).problem.startswith("Confirm first who you are")


# -- assets --------------------------------------------------------------------------------------------------


def test_assets_are_kept_for_ever_under_names_that_change_with_them(app: Alone, tmp_path: Path) -> None:
    paths = assets(app)
    assert len(paths) == 3
    for path in paths:
        answer = Visitor(app, None).get(path)
        assert answer.status == 200
        assert answer.response.headers["Cache-Control"] == f"public, max-age={365 * 86400}"
        assert answer.response.headers["X-Content-Type-Options"] == "nosniff"
        assert Visitor(app, None).ask("HEAD", path).text == ""
        for accepted, compressed in (("gzip, br", True), ("gzip;q=0", False), ("br", False), ("*", True)):
            packed = Visitor(app, None, HTTP_ACCEPT_ENCODING=accepted).get(path).response
            assert packed.headers.get("Content-Encoding") == ("gzip" if compressed else None), accepted
            assert packed.headers["Vary"] == "Accept-Encoding"
            body = gzip.decompress(packed.data) if compressed else packed.data
            assert body == answer.response.data
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            refused = Visitor(app).ask(method, path)
            assert (refused.status, refused.response.headers["Allow"]) == (405, "GET, HEAD"), method
    (tmp_path / "page.css").write_bytes(b"a {}")
    first = rendering.Assets(tmp_path).name_of("page.css")
    (tmp_path / "page.css").write_bytes(b"b {}")
    second = rendering.Assets(tmp_path).name_of("page.css")
    assert first != second
    assert rendering.Assets(tmp_path).find(first) is None


# -- faults --------------------------------------------------------------------------------------------------


NAMES = [
    "self",
    "rest",
    "lang",
    "changed",
    "q",
    "page",
    "show",
    "sort",
    "name",
    "scope",
    "expires_in",
    "query",
]


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), st.text(max_size=20), max_size=5))
def test_no_query_makes_a_fault(app: Alone, query: dict[str, str]) -> None:
    for user, path in (("alice", ""), ("alice", "/new"), (None, "")):
        answer = Visitor(app, user).get(f"{path}?{urlencode(query)}")
        assert answer.status == (401 if user is None else 200)
        assert answer.read.all("html")


@each(
    "body, media_type, status",
    [
        (b"a=\xff", FORM, 400),
        (b"a=%ff", FORM, 400),
        (b"a=1&" * 1025, FORM, 400),
        (b"x" * 65_537, FORM, 413),
        (b"{}", "application/json", 415),
        (b"", "", 415),
        (b"--x\r\n", "multipart/form-data; boundary=x", 415),
    ],
)
def test_a_body_that_is_no_form_is_refused_in_words(
    authority: Authority, app: Alone, body: bytes, media_type: str, status: int
) -> None:
    pat_id = issue(authority, f"a {len(body)} {media_type[:20]}").pat.id
    for path in ("", f"/{pat_id}/revoke"):
        sent = {**HERE, "HTTP_COOKIE": "user=alice"}
        found = request(app, PATH + path, method="POST", data=body, content_type=media_type, environ=sent)
        answer = Page(found, found.get_data(as_text=True))
        assert (answer.status, answer.forms) == (status, [])
        assert answer.problem.startswith("This was not done")
    assert authority.get(pat_id).state == "active"


def test_a_host_that_fails_to_say_who_is_signed_in_is_a_fault_without_its_words(
    authority: Authority, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    told = "the session of carol is broken"

    def fail(environ: object) -> None:
        raise RuntimeError(told)

    for identify in (fail, lambda environ: "alice"):
        visitor = Visitor(Alone(authority, clock, identify=identify))
        for answer in (visitor.get(), visitor.ask("POST", "", data={"name": "typed"})):
            assert answer.status == 500
            (said,) = [text for text in answer.read.texts if "give this number" in text]
            assert said.split()[-1] in caplog.text
            assert "carol" not in answer.text
            assert "typed" not in answer.text
    assert "carol" not in caplog.text


@each("own", ["{{ nothing }}", "{{ visit.person.owner.name.nothing }}", "{{ 1 / 0 }}"])
def test_a_template_of_the_applications_that_is_wrong_is_a_fault_that_the_log_tells(
    make: Make, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture, own: str
) -> None:
    # The try at the start is for another person.
    own = f"{{% if visit.person and visit.person.owner.id == 'alice' %}}{own}{{% endif %}}"
    (tmp_path / "base.html").write_text(own, "utf-8")
    caplog.clear()
    visitor = Visitor(Alone(make(clock=clock, page_folder=str(tmp_path)), clock))
    answer = visitor.get()
    assert (answer.status, answer.text) == (500, "something went wrong")
    assert answer.response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "the page cannot be shown" in caplog.text
    assert visitor.ask("POST", "", data={}).status == 500
