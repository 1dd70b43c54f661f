"""Authorities, PATs and Authorization values, with what a test does not care about filled in."""

from __future__ import annotations

import warnings
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from patauth import Authority, IssuedPat, Owner, PersonalAccessToken, Principal, Settings
from patauth.crypto.profiles import PROFILES
from patauth.model.address import UNKNOWN
from patauth.model.caller import Caller
from patauth.operations import update
from patauth.operations.admit import Admission
from patauth.store.deadline import REQUEST_SECONDS
from tests.support.clocks import Clock

Make = Callable[..., Authority]
PATIENCE = 10.0  # s, for an answer of the store
# The product's own patience, for tests of deadlines.
AS_INSTALLED: dict[str, Any] = {
    "connect_timeout": 0.2, "command_timeout": 0.25, "request_seconds": REQUEST_SECONDS
}  # fmt: skip


@contextmanager
def maker(default_url: str, prefix: str) -> Iterator[Make]:
    made: list[Authority] = []

    def make_one(
        *,
        clock: Clock | None = None,
        url: str = default_url,
        request_seconds: float = PATIENCE,
        **given: Any,
    ) -> Authority:
        # A busy machine stalls for longer than a request may take; tests of deadlines give their own.
        patient = {"connect_timeout": PATIENCE, "command_timeout": PATIENCE}
        values = {"key_prefix": prefix, "hash_profile": PROFILES["testing"], **patient, **given}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "store 'memory:'")
            settings = Settings.of(store_url=url, **values)
            authority = Authority(settings, _clock=clock, _request_seconds=request_seconds)
        made.append(authority)
        return authority

    yield make_one
    for authority in made:
        authority.close()


def patient(store_url: str, **given: Any) -> Authority:
    """An Authority as `Authority.from_url` makes one, but for its patience: to be closed by the test."""
    settings = Settings.of(
        **{"store_url": store_url, "connect_timeout": PATIENCE, "command_timeout": PATIENCE, **given}
    )
    return Authority(settings, _request_seconds=PATIENCE)


ALICE = Owner("alice", name="Alice")


def issue(authority: Authority, name: str = "ci", **given: Any) -> IssuedPat:
    """A PAT with what a test does not care about filled in."""
    values: dict[str, Any] = {"owner": ALICE, "scope": ["reports:read", "reports:write"]}
    if not {"expires_in", "expires_at", "never_expires"} & set(given):
        values["expires_in"] = timedelta(days=30)
    return authority.create(name=name, **{**values, **given})


def maker_of(authority: Authority, **given: Any) -> tuple[IssuedPat, Principal]:
    """A PAT that may make others for its owner, and its principal."""
    right = "idn:my-personal-access-tokens:manage"
    maker = issue(authority, "maker", scope=["reports:read", right], **given)
    return maker, authority.authenticate(basic_of(maker))


def basic(pat_id: str, secret: str) -> str:
    return "Basic " + b64encode(f"{pat_id}:{secret}".encode()).decode()


def bearer(token: str) -> str:
    return "Bearer " + token


def basic_of(issued: IssuedPat) -> str:
    return basic(issued.pat.id, issued.secret)


def wrong_secret(authority: Authority) -> str:
    """A secret of the right shape and checksum that opens nothing."""
    from patauth.model import credentials

    return authority.operations.format.secret_text(credentials.mint_secret())


def admit(authority: Authority, authorization: str) -> Admission:
    """Verify an Authorization value; return its principal and what is left of the quota."""
    return authority.operations.authenticate(authorization, UNKNOWN)


def patch_many(
    authority: Authority, pat_ids: Sequence[str], operations: object, *, by: Caller | None = None
) -> Sequence[PersonalAccessToken]:
    """Change several PATs by one JSON Patch, as the bulk update does."""
    return update.patch_many(authority.operations.actor(by), pat_ids, operations)
