"""The story of `patauth demo --page`: what a browser sends for a person on the page, told and checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...model.caller import Person
from ...model.credentials import Format
from ...model.http_names import is_loopback
from ...model.pat import Owner
from ...wsgi.page import PATH
from .request import Request
from .story import OWNER, READ, WRITE
from .telling import Telling

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MANAGE = "idn:my-personal-access-tokens:manage"
SCOPES = {READ: "Read reports", WRITE: "Write reports", MANAGE: "Make, change and revoke tokens of yours"}

_ELSEWHERE = "https://elsewhere.example"
_TOKEN = Format().patterns()["token"]


def identify_as(owner: Owner) -> Callable[[WSGIEnvironment], Person | None]:
    """Return an `identify` that says `owner` of everybody on this machine. An app asks its sign-in."""
    person = Person(owner, list(SCOPES))

    def identify(environ: WSGIEnvironment) -> Person | None:
        host = environ.get("HTTP_HOST", "")
        # A name of another site may lead here, and for its pages this app would be of the same origin.
        return person if is_loopback(re.sub(":[0-9]*$", "", host)) else None

    return identify


class PageStory(Telling):
    """Tells what a person does on the page. `url` is where the app listens."""

    def __init__(self, url: str, tell: Callable[[str], None]) -> None:
        super().__init__(tell)
        self._origin = url
        self._reports = url + "/reports"
        self._page = url + PATH

    def run(self) -> None:
        """Tell the whole story. Raise `Untrue`, which names the step."""
        with self._step("Alice opens the page"):
            reply = self._ask(Request(self._page), 200)
            self._check(f"<bdi>{OWNER.name}</bdi>" in reply.body, "her name")
            self._mean(
                "Who is signed in, the app says: patauth calls its function `identify`. In this demo it is"
                " Alice whenever the page is opened on this machine."
            )

        with self._step("The form for a new token, filled in by a link"):
            reply = self._ask(Request(f"{self._page}/new?name=build&scope={READ}&expires_in=7d"), 200)
            form = {**reply.hidden, "name": "build", "scope": READ, "expires_in": "7d"}
            self._check(f'value="{READ}" checked' in reply.body, f"{READ} ticked")
            self._mean("A link fills the form in, and makes nothing. Alice sees the scopes in plain words.")

        with self._step("Another site makes her browser send such a form"):
            self._ask(Request(self._page, form=form, origin=_ELSEWHERE), 403)
            self._mean("It is refused, although the browser knows who she is.")

        with self._step("She sends the form"):
            reply = self._ask(Request(self._page, form=form, origin=self._origin), 200)
            found = re.search(_TOKEN, reply.body)
            self._check(found, "the token")
            token = found[0] if found else ""
            self._tell(f"   token   {token}")
            self._mean("This answer shows the token, and no other ever does. It ends with this demo.")

        with self._step("The same form once more"):
            self._ask(Request(self._page, form=form, origin=self._origin), 409)
            self._mean("A double click or a reload makes nothing twice: form_key says which form it was.")

        with self._step("A program uses the token"):
            reply = self._ask(Request(self._reports, bearer=token), 200)
            self._check(reply.content.get("caller") == OWNER.name, f"{OWNER.name} as the caller")
            self._check(reply.content.get("scopes") == [READ], f"{READ} alone")
            self._mean("The app knows for whom it acts, and with which scopes.")

        with self._step("She revokes it"):
            reply = self._ask(Request(self._page), 200)
            links = re.findall(f'href="({PATH}/[0-9a-f]+/revoke)"', reply.body)
            self._check(len(links) == 1, "one token to revoke")
            revoke = self._origin + links[0]
            form = {**self._ask(Request(revoke), 200).hidden, "reason": "tried it"}
            self._ask(Request(revoke, form=form, origin=self._origin), 303)
            self._mean("A page of its own names what stops working. The answer goes back to the list.")

        with self._step("The very next request of the program"):
            self._ask(Request(self._reports, bearer=token), 401)
            self._mean("It is refused at once.")
