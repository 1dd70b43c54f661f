"""Read the forms: turn what a person has typed into what an operation needs. No rule is here.

name, description, networks       text; networks are separated by blanks, commas or line ends
scope                             one checkbox for each scope
expires_in                        7d, 30d, 60d, 90d, custom, never; on a change also keep
expires_at                        YYYY-MM-DD, for custom: the token works until that day ends (UTC)
never_acknowledged                a checkbox, for never
form_key                          of a new token: with one key, one token is made
sequence                          of a change or a rotation: which state of the token the form was made for
overlap                           of a rotation: now, hour, day, week
reason                            of a revocation: text
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from ...errors import InvalidRequest
from ...model import dates
from ...model.address import check_networks
from ...model.expiry import FIELD as EXPIRY
from ...model.expiry import Expiry
from ...model.pat import PersonalAccessToken, check_description, check_name
from ...model.scopes import check_some
from ...operations.create import NewPat
from ...operations.pat_change import PatChange
from ...settings import parse_duration

PRESETS = (7, 30, 60, 90)  # days
DEFAULT_PRESET = "30d"
OVERLAPS = {"now": timedelta(0), "hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(7)}
_FORM_KEY = re.compile(r"[A-Za-z0-9_-]{22}")  # 128 bits


@dataclass(frozen=True, slots=True)
class Form:
    """Holds the fields of a form as they were typed, or as they are shown first."""

    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Return a field that may be there once; empty if it is missing."""
        return next(iter(self.fields.get(name, ())), "")

    def all(self, name: str) -> Sequence[str]:
        """Return all values of a field."""
        return self.fields.get(name, ())

    def without(self, name: str) -> Form:
        """Return the form without a field."""
        return Form({one: values for one, values in self.fields.items() if one != name})


def prefilled(query: Mapping[str, str], presets: Collection[str]) -> Form:
    """Return the form for a new token as a link fills it in: `?name=&scope=&expires_in=`."""
    wanted = query.get("expires_in", "")
    if wanted not in presets:
        wanted = DEFAULT_PRESET if DEFAULT_PRESET in presets else next(iter(presets))
    return Form(
        {
            "name": [query.get("name", "")],
            "scope": query.get("scope", "").split(),
            "expires_in": [wanted],
        }
    )


def of_pat(pat: PersonalAccessToken) -> Form:
    """Return the form for a change of a token as it is now."""
    return Form(
        {
            "name": [pat.name],
            "description": [pat.description or ""],
            "scope": pat.scope,
            "networks": ["\n".join(pat.networks)],
            "expires_in": ["keep"],
            "sequence": [str(pat.sequence)],
        }
    )


def new_pat(form: Form, presets: Collection[str]) -> NewPat:
    """Return the PAT that a form asks for. Raise `InvalidRequest`."""
    key = form.text("form_key")
    if not _FORM_KEY.fullmatch(key):
        raise InvalidRequest("the form is not complete; open it again")
    return NewPat(
        owner=None,
        name=form.text("name").strip(),
        scope=form.all("scope"),
        expiry=_expiry(form, presets),
        never_acknowledged=bool(form.text("never_acknowledged")),
        description=form.text("description").strip() or None,
        networks=networks_of(form) or None,
        once=key,
    )


def tells_of(form: Form, pat: PersonalAccessToken) -> bool:
    """Return whether a form for a new token has the name, scopes and description of a token."""
    typed = (form.text("name").strip(), set(form.all("scope")), form.text("description").strip())
    return typed == (pat.name, set(pat.scope), pat.description or "")


def change_of(form: Form, pat: PersonalAccessToken, presets: Collection[str]) -> PatChange:
    """Return what a form changes of a token. Raise `InvalidRequest`, `InvalidScope`."""
    expiry = None if form.text("expires_in") == "keep" else _expiry(form, presets)
    scope, networks = form.all("scope"), networks_of(form)
    return PatChange(
        name=form.text("name").strip(),
        scope=None if set(scope) == set(pat.scope) else scope,
        expiry=expiry,
        never_acknowledged=True if expiry and form.text("never_acknowledged") else None,
        description=form.text("description").strip(),
        networks=None if networks == list(pat.networks) else networks,
    )


def mistakes(form: Form) -> list[InvalidRequest]:
    """Return what is wrong with each text in a form for a new token or a change."""
    description = form.text("description").strip()
    checks: list[Callable[[], object]] = [
        lambda: check_name(form.text("name").strip()),
        lambda: description and check_description(description),
        lambda: check_some(form.all("scope")),
        lambda: form.text("expires_in") == "custom" and _end_of_day(form),
        lambda: check_networks(networks_of(form)),
    ]
    found = []
    for check in checks:
        try:
            check()
        except InvalidRequest as mistake:
            found.append(mistake)
    return found


def sequence(form: Form) -> int:
    """Return which state of the token the form was made for. Raise `InvalidRequest`."""
    text = form.text("sequence")
    if not re.fullmatch("[0-9]{1,15}", text):
        raise InvalidRequest("the form is not complete; open it again")
    return int(text)


def overlap(form: Form) -> timedelta:
    """Return how long the old secret shall work. Raise `InvalidRequest`."""
    try:
        return OVERLAPS[form.text("overlap")]
    except KeyError:
        raise InvalidRequest("choose one of these", field="overlap") from None


def networks_of(form: Form) -> list[str]:
    """Return the networks that were typed, each as it was typed."""
    return [part for part in re.split(r"[\s,]+", form.text("networks")) if part]


def _expiry(form: Form, presets: Collection[str]) -> Expiry:
    choice = form.text("expires_in")
    if choice == "never":
        return Expiry()
    if choice == "custom":
        return Expiry(at_ms=_end_of_day(form))
    if choice not in presets:
        raise InvalidRequest("choose one of these", field=EXPIRY)
    return Expiry(after_ms=parse_duration(choice) * 1000)


def _end_of_day(form: Form) -> int:
    return dates.parse_ms(f"{form.text('expires_at')}T23:59:59Z", EXPIRY)
