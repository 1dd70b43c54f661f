"""People who visit the page without a browser: who is signed in, what a browser sends, and what it reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html.parser import HTMLParser
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlencode

from werkzeug.test import TestResponse

from patauth import Authority, Owner, PatAuthMiddleware, Person
from patauth.wsgi.page.routes import routes
from patauth.wsgi.page.visit import PATH
from patauth.wsgi.routing import Routes
from patauth.wsgi.site import Site
from tests.support.authorities import ALICE
from tests.support.rights import ALL_MANAGE, EVERYTHING, MY_MANAGE, MY_READ
from tests.support.wsgi import App, Echo, request

HOST = "app.example"
HERE = {"HTTP_HOST": HOST, "HTTP_SEC_FETCH_SITE": "same-origin"}
# Settings with which no quota and no maximum is in the way.
MANY: dict[str, Any] = {"max_pats_per_owner": 1000, "person_quota": "100000/1", "create_quota": "100000/1"}
SCOPES = ("reports:read", "reports:write")
PEOPLE: dict[str, Person] = {
    "alice": Person(ALICE, [*SCOPES, MY_MANAGE]),
    "bob": Person(Owner("bob", name="Bob"), [*SCOPES, MY_MANAGE]),
    "no right": Person(ALICE, SCOPES),
    "a reader": Person(ALICE, [*SCOPES, MY_READ]),
    "all scopes": Person(ALICE, [*SCOPES, EVERYTHING]),
    "an operator": Person(ALICE, [*SCOPES, ALL_MANAGE]),
    "elsewhere": Person(ALICE, [*SCOPES, MY_MANAGE], tenant="elsewhere"),
}
_VOID = frozenset("area base br col embed hr img input link meta source track wbr".split())


def by_cookie(people: Mapping[str, Person] = PEOPLE) -> Callable[[dict[str, Any]], Person | None]:
    """Return an `identify` of a host whose cookie has the name of who is signed in."""
    return lambda environ: people.get(environ.get("HTTP_COOKIE", "").removeprefix("user="))


identify = by_cookie()  # as a setting names it: `tests.support.visitor:identify`


def never(environ: dict[str, Any]) -> bool:
    """A `reauthenticate` of a host that is never sure."""
    return False


class Alone:
    """The page without the gate, on a clock that a test moves (ms); all other paths are the application's."""

    def __init__(self, authority: Authority, clock: Callable[[], int], **given: Any) -> None:
        site = Site(authority, **{"identify": by_cookie(), **given})
        self.app = Echo()
        self._routes: Routes = routes(site, clock=lambda: clock() / 1000)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answer = self._routes.find(environ["PATH_INFO"])
        return (
            self.app(environ, start_response) if answer is None else answer(environ)(environ, start_response)
        )


def behind_the_gate(authority: Authority, **given: Any) -> App:
    """The page as applications have it."""
    values = {"surfaces": ["page"], "identify": by_cookie(), "public": ["/*"], **given}
    return PatAuthMiddleware(Echo(), authority, **values)


# -- what a browser reads ------------------------------------------------------------------------------------


class Tag(NamedTuple):
    """A start tag. Its attributes are those that came first, as a browser has them."""

    name: str
    attributes: dict[str, str]


class Read(HTMLParser):
    """An HTML document as its parts come: tags, texts and comments. No script and no style stands in it."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[Tag] = []
        self.parts: list[str] = []  # the markup without any text: `<a href>`, `</a>`
        self.texts: list[str] = []
        self.title = ""
        self._runs: list[str] = []
        self._open = ""
        self.feed(html)
        self.close()
        self._end_text()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._end_text()
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        assert not [name for name in names if name.startswith("on") or name == "style"], (tag, names)
        assert tag not in ("style", "iframe", "object", "embed", "base", "img"), tag
        self.tags.append(Tag(tag, {name: value or "" for name, value in attrs}))
        self.parts.append(f"<{' '.join([tag, *names])}>")
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._end_text()
        assert tag not in _VOID
        self.parts.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self._runs.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data}")

    def _end_text(self) -> None:
        text = "".join(self._runs)
        self._runs.clear()
        assert self._open != "script" or not text.strip()
        if self._open == "title":
            self.title += text
        if text.strip():
            self.texts.append(text)
        self._open = ""

    def all(self, name: str, /, **attributes: str) -> list[dict[str, str]]:
        """The attributes of the tags of a name that have these."""
        wanted = {key.strip("_").replace("_", "-"): value for key, value in attributes.items()}
        return [
            tag.attributes
            for tag in self.tags
            if tag.name == name and wanted.items() <= tag.attributes.items()
        ]

    def values(self) -> list[str]:
        """The values of all attributes."""
        return [value for tag in self.tags for value in tag.attributes.values()]


class Sent(NamedTuple):
    """A form as it would be sent, if nothing was touched."""

    method: str
    action: str
    fields: dict[str, list[str]]

    def with_(self, **given: str | Sequence[str]) -> Sent:
        """The form with other values in some fields; an empty list leaves one out."""
        changed = {name: [value] if isinstance(value, str) else list(value) for name, value in given.items()}
        return self._replace(fields={**self.fields, **changed})


class Page(NamedTuple):
    """An answer as a browser has it."""

    response: TestResponse
    text: str

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def read(self) -> Read:
        return Read(self.text)

    def field(self, name: str) -> str:
        """The value of a field that is there once."""
        (value,) = self.form.fields[name]
        return value

    @property
    def form(self) -> Sent:
        """The form that is sent by POST; there is one."""
        (form,) = [form for form in self.forms if form.method == "post"]
        return form

    @property
    def forms(self) -> list[Sent]:
        found: list[Sent] = []
        pieces = re.split(r"<form ", self.text)[1:]
        for piece in pieces:
            read = Read("<form " + piece.partition("</form>")[0] + "</form>")
            (form,) = read.all("form")
            fields: dict[str, list[str]] = {}
            for tag, attributes in read.tags:
                kind, name = attributes.get("type", "text"), attributes.get("name")
                if tag == "input" and name and (kind not in ("checkbox", "radio") or "checked" in attributes):
                    fields.setdefault(name, []).append(attributes.get("value", ""))
            for name, value in re.findall(
                r'<textarea [^>]*name="([^"]+)"[^>]*>(.*?)</textarea>', piece, re.DOTALL
            ):
                fields[name] = ["".join(Read(value).texts)]
            found.append(Sent(form.get("method", "get"), form.get("action", ""), fields))
        return found

    @property
    def problem(self) -> str:
        """What the page says is wrong; empty if nothing is."""
        match = re.search(r'role="alert".*?</div>', self.text, re.DOTALL)
        return " ".join(" ".join(Read("<div " + match[0]).texts).split()) if match else ""

    @property
    def wrong(self) -> list[str]:
        """The fields that the page marks as wrong."""
        return [
            tag["id"]
            for name in ("input", "textarea", "fieldset")
            for tag in self.read.all(name, aria_invalid="true")
        ]

    @property
    def secrets(self) -> dict[str, str]:
        """The token, the id and the secret, if it shows them."""
        return dict(re.findall(r'<code id="(token|id|secret)"[^>]*>([^<]*)</code>', self.text))


class Visitor:
    """A browser in which somebody is signed in. It keeps nothing, and follows no redirect by itself.

    `mount` is where the application is, as WSGI has it in SCRIPT_NAME.
    """

    def __init__(
        self, app: App, user: str | None = "alice", *, mount: str = "", prefix: str = "", **environ: Any
    ) -> None:
        self.app = app
        self.base = quote(mount, encoding="latin-1") + prefix + PATH  # of URLs
        self._mount = mount
        cookie = {"HTTP_COOKIE": f"user={user}"} if user else {}
        self._environ = {**HERE, "SCRIPT_NAME": mount, **cookie, **environ}

    def ask(self, method: str, path: str, *, data: Any = None, **environ: Any) -> Page:
        """One request for a path below the page, such as `/new`, or for a whole one as an answer has it.

        A field of the environ that is None is not sent.
        """
        whole = path if path.startswith(self.base) else self.base + path
        place, _, query = whole.partition("?")
        values = {name: value for name, value in {**self._environ, **environ}.items() if value is not None}
        found = request(
            self.app,
            raw_path=unquote(place, encoding="latin-1").removeprefix(self._mount),
            query_string=query,
            method=method,
            data=None if data is None else urlencode(data, doseq=True),
            content_type=None if data is None else "application/x-www-form-urlencoded",
            environ=values,
        )
        return Page(found, "" if "Content-Encoding" in found.headers else found.get_data(as_text=True))

    def get(self, path: str = "", **environ: Any) -> Page:
        return self.ask("GET", path, **environ)

    def send(self, form: Sent, **environ: Any) -> Page:
        """Send a form, as a browser does."""
        assert form.method == "post"
        return self.ask("POST", form.action, data=form.fields, **environ)

    def new(self, name: str = "ci", scope: Sequence[str] = SCOPES[:1], **given: Any) -> Sent:
        """The form for a new token, filled in."""
        return self.get("/new").form.with_(name=name, scope=scope, **given)
