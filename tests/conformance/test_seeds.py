"""Every field, status and error body of the vendors' four descriptions, each claimed in a row of one table.

The descriptions are called seeds here, by number: 000 lists PATs in Identity Security Cloud, 001 is its API
v1, 002 its v2024 (all in one line), 003 is ZITADEL's management API v1. A row has the seed and its lines,
what they promise, and a check. Lines without a promise, such as headings, are listed too, so that none is
forgotten.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from patauth import Authority, Conflict, IssuedPat, Owner, PatAuthMiddleware
from patauth.wsgi.isc.routes import VERSIONS
from tests.support.authorities import Make, basic_of, issue
from tests.support.clocks import DAY, Clock
from tests.support.rights import ALL_MANAGE, ALL_READ, MANAGED_READ, MY_READ
from tests.support.rpc import OVER_HTTP, Outcome
from tests.support.rpc import V1 as SERVICE
from tests.support.signing import JWT_MODE
from tests.support.tables import each
from tests.support.wsgi import Echo, request

V1, V2024, USERS = "/personal-access-tokens/v1", "/v2024/personal-access-tokens", "/management/v1/users"
LATER, NEVER = "2030-06-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"
MS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
HEX = re.compile("[0-9a-f]{32}")
MANY = "1000000/1"


class World:
    """Both dialects over one store. Without a caller named, root calls, who may do everything."""

    def __init__(self, authority: Authority, clock: Clock) -> None:
        self.authority, self.clock = authority, clock
        self.app = PatAuthMiddleware(Echo(), authority, surfaces=["oauth", "isc", "zitadel"])
        self.numbers = count()
        self.root = self.pat("sp:scopes:all", ALL_MANAGE, "reports:read", owner="root")
        self.carol = self.pat("reports:read", owner="carol")

    def pat(self, *scope: str, owner: str = "alice", **given: Any) -> IssuedPat:
        if not {"expires_in", "expires_at"} & given.keys():
            given["never_expires"] = True
        return issue(self.authority, f"p{next(self.numbers)}", owner=Owner(owner), scope=list(scope), **given)

    def ask(
        self, method: str, path: str, body: Any = None, by: IssuedPat | str | None = None, **given: Any
    ) -> TestResponse:
        """The answer; `by` is a PAT, or an Authorization value that may be empty."""
        caller = self.root if by is None else by
        if body is not None:
            kind = "application/json-patch+json" if method == "PATCH" else "application/json"
            given = {"data": json.dumps(body), "content_type": kind, **given}
        said = caller if isinstance(caller, str) else basic_of(caller)
        return request(self.app, path, method=method, authorization=said or None, **given)

    def create(self, path: str = V1, by: IssuedPat | None = None, **fields: Any) -> TestResponse:
        """The answer to a creation; a field that is `...` is left out."""
        body = {**CREATION, "name": f"p{next(self.numbers)}", **fields}
        return self.ask("POST", path, {name: value for name, value in body.items() if value is not ...}, by)

    def patch(self, path: str = V1, by: IssuedPat | None = None, **values: Any) -> TestResponse:
        """The answer to a patch of a new PAT of alice's that replaces these members."""
        made = self.pat("reports:read", expires_in=timedelta(days=90))
        operations = [{"op": "replace", "path": f"/{name}", "value": value} for name, value in values.items()]
        return self.ask("PATCH", f"{path}/{made.pat.id}", operations, by)

    def listed(self, query: str = "", by: IssuedPat | None = None, path: str = V1) -> list[dict[str, Any]]:
        answer = self.ask("GET", path + query, by=by)
        assert answer.status_code == 200, answer.text
        return answer.json  # type: ignore[no-any-return]

    def owners(self, query: str = "", by: IssuedPat | None = None) -> set[str]:
        return {one["owner"]["id"] for one in self.listed(query, by)}

    def one(self, path: str = V1) -> dict[str, Any]:
        """Carol's PAT, as a list shows it."""
        (found,) = self.listed("?owner-id=carol", path=path)
        return found

    def used(self) -> str | None:
        """When carol's PAT was used last."""
        return self.one()["lastUsed"]  # type: ignore[no-any-return]

    def exchange(self) -> str:
        """An access token of carol's PAT."""
        return self.authority.exchange(self.carol.pat.id, self.carol.secret).value

    def limited(self, method: str, path: str, body: Any = None) -> TestResponse:
        """The answer to a caller whose quota is used up."""
        caller = self.pat("sp:scopes:all", ALL_MANAGE, request_quota="1/60")
        self.authority.verify_bearer(caller.token)
        return self.ask(method, path, body, caller)

    def broken(self, method: str, path: str, body: Any = None) -> TestResponse:
        """The answer of a server with a fault inside."""

        def fail(*_: Any, **__: Any) -> Any:
            raise RuntimeError("hunter2")

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(self.authority.operations, "authenticate", fail)
            return self.ask(method, path, body)

    def expired(self, method: str, path: str, body: Any = None) -> TestResponse:
        """The answer to a caller with a signed access token that has expired."""
        token = self.exchange()
        self.clock.advance(901_000)
        return self.ask(method, path, body, f"Bearer {token}")

    def search(self, owner: str = "carol", by: IssuedPat | None = None, **query: Any) -> TestResponse:
        return self.ask("POST", f"{USERS}/{owner}/pats/_search", {"query": query}, by)

    def found(self) -> dict[str, Any]:
        """Carol's PAT, as ZITADEL's search shows it."""
        (found,) = self.search().json["result"]
        return found  # type: ignore[no-any-return]

    def added(self, **body: Any) -> TestResponse:
        return self.ask("POST", f"{USERS}/dave/pats", body)

    def by_web(self, method: str, **message: Any) -> Outcome:
        """What a method of ZITADEL's management service comes to over gRPC-web, for carol."""
        call = OVER_HTTP["application/grpc-web+proto"]
        return call(self.app, SERVICE + method, {"userId": "carol", **message}, basic_of(self.root))


# -- checks that are more than a line, or that several rows share --------------------------------------------


def is_dto(answer: TestResponse, status: int, code: str) -> bool:
    """Whether an error has the form and the code of ErrorResponseDto."""
    content = answer.json
    texts = [*content["messages"], *content["causes"]]
    return (
        answer.status_code == status
        and content.keys() == {"detailCode", "trackingId", "messages", "causes"}
        and content["detailCode"] == code
        and HEX.fullmatch(content["trackingId"]) is not None
        and bool(content["messages"])
        and all(one.keys() == {"locale", "localeOrigin", "text"} and one["text"] for one in texts)
    )


def is_400(answer: TestResponse) -> bool:
    return is_dto(answer, 400, "400.1 Bad Request Content")


def is_403(answer: TestResponse) -> bool:
    return is_dto(answer, 403, "403 Forbidden")


def is_404(answer: TestResponse) -> bool:
    return is_dto(answer, 404, "404 Not found")


def is_500(answer: TestResponse) -> bool:
    return is_dto(answer, 500, "500.0 Internal Fault") and "hunter2" not in answer.text


def is_429(answer: TestResponse) -> bool:
    waits = re.fullmatch(r"[1-9]\d*", answer.headers["Retry-After"]) is not None
    return (
        answer.status_code == 429
        and answer.json == {"message": " Rate Limit Exceeded "}
        and waits is not None
    )


def is_401(w: World, method: str, path: str, body: Any = None) -> bool:
    """Whether a call without credentials, and one with an expired token, get their errors."""
    nobody, late = w.ask(method, path, body, ""), w.expired(method, path, body)
    return (
        (nobody.status_code, late.status_code) == (401, 401)
        and nobody.json.keys() == {"error"}
        and late.json == {"error": "JWT validation failed: JWT is expired"}
    )


def told(w: World, language: str) -> dict[str, Any]:
    """The message of an error to somebody who asks for a language, or for none."""
    headers = {"Accept-Language": language} if language else None
    (message,) = w.ask("GET", f"{V1}?filters=x", headers=headers).json["messages"]
    return message  # type: ignore[no-any-return]


def refuses_all_names_but_one(w: World) -> bool:
    """Whether a name is unique among one user's PATs, and only among these."""
    names = [w.create(name="taken", owner={"id": owner}) for owner in ("u", "u", "v")]
    return [answer.status_code for answer in names] == [200, 400, 200]


def notes_one_use_a_day(w: World) -> bool:
    """Whether an exchange is noted to the millisecond, and no second one on that day."""
    w.clock.advance(DAY)
    w.exchange()
    first = w.used()
    w.clock.advance(1000)
    w.exchange()
    again = w.used()
    w.clock.advance(DAY)
    w.exchange()
    return MS.fullmatch(first or "") is not None and first == again != w.used()


def keeps_scopes_of_tokens(w: World) -> bool:
    """Whether an access token keeps its scopes when those of its PAT change, and a new one has those."""
    made = w.pat("reports:read", "reports:write")
    old = w.authority.exchange(made.pat.id, made.secret).value
    change = [{"op": "replace", "path": "/scope", "value": ["reports:read"]}]
    assert w.ask("PATCH", f"{V1}/{made.pat.id}", change).status_code == 200
    new = w.authority.exchange(made.pat.id, made.secret).value
    scopes = [w.authority.verify_bearer(token).scopes for token in (old, new)]
    return scopes == [{"reports:read", "reports:write"}, {"reports:read"}]


def is_gone(w: World, path: str = V1) -> bool:
    """Whether a deletion answers 204 without a body, after which the PAT is refused and not found."""
    made = w.pat("reports:read")
    answers = [w.ask("DELETE", f"{path}/{made.pat.id}") for _ in range(2)]
    return (
        (answers[0].status_code, answers[0].data) == (204, b"")
        and is_404(answers[1])
        and w.ask("GET", "/x", by=made).status_code == 401
    )


def never(w: World, **fields: Any) -> bool:
    """Whether these fields make a PAT that never expires."""
    made = w.create(**fields)
    return made.status_code == 200 and w.authority.get(made.json["id"]).expires_at is None


def never_by_patch(w: World, **values: Any) -> bool:
    changed = w.patch(**values)
    return (changed.status_code, changed.json.get("expirationDate", "")) == (200, None)


def is_rpc(answer: TestResponse, status: int, code: int) -> bool:
    """Whether an error has the form of google.rpc.Status."""
    content = answer.json
    return (
        (answer.status_code, content["code"]) == (status, code)
        and bool(content["message"])
        and all(isinstance(one["@type"], str) for one in content["details"])
    )


def pages(w: World) -> bool:
    """Whether a search skips and limits, the newest first or last."""
    owner, made = f"paged{next(w.numbers)}", []
    for _ in range(3):
        w.clock.advance(1000)
        made.append(w.pat("a", owner=owner).pat.id)

    def ids(**query: Any) -> list[str]:
        return [one["id"] for one in w.search(owner, **query).json["result"]]

    return (
        ids() == made[::-1]
        and ids(asc=True) == made
        and ids(offset="1", limit=1) == [made[1]]
        and ids(offset=2, limit="9") == [made[0]]
    )


def acts_elsewhere(w: World) -> bool:
    """Whether the field for an organisation names the caller's own by default, and no other without leave."""
    path = f"{USERS}/carol/pats/{w.carol.pat.id}"
    own, other = (w.ask("GET", path, headers={"x-zitadel-orgid": name}) for name in ("default", "acme"))
    return w.ask("GET", path).json == own.json and is_rpc(other, 403, 7)


ALL = f"{V1}?owner-id=carol"
CREATION = {"name": "x", "scope": ["reports:read"], "expirationDate": LATER}
TWICE = "Basic YTpi, Basic YTpi"  # two Authorization fields, as servers join them
CHANGE = [{"op": "replace", "path": "/name", "value": "x"}]
ABSENT = f"{V1}/{'0' * 32}"
AWARE = "userAwareTokenNeverExpires"
Check = Callable[[World], object]

ISC: list[tuple[str, str, Check]] = [
    # 000: the list
    ("000 1 17", "GET lists PATs, in every version", lambda w: all(
        w.ask("GET", f"{one.path}?owner-id=me").status_code == 200 for one in VERSIONS.values())),
    ("000 2-3 6", "owner-id says whose", lambda w: w.owners("?owner-id=carol") == {"carol"}),
    ("000 4", "without it all of the tenant, by the right to all", lambda w: (
        {"carol", "root"} <= w.owners(by=w.pat(ALL_READ)) and is_403(w.ask("GET", V1, by=w.pat(MY_READ))))),
    ("000 7-8", "me takes the right to one's own, an id the right to all", lambda w: (
        w.owners("?owner-id=me", w.pat(MY_READ)) == {"alice"}
        and is_403(w.ask("GET", ALL, by=w.pat(MY_READ))) and w.owners("?owner-id=carol", w.pat(ALL_READ)))),
    ("000 9-10", "the right to managed PATs shows those of people whom the caller manages", lambda w: (
        w.owners("?owner-id=carol", w.pat(MANAGED_READ)) == {"carol"}
        and is_403(w.ask("GET", f"{V1}?owner-id=root", by=w.pat(MANAGED_READ))))),
    ("000 11", "200", lambda w: w.ask("GET", ALL).status_code == 200),
    ("000 12 81", "400 for a wrong request", lambda w: is_400(w.ask("GET", f"{V1}?filters=nonsense"))),
    ("000 13 124", "401 without credentials, and for an expired JWT", lambda w: is_401(w, "GET", ALL)),
    ("000 14 134", "403 without the right", lambda w: is_403(w.ask("GET", ALL, by=w.carol))),
    ("000 15 190", "429 with Retry-After", lambda w: is_429(w.limited("GET", ALL))),
    ("000 16 200", "500 for a fault inside", lambda w: is_500(w.broken("GET", ALL))),
    ("000 18 82 125 135 191 201", "JSON, whatever the status", lambda w: {"application/json"} == {
        answer.content_type for answer in (
            w.ask("GET", ALL), w.ask("GET", f"{V1}?filters=x"), w.ask("GET", ALL, by=""),
            w.ask("GET", ALL, by=w.carol), w.limited("GET", ALL), w.broken("GET", ALL))}),
    ("000 21", "an array", lambda w: isinstance(w.listed(), list)),
    ("000 22-23", "id is the user name of Basic", lambda w: w.ask(
        "GET", "/x", by="Basic " + b64encode(f"{w.one()['id']}:{w.carol.secret}".encode()).decode()
    ).status_code == 200),
    ("000 24-25", "name, unique among a user's PATs", refuses_all_names_but_one),
    ("000 26-27", "scope, an array of texts", lambda w: w.one()["scope"] == ["reports:read"]),
    ("000 28-29", "owner, an object", lambda w: w.one()["owner"].keys() == {"type", "id", "name"}),
    ("000 30-57", "owner.type, one of 26", lambda w: all(
        w.create(owner={"id": f"o{number}", "type": kind}).json["owner"]["type"] == kind
        for number, kind in enumerate(OWNER_TYPES)) and is_400(w.create(owner={"id": "o", "type": "USER"}))),
    ("000 58", "owner.id", lambda w: w.one()["owner"]["id"] == "carol"),
    ("000 59", "owner.name", lambda w: w.create(
        owner={"id": "named", "name": "Ann O."}).json["owner"]["name"] == "Ann O."),
    ("000 60-61", "created, to the millisecond", lambda w: MS.fullmatch(w.one()["created"])),
    ("000 62-63", "lastUsed, by exchanges, once a day", notes_one_use_a_day),
    ("000 64-80", "all of this in one object, dates with three digits and Z", lambda w: (
        {"id", "name", "scope", "owner", "created", "lastUsed"} <= w.one().keys()
        and HEX.fullmatch(w.one()["id"]))),
    ("000 85-87 140-141 206-207", "detailCode", lambda w: is_400(w.ask("GET", f"{V1}?filters=x"))),
    ("000 88-89 142-143 208-209", "trackingId, new for each error", lambda w: len({
        w.ask("GET", f"{V1}?filters=x").json["trackingId"] for _ in range(3)}) == 3),
    ("000 90-91 144-145 210-211", "messages", lambda w: told(w, "")),
    ("000 92 146 212", "locale, a language tag", lambda w: told(w, "")["locale"] == "en-US"),
    ("000 93-96 147-150 213-216", "localeOrigin: by Accept-Language, or the default", lambda w: (
        [told(w, one)["localeOrigin"] for one in ("", "de", "xx")] == ["DEFAULT", "REQUEST", "DEFAULT"])),
    ("000 97 151 217", "text, in the language of locale", lambda w: (
        told(w, "de")["locale"] == "de" and told(w, "de")["text"] != told(w, "")["text"])),
    ("000 98-99 152-153 218-219", "causes, which say more than messages", lambda w: "filters" in w.ask(
        "GET", f"{V1}?filters=x").json["causes"][0]["text"]),
    ("000 100 154 220", "locale of a cause", lambda w: cause(w)["locale"] == "en-US"),
    ("000 101-104 155-158 221-224", "localeOrigin of a cause", lambda w: (
        cause(w)["localeOrigin"] == "DEFAULT")),
    ("000 105 159 225", "text of a cause", lambda w: cause(w)["text"]),
    ("000 106-123 160-177 226-243", "the body of a 400", lambda w: is_400(w.ask("GET", f"{V1}?filters=x"))),
    ("000 128-133", "the body of a 401 for an expired JWT", lambda w: w.expired("GET", ALL).json == {
        "error": "JWT validation failed: JWT is expired"}),
    ("000 178-189", "the body of a 403", lambda w: is_403(w.ask("GET", ALL, by=w.carol))),
    ("000 194-199", "the body of a 429, blanks included", lambda w: w.limited("GET", ALL).json == {
        "message": " Rate Limit Exceeded "}),
    ("000 244-255", "the body of a 500", lambda w: is_500(w.broken("GET", ALL))),
    # 001: v1
    ("001 7", "id and secret stand for the user", lambda w: (
        w.ask("GET", "/x", by=w.carol).json["who"] == "carol")),
    ("001 16", "POST creates", lambda w: w.create().status_code == 200),
    ("001 17 74 81", "DELETE by id deletes", is_gone),
    ("001 18", "GET lists", lambda w: w.ask("GET", V1).status_code == 200),
    ("001 19 182", "PATCH by id changes", lambda w: w.patch(name="by id").json["name"] == "by id"),
    ("001 23", "without a date it never expires, if that is acknowledged", lambda w: (
        is_400(w.create(expirationDate=...)) and is_400(w.create(expirationDate=None))
        and never(w, expirationDate=..., **{AWARE: True}))),
    ("001 25", "so the date may be null or absent; else it lies in the future, without limit", lambda w: (
        never(w, expirationDate=None, **{AWARE: True}) and never(w, expirationDate=..., **{AWARE: True})
        and is_400(w.create(expirationDate=None, **{AWARE: False}))
        and is_400(w.create(expirationDate="soon"))
        and is_400(w.create(expirationDate="2020-01-01T00:00:00Z"))
        and all(w.create(expirationDate=NEVER, **more).status_code == 200 for more in ({}, {AWARE: False}))
        and w.create(**{AWARE: True}).json["expirationDate"] == LATER)),
    ("001 32", "name, scope, expiry and acknowledgement come in the body", lambda w: w.create(
        accessTokenValiditySeconds=60, **{AWARE: False}).status_code == 200),
    ("001 36", "the answer has all members of the response, none of them null", lambda w: (
        CREATED <= w.create().json.keys() <= CREATED | OURS
        and None not in w.create(expirationDate=None, **{AWARE: True}).json.values())),
    ("001 41", "200, and the secret in no other answer", lambda w: (
        w.create().json["secret"].startswith("pats_") and not any("secret" in one for one in w.listed()))),
    ("001 42", "create: 400", lambda w: is_400(w.create(name=""))),
    ("001 43", "create: 401", lambda w: is_401(w, "POST", V1, CREATION)),
    ("001 44", "create: 403", lambda w: is_403(w.create(by=w.carol))),
    ("001 45", "create: 429", lambda w: is_429(w.limited("POST", V1, CREATION))),
    ("001 46", "create: 500", lambda w: is_500(w.broken("POST", V1, CREATION))),
    ("001 50-51", "create: JSON in, JSON out", lambda w: w.ask(
        "POST", V1, {**CREATION, "name": "accepted"}, headers={"Accept": "application/json"}
    ).content_type == "application/json"),
    ("001 85 90", "delete: 204, empty", is_gone),
    ("001 91", "delete: 400", lambda w: is_400(w.ask("DELETE", ABSENT, by=TWICE))),
    ("001 92", "delete: 401", lambda w: is_401(w, "DELETE", ABSENT)),
    ("001 93", "delete: 403", lambda w: is_403(w.ask("DELETE", f"{V1}/{w.carol.pat.id}", by=w.carol))),
    ("001 94", "delete: 404", lambda w: is_404(w.ask("DELETE", ABSENT))),
    ("001 95", "delete: 429", lambda w: is_429(w.limited("DELETE", ABSENT))),
    ("001 96", "delete: 500", lambda w: is_500(w.broken("DELETE", ABSENT))),
    ("001 100-101", "delete: no media type in, JSON accepted", lambda w: w.ask(
        "DELETE", f"{V1}/{w.pat('a').pat.id}", headers={"Accept": "application/json"}).status_code == 204),
    ("001 105", "an id has 32 hexadecimal digits", lambda w: HEX.fullmatch(w.create().json["id"])),
    ("001 123 131", "list: owner-id as in 000", lambda w: w.owners("?owner-id=carol") == {"carol"}),
    ("001 132 155", "list: filters by lastUsed, le and isnull", lambda w: (
        all(one["lastUsed"] for one in w.listed("?filters=lastUsed+le+2040-02-05T10:59:27.214Z"))
        and all(one["lastUsed"] is None for one in w.listed("?filters=lastUsed%20isnull"))
        and w.listed("?filters=lastUsed%20isnull"))),
    ("001 135 140", "list: 200 with an array of the read form", lambda w: w.one().keys() == READ | OURS),
    ("001 141", "list: 400", lambda w: is_400(w.ask("GET", f"{V1}?filters=x"))),
    ("001 142", "list: 401", lambda w: is_401(w, "GET", V1)),
    ("001 143", "list: 403", lambda w: is_403(w.ask("GET", V1, by=w.carol))),
    ("001 144", "list: 429", lambda w: is_429(w.limited("GET", V1))),
    ("001 145", "list: 500", lambda w: is_500(w.broken("GET", V1))),
    ("001 149-150", "list: no media type in, JSON out", lambda w: w.ask(
        "GET", V1, headers={"Accept": "application/json"}).content_type == "application/json"),
    ("001 154", "an owner's id may be any text of 32 such digits", lambda w: w.listed(
        "?owner-id=2c9180867b50d088017b554662fb281e") == []),
    ("001 173", "patch: access tokens keep their scopes; to never expire is acknowledged", lambda w: (
        keeps_scopes_of_tokens(w) and is_400(w.patch(expirationDate=None))
        and never_by_patch(w, expirationDate=None, **{AWARE: True}))),
    ("001 175", "patch: a date needs no acknowledgement, and has to lie ahead", lambda w: (
        w.patch(expirationDate=LATER).json["expirationDate"] == LATER
        and w.patch(expirationDate=LATER, **{AWARE: False}).status_code == 200
        and is_400(w.patch(expirationDate="2020-01-01T00:00:00Z")) and is_400(w.patch(expirationDate="soon"))
        and is_400(w.patch(expirationDate=None, **{AWARE: False})))),
    ("001 183", "patch: name, scope, expirationDate and the acknowledgement, and nothing else", lambda w: (
        w.patch(name="n", scope=["reports:read"], expirationDate=LATER, **{AWARE: True}).status_code == 200
        and all(is_400(w.patch(**{name: "x"})) for name in "id owner created lastUsed secret".split()))),
    ("001 187 192", "patch: 200 with the new representation", lambda w: (
        w.patch(name="as new").json.keys() == READ | OURS)),
    ("001 193", "patch: 400", lambda w: is_400(w.patch(name=""))),
    ("001 194", "patch: 401", lambda w: is_401(w, "PATCH", ABSENT, CHANGE)),
    ("001 195", "patch: 403", lambda w: is_403(w.ask("PATCH", f"{V1}/{w.carol.pat.id}", CHANGE, w.carol))),
    ("001 196", "patch: 404", lambda w: is_404(w.ask("PATCH", ABSENT, CHANGE))),
    ("001 197", "patch: 429", lambda w: is_429(w.limited("PATCH", ABSENT, CHANGE))),
    ("001 198", "patch: 500", lambda w: is_500(w.broken("PATCH", ABSENT, CHANGE))),
    ("001 202-203", "patch: application/json-patch+json in, JSON out", lambda w: (
        w.patch(name="typed").content_type == "application/json"
        and w.ask("PATCH", ABSENT, CHANGE, content_type="application/json").status_code == 415)),
    ("001 207-208", "patch: three members at once, one of them sp:scopes:all", lambda w: w.patch(
        name="New name", scope=["sp:scopes:all"], expirationDate="2031-12-31T23:59:59.999Z"
    ).json["scope"] == ["sp:scopes:all"]),
    # 002: v2024, whose text is one line
    ("002 1", "create: scope, accessTokenValiditySeconds and name make a PAT for six months", lambda w: (
        (made := w.create(V2024, expirationDate=..., accessTokenValiditySeconds=36_900)).status_code == 200
        and made.json.keys() == CREATED and made.json["accessTokenValiditySeconds"] == 36_900
        and made.json["expirationDate"][:10] > "2030-06")),
    ("002 1", "create: 400, 401, 403, 429 and 500", lambda w: (
        is_400(w.create(V2024, name="")) and is_401(w, "POST", V2024, CREATION)
        and is_403(w.create(V2024, w.carol)) and is_429(w.limited("POST", V2024, CREATION))
        and is_500(w.broken("POST", V2024, CREATION)))),
    ("002 1", "delete: 204, 400, 401, 403, 404, 429 and 500", lambda w: (
        is_gone(w, V2024) and is_400(w.ask("DELETE", absent(V2024), by=TWICE))
        and is_401(w, "DELETE", absent(V2024)) and is_404(w.ask("DELETE", absent(V2024)))
        and is_403(w.ask("DELETE", f"{V2024}/{w.carol.pat.id}", by=w.carol))
        and is_429(w.limited("DELETE", absent(V2024))) and is_500(w.broken("DELETE", absent(V2024))))),
    ("002 1", "list: owner-id and filters; 200, 400, 401, 403, 429 and 500", lambda w: (
        w.one(V2024).keys() == READ - {AWARE}
        and w.listed("?owner-id=me&filters=lastUsed+le+2023-02-05T10:59:27.214Z", path=V2024) == []
        and is_400(w.ask("GET", f"{V2024}?filters=x")) and is_401(w, "GET", V2024)
        and is_403(w.ask("GET", V2024, by=w.carol)) and is_429(w.limited("GET", V2024))
        and is_500(w.broken("GET", V2024)))),
    ("002 1", "patch: name and scope, nothing else; an array of operations, never a single one", lambda w: (
        w.patch(V2024, name="short-lived", scope=["reports:read"]).json.keys() == READ - {AWARE}
        and all(is_400(w.patch(V2024, **{name: LATER})) for name in ("expirationDate", AWARE, "description"))
        and is_400(w.ask("PATCH", f"{V2024}/{w.carol.pat.id}", {**CHANGE[0], "path": "/description"})))),
    ("002 1", "patch: 400, 401, 403, 404, 429 and 500", lambda w: (
        is_400(w.patch(V2024, name="")) and is_401(w, "PATCH", absent(V2024), CHANGE)
        and is_403(w.ask("PATCH", f"{V2024}/{w.carol.pat.id}", CHANGE, w.carol))
        and is_404(w.ask("PATCH", absent(V2024), CHANGE))
        and is_429(w.limited("PATCH", absent(V2024), CHANGE))
        and is_500(w.broken("PATCH", absent(V2024), CHANGE)))),
]  # fmt: skip

ZITADEL: list[tuple[str, str, Check]] = [
    ("003 1", "GET by id returns a PAT", lambda w: w.ask(
        "GET", f"{USERS}/carol/pats/{w.carol.pat.id}").json["token"]["id"] == w.carol.pat.id),
    ("003 2", "a search lists a user's PATs; one is ready to be sent as it is", lambda w: (
        [one["id"] for one in w.search().json["result"]] == [w.carol.pat.id]
        and w.ask("GET", "/x", by=f"Bearer {w.added().json['token']}").json["who"] == "dave")),
    ("003 4", "userId stands in the path", lambda w: w.search("nobody").json.get("result") is None),
    ("003 6-7", "x-zitadel-orgid: one's own organisation by default, others with leave", acts_elsewhere),
    ("003 8 29 147", "JSON in and out, errors too", lambda w: {"application/json"} == {
        w.search().content_type, w.search(limit=9999).content_type}),
    ("003 9 30 148", "gRPC has a port of its own (test_forms.py); this path names it", lambda w: (
        is_rpc(answer := w.ask(
            "POST", f"{USERS}/carol/pats/_search", data=b"\0\0\0\0\0", content_type="application/grpc"
        ), 415, 12) and "--grpc-bind" in answer.json["message"])),
    ("003 10 31 149", "gRPC-web finds the same, by id and in a list; so are its errors", lambda w: (
        w.by_web("GetPersonalAccessTokenByIDs", tokenId=w.carol.pat.id).content["token"] == w.found()
        and w.by_web("ListPersonalAccessTokens").content["result"] == [w.found()]
        and w.by_web("ListPersonalAccessTokens", query={"limit": 9999}).code == 3)),
    ("003 11-13 16-18 21-23", "query is an object", lambda w: is_rpc(
        w.ask("POST", f"{USERS}/carol/pats/_search", {"query": []}), 400, 3)),
    ("003 14 19 24", "offset and limit; more than 1000 is an error, and 1000 the default", lambda w: (
        pages(w) and w.search(limit=1000).status_code == 200 and is_rpc(w.search(limit=1001), 400, 3)
        and w.authority.settings.page_limit_zitadel == 1000)),
    ("003 15 20 25", "asc; the default is descending", pages),
    ("003 26 28", "200", lambda w: w.search().status_code == 200),
    ("003 27 146", "all other answers are errors of one form", lambda w: all(
        is_rpc(answer, status, code) for answer, status, code in (
            (w.search(limit=9999), 400, 3), (w.ask("POST", f"{USERS}/carol/pats/_search", {}, ""), 401, 16),
            (w.search(by=w.pat("a")), 403, 7), (w.ask("GET", f"{USERS}/carol/pats/{'0' * 32}"), 404, 5),
            (w.limited("POST", f"{USERS}/carol/pats/_search", {}), 429, 8), (taken(w), 409, 6),
            (w.broken("POST", f"{USERS}/carol/pats/_search", {}), 500, 13)))),
    ("003 34-35 72-73 110-111", "details of a list", lambda w: w.search().json["details"].keys() == {
        "totalResult", "processedSequence", "viewTimestamp"}),
    ("003 36 49-53 74 87-91 112 125-129", "uint64 is a text, viewTimestamp a date", lambda w: (
        w.search().json["details"]["totalResult"] == "1"
        and re.fullmatch(r"\d+", w.search().json["details"]["processedSequence"])
        and w.search().json["details"]["viewTimestamp"].startswith("20"))),
    ("003 37 54-55 75 92-93 113 130-131", "result, an array", lambda w: len(w.search().json["result"]) == 1),
    ("003 38 56 76 94 114 132", "id, and details of each", lambda w: w.found()["id"] == w.carol.pat.id),
    ("003 39-40 58 77-78 96 115-116 134", "sequence counts changes", lambda w: (
        [details["sequence"] for details in changed(w)] == ["1", "2"])),
    ("003 41-42 59 79-80 97 117-118 135", "creationDate stays", lambda w: (
        len({details["creationDate"] for details in changed(w)}) == 1)),
    ("003 43-44 60 81-82 98 119-120 136", "changeDate moves with a change", lambda w: (
        (found := changed(w))[0]["changeDate"] == found[0]["creationDate"] < found[1]["changeDate"])),
    ("003 45 57 61 83 95 99 121 133 137", "resourceOwner, the organisation; expirationDate", lambda w: (
        w.found()["details"]["resourceOwner"] == "default"
        and w.found()["expirationDate"] == "9999-12-31T23:59:59Z")),
    ("003 46 64-66 84 102-104 122 140-142", "scopes", lambda w: w.found()["scopes"] == ["reports:read"]),
    ("003 63 101 139", "a date in the year 3019, with six digits of a second", lambda w: w.ask(
        "GET", f"{USERS}/dave/pats/" + w.added(expirationDate="3019-04-01T08:45:00.000000Z").json["tokenId"]
    ).json["token"]["expirationDate"] == "3019-04-01T08:45:00Z"),
    ("003 150-154 158 166-168 171 182-184 187", "code, a number", lambda w: isinstance(
        w.search(limit=9999).json["code"], int)),
    ("003 159 169 172 175 185 188 191", "message", lambda w: w.search(limit=9999).json["message"]),
    ("003 155-156 160-164 170 173-174 176-180 186 189-190 192-197", "details, with @type", lambda w: [
        one["@type"] for one in w.search(limit=9999).json["details"]
    ] == ["type.googleapis.com/zitadel.v1.ErrorDetail"]),
]  # fmt: skip


def cause(w: World) -> dict[str, Any]:
    (found,) = w.ask("GET", f"{V1}?filters=x", headers={"Accept-Language": "de"}).json["causes"]
    return found  # type: ignore[no-any-return]


def absent(path: str) -> str:
    return f"{path}/{'0' * 32}"


def taken(w: World) -> TestResponse:
    """The answer to a creation whose name somebody has taken; a made-up name never is by chance."""

    def fail(*_: Any, **__: Any) -> Any:
        raise Conflict("there is one", field="name")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("patauth.store.pats.Pats.would_create", fail)
        return w.added()


def changed(w: World) -> list[dict[str, str]]:
    """The details of a PAT before and after a change."""
    made = w.pat("a", owner="erin")
    path = f"{USERS}/erin/pats/{made.pat.id}"
    before = w.ask("GET", path).json["token"]["details"]
    w.clock.advance(1000)
    w.authority.update(made.pat.id, name=f"p{next(w.numbers)}")
    return [before, w.ask("GET", path).json["token"]["details"]]


OWNER_TYPES = """
    ACCOUNT_CORRELATION_CONFIG ACCESS_PROFILE ACCESS_REQUEST_APPROVAL ACCOUNT APPLICATION CAMPAIGN
    CAMPAIGN_FILTER CERTIFICATION CLUSTER CONNECTOR_SCHEMA ENTITLEMENT GOVERNANCE_GROUP IDENTITY
    IDENTITY_PROFILE IDENTITY_REQUEST LIFECYCLE_STATE PASSWORD_POLICY ROLE RULE SOD_POLICY SOURCE TAG_CATEGORY
    TASK_RESULT REPORT_RESULT SOD_VIOLATION ACCOUNT_ACTIVITY
""".split()
CREATED = set("id secret scope name owner created accessTokenValiditySeconds expirationDate".split())
READ = (CREATED - {"secret"}) | {"lastUsed", "managed", AWARE}
# What v1 has in addition, as optional members: clients pass over what they do not know.
OURS = {"description", "networks", "notBefore", "requestQuota", "state", "lastUsedFrom", "madeBy"}

# Headings, names of types and tabs, prose without a promise about this API, sample code, blank lines.
EMPTY = {
    "000": "5 19-20 83-84 126-127 136-139 192-193 202-205",
    "001": (
        "1-6 8-15 20-22 24 26-31 33-35 37-40 47-49 52-73 75-80 82-84 86-89 97-99 102-104 106-122 124-130"
        " 133-134 136-139 146-148 151-153 156-172 174 176-181 184-186 188-191 199-201 204-206 209-224"
    ),
    "002": "",
    "003": "3 5 32-33 47-48 62 67-71 85-86 100 105-109 123-124 138 143-145 157 165 181",
}
LINES = {"000": 255, "001": 224, "002": 1, "003": 197}


def lines(text: str) -> Iterator[int]:
    for part in text.split():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def test_each_line_of_each_seed_is_in_a_row_or_has_no_promise() -> None:
    claimed: dict[str, list[int]] = {seed: list(lines(text)) for seed, text in EMPTY.items()}
    for place, *_ in [*ISC, *ZITADEL]:
        claimed[place[:3]] += lines(place[4:])
    for seed, found in claimed.items():
        once = set(found) if seed == "002" else found
        assert sorted(once) == list(range(1, LINES[seed] + 1)), seed


@pytest.fixture
def world(make_at: Make, clock: Clock, keys: Path) -> World:
    authority = make_at(
        clock=clock, keys=str(keys), max_pats_per_owner=1000, request_quota=MANY, exchange_quota=MANY,
        failure_quota=MANY, create_quota="100000/3600", manages=lambda _, owner_id: owner_id == "carol",
        **JWT_MODE,
    )  # fmt: skip
    return World(authority, clock)


@each("place, claim, holds", ISC)
def test_identity_security_cloud(world: World, place: str, claim: str, holds: Check) -> None:
    assert holds(world), claim


@each("place, claim, holds", ZITADEL)
def test_zitadel(world: World, place: str, claim: str, holds: Check) -> None:
    assert holds(world), claim
