"""`GET /openapi.json`: that it is there, that it is complete, and that every answer is as it says.

What it says of requests is held against what is read; test_schemathesis.py does the same at large.
"""

from __future__ import annotations

import itertools
import json
import re
import secrets
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from werkzeug.test import TestResponse

import patauth
from patauth import (
    Authority,
    Conflict,
    InvalidRequest,
    IssuedPat,
    Owner,
    PatAuthMiddleware,
    Person,
    Quota,
    Settings,
    StoreUnavailable,
)
from patauth.jwt.claims import ALGORITHMS, Algorithm
from patauth.jwt.signature import Key
from patauth.model import filters, scopes
from patauth.model.pat import check_id, check_name
from patauth.operations import json_patch
from patauth.store.pats import Pats
from patauth.wsgi.isc.description import patch_schema
from patauth.wsgi.openapi import document as openapi
from patauth.wsgi.openapi import parts
from patauth.wsgi.routing import Routes
from patauth.wsgi.site import Site
from patauth.wsgi.surfaces import describe, open_routes
from tests.support.authorities import Make, basic_of, issue, maker
from tests.support.rights import ALL_MANAGE
from tests.support.servers import Server
from tests.support.tables import each
from tests.support.wsgi import APIS, Echo, request

ISSUER = "https://pats.example/auth"
NOBODY = "unix:///nowhere/to/be/found"
METHODS = ("get", "post", "patch", "delete", "put")


def settings(**given: Any) -> Settings:
    return Settings.of(store_url=NOBODY, **given)


def document_of(settings: Settings, surfaces: Iterable[str]) -> dict[str, Any]:
    with Authority(settings) as authority:
        return openapi.document(settings, describe(authority, list(surfaces)))


def schema_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    return document["components"]["schemas"][name]  # type: ignore[no-any-return]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


class TestDocument:
    @each("given", [{}, {"issuer": ISSUER}, {"issuer": ISSUER, "path_prefix": "/auth"}])
    def test_it_is_valid(self, given: dict[str, Any]) -> None:
        alone = [] if given else [[], ["openapi"], ["oauth"], ["isc"], ["zitadel"]]
        for surfaces in (*alone, APIS):
            self.check_valid(surfaces, given)

    def check_valid(self, surfaces: Iterable[str], given: dict[str, Any]) -> None:
        document = document_of(settings(scopes={"a": "A"}, owner_types=["APPLICATION"], **given), surfaces)
        validate(document, cls=OpenAPIV31SpecValidator)
        assert document["openapi"] == "3.1.0"
        assert document["info"]["version"] == patauth.__version__

    def test_each_operation_has_a_name_of_its_own_a_summary_and_a_tag(self) -> None:
        document = document_of(settings(issuer=ISSUER), APIS)
        found = [operation for _, _, operation in operations(document)]
        names = [operation["operationId"] for operation in found]
        assert len(set(names)) == len(names) > 40
        assert all(re.fullmatch("[a-z][A-Za-z0-9]+", name) for name in names)
        tags = [tag["name"] for tag in document["tags"]]
        for operation in found:
            assert operation["summary"]
            assert len(operation["tags"]) == 1
            assert operation["tags"][0] in tags

    def test_only_surfaces_that_are_on_are_described(self) -> None:
        whole = document_of(settings(issuer=ISSUER), APIS)
        each = [document_of(settings(issuer=ISSUER), [surface]) for surface in APIS]
        assert [len(document["tags"]) for document in each] == [1] * len(APIS)
        assert whole["paths"] == {path: item for document in each for path, item in document["paths"].items()}
        assert len(whole["paths"]) == sum(len(document["paths"]) for document in each)

    def test_every_component_is_used(self) -> None:
        document = document_of(settings(issuer=ISSUER), APIS)
        used = set(re.findall(r'"#/components/(\w+/[\w-]+)"', json.dumps(document)))
        there = {f"{kind}/{name}" for kind, found in document["components"].items() for name in found}
        assert there - used == {
            "securitySchemes/basic",
            "securitySchemes/bearer",
        }  # named without a reference
        assert used <= there

    def test_the_server_is_where_the_application_is_mounted(self) -> None:
        """Relative to the document, or by the issuer; the paths have the prefix."""
        rows: list[tuple[dict[str, Any], str]] = [
            ({}, "."),
            ({"path_prefix": "/auth"}, ".."),
            ({"path_prefix": "/auth/pats"}, "../.."),
            ({"issuer": "https://a.example"}, "https://a.example"),
            ({"issuer": "https://a.example/app", "path_prefix": "/auth"}, "https://a.example/app"),
            ({"issuer": "https://a.example/app/auth", "path_prefix": "/auth"}, "https://a.example/app"),
        ]
        for options, url in rows:
            document = document_of(settings(**options), ["openapi"])
            assert document["servers"] == [{"url": url}], options
            assert list(document["paths"]) == [f"{options.get('path_prefix', '')}/openapi.json"]

    def test_it_is_as_long_as_the_owners_types_that_are_allowed(self) -> None:
        document = document_of(settings(owner_types=["APPLICATION", "IDENTITY"]), ["isc"])
        kind = schema_of(document, "OwnerToBe")["properties"]["type"]
        assert kind["anyOf"][0]["enum"] == ["APPLICATION", "IDENTITY"]

    def test_the_grammar_of_filters_is_told_in_words(self) -> None:
        document = document_of(settings(), ["isc"])
        (told,) = [
            parameter["description"]
            for parameter in document["paths"]["/personal-access-tokens/v1"]["get"]["parameters"]
            if parameter["name"] == "filters"
        ]
        words = {*filters._OPERATORS, *(word for some in filters._OPERATORS.values() for word in some)}
        assert not [word for word in (*words, "and", "or", "not") if f"`{word}" not in told]

    def test_what_the_vendors_of_the_dialects_do_not_have_is_described_as_ours(self) -> None:
        """The vendor's are the operations and members that its descriptions name; see test_seeds.py."""
        document = document_of(settings(), ["isc"])
        vendors = ("listPats", "createPat", "patchPat", "deletePat", "patchPats", "updatePats")
        for _, _, one in operations(document):
            ours = re.sub(r"(?:V\d+|Beta)$", "", one["operationId"]) not in vendors
            assert one["description"].startswith("patauth's own") == ours, one["operationId"]
            for parameter in one.get("parameters", ()):
                ours = parameter["name"] not in ("owner-id", "filters")
                assert parameter["description"].startswith("patauth's own") == ours, parameter["name"]
        for name in ("CreatePat", "CreatePatOrNever"):
            for member, schema in schema_of(document, name)["properties"].items():
                said = json.dumps(schema)
                assert ("patauth's own" in said) == (member == "owner"), (name, member)

    def test_a_name_that_two_surfaces_give_to_different_things_is_found(self) -> None:
        with pytest.raises(AssertionError):
            openapi._joined([{"a": 1}, {"a": 2}])


class TestRoute:
    @pytest.fixture
    def gate(self) -> Iterator[PatAuthMiddleware]:
        with Authority(settings(path_prefix="/auth", surfaces=APIS)) as authority:
            yield PatAuthMiddleware(Echo(), authority)

    def test_anyone_gets_it_and_the_store_is_not_asked(self, gate: PatAuthMiddleware) -> None:
        response = request(gate, "/auth/openapi.json")
        assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.json["openapi"] == "3.1.0"
        head = request(gate, "/auth/openapi.json", method="HEAD")
        assert (head.status_code, head.data, head.headers) == (200, b"", response.headers)

    def test_nothing_but_get_and_head(self, gate: PatAuthMiddleware) -> None:
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            response = request(gate, "/auth/openapi.json", method=method)
            assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD"), method

    def test_it_is_made_once_and_at_the_first_request(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made = []
        real = openapi.document
        monkeypatch.setattr(
            openapi, "document", lambda *given, **more: made.append(given) or real(*given, **more)
        )
        with Authority(settings()) as authority:
            gate = PatAuthMiddleware(Echo(), authority, surfaces=["openapi"])
            assert made == []
            first, second = request(gate, "/openapi.json"), request(gate, "/openapi.json")
        assert len(made) == 1
        assert first.data == second.data

    def test_the_host_header_has_no_part_in_it(self, gate: PatAuthMiddleware) -> None:
        first, second = (
            request(gate, "/auth/openapi.json", headers={"Host": host, "X-Forwarded-Host": host})
            for host in ("a.invalid", "b.invalid")
        )
        assert first.data == second.data
        assert b".invalid" not in first.data

    def test_it_says_nothing_secret(self) -> None:
        secret = bytes(range(32)).hex()
        given = {"secret_key": secret, "tenant": "acme", "key_prefix": "hidden"}
        with Authority(Settings.of(store_url="redis://user:hunter2@db/0", **given)) as authority:
            gate = PatAuthMiddleware(Echo(), authority, surfaces=APIS)
            text = request(gate, "/openapi.json").text
        assert not [word for word in ("hunter2", "user:", secret, "acme", "hidden") if word in text]

    def test_it_is_the_applications_where_the_surface_is_off(self) -> None:
        with Authority(settings()) as authority:
            gate = PatAuthMiddleware(Echo(), authority, public=["/*"])
            assert request(gate, "/openapi.json").headers["X-App"] == "echo"


# -- routes -----------------------------------------------------------------------------------------------

ID = "0123456789abcdef" * 2


def concrete(path: str) -> str:
    return path.replace("{id}", ID).replace("{tokenId}", ID).replace("{userId}", "alice")


@each("surfaces", [[surface] for surface in APIS] + [list(APIS)])
@each("prefix", ["", "/auth"])
def test_what_is_routed_is_described_and_the_other_way_round(surfaces: list[str], prefix: str) -> None:
    """With its methods, which a route names to a client that sends another one."""
    with Authority(settings(path_prefix=prefix, issuer=f"https://a.example{prefix}")) as authority:
        routes = open_routes(Site(authority), surfaces)
        gate = PatAuthMiddleware(Echo(), authority, surfaces=surfaces)
        paths = openapi.document(authority.settings, describe(authority, surfaces))["paths"]
        assert {concrete(path) for path in paths} >= routes.fixed.keys()
        for path, item in paths.items():
            response = request(gate, concrete(path), method="TRACE")
            assert response.status_code == 405, path
            allowed = set(response.headers["Allow"].lower().split(", ")) - {"head"}
            assert allowed == set(METHODS) & set(item), path
        for path in with_ids(routes):
            assert any(re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", known), path) for known in paths), path


WORDS = ["x", "rotate", "self", "bulk-update", "pats", "_search", "search"]


def with_ids(routes: Routes) -> list[str]:
    """The paths below the known beginnings that a route is found for, out of all that these words make."""
    found = (
        beginning + "/".join(words)
        for beginning in routes.below
        for count in range(1, 5)
        for words in itertools.product(WORDS, repeat=count)
    )
    return [path for path in found if routes.find(path)]


# -- answers ----------------------------------------------------------------------------------------------

SCOPE = ["sp:scopes:all", ALL_MANAGE, "reports:read", "self:rotate"]
MANY = "1000000/1"
FORM, JSON, JSON_PATCH = (
    "application/x-www-form-urlencoded",
    "application/json",
    "application/json-patch+json",
)
LATER = (datetime.now(UTC) + timedelta(days=30)).isoformat()


@pytest.fixture(scope="module")
def at(servers: dict[str, Server]) -> Iterator[Authority]:
    """One Authority for all operations, at a real server."""
    with maker(servers["valkey"].url, "patauth:openapi") as make:
        yield make(
            surfaces=APIS,
            issuer=ISSUER,
            path_prefix="/auth",
            max_pats_per_owner=100_000,
            request_quota=MANY,
            exchange_quota=MANY,
            failure_quota=MANY,
        )


@pytest.fixture(scope="module")
def document(at: Authority) -> dict[str, Any]:
    return openapi.document(at.settings, describe(at, APIS))


def new(authority: Authority, **given: Any) -> IssuedPat:
    """A PAT of the caller's owner."""
    values = {"owner": Owner("root"), "scope": SCOPE, "name": secrets.token_hex(8), "never_expires": True}
    values |= given
    return issue(authority, **values)


class Request:
    """A request for an operation that is as its description says."""

    def __init__(self, authority: Authority, path: str, operation: dict[str, Any], caller: IssuedPat) -> None:
        self.authority = authority
        self.given: dict[str, Any] = {"authorization": basic_of(caller)}
        self.path = path
        if "{" in path or "oauth/" in path or "Service/" in path or path.endswith("bulk-update"):
            target = new(authority)
            self.path = path.replace("{id}", target.pat.id).replace("{tokenId}", target.pat.id)
            self.path = self.path.replace("{userId}", "root")
            self.token = target.token
        if "requestBody" in operation:
            kind = next(iter(operation["requestBody"]["content"]))
            body = self.body(operation["operationId"])
            self.given |= {
                "data": body if kind == FORM else json.dumps(body),
                "content_type": kind,
            }

    def body(self, operation: str) -> Any:
        match re.match("[a-z]+(?:User)?", operation)[0], operation:  # type: ignore[index]
            case _, "getAccessToken":
                return {"grant_type": "client_credentials"}
            case (("introspect" | "revoke"), _):
                return {"token": self.token}
            case "create", _:
                return {"name": secrets.token_hex(8), "scope": None, "expirationDate": LATER}
            case _, ("patchPatsV1" | "updatePatsV1"):
                operations = [{"op": "replace", "path": "/expirationDate", "value": LATER}]
                return {"ids": [self.token[4:36]], "patch": operations}
            case "patch", _:
                return [{"op": "replace", "path": "/name", "value": secrets.token_hex(8)}]
            case _, ("addUserPatConnect" | "addUserPatConnectV1" | "searchUserPatsConnectV1"):
                return {"userId": "root"}
            case _, ("getUserPatConnectV1" | "removeUserPatConnect" | "removeUserPatConnectV1"):
                return {"userId": "root", "tokenId": self.token[4:36]}
        return {}

    def send(self, method: str, authority: Authority | None = None, **given: Any) -> TestResponse:
        gate = PatAuthMiddleware(Echo(), authority or self.authority)
        return request(gate, self.path, method=method.upper(), **{**self.given, **given})


def provoke(status: str, sent: Request, method: str) -> TestResponse:
    """The answer of this status to such a request."""
    authority = sent.authority
    match status:
        case "200" | "204":
            return sent.send(method)
        case "400":
            return sent.send(method, authorization=f"{sent.given['authorization']}, Basic {'a' * 8}")
        case "401":
            return sent.send(method, authorization=None)
        case "403" | "404" if sent.path.endswith("/self"):
            # A PAT is there, and needs no right: but a person has none, and has to come from here.
            return by_person(sent, method, "cross-site" if status == "403" else "same-origin")
        case "404" if sent.path.endswith("/self/rotate"):
            return by_person(sent, method, "same-origin")
        case "403":
            return sent.send(method, authorization=basic_of(new(authority, scope=["reports:read"])))
        case "404":
            sent.path = re.sub("[0-9a-f]{32}", ID, sent.path)
            sent.given["data"] = re.sub("[0-9a-f]{32}", ID, sent.given.get("data", ""))
            return sent.send(method)
        case "405":
            return sent.send("delete")
        case "409":
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(Pats, "would_create", raising(Conflict("taken", field="name")))
                return sent.send(method)
        case "413":
            return sent.send(method, data=b"x" * 20_000)
        case "415":
            return sent.send(method, data=b"x", content_type="application/grpc")
        case "429":
            limited = new(authority, request_quota="1/60")
            with Authority(replace(authority.settings, exchange_quota=Quota(1, 60))) as strict:
                strict.verify_bearer(limited.token)
                strict.exchange(limited.pat.id, limited.secret)
                return sent.send(method, strict, authorization=basic_of(limited))
        case "500":
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(authority.operations, "authenticate", raising(RuntimeError("boom")))
                return sent.send(method)
        case "503":
            with Authority(settings(surfaces=APIS, path_prefix="/auth")) as away:
                return sent.send(method, away)
    raise AssertionError(status)


def by_person(sent: Request, method: str, site: str) -> TestResponse:
    person = Person(Owner("root"), frozenset(SCOPE), "default")
    gate = PatAuthMiddleware(Echo(), sent.authority, identify=lambda _: person)
    listed = request(gate, "/auth/personal-access-tokens/v1?owner-id=me&limit=1")
    headers = {"Sec-Fetch-Site": site, "X-CSRF-Token": listed.headers["X-CSRF-Token"]}
    return request(gate, sent.path, method=method.upper(), headers=headers)


def raising(problem: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise problem

    return fail


def check(document: dict[str, Any], described: dict[str, Any], response: TestResponse) -> None:
    """Hold an answer against its description: header by header, and its content."""
    components = {"components": document["components"]}
    if "$ref" in described:
        described = document["components"]["responses"][described["$ref"].rpartition("/")[2]]
    for name, header in described["headers"].items():
        if "$ref" in header:
            header = document["components"]["headers"][header["$ref"].rpartition("/")[2]]
        assert name in response.headers or not header.get("required"), name
        for value in response.headers.getlist(name):
            kind = header["schema"].get("type")
            Draft202012Validator(header["schema"]).validate(int(value) if kind == "integer" else value)
    usual = {"Content-Type", "Content-Length", "Pragma", "X-Content-Type-Options", "Vary"}
    assert set(response.headers.keys()) - usual <= set(described["headers"])
    if "content" not in described:
        assert response.data == b""
        assert "Content-Type" not in response.headers
        return
    schema = described["content"][response.headers["Content-Type"]]["schema"]
    checker = Draft202012Validator.FORMAT_CHECKER
    Draft202012Validator({**schema, **components}, format_checker=checker).validate(response.json)


STATUSES = ("200", "204", "400", "401", "403", "404", "405", "409", "413", "415", "429", "500", "503")


def test_no_operation_has_another_status(document: dict[str, Any]) -> None:
    assert {status for _, _, one in operations(document) for status in one["responses"]} == set(STATUSES)


@each("status", STATUSES)
def test_each_operation_can_answer_as_described_and_does(
    at: Authority, document: dict[str, Any], status: str
) -> None:
    for path, method, operation in operations(document):
        if status in operation["responses"]:
            response = provoke(status, Request(at, path, operation, new(at)), method)
            assert str(response.status_code) == status, (operation["operationId"], response.text)
            try:
                check(document, operation["responses"][status], response)
            except Exception as problem:
                problem.add_note(f"{status} of {operation['operationId']}")
                raise


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_published_keys_are_described_too(make_at: Make, tmp_path: Path, alg: Algorithm) -> None:
    (tmp_path / "1.pem").write_bytes(Key.generate(alg).pem())
    (tmp_path / "1.pem").chmod(0o600)
    signs = {"access_token_format": "jwt", "issuer": ISSUER, "keys": str(tmp_path)}
    authority = make_at(surfaces=["oauth", "openapi"], **signs)
    gate = PatAuthMiddleware(Echo(), authority)
    document = request(gate, "/openapi.json").json
    validate(document, cls=OpenAPIV31SpecValidator)
    described = {path for path, _, _ in operations(document)}
    assert described == open_routes(Site(authority), ["oauth", "openapi"]).fixed.keys()

    issued = new(authority)
    access = authority.exchange(issued.pat.id, issued.secret)
    for path, method, sent in (
        ("/oauth/jwks", "get", {}),
        ("/oauth/introspect", "post", {"data": {"token": access.value}, "authorization": basic_of(issued)}),
        ("/.well-known/openid-configuration", "get", {}),
    ):
        response = request(gate, path, method=method.upper(), **sent)
        assert response.status_code == 200
        check(document, document["paths"][path][method]["responses"]["200"], response)
    refused = document["paths"]["/oauth/jwks"]["get"]["responses"]["503"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(authority.operations, "jwks", raising(StoreUnavailable()))
        check(document, refused, request(gate, "/oauth/jwks"))


# -- requests ---------------------------------------------------------------------------------------------

characters = st.characters(codec="utf-8") | st.sampled_from(" \t\n\x7f\x85\xa0\u2028\u202e\u2066\u3000\ufeff")
texts = st.text(characters, max_size=5) | st.builds(lambda a, n: a * n, characters, st.integers(120, 140))


def is_valid(schema: dict[str, Any], value: Any) -> bool:
    return bool(Draft202012Validator(schema).is_valid(value))


def passes(read: Callable[..., Any], *given: Any) -> bool:
    try:
        read(*given)
    except InvalidRequest:
        return False
    return True


@given(texts)
@example("\ufeff")
@example(" \u3000")
@example("a" * 128)
@example("a" * 129)
def test_a_name_is_described_as_it_is_read(text: str) -> None:
    """Of those that are in Unicode's form NFC; what others come to, no schema can say."""
    assume(not text.endswith("\n"))  # to Python, `$` matches before the last one too
    text = unicodedata.normalize("NFC", text)
    assert is_valid(parts.NAME, text) == passes(check_name, text)


@given(texts | st.sampled_from(["me", "a/b", "a b", "a" * 128, "a" * 129, "alice@example.com"]))
def test_an_owners_id_is_described_as_it_is_read(text: str) -> None:
    assume("\n" not in text)  # to Python, `$` matches before the last one too
    assert is_valid(parts.OWNER_ID, text) == passes(check_id, text, "owner id")


@given(st.lists(texts | st.sampled_from(["a:b", 'a"', "a\\", "a" * 128]), max_size=3))
@example(["a"] * 256)
@example(["a"] * 257)
def test_scopes_are_described_as_they_are_read(found: list[str]) -> None:
    assume(not any("\n" in one for one in found))
    assert is_valid(parts.SCOPES, found) == passes(lambda: scopes.check(found) or scopes.parse("\n"))


members = ["name", "scope", "expirationDate", "owner"]
pointers = st.lists(st.sampled_from([*members, "0", "-", "~0", "~2", ""]), max_size=3).map(
    lambda names: "".join(f"/{name}" for name in names)
)
one_operation = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from([*json_patch.NEEDS, "nothing"]),
        "path": pointers | st.sampled_from(["", "name", "/expirationDate", "/name" + "/a" * 16]),
        "from": pointers,
        "value": st.sampled_from([None, "x", ["a"], True]),
        "more": st.none(),
    },
)


@given(st.lists(one_operation, max_size=3))
@example([{"op": "remove", "path": "/name"}] * 33)
@example([{"op": "replace", "path": "/expirationDate"}])
@example([{"op": "replace", "path": "/name"}])
@example([{"op": "remove", "path": "/name" + "/a" * 15}])
def test_a_patch_is_described_as_it_is_read(found: list[dict[str, Any]]) -> None:
    fields = ("name", "scope", "expirationDate", "userAwareTokenNeverExpires")

    def read() -> None:
        try:
            json_patch.check(found, fields, value_may_be_missing=["expirationDate"])
        except InvalidRequest as error:
            if "into itself" not in str(error):  # how one path stands to another, no schema can say
                raise

    assert is_valid(patch_schema("PatPatch", fields), found) == passes(read)


@given(st.integers(10, 2**64 - 1), st.data())
def test_a_limit_of_decimal_texts_is_exact(most: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, 2 * most) | st.integers(most - 20, most + 20).map(abs))
    pattern = re.compile(parts.up_to(most))
    assert (pattern.fullmatch(str(number)) is not None) == (number <= most)
    assert not pattern.fullmatch(f"0{number}")
