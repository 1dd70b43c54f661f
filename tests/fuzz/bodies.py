"""Bodies and media types of requests to patauth's own endpoints, through the real middleware.

A body changes at most what it names, a refusal changes nothing, and no answer is a 500, breaks PEP 3333, or
repeats a secret.
"""

from __future__ import annotations

import io
import json
import unicodedata
from base64 import b64encode
from contextlib import ExitStack
from random import Random
from typing import Any, NamedTuple
from urllib.parse import quote_plus, unquote_plus
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from patauth import Owner, PatAuthMiddleware, PersonalAccessToken
from tests.fuzz.search import Target
from tests.fuzz.spoil import changed_json, in_bytes, spoiled, written
from tests.fuzz.worlds import authority_of, same_secrets
from tests.support.authorities import basic_of, issue
from tests.support.rights import ALL_MANAGE, EVERYTHING
from tests.support.wsgi import Echo

JSON, PATCH = "application/json", "application/json-patch+json"
FORM, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
ADDRESS = "203.0.113.9"
KINDS = [
    *(JSON, PATCH, FORM, MULTIPART, "", "text/plain", "application/grpc", "application/connect+json", "*/*"),
    *(f"{JSON}; charset=utf-8", f"{JSON};charset=UTF-16", f'{JSON}; charset="', f"{JSON}, {JSON}"),
    *(f"{FORM}; charset=utf-16", f"{FORM};", f"{MULTIPART}; boundary=b", f'{MULTIPART}; boundary=""'),
    *(
        f"{MULTIPART}; boundary={'b' * 300}",
        f"{MULTIPART}; boundary=b; boundary=c",
        f"{MULTIPART}; boundary*=b",
    ),
]
CREATES = [
    *(f"/{version}/personal-access-tokens" for version in ("v3", "beta", "v2024", "v2025", "v2026")),
    *("/personal-access-tokens/v1", "/management/v1/users/other/pats", "/v2/users/other/pats"),
    "/zitadel.user.v2.UserService/AddPersonalAccessToken",
    "/zitadel.management.v1.ManagementService/AddPersonalAccessToken",
]
DATE = "2030-01-20T00:00:00Z"
PAGE = {"offset": "0", "limit": 10, "asc": True}
SEARCH = {
    "pagination": PAGE,
    "sortingColumn": "PERSONAL_ACCESS_TOKEN_FIELD_NAME_ID",
    "filters": [
        {"createdDateFilter": {"timestamp": DATE, "method": "TIMESTAMP_FILTER_METHOD_BEFORE"}},
        {"userIdFilter": {"id": "other"}},
    ],
}
SELF, OTHER = Owner("self"), Owner("other")

Given = tuple[str, str, str, dict[str, str], bytes]  # method, path, media type, other fields, body
State = tuple[list[PersonalAccessToken], bool]


class Answered(NamedTuple):
    """Holds an answer. `shown` is all of it as one text."""

    status: int
    kind: str
    body: bytes
    shown: str


class Bodies(Target):
    """Sends bodies that begin as right ones, by a caller who may do almost everything."""

    name = "bodies"

    def __init__(self) -> None:
        super().__init__()
        self._world = ExitStack()
        self.stack.callback(lambda: self._world.close())
        self.begin()

    def begin(self) -> None:
        """Start with a new store: some input has changed the last one."""
        self._world.close()
        self._world = ExitStack()
        with same_secrets():
            self.authority = authority_of(self._world, secret_key=bytes(32))
            scope = [ALL_MANAGE, EVERYTHING, "oauth:introspect", "reports:read"]
            self.caller = issue(self.authority, "caller", owner=SELF, scope=scope, never_expires=True)
            self.other = issue(
                self.authority, "other", owner=OTHER, scope=["reports:read"], never_expires=True
            )
            # From the address of all inputs: the first use from another one is written, too.
            self.access = self.authority.exchange(
                self.caller.pat.id, self.caller.secret, address=ADDRESS
            ).value
        self.basic = basic_of(self.caller)
        self.app = PatAuthMiddleware(Echo(), self.authority, surfaces=["oauth", "isc", "zitadel", "openapi"])
        pair = b64encode(f"{self.caller.pat.id}:{self.caller.secret}".encode()).decode()
        self.secrets = [*(one[-49:-6] for one in (self.caller.secret, self.other.secret, self.access)), pair]
        self.words = [*NAMES, self.caller.secret, self.other.token]
        self.state = self.look()

    def look(self) -> State:
        """Return all PATs, and whether the access token is active."""
        return list(self.authority.list()), self.authority.introspect(self.access).active

    # -- making inputs --------------------------------------------------------------------------------

    def generate(self, chance: Random) -> Given:
        if chance.random() < 0.4:
            path, pairs = chance.choice(self.forms())
            kind, body = self.form(chance, dict(pairs))
            method = "POST"
        else:
            method, path, kind, value = chance.choice(self.documents())
            while chance.random() < 0.7:
                value = changed_json(chance, value, self.words)
            body = in_bytes(chance, written(chance, value))
        if chance.random() < 0.1:
            kind = chance.choice(KINDS)
        if chance.random() < 0.05:
            kind = spoiled(chance, kind).encode("latin-1", "replace").decode("latin-1")
        if chance.random() < 0.03:
            method = chance.choice(("GET", "HEAD", "PUT", "PATCH", "DELETE", "POST"))
        fields = {"HTTP_AUTHORIZATION": self.basic} if chance.random() < 0.9 else {}
        if chance.random() < 0.03:
            fields["HTTP_CONTENT_ENCODING"] = chance.choice(("gzip", "identity", "", "br, gzip"))
        if chance.random() < 0.03:
            fields["HTTP_X_ZITADEL_ORGID"] = chance.choice(("default", "elsewhere", "", "a,b", "\xff"))
        return method, path, kind, fields, body

    def documents(self) -> list[tuple[str, str, str, Any]]:
        """Return right requests with JSON: method, path, media type, and the document."""
        own, other = self.caller.pat.id, self.other.pat.id
        isc, zitadel = "/personal-access-tokens/v1", "/zitadel.user.v2.UserService/"
        made = {"name": "made", "scope": ["reports:read"], "expirationDate": DATE}
        sure = {**made, "expirationDate": None, "userAwareTokenNeverExpires": True}
        owned = {**made, "owner": {"type": "IDENTITY", "id": "other", "name": "O"}}
        dated = [{"op": "replace", "path": "/expirationDate", "value": DATE}]
        patch = [
            {"op": "test", "path": "/name", "value": "other"},
            {"op": "add", "path": "/scope/-", "value": "reports:read"},
            {"op": "replace", "path": "/name", "value": "renamed"},
            {"op": "copy", "from": "/scope/0", "path": "/name"},
        ]
        return [
            ("POST", isc, JSON, {**made, "accessTokenValiditySeconds": 900}),
            ("POST", isc, JSON, sure),
            ("POST", isc, JSON, owned),
            ("POST", "/v3/personal-access-tokens", JSON, made),
            ("POST", "/v2026/personal-access-tokens", JSON, {"name": "made", "scope": None}),
            ("PATCH", f"{isc}/{other}", PATCH, patch),
            ("PATCH", f"{isc}/{own}", PATCH, dated),
            ("PATCH", f"/v2024/personal-access-tokens/{other}", PATCH, patch[2:]),
            ("POST", f"{isc}/{other}/rotate", JSON, {"overlapSeconds": 60}),
            ("PATCH", f"{isc}/bulk-update", JSON, {"ids": [other, own], "patch": dated}),
            ("POST", "/management/v1/users/other/pats", JSON, {"expirationDate": DATE}),
            ("POST", "/management/v1/users/other/pats/_search", JSON, {"query": PAGE}),
            ("POST", "/v2/users/other/pats", JSON, {"userId": "other", "expirationDate": DATE}),
            ("POST", "/v2/users/pats/search", JSON, SEARCH),
            ("POST", f"{zitadel}AddPersonalAccessToken", JSON, {"userId": "other"}),
            ("POST", f"{zitadel}ListPersonalAccessTokens", JSON, SEARCH),
            ("POST", f"{zitadel}RemovePersonalAccessToken", JSON, {"userId": "other", "tokenId": other}),
            ("GET", "/openapi.json", JSON, {}),
        ]

    def forms(self) -> list[tuple[str, dict[str, str]]]:
        """Return right requests with a form: path and parameters."""
        client = {"client_id": self.caller.pat.id, "client_secret": self.caller.secret}
        grant = {"grant_type": "client_credentials", "scope": "reports:read"}
        found = [("/oauth/token", grant), ("/oauth/token", {**grant, **client})]
        for path in ("/oauth/introspect", "/oauth/revoke"):
            for token in (self.access, self.other.token, "pata_" + "0" * 82):
                found.append((path, {"token": token, "token_type_hint": "access_token"}))
        return found

    def form(self, chance: Random, wanted: dict[str, str]) -> tuple[str, bytes]:
        """Return media type and body of a form, which may be spoiled."""
        pairs = list(wanted.items())
        while chance.random() < 0.5:
            at = chance.randrange(len(pairs)) if pairs else 0
            name, value = pairs[at] if pairs else ("", "")
            changed = (
                chance.choice((name, spoiled(chance, name))),
                chance.choice((value, spoiled(chance, value))),
            )
            pairs[at : at + chance.randrange(2)] = [changed] * chance.choice((0, 1, 1, 2, 70))
        if chance.random() < 0.5:
            escape = quote_plus if chance.random() < 0.8 else str
            text = "&".join(f"{escape(one)}={escape(two)}" for one, two in map(encodable, pairs))
            body = text.encode("utf-8", "surrogatepass")
            return FORM, spoiled(chance, body) if chance.random() < 0.3 else body
        end = chance.choice((b"\r\n", b"\r\n", b"\r\n", b"\n"))
        lines: list[bytes] = []
        for name, value in map(encodable, pairs):
            extra = chance.choice(("", "", "", '; filename="f"', "; name*=utf-8''a", '; name="token"'))
            lines += [b"--b", f'Content-Disposition: form-data; name="{name}"{extra}'.encode()]
            if chance.random() < 0.1:
                lines.append(
                    chance.choice(
                        (b"Content-Type: text/plain; charset=utf-16", b":", b"X" * 9000, b"\xff: a")
                    )
                )
            lines += [b"", value.encode()]
        body = end.join([*lines, b"--b--", b""])
        return f"{MULTIPART}; boundary=b", spoiled(chance, body) if chance.random() < 0.4 else body

    # -- judging --------------------------------------------------------------------------------------

    def judge(self, given: Given) -> str:
        method, path, _, _, body = given
        before = self.state
        answer = self.send(given)
        self.state = after = self.look()
        if before != after:
            self.begin()
        assert answer.status < 500, answer
        if answer.body:
            assert answer.kind.split(";")[0] == JSON, answer.kind
            json.loads(answer.body.decode())
        said = text_of(body)
        for secret in self.secrets:
            assert secret not in answer.shown or (answer.status < 300 and secret in said), (
                "a secret is repeated"
            )
        if answer.status >= 400:
            assert after == before, "a refusal has changed something"
        else:
            creates = answer.status == 200 and method == "POST" and path in CREATES
            self.check_change(answer, creates, before[0], after[0], path + said)
        if before[1] and not after[1]:
            assert self.access in said or self.caller.pat.id in path + said, "nobody named this access token"
        return f"{path_of(path)} {answer.status}"

    def check_change(
        self,
        answer: Answered,
        creates: bool,
        before: list[PersonalAccessToken],
        after: list[PersonalAccessToken],
        said: str,
    ) -> None:
        """Assert that the request has named each PAT that is new, changed or gone."""
        known = {pat.id: pat for pat in before}
        left = {pat.id: pat for pat in after}
        for pat_id in known.keys() - left.keys():
            assert pat_id in said, "a PAT is gone that nobody named"
        for pat_id, pat in known.items():
            assert left.get(pat_id, pat) == pat or pat_id in said, "a PAT has changed that nobody named"
        new = [pat for pat in after if pat.id not in known]
        assert len(new) == creates, "PATs that nobody asked for, or none for the answer of a creation"
        for pat in new:
            assert pat.id in answer.shown
            assert pat.name == f"zitadel-{pat.id[-8:]}" or pat.name in unicodedata.normalize("NFC", said)
            assert all(scope in self.caller.pat.scope for scope in pat.scope)
            assert pat.owner.id in ("self", "other") or pat.owner.id in said
            assert pat.expires_ms is not None or pat.never_acknowledged

    def send(self, given: Given) -> Answered:
        method, path, kind, fields, body = given
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "QUERY_STRING": "",
            "PATH_INFO": path,
            "CONTENT_TYPE": kind,
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_ADDR": ADDRESS,
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            **fields,
        }
        setup_testing_defaults(environ)
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started.append((status, headers))
            return lambda data: None

        answer = validator(self.app)(environ, start)
        try:
            content = b"".join(answer)
        finally:
            answer.close()
        ((status, headers),) = started
        kinds = [value for name, value in headers if name.lower() == "content-type"]
        shown = content.decode("utf-8", "replace") + repr(headers)
        return Answered(int(status[:3]), "".join(kinds), content, shown)


NAMES = [
    *"name scope expirationDate userAwareTokenNeverExpires accessTokenValiditySeconds owner id type".split(),
    *"op path value from ids patch overlapSeconds userId user_id tokenId expiration_date query".split(),
    *"pagination offset limit asc sortingColumn filters createdDateFilter tokenIdFilter timestamp".split(),
]


def encodable(pair: tuple[str, str]) -> tuple[str, str]:
    """Return a name and a value without halves of surrogate pairs, which `quote_plus` cannot encode."""
    name, value = (one.encode("utf-8", "replace").decode() for one in pair)
    return name, value


def text_of(body: bytes) -> str:
    """Return all that a body may have said: as it stands, unescaped, and as the texts of its JSON."""
    plain = body.decode("utf-8", "replace")
    try:
        texts = json.dumps(json.loads(body), ensure_ascii=False)
    except (ValueError, RecursionError):
        texts = ""
    return "\n".join((plain, unquote_plus(plain), texts, texts.replace('\\"', '"').replace("\\\\", "\\")))


def path_of(path: str) -> str:
    """Return a path without ids."""
    return "/".join(part for part in path.split("/") if len(part) < 32)
