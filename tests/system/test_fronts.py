"""The real nginx and the real Caddy with the examples' configurations: what they refuse, what the app sees.

patauth and the app are on wsgiref, which makes the same of `X-Auth-Subject` and `X_Auth_Subject`.
"""

from __future__ import annotations

import http.client
import itertools
import json
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote, unquote_to_bytes, urlsplit

import bottle
import flask
import pytest
import requests
from werkzeug.test import TestResponse, run_wsgi_app

from patauth import Authority, IssuedPat, Owner, StoreUnavailable
from patauth.model.address import Address
from patauth.store.verdicts import Verdicts
from patauth.wsgi.gate import Gate, Kind
from patauth.wsgi.middleware import PatAuthMiddleware
from patauth.wsgi.request import client_address
from patauth.wsgi.service.app import Standalone
from tests.support import fronts
from tests.support.authorities import Make, basic_of, issue, wrong_secret
from tests.support.fronts import FRONTS, Answer, Wire
from tests.support.paths import EXAMPLES
from tests.support.processes import free_port
from tests.support.wsgi import Echo, folding, request

IDENTITY = ["X-Auth-Subject", "X-Auth-Scopes", "X-Auth-Pat-Id", "X-Auth-Method"]
MEGABYTES = b"x" * 3_000_000


class App(Echo):
    """An application that answers as it is told, and remembers what reached it and how large the body was."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: tuple[str, list[tuple[str, str]], bytes] | None = None
        self.received: list[int] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.received.append(len(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))))
        if self.answer is None:
            return super().__call__(environ, start_response)
        status, fields, body = self.answer
        start_response(status, fields)
        return [body]


@dataclass
class Served:
    """A front server, and what stands behind it."""

    name: str
    url: str
    app: App
    asked: list[dict[str, Any]] = field(default_factory=list)  # the requests that patauth got

    def get(self, path: str, authorization: str | None = None, **given: Any) -> requests.Response:
        return self.send("GET", path, authorization, **given)

    def send(
        self, method: str, path: str, authorization: str | None = None, **given: Any
    ) -> requests.Response:
        headers = dict(given.pop("headers", {}))
        if authorization is not None:
            headers["Authorization"] = authorization
        return requests.request(method, self.url + path, headers=headers, timeout=20, **given)


@pytest.fixture
def authority(make_at: Make) -> Authority:
    return make_at(trusted_proxies=1, proxy_networks="127.0.0.1")


@pytest.fixture
def issued(authority: Authority) -> IssuedPat:
    quota = "1000000/10"
    return issue(authority, owner=Owner("a%b"), scope=["reports:read", "a"], request_quota=quota)


@pytest.fixture
def without(authority: Authority) -> IssuedPat:
    """A PAT without the scope that /reports/ demands."""
    return issue(authority, name="without", scope=["a"], request_quota="1000000/10")


@pytest.fixture(params=list(FRONTS))
def front(request: pytest.FixtureRequest, authority: Authority, tmp_path: Path) -> Iterator[Served]:
    served = Served(request.param, "", App())
    service = Standalone(authority)

    def patauth(environ: dict[str, Any], start_response: Any) -> Any:
        served.asked.append(dict(environ))
        return service(environ, start_response)

    with (
        folding(patauth) as patauth_url,
        folding(served.app) as app_url,
        FRONTS[request.param](tmp_path, patauth_url, app_url) as served.url,
    ):
        yield served


only_nginx = pytest.mark.parametrize("front", [name for name in FRONTS if name == "nginx"], indirect=True)


# -- who calls ---------------------------------------------------------------------------------------------


def spellings(name: str, rng: random.Random) -> set[str]:
    """Every mix of `-`, `_` and `.`, each in several cases: all that WSGI or PHP takes for `name`."""
    words = name.split("-")
    joined = set()
    for marks in itertools.product("-_.", repeat=len(words) - 1):
        plain = words[0] + "".join(mark + word for mark, word in zip(marks, words[1:], strict=True))
        joined |= {plain, plain.lower(), plain.upper(), plain.swapcase()}
        joined |= {"".join(rng.choice((one.lower(), one.upper())) for one in plain) for _ in range(4)}
    return joined


def test_no_spelling_of_an_identity_field_reaches_the_app(front: Served, issued: IssuedPat) -> None:
    rng = random.Random(7)
    forged = sorted(set().union(*(spellings(name, rng) for name in IDENTITY)))
    assert len(forged) > 100
    authorization = ("Authorization", basic_of(issued))
    with Wire(front.url) as wire:
        for names in [
            *([name] for name in forged),
            [name for name in forged for _ in range(2)][:90],
            forged[:90],
        ]:
            answer = wire.get(b"/reports/1", authorization, *((name, "forged") for name in names))
            assert answer.status == 200, names
    values = ["a%25b", "a reports:read", issued.pat.id, "basic"]
    for seen in front.app.seen:
        assert [seen["HTTP_" + name.upper().replace("-", "_")] for name in IDENTITY] == values
        assert "forged" not in seen.values()
        assert "HTTP_AUTHORIZATION" not in seen
    assert len(front.app.seen) == len(forged) + 2


def test_no_identity_field_can_be_named_in_connection(front: Served, issued: IssuedPat) -> None:
    """Caddy removes what Connection names, after forward_auth has set it."""
    authorization = ("Authorization", basic_of(issued))
    naming = [
        value.replace("NAME", name)
        for name in (*IDENTITY, "x-auth-subject", "Host", "X-Forwarded-For")
        for value in ("NAME", "keep-alive, NAME", "NAME,close", "upgrade ,\tNAME", ", NAME")
    ]
    fields = [[("Connection", value)] for value in naming]
    fields += [[("Connection", "close"), ("Connection", name)] for name in IDENTITY]
    for connection in fields:
        front.app.seen.clear()
        with Wire(front.url) as wire:
            answer = wire.get(b"/reports/1", authorization, *connection)
        assert answer.status == (200 if front.name == "nginx" else 400), connection
        for seen in front.app.seen:
            assert {"HTTP_" + name.upper().replace("-", "_") for name in IDENTITY} <= seen.keys()
    if front.name == "caddy":
        refused = json.loads(answer.body)
        assert (refused["error"], answer.fields["Cache-Control"]) == ("invalid_request", "no-store")
    for value in (
        "", "close", "Close", "keep-alive", "Keep-Alive, Upgrade", "UPGRADE", "close , TE",
        "Upgrade, HTTP2-Settings",
    ):  # fmt: skip
        with Wire(front.url) as wire:
            assert wire.get(b"/", authorization, ("Connection", value)).status == 200, value


@pytest.mark.parametrize("name", list(FRONTS))
def test_a_token_header_reaches_patauth_and_not_the_app(
    name: str, make_at: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The examples have the lines for it as comments."""
    examples = shutil.copytree(EXAMPLES, tmp_path / "examples")
    for file in examples.glob("*"):
        if file.is_file():
            file.write_text(file.read_text().replace("# for PATAUTH_TOKEN_HEADERS=X-API-Key: ", ""))
    monkeypatch.setattr(fronts, "EXAMPLES", examples)
    authority, app = make_at(trusted_proxies=1, token_headers="X-API-Key"), App()
    token = issue(authority, scope=["a"]).token
    with (
        folding(Standalone(authority)) as patauth_url,
        folding(app) as app_url,
        FRONTS[name](tmp_path, patauth_url, app_url) as url,
    ):
        assert requests.get(url + "/", headers={"X-API-Key": token}, timeout=20).status_code == 200
    (seen,) = app.seen
    assert "HTTP_X_API_KEY" not in seen
    assert token not in seen.values()


def test_the_expression_in_traefiks_example_matches_every_spelling_of_an_identity_field_and_no_more() -> None:
    expressions = set(re.findall(r"authResponseHeadersRegex: (.*)", (EXAMPLES / "traefik.yml").read_text()))
    (expression,) = expressions
    for name in IDENTITY:
        assert all(re.search(expression, one) for one in spellings(name, random.Random(7)))
    assert not any(
        re.search(expression, one) for one in ("X-Auth-Token", "X-Auth-Subjects", "Y-X-Auth-Method")
    )


def test_the_app_gets_the_request_as_it_was_sent_and_patauth_no_body(
    front: Served, issued: IssuedPat
) -> None:
    answer = front.send("POST", "/reports/1?x=y", basic_of(issued), data="body")
    assert answer.status_code == 200
    (seen,), (asked,) = front.app.seen, front.asked
    assert (seen["REQUEST_METHOD"], seen["PATH_INFO"], seen["QUERY_STRING"]) == ("POST", "/reports/1", "x=y")
    assert front.app.received == [4]
    assert asked["PATH_INFO"] == "/verify"
    assert asked.get("CONTENT_LENGTH") in ("", "0", None)


def addresses(front: Served, authority: Authority) -> set[Address]:
    """The clients of the requests that patauth got, as it knows them."""
    settings = authority.settings
    return {
        client_address(settings.trusted_proxies, settings.proxy_networks, environ) for environ in front.asked
    }


def ask_from(source: str, front: Served, path: str, fields: dict[str, str]) -> int:
    """The status of a GET by a client at an address of this machine."""
    url = urlsplit(front.url)
    assert url.hostname is not None
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=20, source_address=(source, 0))
    with closing(connection):
        connection.request("GET", path, headers=fields)
        return connection.getresponse().status


def test_a_pat_with_networks_is_taken_from_these_alone(front: Served, authority: Authority) -> None:
    """Whatever a client elsewhere claims, and also if its front server is within them."""
    given = {"scope": ["reports:read"], "networks": ["127.0.0.2", "127.0.0.4/31"]}
    inside = issue(authority, "inside", **given)
    of_front = issue(authority, "of the front", **{**given, "networks": ["127.0.0.1"]})
    for issued, passing in ((inside, {"127.0.0.2", "127.0.0.5"}), (of_front, {"127.0.0.1"})):
        for authorization in (basic_of(issued), f"Bearer {issued.token}"):
            for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.5"):
                for claimed in ("", "127.0.0.2", "127.0.0.1", "127.0.0.1, 127.0.0.2"):
                    fields = {"Authorization": authorization}
                    if claimed:
                        first = claimed.partition(",")[0]
                        fields |= {
                            "X-Forwarded-For": claimed,
                            "Forwarded": f"for={first}",
                            "X-Real-IP": first,
                        }
                    status = ask_from(source, front, "/reports/1", fields)
                    assert status == (200 if source in passing else 401), (source, claimed)
    assert {seen["REMOTE_ADDR"] for seen in front.asked} == {"127.0.0.1"}


def test_patauth_knows_the_address_of_a_front_servers_client(
    front: Served, authority: Authority, issued: IssuedPat
) -> None:
    """The front server is at 127.0.0.1, and so are clients that claim to be at 127.0.0.2."""
    for source, claims in (("127.0.0.2", "127.0.0.1"), ("127.0.0.1", "127.0.0.2"), ("127.0.0.3", "")):
        front.asked.clear()
        fields = {"Authorization": basic_of(issued), "X-Forwarded-For": claims, "Forwarded": f"for={claims}"}
        for path in ("/reports/1", "/openapi.json"):
            ask_from(source, front, path, fields)
        assert [environ["PATH_INFO"] for environ in front.asked] == ["/verify", "/openapi.json"]
        assert {environ["REMOTE_ADDR"] for environ in front.asked} == {"127.0.0.1"}
        assert addresses(front, authority) == {Address(source, source)}


def test_a_client_has_one_failure_quota_whatever_address_it_claims(
    front: Served, authority: Authority
) -> None:
    rng = random.Random(7)
    names = [
        "Forwarded",
        "X-Real-IP",
        *sorted(spellings("X-Forwarded-For", rng) | spellings("Client-IP", rng)),
    ]
    pat = issue(authority, name="guessed").pat
    statuses = []
    with Wire(front.url) as wire:
        for number, name in enumerate(names):
            address = f"192.0.2.{number}"
            value = f"for={address}" if name == "Forwarded" else address
            secret = wrong_secret(authority)
            login = requests.auth._basic_auth_str(pat.id, secret)
            for target in (b"/", b"/oauth/introspect"):
                wire.send(b"GET", target, ("Authorization", login), (name, value), (name, "198.51.100.1"))
            statuses.append(wire.get(b"/", ("Authorization", login), (name, value)).status)
    assert addresses(front, authority) == {Address("127.0.0.1", "127.0.0.1")}
    assert statuses[-1] == 429
    assert set(statuses) == {401, 429}


@only_nginx
def test_nginx_tells_the_client_that_its_pat_expires_soon(front: Served, authority: Authority) -> None:
    for name, days, told in (("soon", 1, 1), ("late", 30, 0)):
        pat = issue(authority, name=name, scope=["reports:read"], expires_in=timedelta(days=days))
        for path, status in (("/reports/1", 200), ("/", 200)):
            answer = front.get(path, basic_of(pat))
            assert (answer.status_code, len(answer.raw.headers.getlist("PatAuth-Expires"))) == (status, told)
    lacks = issue(authority, name="lacks", scope=["a"], expires_in=timedelta(days=1))
    refused = front.get("/reports/1", basic_of(lacks))
    assert (refused.status_code, "PatAuth-Expires" in refused.headers) == (403, True)


# -- refusals ----------------------------------------------------------------------------------------------


def same(refused: Answer, by_gate: TestResponse) -> None:
    """A client sees of a front server what it sees of the gate, with the challenges in one field."""
    assert (refused.status, refused.body) == (by_gate.status_code, by_gate.data)
    seen, expected = refused.fields, by_gate.headers
    challenges = ", ".join(expected.getlist("WWW-Authenticate"))
    assert (seen.get_all("WWW-Authenticate") or [""]) == [challenges]
    ours = {"Content-Type", "Content-Length", "Cache-Control", "Pragma", "X-Content-Type-Options"}
    ours |= {"Retry-After", "RateLimit", "RateLimit-Policy"}
    for name in ours:
        left, right = seen.get_all(name, []), expected.getlist(name)
        assert [_COUNTS.sub("", one) for one in left] == [_COUNTS.sub("", one) for one in right], name
    about_request = {"server", "date", "connection", "keep-alive", "x-request-id"}
    assert {name.lower() for name in seen} <= {
        name.lower() for name in (*ours, "WWW-Authenticate")
    } | about_request


_COUNTS = re.compile(r"\b[rt]=\d+|^\d+$")  # what is left, and for how long


def test_every_refusal_is_the_gates_own(
    front: Served,
    authority: Authority,
    issued: IssuedPat,
    without: IssuedPat,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = PatAuthMiddleware(Echo(), authority, require={"/reports/*": "reports:read"})
    limited = issue(authority, name="limited", scope=["a"], request_quota="1/60")
    combined = f"Bearer {issued.token}, {basic_of(issued)}"

    def refuse(path: str, authorization: str | None, status: int) -> None:
        with Wire(front.url) as wire:
            fields = [] if authorization is None else [("Authorization", authorization)]
            refused = wire.get(path.encode(), *fields)
        assert refused.status == status
        same(refused, request(gate, path, authorization=authorization))
        head = front.send("HEAD", path, authorization)
        assert (head.status_code, head.content) == (status, b"")

    assert front.get("/", basic_of(limited)).status_code == 200
    front.app.seen.clear()
    refuse("/", combined, 400)
    refuse("/", None, 401)
    refuse("/", basic_of(issued)[:-8] + "AAAAAAA=", 401)
    refuse("/reports/1", basic_of(without), 403)
    refuse("/", basic_of(limited), 429)

    def down(*_: Any, **__: Any) -> None:
        raise StoreUnavailable(3, detail="down")

    with monkeypatch.context() as patched:
        patched.setattr(Verdicts, "of_secret", down)
        refuse("/", basic_of(issued), 503)
        assert front.get("/", basic_of(issued)).headers["Retry-After"] == "3"
    assert front.app.seen == []
    assert front.get("/reports/1", basic_of(issued)).status_code == 200


def test_an_odd_path_is_refused_as_by_the_gate(
    front: Served, authority: Authority, issued: IssuedPat
) -> None:
    gate = PatAuthMiddleware(Echo(), authority, require={"/reports/*": "reports:read"})
    by_gate = request(gate, raw_path="/reports/%2e%2e/x", authorization=basic_of(issued))
    with Wire(front.url) as wire:
        for path in (
            b"/a%2e%2e/x",
            b"/../a",
            b"/a%00",
            b"/a%0a",
            b"/a;b",
            b"/oauth/%2e%2e/reports/1",
            b"/reports/%ff",
        ):
            refused = wire.get(path, ("Authorization", basic_of(issued)))
            assert json.loads(refused.body) == {
                "error": "invalid_request",
                "error_description": "the request is malformed, or its path can be read in more than one way",
            }
            same(refused._replace(body=by_gate.data), by_gate)
            assert wire.send(b"HEAD", path).body == b""
    assert front.app.seen == front.asked == []


def test_what_the_app_answers_goes_to_the_client_as_it_is(front: Served, issued: IssuedPat) -> None:
    for status in ("400 Bad Request", "401 Unauthorized", "403 Forbidden", "429 x", "500 x", "503 x"):
        fields = [("WWW-Authenticate", "Mine"), ("Content-Type", "text/plain"), ("Retry-After", "77")]
        front.app.answer = status, fields, b"the app's own"
        answer = front.get("/reports/1", basic_of(issued))
        assert (answer.status_code, answer.text) == (int(status[:3]), "the app's own")
        for name, value in fields:
            assert answer.raw.headers.getlist(name) == [value]
        assert "Cache-Control" not in answer.headers


@pytest.mark.parametrize("name", list(FRONTS))
def test_with_patauth_gone_nothing_gets_through(name: str, issued: IssuedPat, tmp_path: Path) -> None:
    app = App()
    with folding(app) as app_url, FRONTS[name](tmp_path, f":{free_port()}", app_url) as url:
        for path in ("/", "/reports/1"):
            answer = requests.get(url + path, headers={"Authorization": basic_of(issued)}, timeout=20)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            assert answer.json() == {"error": "temporarily_unavailable"}
            assert answer.headers["Content-Type"] == "application/json"
            assert answer.headers["Cache-Control"] == "no-store"
    assert app.seen == []


def test_many_and_long_fields_are_no_reason_to_refuse(
    front: Served, issued: IssuedPat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http.client, "_MAXHEADERS", 1000)  # of wsgiref
    many = {f"X-Field-{number}": "x" for number in range(120)}
    long = {f"X-Long-{number}": "x" * 7000 for number in range(3)}
    for headers in (many, long):
        assert front.get("/reports/1", basic_of(issued), headers=headers).status_code == 200
    assert front.get("/", "Bearer " + "x" * 8150).status_code == 401
    if front.name == "nginx":  # `patauth serve` takes 100 fields
        for asked in front.asked:
            fields = {name for name in asked if name.startswith("HTTP_")}
            assert fields == {"HTTP_HOST", "HTTP_AUTHORIZATION", "HTTP_X_FORWARDED_FOR"}


# -- uploads -----------------------------------------------------------------------------------------------


def test_an_upload_of_3_mb_reaches_the_app_whole(front: Served, issued: IssuedPat) -> None:
    assert front.send("POST", "/reports/1", basic_of(issued), data=MEGABYTES).status_code == 200
    if front.name == "nginx":  # it collects the pieces for an app that does not know them
        assert front.send("POST", "/reports/1", basic_of(issued), data=iter([MEGABYTES])).status_code == 200
    assert set(front.app.received) == {len(MEGABYTES)}


@only_nginx  # Caddy reads 256 KB of what it refused, and half a second later may reset the connection
def test_a_refused_upload_of_3_mb_gets_its_answer_each_time(front: Served, without: IssuedPat) -> None:
    length = ("Content-Length", str(len(MEGABYTES)))
    known = ("Authorization", basic_of(without))
    for path, fields, status in (
        (b"/", [], 401), (b"/reports/1", [known], 403), (b"/a%2fb", [known], 400),
    ):  # fmt: skip
        answers: Counter[int] = Counter()
        for _ in range(100):
            with Wire(front.url) as wire:
                answers[wire.send(b"POST", path, length, *fields, body=MEGABYTES).status] += 1
        assert answers == {status: 100}
    assert front.app.seen == []


# -- paths -------------------------------------------------------------------------------------------------

_PLAIN = re.compile(rb"(?:/|(?:/(?!\.{1,2}(?:/|\Z))[^/]+)+/?)")  # no empty segment but the last, no dots
_AS_SENT = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,=:@/-]|%(?!2[eEfF])[0-9A-Fa-f]{2})*")


_BLANK = re.compile(rb"[\x00-\x20\x7f\x85\xa0]")  # the servers, or wsgiref, take them nowhere in a target


def is_plain(target: bytes) -> bool:
    """Whether a target is one that the examples let through, said once more in other words."""
    path = target.partition(b"?")[0]
    try:
        text = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return False
    if any(ord(one) < 32 or 127 <= ord(one) < 160 or one in "%;?#\\" for one in text):
        return False
    return bool(_AS_SENT.fullmatch(path) and _PLAIN.fullmatch(path))


_TRICKS = " ".join(  # a latin-1 character is a byte
    [
        r"/ // . .. /. /.. /../ /./ ... ; ;x=1 \ % %% %0 %2e %2E%2e %2f %2F %5c %3b %3f %23 %25 %252e",
        "%252f %u002f %00 %0a %0d%0a %09 %1f %7f %20 + %c2%80 %c2%85 %C2%9f %c2%a0 %c2 %80 \xff %ff %c0%af",
        "\xc3 \xc0\xaf %c0%ae %e0%80%af %e0%9f%bf %f0%80%80%af %f0%8f%bf%bf %ed%a0%80 %ed%bf%bf %f4%90%80%80",
        "%f5%80%80%80 %c3%a4 \xc3\xa4 \xc3%a4 %e2%82%ac %f0%9f%98%80 %ed%9f%bf %ee%80%80 %f4%8f%bf%bf",
        "%e2%80%8b %ef%bc%8f %ef%bb%bf ? ?/../ # #x { } {/../} {http.request.method} $uri ${x} * | ^ [ ]",
        "< \" ' ` @ : , ~ reports reports/ /reports/q3 REPORTS %72eports q3 a public",
    ]
)


def targets(rng: random.Random, count: int) -> Iterator[bytes]:
    """Every byte, raw and escaped, at four places of a path; then mixes of what has ever been a trick."""
    for byte in range(256):
        ways = {b"%%%02x" % byte, b"%%%02X" % byte}
        if byte not in b"\r\n":
            ways.add(bytes([byte]))
        for way in ways:
            yield from (
                b"/reports%s/q3" % way,
                b"/%sreports/q3" % way,
                b"/reports/%s" % way,
                b"/r%seports/q3" % way,
            )
    tricks = [*_TRICKS.encode("latin-1").split(b" "), b" ", b"\t", b"\x0b", b"\x7f", b"\xc2\x85", b"\xc2\xa0"]
    bases = [
        b"/reports/q3",
        b"/reports/",
        b"/public/x",
        b"/",
        b"/a/b/c",
        b"http://127.0.0.1/reports/q3",
        b"*",
    ]
    for _ in range(count):
        target = rng.choice(bases)
        for _ in range(rng.randint(1, 4)):
            at = rng.randint(0, len(target))
            cut = at + rng.choice((0, 0, 0, 1, 2))
            target = target[:at] + rng.choice(tricks) + target[cut:]
        if rng.random() < 0.1:
            target = quote_from_bytes(target, safe=rng.choice(("/", "/%", "%", ""))).encode()
        yield target


class Routers:
    """Flask and Bottle apps with a view of /reports/; they say which view a request comes to."""

    def __init__(self) -> None:
        self.flask, self.bottle = flask.Flask("routed"), bottle.Bottle()
        for rule, view in (
            ("/reports/<path:rest>", "reports"),
            ("/reports/", "reports"),
            ("/<path:rest>", "other"),
        ):
            self.flask.add_url_rule(rule, f"{view}{rule}", lambda rest="", view=view: view)
        for rule, view in (("/reports/<rest:re:.*>", "reports"), ("/<rest:re:.*>", "other")):
            self.bottle.route(rule, callback=lambda rest="", view=view: view)

    def views(self, environ: dict[str, Any]) -> set[str]:
        return {
            b"".join(run_wsgi_app(app, dict(environ), buffered=True)[0]).decode("utf-8", "replace")
            for app in (self.flask, self.bottle)
        }


def test_no_path_reaches_the_app_that_it_could_read_as_one_of_another_scope(
    front: Served, without: IssuedPat
) -> None:
    gate, routers = Gate(require={"/reports/*": "reports:read"}), Routers()
    authorization = "Authorization", basic_of(without)
    # Caddy takes the character U+FFFD for a byte that is no UTF-8, and reads every path in lower case.
    replacement = (
        re.compile(rb"%ef%bf%bd|\xef\xbf\xbd", re.I) if front.name == "caddy" else re.compile(rb"(?!)")
    )
    statuses: Counter[int] = Counter()
    with Wire(front.url) as wire:
        for target in targets(random.Random(7), 10_000):
            front.app.seen.clear()
            answer = wire.get(target, authorization)
            statuses[answer.status] += 1
            if answer.status == 200:
                (environ,) = front.app.seen
                script, info = environ["SCRIPT_NAME"], environ["PATH_INFO"]
                verdict = gate.decide("GET", script, info)
                assert (verdict.kind, verdict.scopes) == (Kind.PROTECTED, frozenset()), (target, info)
                assert "reports" not in routers.views(environ), (target, info)
                sent = re.sub(rb"\A[A-Za-z0-9+.-]+://[^/]*", b"", target.partition(b"?")[0].strip(b" "))
                assert info == unquote(sent.decode("latin-1"), "latin-1"), target
            else:
                assert front.app.seen == [], target
                if answer.status == 301:  # nginx sends /reports to /reports/
                    answer = wire.get(urlsplit(answer.fields["Location"]).path.encode(), authorization)
                assert answer.status in (400, 403), target
            if is_plain(target) and not replacement.search(target):
                assert answer.status != 400 or _BLANK.search(target.partition(b"?")[2]), target
            elif target.startswith(b"/") and not target.endswith(b" "):
                assert answer.status == 400, target
    assert min(statuses[status] for status in (200, 400, 403)) > 200, statuses
    print(f"{front.name}: {dict(statuses)}")


# -- patauth's own paths -----------------------------------------------------------------------------------


def test_patauths_own_paths_are_reached_and_nothing_beside_them(front: Served, issued: IssuedPat) -> None:
    form = {"grant_type": "client_credentials"}
    answer = front.send("POST", "/oauth/token", basic_of(issued), data=form)
    assert answer.json()["token_type"] == "Bearer"
    ours = [
        "/personal-access-tokens/v1",
        "/v3/personal-access-tokens",
        "/management/v1/users/a/pats/x",
        "/v2/users/a/pats",
        "/v2/users/pats/search",
        "/zitadel.user.v2.UserService/ListPersonalAccessTokens",
        "/openapi.json",
    ]
    for path in ours:
        front.get(path)
        assert front.asked[-1]["PATH_INFO"] == path
    assert front.app.seen == []
    for path in ("/v2/users", "/v3/orders", "/management/v1/x", "/.well-known/acme"):
        assert front.get(path, basic_of(issued)).status_code == 200
    assert len(front.app.seen) == 4


@only_nginx
def test_the_inner_locations_of_nginx_cannot_be_asked_for(front: Served, issued: IssuedPat) -> None:
    for path in ("/patauth-verify", "/patauth-odd"):
        assert front.get(path, basic_of(issued)).status_code == 404
    assert front.app.seen == front.asked == []
