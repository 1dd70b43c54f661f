"""A visit: one request to the page, with what its views need."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from markupsafe import Markup, escape

from ...model import dates
from ...model.caller import Person
from ...model.pat import PersonalAccessToken
from ...model.rights import Verb
from ...operations.own import actions
from ...operations.permissions import Actor
from ..answers import Answer, bytes_answer
from ..api.csrf import make_csrf_token
from ..site import Site
from . import PATH
from .forms import Form
from .problems import Problem
from .rendering import Rendering, exact, time
from .texts import Texts

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """Holds a request; `person` and `form` once they are known. `now` is this process's clock, in seconds."""

    environ: WSGIEnvironment
    site: Site
    rendering: Rendering
    texts: Texts
    query: dict[str, str]
    pat_id: str
    now: int
    person: Person | None = None
    actor: Actor | None = None
    form: Form | None = None

    # -- who ------------------------------------------------------------------------------------------

    @property
    def acting(self) -> Actor:
        """The signed-in person as an actor."""
        assert self.actor is not None
        return self.actor

    def may(self, verb: Verb) -> bool:
        """Return whether the person may do this with tokens of their own."""
        return self.acting.may_own(verb)

    # -- links ----------------------------------------------------------------------------------------

    def link(self, rest: str = "", /, **query: str | int) -> str:
        """Return a URL of the page. It keeps a language that was chosen by hand."""
        if "lang" in self.query:
            query.setdefault("lang", self.texts.locale)
        return self._path(rest) + (f"?{urlencode(query)}" if query else "")

    def _path(self, rest: str) -> str:
        path = self.environ.get("SCRIPT_NAME", "") + self.site.settings.path_prefix + PATH
        return quote(f"{path}/{rest}" if rest else path, encoding="latin-1")  # as WSGI has bytes (PEP 3333)

    def asset(self, file: str) -> str:
        """Return the URL of the style, the script or the icon."""
        return self._path(f"assets/{self.rendering.assets.name_of(file)}")

    def in_language(self, locale: str) -> str:
        """Return the URL of this page in another language; after a form, of the page that it stood on."""
        return self.link(self._rest, **{**self.query, "lang": locale})

    @property
    def _rest(self) -> str:
        """What the path has after that of the list; after a form, that of the page that it stood on."""
        rest = self.environ.get("PATH_INFO", "").rpartition(PATH)[2].strip("/")
        return "new" if self.form is not None and not rest else rest

    @property
    def login_url(self) -> str | None:
        """Where to sign in (setting `login_url`), and to come back here from."""
        url = self.site.settings.login_url
        return (
            None
            if url is None
            else url.replace("{next}", quote(self.link(self._rest, **self.query), safe=""))
        )

    def actions(self, pat: PersonalAccessToken, *, is_disabled: bool = False) -> list[str]:
        """Return what the person can do with a token. `is_disabled`: as an owner, they are."""
        return actions(self.acting, pat, is_disabled=is_disabled)

    # -- answers --------------------------------------------------------------------------------------

    def show(self, template: str, *, status: int = 200, fields: Any = (), **context: Any) -> Answer:
        """Answer with a page. A template gets the visit as `visit`, its texts as `t`, and `context`."""
        given = {"visit": self, "t": self.texts, **context}
        return self.rendering.answer(status, template, given, fields)

    def go(self, **query: str | int) -> Answer:
        """Send the browser to the list, by GET (RFC 9110 §15.4.4)."""
        location = ("Location", self.link(**query))
        return bytes_answer(303, b"", "text/html; charset=utf-8", [location])

    def csrf_token(self) -> str:
        """Return the token that a form of this person sends back."""
        assert self.person is not None
        return make_csrf_token(self.site.operations.keyring(), self.person, self.now)

    def form_key(self, form: Form) -> str:
        """Return the key of a form: the one that it has, or a new one."""
        return form.text("form_key") or secrets.token_urlsafe(16)

    # -- words ----------------------------------------------------------------------------------------

    def day(self, ms: int) -> Markup | str:
        """Return the day of a past instant (UTC), as HTML."""
        today = ms // dates.DAY == self.now * 1000 // dates.DAY
        return self.texts("today") if today else time(ms, day=True)

    def until(self, ms: int) -> Markup:
        """Return an instant as HTML, as how far away it is."""
        return time(ms)

    def exact(self, ms: int) -> Markup:
        """Return an instant as HTML, with date and time."""
        return exact(ms, self.utc(ms))

    def utc(self, ms: int) -> str:
        """Return an instant to the minute, in UTC."""
        return self.texts("utc", time=dates.format_ms(ms)[:16].replace("T", " "))

    @staticmethod
    def number(number: int) -> Markup:
        """Return a number as HTML."""
        return Markup("<data value={0}>{0}</data>").format(number)

    def about(self, key: str, name: str) -> Markup:
        """Return a text with a name that somebody chose, in any direction of writing."""
        return self.sentence(key, name=Markup("<bdi>{}</bdi>").format(name))

    def told(self, problem: Problem) -> Markup:
        """Return the text of a problem."""
        value = Markup("<bdi>{}</bdi>").format(problem.value)
        return self.sentence("error." + problem.text, value=value, time=self._duration(problem.seconds))

    def _duration(self, seconds: int) -> str:
        """Return how long to wait, in a unit that is not too small for it, and never too short."""
        if seconds < 120:
            return self.texts("duration.seconds", count=seconds)
        if seconds < 2 * 3600:
            return self.texts("duration.minutes", count=-(-seconds // 60))
        return self.texts("duration.hours", count=-(-seconds // 3600))

    @staticmethod
    def ltr(text: str) -> Markup:
        """Return addresses or scopes as HTML: from left to right, as they are written everywhere."""
        return Markup("<bdi dir=ltr>{}</bdi>").format(text)

    def sentence(self, key: str, **values: Markup | str) -> Markup:
        """Return a text with HTML put in."""
        return escape(self.texts.raw(key)).format(**values)

    def state(self, pat: PersonalAccessToken) -> str:
        """Return the state that people see: that of the PAT, or `soon` if it is active and expires soon."""
        soon = pat.read_ms + self.site.settings.expiry_warning * 1000
        expires = pat.state == "active" and pat.expires_ms is not None and pat.expires_ms < soon
        return "soon" if expires else pat.state
