"""The page for people as a browser meets it: an application that has it, and the states that it can be in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from time import sleep
from types import MappingProxyType
from typing import Any, NamedTuple

from playwright.sync_api import Browser, BrowserContext, Page

from patauth import Authority, IssuedPat, Owner, PatAuthMiddleware, Person
from tests.support.authorities import AS_INSTALLED, Make, bearer, maker
from tests.support.clocks import DAY, Clock
from tests.support.rights import MY_MANAGE, MY_READ
from tests.support.servers import Server
from tests.support.wsgi import serving

PATH = "/personal-access-tokens"
LANGUAGES = ("en", "de", "fr", "es", "pt-BR", "ja")
SCOPES = {
    "builds:read": "See builds and their logs",
    "builds:start": "Start and cancel builds",
    "reports:read": "See reports",
    "reports:write": "Write and delete reports",
    MY_READ: "See your tokens",
    MY_MANAGE: "Make, change and revoke your tokens",
    "search": "Search everything that you can see",
}
SETTINGS: dict[str, Any] = {
    "surfaces": ["page"],
    "scopes": SCOPES,
    "login_url": "/login?next={next}",
    "person_quota": "10000/10",
}


class Host:
    """An application with the page at `url`: who is signed in is what a test says.

    `/` has a link to the page, and `/api/reports` needs the scope reports:read. `steps` is each form that was
    sent, as the method, the path and the status of its answer.
    """

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.url = ""
        self.person: Person | None = None
        self.steps: list[str] = []
        self.delay = 0.0  # s, before a form is answered
        self.server: Server  # of its own, for states in which that does not answer
        self._gate = PatAuthMiddleware(
            self._app,
            authority,
            public=["/", "/login"],
            require={"/api/*": "reports:read"},
            identify=lambda _: self.person,
        )

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        def started(status: str, *given: Any) -> Any:
            if environ["REQUEST_METHOD"] == "POST":
                sleep(self.delay)
                self.steps.append(f"POST {environ['PATH_INFO'].removeprefix(PATH)} {status[:3]}")
            return start_response(status, *given)

        return self._gate(environ, started)

    @staticmethod
    def _app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
        if environ["PATH_INFO"].startswith("/api/"):
            return [json.dumps({"who": environ["REMOTE_USER"]}).encode()]
        return [f"<!doctype html><title>App</title><a href={PATH}>Tokens</a>".encode()]

    def sign_in(self, owner_id: str, scopes: Iterable[str] = tuple(SCOPES)) -> None:
        """Let a person be signed in who has these scopes."""
        self.person = Person(Owner(owner_id, name=owner_id.title()), scopes)

    def make(self, name: str, **given: Any) -> IssuedPat:
        """Make a PAT of the person who is signed in."""
        return made(self.authority, self.owner, name, **given)

    @property
    def owner(self) -> Owner:
        """The person who is signed in, as an owner."""
        assert self.person is not None
        return self.person.owner

    def pats(self) -> list[str]:
        """Return the names of the PATs of the person who is signed in, and of removed ones too."""
        found = self.authority.list(owner_id=self.owner.id)
        removed = self.authority.list(owner_id=self.owner.id, filters='state eq "revoked"')
        return sorted(pat.name for pat in [*found, *removed])


def made(authority: Authority, owner: Owner, name: str, **given: Any) -> IssuedPat:
    """Make a PAT with what a test does not care about filled in."""
    if not {"expires_at", "never_expires"} & set(given):
        given.setdefault("expires_in", timedelta(days=30))
    return authority.create(owner=owner, name=name, **{"scope": ["reports:read"], **given})


@contextmanager
def hosting(make: Make, **settings: Any) -> Iterator[Host]:
    """Serve an application with the page; alice is signed in."""
    host = Host(make(**{**SETTINGS, **settings}))
    host.sign_in("alice")
    with serving(host) as host.url:
        yield host


@contextmanager
def visiting(browser: Browser, **given: Any) -> Iterator[Page]:
    """Open a window in a profile of its own. Nothing may go wrong in it unsaid: see `complaints`."""
    with browser.new_context(**given) as profile:
        yield open_window(profile)


# What a page says of its own accord: violations of its policy, and errors.
_LISTEN = "addEventListener('securitypolicyviolation', (e) => console.error('policy', e.violatedDirective))"


def open_window(profile: BrowserContext) -> Page:
    """Open a window that remembers its complaints."""
    page = profile.new_page()
    page.add_init_script(_LISTEN)
    said: list[str] = []
    page.said = said  # type: ignore[attr-defined]
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    return page


def complaints(page: Page) -> list[str]:
    """Return what the console of a window has said, but for statuses that are meant."""
    said: list[str] = page.said  # type: ignore[attr-defined]
    return [line for line in said if "Failed to load resource: the server responded" not in line]


# -- states ------------------------------------------------------------------------------------------------


def fill_list(host: Host) -> None:
    """Make PATs in each state, some of them days ago."""
    with maker(host.authority.settings.store_url, host.authority.settings.key_prefix) as make:
        clock = Clock(int(datetime.now(UTC).timestamp() * 1000) - 40 * DAY)
        earlier = make(clock=clock, scopes=SCOPES)

        def past(name: str, days: float, **given: Any) -> IssuedPat:
            return made(earlier, host.owner, name, expires_in=timedelta(days=days), **given)

        past("release notes", 30, scope=["reports:read"])
        old = past("old build server", 90, scope=["builds:read"])
        build = past(
            "build server",
            90,
            scope=["builds:read", "builds:start", "reports:read", "reports:write"],
            description="Nightly builds of the main branch",
            networks=["203.0.113.0/24", "2001:db8::/32"],
        )
        past("laptop", 45, scope=["search"])
        clock.advance(37 * DAY)
        for used, address in ((build, "203.0.113.9"), (old, "198.51.100.7")):
            earlier.authenticate(bearer(used.token), address=address)
        earlier.delete(old.pat.id, reason="Replaced by the new build server")
        weekly = past(
            "weekly report", 90, scope=["reports:read", "reports:write"], description="Mondays at six"
        )
        host.authority.authenticate(bearer(weekly.token), address="192.0.2.44")
        paused = past("experiments", 90, scope=["reports:read", "search"])
        host.authority.disable(paused.pat.id, by=host.person)
    host.make("dashboard", scope=["reports:read"], never_expires=True, description="The screen in the hall")


def _list(host: Host, page: Page, query: str = "") -> None:
    fill_list(host)
    page.goto(f"{host.url}{PATH}{query}")


def _new(host: Host, page: Page, query: str = "") -> None:
    page.goto(f"{host.url}{PATH}/new{query}")


def filled(page: Page, name: str = "build server", scope: str = "reports:read") -> None:
    """Fill in the form for a new PAT."""
    page.fill("[name=name]", name)
    page.check(f"[name=scope][value='{scope}']")


def send(page: Page) -> None:
    """Send the form that changes something, and wait for the answer. The browser checks nothing before."""
    page.locator("main form[method=post]").evaluate("(form) => { form.noValidate = true }")
    with page.expect_navigation():
        page.click("main form[method=post] button:not([type])")


def _refused(change: Callable[[Page], object]) -> Callable[[Host, Page], None]:
    """Return the state of a form for a new PAT that is refused for what is changed in it."""

    def open_it(host: Host, page: Page) -> None:
        _new(host, page)
        filled(page)
        change(page)
        send(page)

    return open_it


def _too_long(page: Page) -> None:
    page.locator("[name=description]").evaluate("(field) => field.removeAttribute('maxlength')")
    page.fill("[name=description]", "x" * 300)


def _taken(host: Host, page: Page) -> None:
    host.make("build server")
    _refused(lambda _: None)(host, page)


def _one(action: str) -> Callable[[Host, Page], None]:
    """Return the state of the page that an action on one PAT begins with."""

    def open_it(host: Host, page: Page) -> None:
        pat = host.make(
            "build server",
            scope=["reports:read", "builds:read"],
            description="Nightly",
            networks=["203.0.113.0/24"],
        ).pat
        if action == "enable":
            host.authority.disable(pat.id)
        page.goto(f"{host.url}{PATH}/{pat.id}/{action}")

    return open_it


def _stale_edit(host: Host, page: Page) -> None:
    _one("edit")(host, page)
    (pat,) = host.authority.list(owner_id=host.owner.id)
    host.authority.update(pat.id, name="renamed elsewhere")
    send(page)


def _no_overlap(host: Host, page: Page) -> None:
    _one("rotate")(host, page)
    page.locator("[name=overlap][value=hour]").evaluate("(radio) => { radio.value = 'year' }")
    page.check("[name=overlap][value=year]")
    send(page)


def _long_reason(host: Host, page: Page) -> None:
    _one("revoke")(host, page)
    page.locator("[name=reason]").evaluate(
        "(field) => { field.maxLength = 400; field.value = 'x'.repeat(300) }"
    )
    send(page)


def _reveal(host: Host, page: Page) -> None:
    _new(host, page)
    filled(page)
    send(page)


def _shown(host: Host, page: Page) -> None:
    _reveal(host, page)
    for summary in page.locator("summary").all():
        summary.click()


def _rotated(host: Host, page: Page) -> None:
    _one("rotate")(host, page)
    send(page)


def _made(name: str) -> Callable[[Host, Page], None]:
    """Send the form that has made a token a second time, with this name."""

    def steps(host: Host, page: Page) -> None:
        _new(host, page)
        filled(page)
        key = page.get_attribute("[name=form_key]", "value")
        send(page)
        _new(host, page)
        filled(page, name=name)
        page.locator("[name=form_key]").evaluate("(field, key) => { field.value = key }", key)
        send(page)

    return steps


def _signed_out(host: Host, page: Page) -> None:
    host.person = None
    page.goto(host.url + PATH)


def _no_right(host: Host, page: Page) -> None:
    host.sign_in(host.owner.id, ["reports:read"])
    page.goto(host.url + PATH)


def _read_only(host: Host, page: Page) -> None:
    host.make("build server")
    host.sign_in(host.owner.id, ["reports:read", MY_READ])
    page.goto(host.url + PATH)


def _owner_disabled(host: Host, page: Page) -> None:
    host.make("build server")
    host.authority.disable_owner(host.owner.id)
    page.goto(host.url + PATH)


def _maximum(host: Host, page: Page) -> None:
    for number in range(host.authority.settings.max_pats_per_owner):
        host.make(f"token {number}")
    page.goto(host.url + PATH)


def _over_maximum(host: Host, page: Page) -> None:
    _new(host, page)
    filled(page)
    for number in range(host.authority.settings.max_pats_per_owner):
        host.make(f"token {number}")
    send(page)


def _paged(host: Host, page: Page) -> None:
    for number in range(60):
        host.make(f"token {number:02}")
    page.goto(f"{host.url}{PATH}?sort=name&page=2")


def _changed(host: Host, page: Page) -> None:
    _one("disable")(host, page)
    send(page)


def long_words(host: Host) -> None:
    """Make PATs of which everything is as long as it may be, without a place to break it."""
    address = "2001:db8:85a3:8d3:1319:8a2e:370:7348"
    for name, state in (("W" * 128, "used"), ("M" * 128, "revoked")):
        made = host.make(
            name,
            description="w" * 256,
            networks=[f"{address}/128"],
            scope=["builds:read", "builds:start", "reports:read"],
        )
        host.authority.authenticate(bearer(made.token), address=address)
        if state == "revoked":
            host.authority.delete(made.pat.id, reason="r" * 256)
    host.make("build server")


def _longest_words(host: Host, page: Page) -> None:
    long_words(host)
    page.goto(host.url + PATH)


def _limited(host: Host, page: Page) -> None:
    for _ in range(2):
        page.goto(host.url + PATH)


def _down(host: Host, page: Page) -> None:
    host.server.kill()
    page.goto(host.url + PATH)


def _down_before_sending(host: Host, page: Page) -> None:
    _new(host, page)
    filled(page)
    host.server.kill()
    send(page)


def _stale(host: Host, page: Page) -> None:
    _new(host, page)
    filled(page)
    page.locator("[name=csrf_token]").evaluate("(field) => { field.value = 'old' }")
    send(page)


class State(NamedTuple):
    """A state of the page: `open` brings it about, for a person without PATs who is signed in."""

    shows: str  # which words are there, in English
    open: Callable[[Host, Page], object]
    settings: Mapping[str, Any] = MappingProxyType({})


def _at(place: str) -> Callable[[Host, Page], object]:
    return lambda host, page: page.goto(f"{host.url}{PATH}{place}")


def _full(query: str) -> Callable[[Host, Page], object]:
    return lambda host, page: _list(host, page, query)


STATES = {
    "list": State("5 of 10 used", _full("")),
    "list-filtered": State("build server", _full("?show=active&q=build&sort=name")),
    "list-nothing": State("No token matches.", _full("?q=nothing+like+it")),
    "list-revoked": State("Replaced by the new build server", _full("?show=revoked")),
    "list-empty": State("You have no tokens yet", _at("")),
    "list-changed": State("“build server” is disabled.", _changed),
    "list-longest": State("W" * 128, _longest_words),
    "list-read-only": State("build server", _read_only),
    "list-disabled": State("All your tokens are disabled.", _owner_disabled),
    "list-maximum": State("You have as many tokens as are allowed.", _maximum),
    "list-paged": State("51–60 of 60", _paged, {"max_pats_per_owner": 100}),
    "new": State("New token", _at("/new?name=build+server&scope=builds:read+reports:read&expires_in=90d")),
    "new-lifetime": State("No later than", _at("/new"), {"max_lifetime": "45d"}),
    "new-name": State("Give 1 to 128", _refused(lambda page: page.fill("[name=name]", ""))),
    "new-taken": State("You have a token of this name already.", _taken),
    "new-description": State("Give at most 256", _refused(_too_long)),
    "new-scope": State("Choose at least one", _refused(lambda page: page.uncheck("[name=scope]:checked"))),
    "new-expiry": State("Choose a time in the future", _refused(lambda page: page.check("[value=custom]"))),
    "new-never": State("Confirm that the token never", _refused(lambda page: page.check("[value=never]"))),
    "new-networks": State(
        "is not an address or a network", _refused(lambda page: page.fill("[name=networks]", "the office"))
    ),
    "new-stale": State("This page was open for too long.", _stale),
    "new-maximum": State("Revoke one first.", _over_maximum),
    "new-down": State("Nothing was done.", _down_before_sending, AS_INSTALLED),
    "made-already": State("This token was made already", _made("build server")),
    "made-another": State("Something else stands in it now", _made("another")),
    "reveal": State("Copy it now.", _reveal),
    "reveal-shown": State("pats_", _shown),
    "edit": State("Edit “build server”", _one("edit")),
    "edit-stale": State("This token was changed in the meantime", _stale_edit),
    "rotate": State("Rotate “build server”", _one("rotate")),
    "rotate-overlap": State("Choose one of these.", _no_overlap),
    "rotated": State("The old secret works until", _rotated),
    "disable": State("Disable “build server”", _one("disable")),
    "enable": State("Enable “build server”", _one("enable")),
    "revoke": State("Revoke “build server”", _one("revoke")),
    "revoke-reason": State("Give at most 256", _long_reason),
    "signed-out": State("Sign in to see your tokens.", _signed_out),
    "no-right": State("You may not do this.", _no_right),
    "not-found": State("There is no such token.", _at(f"/{'0' * 32}/edit")),
    "limited": State("Too many requests.", _limited, {"person_quota": "1/60"}),
    "down": State("cannot be reached at the moment", _down, AS_INSTALLED),
}

_prefixes = (f"patauth:page{number}" for number in count())


@contextmanager
def showing(server: Server, name: str, page: Page) -> Iterator[Host]:
    """Bring the page into a state in a store of its own on a server, which runs again afterwards."""
    state = STATES[name]
    with maker(server.url, next(_prefixes)) as make, hosting(make, **state.settings) as host:
        host.server = server
        try:
            state.open(host, page)
            yield host
        finally:
            if server.process.poll() is not None:
                server.start()
