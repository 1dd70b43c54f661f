"""Callers that know what they must be answered, and note what is wrong. For threads and greenlets."""

from __future__ import annotations

import json
import random
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

from patauth import Authority, Overloaded, Owner, PatAuthMiddleware
from tests.support.authorities import basic

READ, INTROSPECT = "idn:my-personal-access-tokens:read", "oauth:introspect"
ENOUGH = "1000000/1"
SETTINGS = {"request_quota": ENOUGH, "exchange_quota": ENOUGH, "max_pats_per_owner": 100}
PROMISED = {200, 429, 503}


@dataclass
class Caller:
    """A caller with a PAT, and access tokens that came from it."""

    owner: str
    pat_id: str
    secret: str
    token: str
    scopes: list[str]
    pat_ids: list[str]  # all of the owner's
    access: deque[str] = field(default_factory=lambda: deque(maxlen=4))

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "access": list(self.access)}

    @staticmethod
    def of_json(given: dict[str, Any]) -> Caller:
        return Caller(**{**given, "access": deque(given["access"], maxlen=4)})


def gather(authority: Authority, owners: int) -> list[Caller]:
    """Return callers of `owners` owners with one to three PATs each. All PATs have been used today."""
    callers = []
    for number in range(owners):
        made = []
        for name in range(1 + number % 3):
            scopes = sorted([f"only:{number}-{name}", READ, INTROSPECT])
            issued = authority.create(
                owner=Owner(f"owner-{number}"), name=f"pat {name}", scope=scopes, never_expires=True
            )
            made.append(Caller(f"owner-{number}", issued.pat.id, issued.secret, issued.token, scopes, []))
        for caller in made:
            caller.pat_ids = sorted(other.pat_id for other in made)
            caller.access.append(authority.exchange(caller.pat_id, caller.secret).value)
        callers += made
    return callers


@dataclass
class Tally:
    """Counts the answers, and notes the wrong ones."""

    statuses: Counter[str] = field(default_factory=Counter)  # by what was asked, and status
    wrong: list[str] = field(default_factory=list)
    stopped: int = 0  # requests that were ended from outside

    def add(self, other: Tally) -> None:
        self.statuses += other.statuses
        self.wrong += other.wrong
        self.stopped += other.stopped

    @property
    def good(self) -> int:
        return sum(count for what, count in self.statuses.items() if what.endswith(" 200"))

    def __str__(self) -> str:
        return f"{dict(sorted(self.statuses.items()))}, {self.stopped} stopped, wrong: {self.wrong[:5]}"


def echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer with the caller that the gate has named. This is the wrapped application."""
    principal = environ["patauth.principal"]
    start_response("200 OK", [("Content-Type", "application/json")])
    told = [principal.subject.id, principal.pat_id, sorted(principal.scopes), environ["REMOTE_USER"]]
    return [json.dumps(told).encode()]


class Crowd:
    """Sends requests of random callers, and checks that each answer is for the caller who asked."""

    def __init__(self, authority: Authority, callers: Sequence[Caller]) -> None:
        self.authority = authority
        self.app = PatAuthMiddleware(echo, authority, surfaces=["oauth", "isc"])
        self.callers = callers

    def step(self, chance: random.Random, tally: Tally, ways: Sequence[str] | None = None) -> int:
        """Send one request, and return its status."""
        way = chance.choice(ways or WAYS)
        if way == "look":
            return self.look(chance, tally)
        caller, other = chance.choice(self.callers), chance.choice(self.callers)
        bearer, form, path = chance.choice(caller.access), None, "/who"
        asked = chance.choice([*other.access, other.token] if other is caller else other.access)
        authorization = f"Bearer {bearer}"
        if way in ("basic", "exchange"):
            authorization = basic(caller.pat_id, caller.secret)
        elif way == "pat":
            authorization = f"Bearer {caller.token}"
        if way == "exchange":
            path, form = "/oauth/token", {"grant_type": "client_credentials"}
        elif way == "introspect":
            path, form = "/oauth/introspect", {"token": asked}
        elif way == "list":
            path = "/v2026/personal-access-tokens?owner-id=me"
        status, fields, answer = ask(self.app, path, authorization, form)
        wrong = ""
        if status not in PROMISED:
            wrong = f"{status} {answer}"
        elif status != 200:
            if int(fields.get("Retry-After", "0")) < 1:
                wrong = f"{status} without Retry-After"
        elif way == "exchange":
            if not answer["access_token"].startswith(f"pata_{caller.pat_id}_"):
                wrong = "the access token of another"
            elif sorted(answer["scope"].split()) != caller.scopes:
                wrong = "the scopes of another"
            caller.access.append(answer["access_token"])
        elif way == "introspect":
            found = [answer.get(name) for name in ("active", "sub", "client_id")]
            if found != [True, other.owner, other.pat_id] or sorted(answer["scope"].split()) != other.scopes:
                wrong = f"{found} in place of {other.owner}"
        elif way == "list":
            if sorted(pat["id"] for pat in answer) != caller.pat_ids:
                wrong = f"the PATs {answer}"
        elif answer != [caller.owner, caller.pat_id, caller.scopes, caller.owner]:
            wrong = f"{answer} in place of {caller.owner}"
        tally.statuses[f"{way} {status}"] += 1
        if wrong:
            tally.wrong.append(f"{way} of {caller.owner} {caller.pat_id}: {wrong}")
        return status

    def look(self, chance: random.Random, tally: Tally) -> int:
        """Introspect an access token, and return the status: patauth does not check whose reply this is."""
        caller = chance.choice(self.callers)
        try:
            found = self.authority.introspect(chance.choice(caller.access))
        except Overloaded:
            tally.statuses["look 503"] += 1
            return 503
        tally.statuses["look 200"] += 1
        if (found.active, found.pat_id) != (True, caller.pat_id):
            tally.wrong.append(f"look at {caller.owner} {caller.pat_id}: {found}")
        return 200


SINGLE = ("bearer", "basic", "pat")  # one round trip
WAYS = (*SINGLE, "exchange", "introspect", "list", "look")


def ask(
    app: Any, path: str, authorization: str, form: dict[str, str] | None = None
) -> tuple[int, dict[str, str], Any]:
    """Send a request, which may be stopped at any moment. Return status, header fields and decoded JSON."""
    body = b"" if form is None else urlencode(form).encode()
    path, _, query = path.partition("?")
    environ = {
        "REQUEST_METHOD": "GET" if form is None else "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "203.0.113.9",
        "HTTP_AUTHORIZATION": authorization,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": BytesIO(body),
        "wsgi.url_scheme": "http",
    }
    if form is not None:
        environ["CONTENT_TYPE"] = "application/x-www-form-urlencoded"
    started: list[Any] = []
    content = b"".join(app(environ, lambda *given: started.append(given)))
    status, fields = started[-1][:2]
    return int(status.split()[0]), dict(fields), json.loads(content)
