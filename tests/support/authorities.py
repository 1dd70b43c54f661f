"""Authorities, PATs and Authorization values, with what a test does not care about filled in."""

from __future__ import annotations

import warnings
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from patauth import Authority, IssuedPat, Owner, Settings
from patauth.crypto.profiles import PROFILES
from tests.support.clocks import Clock

Make = Callable[..., Authority]


@contextmanager
def maker(default_url: str, prefix: str) -> Iterator[Make]:
    made: list[Authority] = []

    def make_one(*, clock: Clock | None = None, url: str = default_url, **given: Any) -> Authority:
        # As patient as the deadline of a request: a busy machine stalls for longer than the default.
        patient = {"connect_timeout": 0.5, "command_timeout": 0.5}
        values = {"key_prefix": prefix, "hash_profile": PROFILES["testing"], **patient, **given}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "store 'memory:'")
            authority = Authority(Settings.of(store_url=url, **values), _clock=clock)
        made.append(authority)
        return authority

    yield make_one
    for authority in made:
        authority.close()


ALICE = Owner("alice", name="Alice")


def issue(authority: Authority, name: str = "ci", **given: Any) -> IssuedPat:
    """A PAT with what a test does not care about filled in."""
    values: dict[str, Any] = {"owner": ALICE, "scope": ["reports:read", "reports:write"]}
    if not {"expires_in", "expires_at", "never_expires"} & set(given):
        values["expires_in"] = timedelta(days=30)
    return authority.create(name=name, **{**values, **given})


def basic(pat_id: str, secret: str) -> str:
    return "Basic " + b64encode(f"{pat_id}:{secret}".encode()).decode()


def basic_of(issued: IssuedPat) -> str:
    return basic(issued.pat.id, issued.secret)


def wrong_secret(authority: Authority) -> str:
    """A secret of the right shape and checksum that opens nothing."""
    from patauth.model import credentials

    return authority.format.secret_text(credentials.mint_secret())
