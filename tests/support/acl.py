"""The rights that the documents give patauth's user of a server, and everything that these must allow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

import pytest

import patauth
from patauth import Owner
from patauth.operations.sweep import sweep
from tests.support.authorities import patient
from tests.support.paths import ROOT
from tests.support.servers import until

_PASSWORD = "p%w"
_LOGIN = "patauth:p%25w@"


def acl_user(*titles: str, name: str = "patauth") -> list[str]:
    """Return a user as the ACL commands in sections of docs/deployment.md make it: its name, its rights."""
    page = (ROOT / "docs" / "deployment.md").read_text("utf-8")
    words = [name]
    for title in titles:
        text = page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
        (line,) = re.findall(rf"^ACL SETUSER {name} (.*)$", text, re.M)
        words += line.replace("PASSWORD", _PASSWORD).split()
    return words


ON_SERVER = acl_user("Redis or Valkey")
ON_DISK = acl_user("Redis or Valkey", "Durability")
ON_NODE = acl_user("Redis or Valkey", "Redis or Valkey Cluster")
EVENTS = acl_user("Redis or Valkey", "Events")
FOR_COPY = acl_user("Redis or Valkey", "Redis or Valkey Cluster", "Moving to another engine")
BEHIND_SENTINELS = acl_user("Redis or Valkey", "Sentinel")
AT_SENTINELS = acl_user("Sentinel", name="watcher")


def granted(user: Sequence[str]) -> set[str]:
    """Return the commands that a user may run."""
    return {word[1:] for word in user if word.startswith("+")}


def logged_in(url: str) -> str:
    """Return the URL of a store with the logins of these users."""
    url = url.replace("://", f"://{_LOGIN}", 1)
    if "+sentinel:" not in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}sentinel_username=watcher&sentinel_password=p%25w"


def logged_out(url: str) -> str:
    """Return the URL of a store with the default user at its servers, who may run every command."""
    return url.replace(f"://{_LOGIN}", "://", 1)


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
            # Its entry in the tenant's indexes stays for a while, and listings step over it.
            until(lambda: not any(authority.list(sort=sort, limit=1) for sort in ("created", "-created")))
            issued = forgetful.create(owner=owner, name="4", scope=["a"], never_expires=True)
            forgetful.delete(issued.pat.id)
        for part in sweep(authority.operations.actor(None)):
            list(part)
    with patient(url, durability="replicas:9", durability_timeout=0.01) as waiting:
        with pytest.raises(patauth.StoreUnavailable) as late:
            waiting.create(owner=owner, name="5", scope=["a"], never_expires=True)
        assert "WAIT answered" in str(late.value.detail)
