"""The deadline of a request, by a clock that the test sets."""

from __future__ import annotations

from contextlib import suppress

import pytest

from patauth.store import deadline as deadlines
from patauth.store.deadline import Deadline


def test_time_that_goes_into_a_hash_does_not_count_also_if_the_hash_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(deadlines, "monotonic", lambda: now[0])
    deadline = Deadline(100.5)
    with deadline.paused():
        now[0] += 7
    assert deadline.left() == 0.5
    with suppress(ValueError), deadline.paused():
        now[0] += 7
        raise ValueError
    assert deadline.left() == 0.5
    now[0] += 0.4
    assert deadline.left() == pytest.approx(0.1)
    now[0] += 7
    assert deadline.left() == 0
