"""The story of `patauth demo`: real requests to a running app, each told and checked."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta
from secrets import token_hex

from ...authority import Authority
from ...model.pat import IssuedPat, Owner
from ...settings import parse_duration
from .request import Request
from .telling import Telling

READ, WRITE = "reports:read", "reports:write"
OWNER = Owner("alice", name="Alice")
SMALL_QUOTA = "5/10"

_MOST_REQUESTS = 50  # that use up the small quota, also on a slow machine where it refills meanwhile


class Story(Telling):
    """Tells what becomes of a PAT and of the app that it opens.

    `url` is where the app listens. `command` makes a `patauth` line for a shell from words. The ids of PATs
    that the story creates are appended to `made`, so that they can be removed at the end.
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
        super().__init__(tell)
        self._authority = authority
        self._command = command
        self._made = made
        self._reports = url + "/reports"
        self._exchange = url + "/oauth/token"

    def run(self) -> None:
        """Tell the whole story. Raise `Untrue`, which names the step."""
        with self._step("Alice creates a PAT"):
            issued = self.issue("story", expires="1h")
            self._mean(
                "It is a throw-away PAT that ends with this demo, so its secret may be printed. It may read,"
                " not write."
            )
        basic, bearer = (issued.pat.id, issued.secret), issued.token

        with self._step("A request without credentials"):
            reply = self._ask(Request(self._reports), 401)
            challenge = reply.field("WWW-Authenticate")
            self._check("Basic " in challenge and "Bearer " in challenge, "both kinds in the challenge")
            self._mean("The app was not called. The answer names the kinds of credentials that it takes.")

        with self._step("Basic: the PAT's id and secret"):
            self._greeted(Request(self._reports, basic=basic), "basic")
            self._mean(
                "The app knows the caller and the caller's scopes. RateLimit says what this PAT has left."
            )

        with self._step("The exchange: id and secret for a short-lived access token"):
            reply = self._ask(
                Request(self._exchange, basic=basic, form={"grant_type": "client_credentials"}), 200
            )
            access = str(reply.content.get("access_token", ""))
            self._check(access.startswith("pata_"), "an access token")
            self._check(reply.content.get("scope") == READ, "the PAT's scope")
            self._mean(
                f"It lives for {reply.content.get('expires_in')} s, so that the secret need not be sent with"
                " each request."
            )

        with self._step("The access token as bearer"):
            self._greeted(Request(self._reports, bearer=access), "access_token")
            self._mean("The app sees the same caller, and the secret was not sent.")

        with self._step("The PAT token as bearer"):
            self._greeted(Request(self._reports, bearer=bearer), "pat")
            self._mean("It is id and secret in one string, for clients that can only send a bearer token.")

        with self._step("More than the PAT may do"):
            reply = self._ask(Request(self._reports, "POST", bearer=access), 403)
            self._check(f'scope="{WRITE}"' in reply.field("WWW-Authenticate"), "the scope that is missing")
            self._mean(f"To write needs {WRITE}, but this PAT has only {READ}. The app was not called.")

        with self._step(f"Too many requests, by a PAT with a small quota of its own: {SMALL_QUOTA} s"):
            self._use_up(self.issue("small", expires="1h", quota=SMALL_QUOTA))

        with self._step("The PAT is revoked"):
            self._show(self._command("pat", "revoke", issued.pat.id, "--yes"))
            self._authority.delete(issued.pat.id)
            self._mean("The command ends only when the removal is durable.")

        with self._step("The very next request: Basic"):
            self._ask(Request(self._reports, basic=basic), 401)
            self._mean("It is refused at once, in the same words as credentials that never existed.")

        with self._step("The very next request: the access token"):
            self._ask(Request(self._reports, bearer=access), 401)
            self._mean("It had minutes to live, but it ended with its PAT.")

        with self._step("The very next request: the PAT token"):
            self._ask(Request(self._reports, bearer=bearer), 401)
            self._mean("It is the same id and secret, so it ended too.")

    def issue(self, name: str, *, expires: str, quota: str | None = None) -> IssuedPat:
        """Create a PAT that may read, and print it with the command that creates one like it."""
        name += "-" + token_hex(2)  # several demos may use the same store at a time
        words = ["pat", "create", "--owner-id", OWNER.id, "--owner-name", OWNER.name]
        words += ["--name", name, "--scope", READ, "--expires-in", expires]
        words += ["--request-quota", quota] if quota else []
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
        self._tell(f"   … waiting {wait} s, as Retry-After says")
        time.sleep(int(wait))
        self._answer(request.send(), 200)
        self._mean("Each PAT has its own quota. A client that waits as long as Retry-After says succeeds.")

    def _greeted(self, request: Request, method: str) -> None:
        reply = self._ask(request, 200)
        self._check(reply.content.get("caller") == OWNER.name, f"{OWNER.name} as the caller")
        self._check(reply.content.get("method") == method, f"the method {method}")
        self._check(reply.field("RateLimit"), "a RateLimit field")
