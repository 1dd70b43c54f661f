"""What users import: every public name is there, typed, described, and shows no secret."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import patauth
from patauth import IssuedPat, Owner, PersonalAccessToken, Principal, Quota, Settings
from patauth.crypto.keyring import Keyring
from patauth.model.credentials import Format
from patauth.model.quota import Decision
from patauth.operations.admit import Admission
from patauth.operations.exchange import Access
from tests.support.internals import store_of
from tests.support.tables import each

PACKAGE = Path(patauth.__file__).parent
PUBLIC = sorted(patauth.__all__)
PUBLIC_NAMES = {name: getattr(patauth, name) for name in PUBLIC}
CLASSES = [name for name, value in PUBLIC_NAMES.items() if inspect.isclass(value)]


def classes(annotation: object) -> Iterator[type]:
    """Yield every class in an annotation, such as `A` and `B` in `dict[str, A] | B`."""
    if inspect.isclass(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from classes(part)


class TestPublic:
    def test_every_name_is_there_once_and_sorted(self):
        assert len(set(patauth.__all__)) == len(patauth.__all__)
        assert patauth.__all__ == sorted(patauth.__all__)
        assert all(hasattr(patauth, name) for name in PUBLIC)

    def test_every_name_is_listed_and_no_other_one_is_found(self):
        assert set(dir(patauth)) == {*PUBLIC, "__version__"}
        with pytest.raises(AttributeError, match="Authoritee"):
            patauth.Authoritee  # noqa: B018

    def test_what_the_contract_names_is_public(self):
        assert set(PUBLIC) >= {
            "Authority",
            "Owner",
            "Principal",
            "Person",
            "PatAuthMiddleware",
            "require_scope",
            "Settings",
            "PatAuthError",
            "InvalidCredentials",
            "InvalidToken",
            "InsufficientScope",
            "RateLimited",
            "Overloaded",
            "StoreUnavailable",
            "InvalidRequest",
            "NotFound",
            "Conflict",
            "Forbidden",
            "ConfigurationError",
        }

    @each("name", PUBLIC)
    def test_each_has_a_docstring_of_its_own(self, name):
        """That of a base class, or the one that `dataclass` makes, says nothing."""
        value = getattr(patauth, name)
        assert value.__doc__
        assert not value.__doc__.startswith(f"{name}(")
        if inspect.isclass(value):
            assert all(value.__doc__ != base.__doc__ for base in value.__mro__[1:])

    @each("name", CLASSES)
    def test_so_has_each_public_method_and_property(self, name):
        for attribute, value in vars(getattr(patauth, name)).items():
            if attribute.startswith("_") or not (
                callable(value) or isinstance(value, property | classmethod)
            ):
                continue
            assert inspect.getdoc(value), f"{name}.{attribute}"

    @pytest.mark.parametrize("name", CLASSES)
    def test_a_public_method_returns_public_types(self, name):
        """A user who keeps a result can name its type, and read what it is."""
        for attribute, value in inspect.getmembers(getattr(patauth, name)):
            function = value.fget if isinstance(value, property) else value
            ours = str(getattr(function, "__module__", None)).startswith("patauth.")
            if attribute.startswith("_") or not inspect.isroutine(function) or not ours:
                continue
            for returned in classes(get_type_hints(function, localns=PUBLIC_NAMES).get("return")):
                if returned.__module__.startswith("patauth."):
                    assert returned.__name__ in PUBLIC, f"{name}.{attribute}"

    # Settings are given as texts, and only patauth reads what they become. A principal's `credential` is for
    # patauth alone, which judges it again.
    @pytest.mark.parametrize("name", [name for name in CLASSES if name != "Settings"])
    def test_a_public_field_has_public_types(self, name):
        for field, annotation in get_type_hints(getattr(patauth, name), localns=PUBLIC_NAMES).items():
            for kind in () if field in ("credential",) or field.startswith("_") else classes(annotation):
                if kind.__module__.startswith("patauth."):
                    assert kind.__name__ in PUBLIC, f"{name}.{field}"

    def test_the_types_are_delivered(self):
        assert (PACKAGE / "py.typed").exists()


def test_no_repr_of_any_object_shows_a_secret():
    """S1: what ends in a log or a traceback is a repr."""
    secret = bytes(range(32))
    form, pat_id = Format(), "0123456789abcdef" * 2
    pat = PersonalAccessToken(pat_id, "ci", ("a",), Owner("alice"), "default", 0, 0, 1)
    issued = IssuedPat(pat, form.secret_text(secret), form.token_text(pat_id, secret))
    text, digest = form.mint_access_token(pat_id)
    decision = Decision(True, "requests", Quota(100, 10), 0, 0)
    principal = Principal(pat.owner, frozenset("a"), pat_id, "default", "basic", None)
    objects = [
        issued,
        form,
        form.basic(pat_id, issued.secret),
        form.bearer(issued.token),
        form.bearer(text),
        Access(text, 900, ("a",)),
        Keyring(secret),
        Settings.of(store_url="redis://user:hunter2@db/0", secret_key=secret),
        principal,
        Admission(principal, decision, None),
        pat,
    ]
    hidden = [issued.secret, issued.secret[5:48], issued.token, text, text[-49:-6], "hunter2", "user:"]
    for raw in (secret, digest):
        hidden += [raw.hex(), repr(raw)[2:-1]]
    for one in objects:
        for shown in (repr(one), str(one), f"{[one]}"):
            assert not [part for part in hidden if part in shown], type(one)


def test_no_repr_of_an_authority_shows_its_key():
    key = bytes(range(32))
    with pytest.warns(UserWarning, match="memory:"):
        authority = patauth.Authority.from_url("memory:", secret_key=key)
    with authority:
        for one in (authority, authority.settings, store_of(authority)):
            assert key.hex() not in repr(one)
            assert repr(key)[2:-1] not in repr(one)
