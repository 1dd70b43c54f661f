"""How a process next to gunicorn is started again: when it has died, and at a reload."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from patauth.wsgi.service import side_process
from patauth.wsgi.service.side_process import SideProcess, next_pause
from tests.support.servers import until

# Adds a line to a file once it is ready, does this, and waits for its end.
PROGRAM = """
import os, signal, sys
{first}
with open(sys.argv[1], "a") as file:
    print(os.getpid(), file=file)
{then}
sys.stdin.read()
"""


def command(starts: Path, first: str = "", then: str = "") -> list[str]:
    starts.touch()
    return [sys.executable, "-c", PROGRAM.format(first=first, then=then), str(starts)]


def count(starts: Path) -> int:
    return len(starts.read_text().splitlines())


def test_the_pause_grows_to_a_minute_and_begins_again_after_a_longer_life() -> None:
    pause, pauses = 0.0, []
    for lived in (0.1, 1.0, 0.1, 59.0, 0.1, 0.1, 0.1, 0.1, 61.0, 0.1):
        pause = next_pause(pause, lived)
        pauses.append(pause)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 1, 2]


def test_one_that_hangs_is_killed_and_replaced_at_a_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It would keep the old secrets and the old certificate."""
    monkeypatch.setattr(side_process, "_STOP_SECONDS", 0.1)
    starts, ended = tmp_path / "starts", list[int]()
    hangs = command(starts, "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    process = SideProcess(hangs, port="gRPC", ended=ended.append)
    try:
        until(lambda: count(starts) == 1)
        process.restart()
        until(lambda: count(starts) == 2)
        (record,) = caplog.records
        assert record.getMessage() == "the process of the gRPC port did not end in 0.1 s, so it is killed"
        assert ended == [int(starts.read_text().splitlines()[0])]
    finally:
        process.stop()


def test_one_that_ends_is_an_error_unless_the_service_ends_soon_after(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """systemd ends all processes of a service at once; this one may end before gunicorn does."""
    starts, ended = tmp_path / "starts", list[int]()
    process = SideProcess(command(starts, then="sys.exit(1)"), port="metrics", ended=ended.append)
    until(lambda: ended)
    process.stop()
    assert caplog.records == []
    ended.clear()
    process = SideProcess(command(starts, then="sys.exit(0)"), port="metrics", ended=ended.append)
    until(lambda: caplog.records)
    process.stop()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        "the process of the metrics port has ended; it is started again 1 s after its end"
    )
