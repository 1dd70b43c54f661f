"""Which words a refusal has for people."""

from __future__ import annotations

from patauth.errors import Conflict, Forbidden, InvalidRequest, Overloaded, PatAuthError, RateLimited
from patauth.errors import StoreUnavailable as Unavailable
from patauth.model.leaks import CredentialInText
from patauth.operations.listing import TooMany
from patauth.operations.permissions import HoldsMore
from patauth.operations.writes import OwnerDisabled
from patauth.wsgi.page.forms import Form
from patauth.wsgi.page.problems import Problem, problem_of
from tests.support.tables import each

FORM = Form({"networks": ["192.0.2.1 <b>\n203.0.113.0/24"]})


def maybe_done() -> Unavailable:
    error = Unavailable()
    error.may_be_done = True  # as the write of an operation sets it
    return error


@each(
    "error, form, repeatable, problem",
    [
        (TooMany("over 10000", field="filters"), None, False, Problem("too_many")),
        (OwnerDisabled(), FORM, False, Problem("owner_disabled")),
        (HoldsMore("x"), FORM, False, Problem("holds_more")),
        (Forbidden("x"), FORM, False, Problem("forbidden", cause="x")),
        (Conflict("x", field="name"), FORM, False, Problem("name_taken", "name")),
        (CredentialInText(field="reason"), FORM, False, Problem("secret", "reason")),
        (InvalidRequest("x", field="expiry"), FORM, False, Problem("expiry", "expires_in")),
        (InvalidRequest("x", field="networks"), FORM, False, Problem("networks", "networks")),
        (InvalidRequest("x", field="networks[1]"), FORM, False, Problem("network", "networks", value="<b>")),
        (RateLimited(9, quota="creations"), FORM, False, Problem("many", seconds=9)),
        (RateLimited(9, quota="persons"), FORM, False, Problem("limited", seconds=9)),
        (Overloaded(), None, False, Problem("down")),
        (Overloaded(), FORM, True, Problem("nothing")),
        (Unavailable(), FORM, False, Problem("nothing")),
        (maybe_done(), FORM, False, Problem("unknown")),
        (maybe_done(), FORM, True, Problem("again")),
        (PatAuthError("x"), FORM, False, Problem("fault")),
        (InvalidRequest("x", field="limit"), FORM, False, Problem("failed", cause="limit: x")),
    ],
)
def test_an_error_has_a_text_and_a_place_in_the_form(
    error: PatAuthError, form: Form | None, repeatable: bool, problem: Problem
) -> None:
    assert problem_of(error, form, repeatable=repeatable) == problem
