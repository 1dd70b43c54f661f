"""What the log of `patauth serve` shows of those that log in its processes."""

from __future__ import annotations

import logging
import threading
from queue import SimpleQueue

import pytest

from patauth import Settings
from patauth.model.credentials import Format, mint_secret
from patauth.wsgi.service.logs import Lines, log_to_stderr

NAMES = ("patauth", "opentelemetry")


@pytest.mark.parametrize("name", ["patauth.store", "opentelemetry.attributes"])
def test_no_credential_is_in_a_line_of_text(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """OpenTelemetry's loggers too: without a handler, Python would write their text to stderr as it is."""
    loggers = [logging.getLogger(one) for one in NAMES]
    before = [(one.handlers[:], one.level, one.propagate) for one in loggers]
    secret = Format().secret_text(mint_secret())
    try:
        log_to_stderr(Settings.of(store_url="memory:"), quiet=False, as_json=False)
        logging.getLogger(name).warning("cannot read %s", secret)
    finally:
        for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
            logger.handlers[:] = handlers
            logger.setLevel(level)
            logger.propagate = propagate
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f" WARNING {name} cannot read [hidden]")


def test_lines_without_room_are_dropped_and_counted_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """They come back in order, and the warning comes when the reader goes on."""
    now, written, going_on, entered = [0.0], SimpleQueue[bytes](), threading.Semaphore(0), threading.Event()

    def write(line: bytes) -> None:
        entered.set()
        assert going_on.acquire(timeout=30)
        written.put(line)

    handler = Lines(write, room=2, timer=lambda: now[0])

    def emit(*texts: str) -> None:
        for text in texts:
            handler.emit(logging.makeLogRecord({"msg": text}))

    emit("0")
    assert entered.wait(30)
    emit("1", "2", "lost", "lost")
    going_on.release(3)
    assert [written.get(timeout=30) for _ in range(3)] == [b"0\n", b"1\n", b"2\n"]
    entered.clear()
    emit("3")
    assert entered.wait(30)
    emit("4", "5", "lost")
    going_on.release(3)
    assert [written.get(timeout=30) for _ in range(3)] == [b"3\n", b"4\n", b"5\n"]
    now[0] = 60.0
    emit("6")
    going_on.release()
    handler.close()
    text = "the reader of stdout was too slow: %d lines of the access log are missing"
    assert [record.getMessage() for record in caplog.records] == [text % 2, text % 3]
