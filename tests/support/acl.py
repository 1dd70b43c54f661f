"""The rights that the documents give patauth's user of a server, and everything that these must allow."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

import patauth
from patauth import Owner
from patauth.operations.sweep import sweep
from tests.support.authorities import patient
from tests.support.paths import ROOT


def acl_line(password: str) -> list[str]:
    """Return the words of the ACL command in docs/deployment.md."""
    found = re.findall(r"^ACL SETUSER .*$", (ROOT / "docs" / "deployment.md").read_text("utf-8"), re.M)
    (line,) = found
    return line.replace("PASSWORD", password).split()


def copying_rights() -> list[str]:
    """Return the rights that docs/deployment.md adds to that line for `patauth store copy`."""
    (found,) = re.findall(r"`(\+pexpiretime [^`]+)`", (ROOT / "docs" / "deployment.md").read_text("utf-8"))
    return str(found).split()


def use_all(url: str) -> None:
    """Everything that an Authority sends to a store."""
    with patient(url) as authority:
        authority.ping()
        owner = Owner("acl")
        for number in (1, 2):
            issued = authority.create(
                owner=owner, name=str(number), scope=["a"], expires_in=timedelta(hours=1)
            )
        assert authority.verify_basic(issued.pat.id, issued.secret).subject == owner
        access = authority.exchange(issued.pat.id, issued.secret)
        assert authority.verify_bearer(access.value).subject == owner
        assert authority.get(issued.pat.id).last_used is not None
        with patient(url, hash_profile="rfc9106_low_memory") as slower:
            slower.verify_basic(issued.pat.id, issued.secret)  # hashed again
        later = {"op": "replace", "path": "/expirationDate", "value": "9000-01-01T00:00:00Z"}
        authority.patch(issued.pat.id, [later, {"op": "replace", "path": "/name", "value": "other"}])
        authority.rotate(issued.pat.id)
        for sort in (None, "-created", "lastUsed", "name"):
            for searched in (None, 'name co "t"', "lastUsed isnull", "not created lt 2030-01-01T00:00:00Z"):
                authority.list(filters=searched, sort=sort, limit=1, count=True)
        assert authority.list(owner_id=owner.id, limit=1, count=True).total == 2
        assert authority.disable_owner(owner.id) == authority.enable_owner(owner.id) == 2
        manager = authority.create(
            owner=owner, name="m", scope=["idn:my-personal-access-tokens:manage"], never_expires=True
        )
        by = authority.verify_basic(manager.pat.id, manager.secret)
        authority.create(name="n", scope=by.scopes, never_expires=True, by=by)
        with patient(url, max_tokens_per_secret=1) as narrow:
            narrow.exchange(manager.pat.id, manager.secret)
        authority.delete(manager.pat.id)
        assert authority.revoke_owner(owner.id) == 3
        # One that has passed its retention is tidied away by the next creation.
        with patient(url, retention=0) as forgetful:
            forgetful.create(owner=owner, name="3", scope=["a"], expires_in=timedelta(milliseconds=1))
            issued = forgetful.create(owner=owner, name="4", scope=["a"], never_expires=True)
            forgetful.delete(issued.pat.id)
        for part in sweep(authority.operations.actor(None)):
            list(part)
    with patient(url, durability="replicas:9", durability_timeout=0.01) as waiting:
        with pytest.raises(patauth.StoreUnavailable) as late:
            waiting.create(owner=owner, name="5", scope=["a"], never_expires=True)
        assert "WAIT answered" in str(late.value.detail)
