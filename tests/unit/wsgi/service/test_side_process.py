"""How long a process next to gunicorn is waited for."""

from __future__ import annotations

from patauth.wsgi.service.side_process import next_pause


def test_the_pause_grows_to_a_minute_and_begins_again_after_a_longer_life() -> None:
    pause, pauses = 0.0, []
    for lived in (0.1, 1.0, 0.1, 59.0, 0.1, 0.1, 0.1, 0.1, 61.0, 0.1):
        pause = next_pause(pause, lived)
        pauses.append(pause)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 1, 2]
