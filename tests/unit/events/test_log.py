from __future__ import annotations

import json
import logging
import re

from hypothesis import example, given
from hypothesis import strategies as st

from patauth.events.events import Events
from patauth.events.log import Log

NOW = 1_700_000_000.123

facts = st.dictionaries(
    st.sampled_from(["patId", "name", "address", "reason", "scope"]),
    st.none() | st.text() | st.integers() | st.lists(st.text(), max_size=3),
)


class Lines(logging.Handler):
    """Keeps what a log file would hold."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def recorded(kind: str, level: int = logging.INFO, **known) -> list[str]:
    logger, handler = logging.getLogger("patauth.audit"), Lines()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        Events(Log(), tenant="acme", clock=lambda: NOW).emit(kind, **known)  # type: ignore[arg-type]
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    return handler.lines


def test_an_event_is_an_object_with_its_envelope_first():
    (line,) = recorded("pat.created", scope=["a", "b"], expiresIn=5, patId="0" * 32)
    identity = json.loads(line)["id"]
    assert re.fullmatch("[0-9a-f]{32}", identity)
    assert line == (
        f'{{"time": "2023-11-14T22:13:20.123Z", "id": "{identity}", "type": "pat.created", "outcome": "done",'
        f' "tenant": "acme", "patId": "{"0" * 32}", "scope": ["a", "b"], "expiresIn": 5}}'
    )


def test_what_is_not_known_is_left_out():
    (line,) = recorded("credentials.refused", outcome="refused", address=None, reason="invalid")
    assert set(json.loads(line)) == {"time", "id", "type", "outcome", "tenant", "reason"}


@given(facts)
@example({"name": "\x7f\x1b[31m\x9b\u2028\u202e\ud800\r\n", "scope": ["\x7f"]})
def test_every_event_is_one_line_of_printable_ascii_and_reads_back(known):
    """No name can forge a second line, colour a terminal or turn its writing round."""
    (line,) = recorded("x", **known)
    assert re.fullmatch(r"[\x20-\x7e]+", line)
    event = json.loads(line)
    for name in ("time", "id"):
        del event[name]
    assert event == {"type": "x", "outcome": "done", "tenant": "acme"} | {
        name: fact for name, fact in known.items() if fact is not None
    }


def test_percent_signs_are_no_format():
    assert json.loads(recorded("x", name="%s %d %(secret)s")[0])["name"] == "%s %d %(secret)s"


def test_nothing_is_written_below_the_level_of_the_logger():
    assert recorded("x", logging.WARNING) == []
