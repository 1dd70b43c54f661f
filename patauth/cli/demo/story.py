"""The story of `patauth demo`: real requests to a running app, each told and each checked.

Every step says what is sent, as a curl line that can be repeated, what came back, and what that means. The
meaning is printed only after the answer was checked; an answer that differs ends the story with `Untrue`.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from secrets import token_hex
from typing import Any
from urllib.parse import urlencode, urlsplit

import click

from ...authority import Authority
from ...errors import PatAuthError
from ...model.pat import IssuedPat, Owner
from ...settings import parse_duration

READ, WRITE = "reports:read", "reports:write"
OWNER = Owner("alice", name="Alice")
SMALL_QUOTA = "5/10"

_SHOWN = ("WWW-Authenticate", "Retry-After", "RateLimit", "RateLimit-Policy")
_PATIENCE = 10  # s for one answer
_MOST_REQUESTS = 50  # until the small quota is used up, however slow this machine


class Untrue(Exception):
    """A step did not happen as told."""


@dataclass(frozen=True)
class Reply:
    """An answer over HTTP."""

    status: int
    fields: list[tuple[str, str]]
    body: str

    def field(self, name: str) -> str:
        """All values of a field; empty where it is missing."""
        return ", ".join(value for key, value in self.fields if key.lower() == name.lower())

    @property
    def content(self) -> dict[str, Any]:
        """The body, which is a JSON object."""
        content = json.loads(self.body)
        if not isinstance(content, dict):
            raise ValueError("not an object")
        return content


@dataclass(frozen=True)
class Request:
    """A request, and the curl line that repeats it."""

    url: str
    method: str = "GET"
    basic: tuple[str, str] | None = None
    bearer: str | None = None
    form: dict[str, str] = field(default_factory=dict)

    def curl(self) -> str:
        """The line for a shell; -i prints the answer's fields, too."""
        words = ["curl", "-i"]
        if self.basic:
            words += ["-u", ":".join(self.basic)]
        if self.bearer:
            words += ["-H", f"Authorization: Bearer {self.bearer}"]
        if self.form:
            words += ["-d", urlencode(self.form)]  # which makes it a POST
        elif self.method != "GET":
            words += ["-X", self.method]
        return shlex.join([*words, self.url])

    def send(self) -> Reply:
        """Send it over a connection of its own. Raises `Untrue` where no answer comes."""
        url = urlsplit(self.url)
        headers = {}
        if self.basic:
            headers["Authorization"] = "Basic " + b64encode(":".join(self.basic).encode()).decode()
        if self.bearer:
            headers["Authorization"] = f"Bearer {self.bearer}"
        if self.form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = HTTPConnection(url.hostname or "", url.port, timeout=_PATIENCE)
        try:
            method = "POST" if self.form else self.method
            connection.request(method, url.path, urlencode(self.form) or None, headers)
            response = connection.getresponse()
            return Reply(response.status, response.getheaders(), response.read().decode())
        except (OSError, HTTPException, ValueError) as problem:
            raise Untrue(f"no answer: {problem}") from problem
        finally:
            connection.close()


class Story:
    """Tells and checks. `command` makes the patauth line of words for a shell; `tell` prints one line.

    `steps` is the record: what was asked, what was answered.
    """

    def __init__(
        self,
        authority: Authority,
        url: str,
        *,
        command: Callable[..., str],
        tell: Callable[[str], None],
        made: list[str],
    ) -> None:
        self.steps: list[dict[str, Any]] = []
        self._authority = authority
        self._command = command
        self._tell = tell
        self._made = made  # ids of PATs, to be removed in the end
        self._reports = url + "/reports"
        self._exchange = url + "/oauth/token"

    # -- the story --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Tell it all. Raises `Untrue`, naming the step."""
        with self._step("Alice makes a PAT"):
            issued = self.issue("story", expires="1h")
            self._mean(
                "A throw-away: it ends with this demo, so its secret may be printed. It may read, not write."
            )
        basic, bearer = (issued.pat.id, issued.secret), issued.token

        with self._step("A request without credentials"):
            reply = self._ask(Request(self._reports), 401)
            challenge = reply.field("WWW-Authenticate")
            self._check("Basic " in challenge and "Bearer " in challenge, "both kinds in the challenge")
            self._mean("The app was not called. The answer names the kinds of credentials that are taken.")

        with self._step("Basic: the PAT's id and secret"):
            self._greeted(Request(self._reports, basic=basic), "basic")
            self._mean(
                "The app knows who calls, and by which scopes. RateLimit says what is left to this PAT."
            )

        with self._step("The exchange: id and secret for a short-lived access token"):
            reply = self._ask(
                Request(self._exchange, basic=basic, form={"grant_type": "client_credentials"}), 200
            )
            access = str(reply.content.get("access_token", ""))
            self._check(access.startswith("pata_"), "an access token")
            self._check(reply.content.get("scope") == READ, "the PAT's scope")
            self._mean(
                f"It is good for {reply.content.get('expires_in')} s, so the secret need not travel with each"
                " request."
            )

        with self._step("The access token as bearer"):
            self._greeted(Request(self._reports, bearer=access), "access_token")
            self._mean("The same caller, without the secret.")

        with self._step("The PAT token as bearer"):
            self._greeted(Request(self._reports, bearer=bearer), "pat")
            self._mean("Id and secret in one string, for clients that know nothing but a bearer token.")

        with self._step("More than the PAT may do"):
            reply = self._ask(Request(self._reports, "POST", bearer=access), 403)
            self._check(f'scope="{WRITE}"' in reply.field("WWW-Authenticate"), "the scope that is missing")
            self._mean(f"Writing needs {WRITE}, and this PAT holds {READ} alone. The app was not called.")

        with self._step(f"Too many requests, by a PAT with a small quota of its own: {SMALL_QUOTA} s"):
            self._use_up(self.issue("small", expires="1h", quota=SMALL_QUOTA))

        with self._step("The PAT is revoked"):
            self._show(self._command("pat", "revoke", issued.pat.id, "--yes"))
            self._authority.delete(issued.pat.id)
            self._mean("This waits until the removal is durable.")

        with self._step("The very next request: Basic"):
            self._ask(Request(self._reports, basic=basic), 401)
            self._mean("Refused at once, with the words that anyone gets whose credentials never existed.")

        with self._step("The very next request: the access token"):
            self._ask(Request(self._reports, bearer=access), 401)
            self._mean("It had minutes to live, and ended with its PAT.")

        with self._step("The very next request: the PAT token"):
            self._ask(Request(self._reports, bearer=bearer), 401)
            self._mean("The same id and secret, and the same end.")

    def issue(self, name: str, *, expires: str, quota: str | None = None) -> IssuedPat:
        """Make a PAT that may read, and show it with the command that makes such a one."""
        name += "-" + token_hex(2)  # in a store that is named, other demos may be at work
        words = ["pat", "create", "--owner-id", OWNER.id, "--owner-name", OWNER.name]
        words += ["--name", name, "--scope", READ, "--expires-in", expires]
        if quota is None:  # the command line has no option for a quota
            self._show(self._command(*words))
        issued = self._authority.create(
            owner=OWNER,
            name=name,
            scope=[READ],
            expires_in=timedelta(seconds=parse_duration(expires)),
            request_quota=quota,
        )
        self._made.append(issued.pat.id)
        for label, value in (("id", issued.pat.id), ("secret", issued.secret), ("token", issued.token)):
            self._tell(f"   {label:6}  {value}")
        return issued

    def _use_up(self, small: IssuedPat) -> None:
        request = Request(self._reports, basic=(small.pat.id, small.secret))
        self._show(request.curl())
        passed = 0
        while (reply := request.send()).status == 200 and passed < _MOST_REQUESTS:
            passed += 1
        self._tell(f"   {passed} times 200 OK, and then:")
        self._answer(reply, 429)
        self._check(passed >= int(SMALL_QUOTA.partition("/")[0]), "as many requests as the quota allows")
        self._check("Rate Limit Exceeded" in reply.body, "the reason in the body")
        wait = reply.field("Retry-After")
        self._check(re.fullmatch("[1-9][0-9]?", wait), "Retry-After in whole seconds")
        self._check("r=0" in reply.field("RateLimit"), "a RateLimit of none left")
        self._tell(f"   … waiting {wait} s, as told")
        time.sleep(int(wait))
        self._answer(request.send(), 200)
        self._mean("Each PAT has its own quota; who waits as long as Retry-After says gets through.")

    # -- telling and checking -----------------------------------------------------------------------------

    @contextmanager
    def _step(self, title: str) -> Iterator[None]:
        number = len(self.steps) + 1
        self.steps.append({"step": number, "title": title, "requests": [], "statuses": []})
        self._tell("\n" + click.style(f"{number}. {title}", bold=True))
        try:
            yield
        except (Untrue, PatAuthError, ValueError) as problem:  # ValueError: a body that is not as expected
            raise Untrue(f"step {number} ({title}) did not happen as told: {problem}") from problem

    def _greeted(self, request: Request, method: str) -> None:
        reply = self._ask(request, 200)
        self._check(reply.content.get("caller") == OWNER.name, f"{OWNER.name} as the caller")
        self._check(reply.content.get("method") == method, f"the method {method}")
        self._check(reply.field("RateLimit"), "a RateLimit field")

    def _ask(self, request: Request, status: int) -> Reply:
        self._show(request.curl())
        return self._answer(request.send(), status)

    def _show(self, line: str) -> None:
        self.steps[-1]["requests"].append(line)
        self._tell(click.style(f"   $ {line}", fg="cyan"))

    def _answer(self, reply: Reply, status: int) -> Reply:
        """Print an answer, and check its status."""
        self.steps[-1]["statuses"].append(reply.status)
        phrase = HTTPStatus(reply.status).phrase
        self._tell(click.style(f"   {reply.status} {phrase}", fg="green" if reply.status < 400 else "yellow"))
        for name, value in reply.fields:
            if name in _SHOWN:
                self._tell(f"   {name}: {value}")
        self._tell(f"   {reply.body.strip()}")
        self._check(reply.status == status, f"{status}, and got {reply.status}")
        return reply

    def _check(self, truth: object, expected: str) -> None:
        if not truth:
            raise Untrue(f"expected {expected}")

    def _mean(self, sentence: str) -> None:
        self.steps[-1]["meaning"] = sentence
        self._tell(f"   => {sentence}")
