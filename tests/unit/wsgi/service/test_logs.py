"""What the log of `patauth serve` shows of those that log in its processes."""

from __future__ import annotations

import logging

import pytest

from patauth import Settings
from patauth.model.credentials import Format, mint_secret
from patauth.wsgi.service.logs import log_to_stderr

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
