from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

from patauth import errors
from patauth.errors import (
    InsufficientScope,
    InvalidCredentials,
    InvalidRequest,
    MissingCredentials,
    NotFound,
    Overloaded,
    PatAuthError,
    RateLimited,
    StoreUnavailable,
)
from tests.support.tables import each

# RFC 6750 §3.1: what an error_description may hold.
DESCRIPTION = re.compile(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+")

CLASSES = [
    value for value in vars(errors).values() if inspect.isclass(value) and value.__module__ == errors.__name__
]

EXAMPLES = [
    pytest.param(InvalidRequest("name: give a text", detail="from the page"), id="with a text and a detail"),
    pytest.param(InvalidCredentials(), id="with the default text"),
    pytest.param(InsufficientScope(["b", "a"]), id="with scopes"),
    pytest.param(
        RateLimited(3, quota="requests", count=100, seconds=10),
        id="with a decision",
    ),
    pytest.param(Overloaded(retry_after=7, detail="queue full"), id="with a time to wait"),
    pytest.param(StoreUnavailable(detail="down"), id="the default text of a child"),
]


def drawn_tree() -> set[tuple[str, str, int | None]]:
    """(class, its base, status) as the module's docstring draws them."""
    lines = re.findall(
        r"^ {4}((?:│ {3}| {4})*)(?:[├└]── )?(\w+)(?: +(\d{3})?\b.*)?$", errors.__doc__ or "", re.M
    )
    above = ["PatAuthError"]
    drawn: set[tuple[str, str, int | None]] = set()
    for indent, name, status in lines[1:]:
        depth = len(indent) // 4 + 1
        del above[depth:]
        drawn.add((name, above[-1], int(status) if status else None))
        above.append(name)
    return drawn


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    found = {
        (error.__name__, error.__base__.__name__, None if error.status == 500 else error.status)
        for error in CLASSES
        if error is not PatAuthError
    }
    assert drawn_tree() == found
    assert len(found) == len(CLASSES) - 1 == 13


def test_everything_is_one_tree_under_one_base_and_under_nothing_that_others_catch():
    """`except ValueError` in somebody's view must not swallow a refusal."""
    for error in CLASSES:
        assert issubclass(error, PatAuthError)
        assert error.__mro__[-4:] == (PatAuthError, Exception, BaseException, object)


@each("error", CLASSES)
def test_each_class_says_what_it_means_in_words_that_an_error_description_may_hold(error):
    assert DESCRIPTION.fullmatch(error.default)
    assert DESCRIPTION.fullmatch(str(error(1) if error is RateLimited else error()))
    assert re.fullmatch(r"[a-z_]+", error.code)
    assert error.__doc__


def test_unknown_wrong_and_deleted_have_one_text():
    assert str(InvalidCredentials()) == InvalidCredentials.default == "the credentials are not valid"
    assert NotFound.default != InvalidCredentials.default
    assert issubclass(MissingCredentials, InvalidCredentials)


def test_the_detail_is_for_the_log_and_not_in_the_text():
    error = StoreUnavailable(detail="redis://:hunter2@db")
    assert error.detail == "redis://:hunter2@db"
    assert "hunter2" not in str(error)
    assert "hunter2" not in repr(error)


def test_the_scopes_that_are_required_are_sorted_and_kept():
    assert InsufficientScope(["b", "a"]).required == ("a", "b")
    assert InsufficientScope().required == ()


def test_a_rate_limit_says_how_long_to_wait():
    error = RateLimited(3)
    assert error.retry_after == 3
    assert str(error) == "too many requests; try again in 3 s"


@each("error", EXAMPLES)
@each(
    "remake",
    [
        pytest.param(copy.copy, id="copy"),
        pytest.param(copy.deepcopy, id="deepcopy"),
        pytest.param(lambda error: pickle.loads(pickle.dumps(error)), id="pickle"),
    ],
)
def test_a_copy_says_the_same(remake, error):
    """`patauth.crypto.proof_cache` copies an error for each waiting thread; multiprocessing pickles."""
    made = remake(error)
    assert type(made) is type(error)
    assert str(made) == str(error)
    assert vars(made) == vars(error)
