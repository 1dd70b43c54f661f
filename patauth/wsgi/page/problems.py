"""Choose the words of a refusal for people: a text for its field, or for its kind."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    InvalidScope,
    MissingCredentials,
    NotFound,
    Overloaded,
    PatAuthError,
    RateLimited,
    StoreUnavailable,
)
from ...model.leaks import CredentialInText
from ...operations.create import AlreadyMade
from ...operations.listing import TooMany
from ...operations.permissions import HoldsMore
from ...operations.writes import Changed, OwnerDisabled
from ..api.csrf import ForeignRequest, StaleForm
from ..errors import NotConfirmed
from .forms import Form, networks_of

# The first one that an error is an instance of counts.
_KINDS: tuple[tuple[type[PatAuthError], str], ...] = (
    (MissingCredentials, "signed_out"),
    (AlreadyMade, "made_already"),
    (Changed, "changed"),
    (NotConfirmed, "confirm"),
    (ForeignRequest, "foreign"),
    (StaleForm, "stale"),
    (OwnerDisabled, "owner_disabled"),
    (HoldsMore, "holds_more"),
    (Forbidden, "forbidden"),
    (TooMany, "too_many"),
    (NotFound, "not_found"),
    (Overloaded, "down"),
    (Conflict, "full"),
)
# The fields of operations that stand in a form, under the same name but for one.
_FIELDS = frozenset(
    "name description scope expiry never_acknowledged networks overlap reason".split(),
)
_NAMES = {"expiry": "expires_in"}


@dataclass(frozen=True, slots=True)
class Problem:
    """Says what is wrong, and where in the form."""

    text: str  # the key of a text, after `error.`
    field: str | None = None  # of the form; None: it concerns the whole
    cause: str | None = None  # in English, where the text does not say all
    value: str = ""  # which the text names
    seconds: int = 0  # to wait
    reference: str | None = None  # of the log


def problem_of(error: PatAuthError, form: Form | None, *, repeatable: bool = False) -> Problem:
    """Return what an error means to a person, who has sent a form or None.

    `repeatable`: sending the form again makes nothing twice.
    """
    # One of several, such as `networks[0]`, stands in one field.
    of, _, place = (error.field or "").partition("[")
    field = _NAMES.get(of, of) if of in _FIELDS else None
    if isinstance(error, Conflict) and field == "name":
        return Problem("name_taken", field)
    if isinstance(error, InvalidScope):
        return Problem("scope", "scope")
    if isinstance(error, CredentialInText):
        return Problem("secret", field)
    if isinstance(error, InvalidRequest) and field == "networks" and place and form is not None:
        return Problem("network", field, value=networks_of(form)[int(place.rstrip("]"))])
    if isinstance(error, InvalidRequest) and field is not None:
        return Problem(of, field)
    if isinstance(error, RateLimited):
        return Problem("many" if error.quota == "creations" else "limited", seconds=error.retry_after)
    kind = next((text for known, text in _KINDS if isinstance(error, known)), None)
    if kind == "down" and form is not None:
        kind = _of_store(error, repeatable)
    if kind is None:
        kind = "fault" if error.status >= 500 else "failed"
    return Problem(kind, cause=str(error) if kind in ("forbidden", "failed") else None)


def _of_store(error: PatAuthError, repeatable: bool) -> str:
    if not (isinstance(error, StoreUnavailable) and error.may_be_done):
        return "nothing"
    return "again" if repeatable else "unknown"
