"""What tests do to a tenant's PATs past the library: forged index entries, events between two steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from patauth import Authority
from patauth.model.filters import NEVER
from patauth.store.keys import Keys


def far() -> float:
    return time.monotonic() + 60


def send(authority: Authority, *commands: tuple[Any, ...]) -> list[Any]:
    """Commands of the test's own, past everything."""
    return authority._store._scripts.call(commands, far())


def keys_of(authority: Authority) -> Keys:
    return Keys(authority.settings.key_prefix, authority.settings.tenant)


def forge(authority: Authority, created_ms: int, number: int = 0, expires_ms: int = NEVER) -> str:
    """An entry without a record, as a creation that was cut short leaves it."""
    pat_id = f"{number:08x}" + "ab" * 12
    authority._store.tenant.enter(pat_id, created_ms, expires_ms, far())
    return pat_id


def after_reading(authority: Authority, event: Callable[[], object]) -> None:
    """Once, as soon as a listing of the tenant has read records, this happens."""
    tenant = authority._store.tenant
    records = tenant.records
    patched = pytest.MonkeyPatch()

    def read(*given: Any) -> Any:
        found = records(*given)
        patched.undo()
        event()
        return found

    patched.setattr(tenant, "records", read)


def put(path: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}
