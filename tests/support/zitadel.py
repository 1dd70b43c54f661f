"""A caller of the ZITADEL dialect, and the codes of its errors."""

from __future__ import annotations

import json
import re
from typing import Any

from werkzeug.test import TestResponse

from patauth import Authority, IssuedPat, PatAuthMiddleware
from tests.support.wsgi import Echo, request

USERS = "/management/v1/users"


TRACKING = re.compile(r"[0-9a-f]{32}")


def check_error(response: TestResponse, *, connect: bool) -> None:
    """Every error has its shape, and its code goes with its status."""
    content = response.json
    if response.status_code == 429:
        return
    if connect:
        assert set(content) == {"code", "message"}
        assert content["code"] in (WORDS[CODES[response.status_code]], "failed_precondition")
        return
    assert list(content) == ["code", "message", "details"]
    assert content["code"] in (CODES[response.status_code], *([9] if response.status_code == 400 else []))
    (detail,) = content["details"]
    assert list(detail) == ["@type", "id", "message"]
    assert detail["@type"].startswith("type.googleapis.com/")
    assert TRACKING.fullmatch(detail["id"])
    assert detail["message"] == content["message"]


CONNECT = "/zitadel.user.v2.UserService/"


NEVER = "9999-12-31T23:59:59Z"


JUNE = "2030-06-01T00:00:00Z"


NOW = "2030-01-01T00:00:00Z"


MY, ALL = "idn:my-personal-access-tokens:manage", "idn:all-personal-access-tokens:manage"


CODES = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 409: 6, 413: 8, 415: 12, 500: 13, 503: 14}


WORDS = {
    3: "invalid_argument",
    5: "not_found",
    6: "already_exists",
    7: "permission_denied",
    8: "resource_exhausted",
    9: "failed_precondition",
    12: "unimplemented",
    13: "internal",
    14: "unavailable",
    16: "unauthenticated",
}


class Api:
    """A caller with a PAT of their own."""

    def __init__(self, authority: Authority, issued: IssuedPat) -> None:
        self.app = Echo()
        self.gate = PatAuthMiddleware(self.app, authority, surfaces=["zitadel"])
        self.issued = issued
        self.user = issued.pat.owner.id

    def __call__(self, method: str, path: str, body: Any = None, **given: Any) -> TestResponse:
        if body is not None:
            given = {"data": json.dumps(body), "content_type": "application/json", **given}
        given.setdefault("authorization", "Bearer " + self.issued.token)
        response = request(self.gate, path, method=method, **given)
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Type"] == "application/json"
        assert self.app.seen == [], "nothing of this is the application's"
        if response.status_code >= 400 and method != "HEAD":
            check_error(response, connect=path.startswith(CONNECT))
        return response

    def add(self, user_id: str | None = None, body: Any = None, **given: Any) -> TestResponse:
        return self("POST", f"{USERS}/{user_id or self.user}/pats", {} if body is None else body, **given)

    def one(self, token_id: str, user_id: str | None = None) -> str:
        return f"{USERS}/{user_id or self.user}/pats/{token_id}"

    def search(self, user_id: str | None = None, **query: Any) -> TestResponse:
        return self("POST", f"{USERS}/{user_id or self.user}/pats/_search", {"query": query})

    def ids(self, user_id: str | None = None, **query: Any) -> list[str]:
        response = self.search(user_id, **query)
        assert response.status_code == 200, response.text
        return [pat["id"] for pat in response.json.get("result", [])]


BAD_NUMBERS = [-1, "-1", 1.5, "1.5", "1.0", "1e3", 2**64, str(2**64), 10**60, "", " 1", "1 ", "+1"]
