"""Who calls: principals and persons."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime

import pytest

from patauth import Owner, Principal


def principal(expires_ms: int | None = None) -> Principal:
    return Principal(Owner("alice"), frozenset(["a"]), "0" * 32, "default", "basic", expires_ms)


def test_it_says_when_its_credential_expires_in_utc():
    assert principal(1_893_456_000_000).expires_at == datetime(2030, 1, 1, tzinfo=UTC)


def test_no_expiry_is_none():
    assert principal().expires_at is None


def test_it_is_a_value_that_an_application_cannot_change():
    assert principal() == principal()
    assert hash(principal()) == hash(principal())
    with pytest.raises(FrozenInstanceError):
        principal().scopes = frozenset(["b"])
    with pytest.raises(AttributeError):
        principal().scopes.add("b")
