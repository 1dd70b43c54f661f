"""What the page shows, and what its forms do: each calls one operation, by the signed-in person."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import quote

from ...errors import InvalidScope, MissingCredentials, NotFound, Overloaded, PatAuthError
from ...model import dates
from ...model.pat import IssuedPat, PersonalAccessToken
from ...model.rights import Verb
from ...operations import lifecycle
from ...operations.create import AlreadyMade
from ...operations.create import create as make
from ...operations.disable import set_disabled
from ...operations.own import OwnPats, grantable, lifetime_left, own_pats
from ...operations.rotate import rotate as renew
from ...operations.update import update
from ...operations.writes import Changed
from ..answers import Answer, error_fields, log_tracked
from . import forms
from .forms import Form
from .listing import SHOWN, SIZE, SORTED, Wanted
from .problems import Problem, problem_of
from .visit import Visit

# -- the list ------------------------------------------------------------------------------------------------


def show_list(visit: Visit) -> Answer:
    """Show the tokens of the person."""
    wanted = Wanted.of(visit.query)
    settings = visit.site.settings
    own = _page(visit, wanted)
    total = own.pats.total or 0
    if total <= wanted.offset > 0:  # beyond the last page
        wanted = wanted.last_of(total)
        own = _page(visit, wanted)
        total = own.pats.total or 0
    changed = _changed(visit)
    return visit.show(
        "list.html",
        own=own,
        total=total,
        wanted=wanted,
        shown=SHOWN,
        sorted=SORTED,
        first=wanted.offset + 1,
        last=wanted.offset + len(own.pats),
        most=settings.max_pats_per_owner,
        manages=visit.may("manage"),
        changed=changed,
        done=changed and _done(visit, changed),
        url=_example(visit),
    )


def _page(visit: Visit, wanted: Wanted) -> OwnPats:
    soon_ms = (visit.now + visit.site.settings.expiry_warning) * 1000
    return own_pats(
        visit.acting,
        filters=wanted.filter(soon_ms),
        sort=(SORTED[wanted.sort],),
        offset=wanted.offset,
        limit=SIZE,
    )


def _changed(visit: Visit) -> PersonalAccessToken | None:
    """Return the token that the form before this page was about, as it is now."""
    pat_id = visit.query.get("changed")
    return None if pat_id is None else _kept(visit, pat_id)


def _kept(visit: Visit, pat_id: str) -> PersonalAccessToken | None:
    """Return a token of the person, also one that was revoked; None if there is none."""
    try:
        return lifecycle.get(visit.acting, pat_id, removed=True)
    except NotFound:
        return None


def _done(visit: Visit, pat: PersonalAccessToken) -> str:
    """Return what was done to a token, if it is still true: the name of an action, or `saved`."""
    if pat.revoked_ms is not None:
        return "revoke"
    done = visit.query.get("done")
    return done if done == ("disable" if pat.disabled else "enable") else "saved"


def _example(visit: Visit) -> str:
    """Return what a token opens (setting `page_example_url`), as a shell takes it; it is only shown."""
    environ, url = visit.environ, visit.site.settings.page_example_url
    if url is None:
        url = quote(environ.get("SCRIPT_NAME", "") + "/", encoding="latin-1")  # as WSGI has bytes (PEP 3333)
    if url.startswith("/"):
        url = f"{environ.get('wsgi.url_scheme', 'https')}://{environ.get('HTTP_HOST', 'example.com')}{url}"
    return shlex.quote(url)


# -- making one ----------------------------------------------------------------------------------------------


_UNITS = (("hours", 3600), ("minutes", 60), ("seconds", 1))
_RIGHTS = ("idn:", "sp:")  # how the rights to manage tokens begin


class Scope(NamedTuple):
    """One checkbox of the form."""

    name: str
    words: str  # what the catalogue says to people; the scope itself where it says nothing
    ticked: bool
    lost: bool  # the token has it, and its owner no longer holds it


class Preset(NamedTuple):
    """One expiry to choose."""

    value: str  # what is sent
    words: str
    ms: int  # when that is now


def show_new(visit: Visit, error: PatAuthError | None = None) -> Answer:
    """Show the form for a new token, or why none can be made."""
    if isinstance(error, AlreadyMade):
        return _show_made(visit, error)
    visit.acting.require_own("manage")
    if error is None and (closed := _closed(visit)):
        return _show(visit, "new.html", None, closed=closed)
    presets = _presets(visit)
    form = visit.form or forms.prefilled(visit.query, [preset.value for preset in presets])
    problem = None if error is None else _problem(visit, error, repeatable=True)
    return _show_new_form(visit, form, error, problem)


def _show_new_form(visit: Visit, form: Form, error: PatAuthError | None, problem: Problem | None) -> Answer:
    return _show_form(
        visit,
        "new.html",
        form,
        error,
        problem,
        presets=_presets(visit),
        closed=None,
    )


def _closed(visit: Visit) -> str | None:
    """Return why the person cannot make a token now: the key of a text after `list.`."""
    own = own_pats(visit.acting, limit=1)
    if own.is_disabled:
        return "disabled"
    return "full" if own.used >= visit.site.settings.max_pats_per_owner else None


def _show_made(visit: Visit, error: AlreadyMade) -> Answer:
    """Say that a form was sent before. If its content has changed since, show it as a new form."""
    assert visit.form is not None
    made = _kept(visit, error.pat_id)
    if made is None or forms.tells_of(visit.form, made):
        return show_refusal(visit, error, (), made)
    problem = replace(_problem(visit, error), text="made_another", value=made.name)
    return _show_new_form(visit, visit.form.without("form_key"), error, problem)


def create(visit: Visit) -> Answer:
    """Make a token, and answer with its secret."""
    assert visit.form is not None
    presets = [preset.value for preset in _presets(visit)]
    return _reveal(visit, make(visit.acting, forms.new_pat(visit.form, presets)), "reveal.title")


def _presets(visit: Visit, pat: PersonalAccessToken | None = None) -> list[Preset]:
    """Return the expiries to choose from. For a new token there is at least one."""
    left, t = lifetime_left(visit.acting, pat, visit.now), visit.texts
    days = [days for days in forms.PRESETS if left is None or days * 86_400 <= left]
    if days or left is None or pat is not None:
        return [
            Preset(f"{count}d", t("form.in_days", count=count), (visit.now + count * 86_400) * 1000)
            for count in days
        ]
    unit, seconds = next(pair for pair in _UNITS if left >= pair[1])
    count = left // seconds
    words = t(f"form.in_{unit}", count=count)
    return [Preset(f"{count * seconds}s", words, (visit.now + count * seconds) * 1000)]


def _groups(visit: Visit, form: Form, more: Iterable[str] = ()) -> dict[str, list[Scope]]:
    """Return the scopes to choose from: by the part before their first colon, and rights last."""
    words, t = visit.site.settings.scopes or {}, visit.texts
    ticked, held = set(form.all("scope")), set(grantable(visit.acting))
    groups: dict[str, list[Scope]] = {}
    for name in sorted(held.union(more), key=lambda name: (name.startswith(_RIGHTS), name)):
        group = name.partition(":")[0] if ":" in name else t("form.other")
        if name.startswith(_RIGHTS):
            group = t("form.rights")
        groups.setdefault(group, []).append(
            Scope(name, words.get(name) or name, name in ticked, name not in held)
        )
    return groups


def _show_form(
    visit: Visit,
    template: str,
    form: Form,
    error: PatAuthError | None,
    problem: Problem | None = None,
    *,
    more: Iterable[str] = (),
    **context: Any,
) -> Answer:
    longest, tomorrow = _longest(visit, context.get("pat")), _date((visit.now + 86_400) * 1000)
    groups = _groups(visit, form, more)
    is_lost = any(scope.lost and scope.ticked for scopes in groups.values() for scope in scopes)
    if isinstance(error, InvalidScope) and is_lost:
        problem = Problem("scope_lost", "scope")
    elif problem is None and error is not None:
        problem = _problem(visit, error)
    return _show(
        visit,
        template,
        error,
        problem,
        more=_more(visit, form, problem),
        form=form,
        groups=groups,
        longest=longest,
        never=longest is None,
        tomorrow=tomorrow,
        by_day=longest is None or longest >= tomorrow,
        **context,
    )


def _more(visit: Visit, form: Form, problem: Problem | None) -> list[Problem]:
    """Return what else is wrong with a form: an operation reports only the first wrong field."""
    if problem is None or problem.field is None:
        return []
    found = [problem_of(error, form) for error in forms.mistakes(form)]
    return [one for one in found if one.field != problem.field]


def _longest(visit: Visit, pat: PersonalAccessToken | None) -> str | None:
    """Return the last day on which a token may end. None: there is no limit."""
    left = lifetime_left(visit.acting, pat, visit.now)
    # The whole of that day must be within the limit.
    return None if left is None else _date((visit.now + left) * 1000 - dates.DAY)


def _date(ms: int) -> str:
    return dates.format_ms(min(ms, dates.LATEST))[:10]


def _show(
    visit: Visit,
    template: str,
    error: PatAuthError | None,
    problem: Problem | None = None,
    *,
    more: Iterable[Problem] = (),
    **context: Any,
) -> Answer:
    """Show a page, and the problem that an error is to a person; `problem` says it better than most.

    `more`: what else is wrong with the form.
    """
    if problem is None and error is not None:
        problem = _problem(visit, error)
    status, fields = (200, []) if error is None else (error.status, error_fields(error))
    problems = [] if problem is None else [problem, *more]
    return visit.show(template, status=status, fields=fields, problems=problems, **context)


def _problem(visit: Visit, error: PatAuthError, *, repeatable: bool = False) -> Problem:
    """Return what an error means to the person. Log a fault of the site with a reference."""
    problem = problem_of(error, visit.form, repeatable=repeatable)
    return problem if error.status < 500 else replace(problem, reference=log_tracked(error, error.status))


def _reveal(visit: Visit, issued: IssuedPat, title: str, old_until_ms: int | None = None) -> Answer:
    return visit.show(
        "reveal.html", issued=issued, title=title, old_until_ms=old_until_ms, url=_example(visit)
    )


# -- changing one --------------------------------------------------------------------------------------------


def show_edit(visit: Visit, error: PatAuthError | None = None) -> Answer:
    """Show the form for a change of a token."""
    pat = _shown(visit, "manage", error)
    form = _form_of(visit, pat, error)
    return _show_form(
        visit,
        "edit.html",
        form,
        error,
        pat=pat,
        more=form.all("scope") if pat is None else pat.scope,
        presets=_presets(visit, pat),
    )


def _form_of(visit: Visit, pat: PersonalAccessToken | None, error: PatAuthError | None) -> Form:
    """Return what was typed. If the token has changed meanwhile, return the token as it is now."""
    if pat is None or (visit.form is not None and not isinstance(error, Changed)):
        assert visit.form is not None
        return visit.form
    return forms.of_pat(pat)


def edit(visit: Visit) -> Answer:
    """Change a token."""
    assert visit.form is not None
    pat = _found(visit, "manage")
    presets = [f"{days}d" for days in forms.PRESETS]
    change, sequence = forms.change_of(visit.form, pat, presets), forms.sequence(visit.form)
    update(visit.acting, pat.id, change, sequence=sequence)
    return visit.go(changed=pat.id, done="edit")


def show_rotate(visit: Visit, error: PatAuthError | None = None) -> Answer:
    """Ask how long the old secret shall work after a rotation."""
    pat = _shown(visit, "manage", error)
    # What was sent may be done already. So it keeps the state that it was made for, and is not done twice.
    form = _form_of(visit, pat, error)
    chosen = (visit.form and visit.form.text("overlap")) or "hour"
    return _show(visit, "rotate.html", error, pat=pat, form=form, overlaps=forms.OVERLAPS, chosen=chosen)


def rotate(visit: Visit) -> Answer:
    """Give a token a new secret, and answer with it."""
    assert visit.form is not None
    overlap, sequence = forms.overlap(visit.form), forms.sequence(visit.form)
    issued = renew(visit.acting, visit.pat_id, overlap, sequence=sequence)
    end = issued.pat.changed_ms + int(overlap.total_seconds() * 1000)
    if issued.pat.expires_ms is not None:
        end = min(end, issued.pat.expires_ms)
    return _reveal(visit, issued, "reveal.rotated", end)


def show_disable(visit: Visit, error: PatAuthError | None = None) -> Answer:
    """Ask whether to disable a token."""
    return _ask(visit, "disable", "manage", error)


def disable(visit: Visit) -> Answer:
    """Disable a token."""
    set_disabled(visit.acting, visit.pat_id, disabled=True)
    return visit.go(changed=visit.pat_id, done="disable")


def show_enable(visit: Visit, error: PatAuthError | None = None) -> Answer:
    """Ask whether to enable a token."""
    return _ask(visit, "enable", "manage", error)


def enable(visit: Visit) -> Answer:
    """Enable a token."""
    set_disabled(visit.acting, visit.pat_id, disabled=False)
    return visit.go(changed=visit.pat_id, done="enable")


def show_revoke(visit: Visit, error: PatAuthError | None = None) -> Answer:
    """Ask whether to revoke a token."""
    return _ask(visit, "revoke", "delete", error)


def revoke(visit: Visit) -> Answer:
    """Revoke a token."""
    assert visit.form is not None
    lifecycle.delete(visit.acting, visit.pat_id, visit.form.text("reason").strip() or None)
    return visit.go(changed=visit.pat_id, done="revoke")


def _ask(visit: Visit, action: str, verb: Verb, error: PatAuthError | None) -> Answer:
    return _show(visit, "ask.html", error, pat=_shown(visit, verb, error), action=action)


def _shown(visit: Visit, verb: Verb, error: PatAuthError | None) -> PersonalAccessToken | None:
    """Return the token that a form is about. None: what was typed is shown again, but cannot be read."""
    try:
        return _found(visit, verb)
    except Overloaded:
        if error is None:
            raise
        return None


def _found(visit: Visit, verb: Verb) -> PersonalAccessToken:
    """Return the token that the path names. Raise `Forbidden`, `NotFound`."""
    visit.acting.require_own(verb)
    return visit.acting.find(verb, visit.pat_id).pat


# -- refusals ------------------------------------------------------------------------------------------------


def show_refusal(
    visit: Visit,
    error: PatAuthError,
    fields: Iterable[tuple[str, str]],
    made: PersonalAccessToken | None = None,
) -> Answer:
    """Show why nothing is shown. `made`: the token that a form has made before."""
    return visit.show(
        "refusal.html",
        status=error.status,
        fields=[*error_fields(error), *fields],
        problem=_problem(visit, error),
        signed_out=isinstance(error, MissingCredentials),
        already=isinstance(error, AlreadyMade),
        made=made,
    )
