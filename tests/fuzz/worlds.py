"""What targets begin with: an Authority whose PATs and secrets are the same in each run."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any

import pytest

from patauth import Authority
from patauth.store import asking
from tests.support.authorities import maker
from tests.support.clocks import Clock

_ENOUGH = "1000000/1"  # no quota is in the way
READY: dict[str, Any] = {
    "request_quota": _ENOUGH,
    "exchange_quota": _ENOUGH,
    "failure_quota": _ENOUGH,
    "max_pats_per_owner": 1000,
}


def authority_of(stack: ExitStack, url: str = "memory:", **given: Any) -> Authority:
    """Return an Authority that `stack` closes, on a clock that stands still. No end of a credential waits."""
    patched = stack.enter_context(pytest.MonkeyPatch.context())
    patched.setattr(asking, "sleep", lambda seconds: None)
    make = stack.enter_context(maker(url, "fuzz"))
    return make(**{"clock": Clock(), **READY, **given})


@contextmanager
def same_secrets() -> Iterator[None]:
    """Let the module `secrets` make the same secrets in each run of this block."""
    chance = Random("the same secrets")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(secrets, "token_bytes", chance.randbytes)
        yield
