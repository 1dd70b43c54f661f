"""The page for people: its paths, and the way of a request.

    GET  /personal-access-tokens                    the list                       views.py
    GET  …/new                                      the form for a new token
    POST …                                          makes it; the answer shows its secret
    GET and POST …/{id}/edit rotate disable enable revoke
    GET  …/assets/NAME                              style, script, icon            rendering.py

A request passes: method 405 -> a form from this site 403 -> the host's signed-in person 401 -> CSRF token 403
-> quota 429 -> the view. A form that is refused is shown again with what was typed, and says why.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from ...errors import InvalidRequest, PatAuthError
from ...model.leaks import holds_credential
from ...model.pat_id import PatId
from ..answers import Answer, Challenges, bytes_answer, challenges, with_caller_fields
from ..api.caller import signed_in
from ..api.csrf import check_csrf_token, check_origin
from ..bodies import query, read_fields
from ..errors import MethodNotAllowed
from ..routing import Route, Routes, SameOrigin
from ..site import Site
from . import PATH, views
from .forms import Form
from .rendering import rendering_of
from .visit import Visit

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from ...model.quota import Decision


class View(NamedTuple):
    """What answers a path: `show` a GET, and `send` a POST, if there is one."""

    show: Callable[[Visit], Answer]
    send: Callable[[Visit], Answer] | None = None
    again: Callable[[Visit, PatAuthError], Answer] | None = None  # shows a form that was refused
    ending: bool = False  # people revoke or disable with it, so it passes where the store's memory is full

    @property
    def allow(self) -> str:
        """The methods, as the field Allow has them."""
        return "GET, HEAD" if self.send is None else "GET, HEAD, POST"


_LIST = View(views.show_list, views.create, views.show_new, ending=True)
_NEW = View(views.show_new)
_ACTIONS = {
    "edit": View(views.show_edit, views.edit, views.show_edit),
    "rotate": View(views.show_rotate, views.rotate, views.show_rotate),
    "disable": View(views.show_disable, views.disable, views.show_disable, ending=True),
    "enable": View(views.show_enable, views.enable, views.show_enable),
    "revoke": View(views.show_revoke, views.revoke, views.show_revoke, ending=True),
}


def routes(site: Site, *, clock: Callable[[], float] = time.time) -> Routes:
    """Return the routes of the page."""
    return Page(site, clock).routes()


class Page:
    """The page of one site."""

    def __init__(self, site: Site, clock: Callable[[], float]) -> None:
        self._site = site
        self._clock = clock
        self._rendering = rendering_of(site.settings.page_folder)
        # A browser opens a dialog for a Basic challenge, and the person would type a password into it.
        self._challenges = Challenges(site.settings.realm, ("bearer",))

    def routes(self) -> Routes:
        """Return the routes of the page."""
        base = self._site.settings.path_prefix + PATH
        fixed = {base: self._route(_LIST), f"{base}/new": self._route(_NEW)}
        return Routes(fixed, {f"{base}/": self._find})

    def _route(self, view: View, pat_id: str = "") -> Route:
        return SameOrigin(partial(self._answer, view, pat_id))

    def _find(self, rest: str) -> Route | None:
        match rest.split("/"):
            case ["assets", name] if asset := self._rendering.assets.find(name):
                return SameOrigin(asset.answer)
            case [pat_id, action] if action in _ACTIONS and PatId.read(pat_id):
                return self._route(_ACTIONS[action], pat_id)
        return None

    def _answer(self, view: View, pat_id: str, environ: WSGIEnvironment) -> Answer:
        """Answer a request; raise nothing."""
        try:
            return self._pass(view, self._visit(pat_id, environ), environ)
        except Exception as problem:  # not even the page that says so can be made
            self._site.log_failure("the page cannot be shown", problem)
            return bytes_answer(500, PatAuthError.default.encode(), "text/plain; charset=utf-8")

    def _pass(self, view: View, visit: Visit, environ: WSGIEnvironment) -> Answer:
        decision: Decision | None = None
        try:
            send = self._method(view, environ)
            if send is None:
                check_link(environ)
            else:
                check_origin(environ, safe=False)
                visit = replace(visit, form=Form(read_fields(environ)))
            visit = self._known(visit)
            if send is not None:
                self._check_token(visit)
            decision = self._charge(visit, ending=view.ending)
            answer = view.show(visit) if send is None else send(visit)
        except PatAuthError as error:
            answer = self._refused(view, visit, error)
        except Exception as problem:
            self._site.log_failure("a request to the page failed", problem)
            answer = self._refused(view, visit, PatAuthError(detail=type(problem).__name__))
        return with_caller_fields(answer, decision, None)

    def _visit(self, pat_id: str, environ: WSGIEnvironment) -> Visit:
        try:
            given = query(environ)
        except InvalidRequest:  # it only fills in, so without it the page is as good
            given = {}
        prefixes = self._site.settings.credential_prefixes
        # What somebody has pasted by mistake is in no link and no field of the answer.
        given = {name: value for name, value in given.items() if not holds_credential(value, prefixes)}
        texts = self._rendering.languages.of(given.get("lang", ""), environ.get("HTTP_ACCEPT_LANGUAGE"))
        if given.get("lang", "").lower() != texts.locale.lower():
            given.pop("lang", None)  # it is no language of ours, so no link repeats it
        return Visit(
            environ=environ,
            site=self._site,
            rendering=self._rendering,
            texts=texts,
            query=given,
            pat_id=pat_id,
            now=int(self._clock()),
        )

    @staticmethod
    def _method(view: View, environ: WSGIEnvironment) -> Callable[[Visit], Answer] | None:
        """Return what a POST calls; None for a GET. Raise `MethodNotAllowed`."""
        method = environ["REQUEST_METHOD"]
        if method in ("GET", "HEAD"):
            return None
        if method != "POST" or view.send is None:
            raise MethodNotAllowed(view.allow)
        return view.send

    def _known(self, visit: Visit) -> Visit:
        """Return the visit of a signed-in person. Raise as `signed_in`."""
        person = signed_in(visit.environ, self._site)
        confirm = self._site.confirm(visit.environ)
        actor = self._site.operations.actor(person, confirm, own_alone=True)
        return replace(visit, person=person, actor=actor)

    def _check_token(self, visit: Visit) -> None:
        assert visit.person is not None
        assert visit.form is not None
        ring = self._site.operations.keyring()
        check_csrf_token(ring, visit.person, visit.form.text("csrf_token"), visit.now)

    def _charge(self, visit: Visit, *, ending: bool) -> Decision | None:
        assert visit.person is not None
        return self._site.operations.admit_person(visit.person, ending=ending)

    def _refused(self, view: View, visit: Visit, error: PatAuthError) -> Answer:
        """Return the form again, with what was typed and what is wrong; or else the refusal alone."""
        # What another site sends is not shown, and neither is a form to somebody who is not signed in.
        if view.again is not None and visit.form is not None and visit.person is not None:
            try:
                return view.again(visit, error)
            except PatAuthError:  # what the form shows cannot be read either
                pass
        return views.show_refusal(visit, error, challenges(error, self._challenges))


def check_link(environ: WSGIEnvironment) -> None:
    """Raise `Forbidden` for a GET that another site causes, but for a link that a person follows."""
    followed = (
        environ.get("HTTP_SEC_FETCH_MODE") == "navigate" and environ.get("HTTP_SEC_FETCH_DEST") == "document"
    )
    if not followed:
        check_origin(environ, safe=True)
