"""What a log shows: one line for each record, the time and the request's id, and no credential."""

from __future__ import annotations

import json
import logging
import logging.config
import logging.handlers
import queue
import re
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from patauth import ConfigurationError
from patauth.events.events import Events
from patauth.events.log import EVENT, Log
from patauth.events.request import REQUEST, CurrentRequest
from patauth.logs import JSONFormatter, RedactingFormatter, RequestIdFilter
from patauth.model.address import Address
from patauth.model.credentials import Format, mint_secret
from tests.support.documents import blocks, read

PAT_ID = "0123456789abcdef" * 2
OURS = {"time", "level", "logger", "message"}
HOSTILE = 'a\n\r\x00\x1b[31m\x7f\x85\x9b\u2028\u2029\u202e\ud800\'"}\n{"level": "INFO"}'

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
)


class Mute:
    """Has no text."""

    def __str__(self) -> str:
        raise ValueError

    __repr__ = __str__


def record(message: object = "hello", /, *args: object, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("app", logging.WARNING, "app.py", 7, message, args, None)
    made.created = 1_700_000_000.123456
    made.__dict__.update(more)
    return made


def members(made: logging.LogRecord) -> dict[str, Any]:
    line = JSONFormatter().format(made)
    assert re.fullmatch(r"[\x20-\x7e]+", line), line
    found: dict[str, Any] = json.loads(line, parse_constant=pytest.fail)
    return found


@contextmanager
def answering(**environ: str) -> Iterator[None]:
    token = REQUEST.set(CurrentRequest(dict(environ), lambda _: Address(None, None)))
    try:
        yield
    finally:
        REQUEST.reset(token)


def secrets() -> list[str]:
    form, secret = Format(), mint_secret()
    text = form.secret_text(secret)
    basic = b64encode(f"{PAT_ID}:{text}".encode()).decode()
    return [text, form.token_text(PAT_ID, secret), form.mint_access_token(PAT_ID)[0], basic]


def test_a_record_is_an_object_with_time_level_logger_and_message() -> None:
    assert JSONFormatter().format(record("%d", 3)) == (
        '{"time": "2023-11-14T22:13:20.123Z", "level": "WARNING", "logger": "app", "message": "3"}'
    )


@given(st.text(), st.dictionaries(st.text(), anything, max_size=4))
@example(HOSTILE, {HOSTILE: HOSTILE, "nested": [{HOSTILE: [HOSTILE]}]})
@example("", {"time": "never", "level": "none", "message": "other", "logger": "x", "\x7f": float("nan")})
def test_any_record_is_one_line_of_printable_ascii_that_reads_back(text: str, extra: dict[str, Any]) -> None:
    """No text forges a second line or colours a terminal, and no extra takes the place of a member."""
    extra = {name: value for name, value in extra.items() if name not in logging.makeLogRecord({}).__dict__}
    found = members(record(text, **extra))
    assert [found["time"], found["level"], found["logger"]] == [
        "2023-11-14T22:13:20.123Z", "WARNING", "app",
    ]  # fmt: skip
    assert found["message"] == text
    assert found.keys() >= OURS


def test_what_a_record_is_given_as_extra_is_there_as_json_has_it() -> None:
    extra = {
        "order": 7,
        "paid": True,
        "rows": [{"sku": "a"}, ("b", None, 0.5)],
        "at": datetime(2030, 1, 2),
    }
    found = members(record(**extra))
    assert {name: value for name, value in found.items() if name not in OURS} == {
        "order": 7, "paid": True, "rows": [{"sku": "a"}, ["b", None, 0.5]], "at": "2030-01-02T00:00:00",
    }  # fmt: skip


def test_of_what_json_does_not_know_the_type_is_shown_and_never_its_text() -> None:
    endless: list[Any] = []
    endless.append(endless)
    found = members(record(request=Mute(), body=b"hush", far=float("inf"), huge=10**5000, endless=endless))
    assert [found[name] for name in ("request", "body", "far", "huge")] == [
        "<Mute>",
        "<bytes>",
        "<float>",
        "<int>",
    ]
    assert "<list>" in json.dumps(found["endless"])


def test_no_secret_is_shown_wherever_a_record_has_it() -> None:
    for secret in secrets():
        try:
            raise ValueError(f"refused {secret}")
        except ValueError:
            made = record("Authorization: %s", f"Bearer {secret}", key=[{secret: secret}], stack_info=secret)
            made.exc_info = sys.exc_info()
        made.name = secret
        line = JSONFormatter().format(made)
        assert secret not in line
        assert {"exception", "stack", "key"} <= json.loads(line).keys()
    assert "hush" not in JSONFormatter().format(record('basic hush" and\nbearer\nhush, ?password=hush'))


@pytest.mark.parametrize("secret", secrets(), ids=["secret", "PAT token", "access token", "Basic"])
def test_a_text_has_no_secret_either(secret: str) -> None:
    formatter = RedactingFormatter(logging.Formatter("%(name)s %(message)s"))
    assert formatter.format(record("got %s", secret)) == "app got [hidden]"


def test_the_prefixes_of_the_setting_are_hidden_and_wrong_ones_are_refused() -> None:
    secret = Format().secret_text(mint_secret()).replace("pats_", "acmes_")
    formatter = JSONFormatter(credential_prefixes="acme,acmes,acmea pat,pats,pata")
    assert secret not in formatter.format(record("got %s", secret))
    with pytest.raises(ConfigurationError, match="credential_prefixes: give triples"):
        JSONFormatter(credential_prefixes="pat")


def test_a_message_whose_arguments_do_not_fit_is_still_a_line() -> None:
    assert members(record("%d %s", "x"))["message"] == "%d %s"
    assert members(record(Mute()))["message"] == "<Mute>"


class Odd(dict[str, Any]):
    """A mapping that cannot be read."""

    def items(self) -> Any:
        raise LookupError(secrets()[0])


class Dated(date):
    """A date whose text is a credential."""

    def isoformat(self) -> str:
        return secrets()[0]


@pytest.mark.parametrize("extra", [{"found": Odd(a=1)}, {"found": {Mute(): 1}}, {EVENT: "none"}, {EVENT: {}}])
def test_a_record_that_cannot_be_shown_is_a_line_that_says_so(extra: dict[str, Any]) -> None:
    """Raising would have `logging` print the message and its arguments, with their credentials."""
    found = members(record("got %s", secrets()[0], **extra))
    assert list(found) == ["time", "level", "logger", "message"]
    assert re.fullmatch(r"a record of app\.py:7 cannot be shown: [A-Za-z]+Error", found.pop("message"))
    assert (found["level"], found["logger"]) == ("WARNING", "app")


def test_a_credential_in_the_text_of_a_date_is_hidden() -> None:
    assert members(record(at=Dated(2030, 1, 2)))["at"] == "[hidden]"


def test_a_text_that_cannot_be_made_is_a_line_that_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    secret = secrets()[0]
    handler = logging.StreamHandler()
    handler.setFormatter(RedactingFormatter())
    handler.handle(record("%d", secret))
    handler.handle(record(Mute(), name=secret))
    assert capsys.readouterr().err.splitlines() == [
        "WARNING app a record of app.py:7 cannot be shown: TypeError",
        "WARNING [hidden] a record of app.py:7 cannot be shown: ValueError",
    ]


def test_the_time_is_first_and_what_the_record_was_given_is_last() -> None:
    with answering(HTTP_X_REQUEST_ID="req-7"):
        found = members(record(order=7, time="never"))
    assert list(found) == ["time", "level", "logger", "message", "requestId", "order"]


def test_an_event_of_the_audit_trail_is_an_object_and_its_type_the_message() -> None:
    trail, kept = logging.getLogger("patauth.audit"), logging.handlers.QueueHandler(queue.SimpleQueue())
    trail.addHandler(kept)
    level = trail.level
    trail.setLevel(logging.INFO)
    try:
        with answering(HTTP_X_REQUEST_ID="req-7"):
            Events(Log()).emit("pat.created", patId=PAT_ID, scope=["a"], name=HOSTILE)
    finally:
        trail.removeHandler(kept)
        trail.setLevel(level)
    made = kept.queue.get_nowait()
    made.request_id = "req-7"
    found = members(made)
    assert (found["message"], found["requestId"], found["logger"]) == (
        "pat.created",
        "req-7",
        "patauth.audit",
    )
    event = found["event"]
    assert (event["type"], event["scope"], event["name"]) == ("pat.created", ["a"], HOSTILE)
    assert (event["requestId"], event["patId"]) == ("req-7", PAT_ID)
    assert set(found) == OURS | {"requestId", "event"}


def test_the_request_that_is_being_answered_is_named_and_outside_of_one_nothing() -> None:
    with answering(HTTP_X_REQUEST_ID="req-7", HTTP_AUTHORIZATION="hush"):
        assert members(record())["requestId"] == "req-7"
    with answering():
        first, second = members(record()), members(record())
        assert first["requestId"] == second["requestId"]
    assert members(record()).keys() == OURS


def test_the_filter_names_the_request_for_text_and_for_a_thread_that_writes_later() -> None:
    text = logging.Formatter("%(request_id)s %(message)s")
    for environ, shown in (({"HTTP_X_REQUEST_ID": "req-7"}, "req-7"), (None, "-")):
        made = record()
        if environ is None:
            assert RequestIdFilter().filter(made) is True
        else:
            with answering(**environ):
                assert RequestIdFilter().filter(made) is True
        assert text.format(made) == f"{shown} hello"
        with answering(HTTP_X_REQUEST_ID="another"):  # what the thread of a queue happens to do
            assert members(made).get("requestId", "-") == shown


def test_the_blocks_of_the_document_log_as_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    loggers = [logging.getLogger(name) for name in ("", "patauth.audit")]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    as_json, as_text = blocks("docs/logs.md", "python")
    try:
        exec(as_json, {})
        assert json.loads(capsys.readouterr().err)["order"] == 7
        exec(as_text, {})
        with answering(HTTP_X_REQUEST_ID="req-7"):
            Events(Log()).emit("pat.created", name=secrets()[0])
    finally:
        for logger, handlers, level in before:
            logger.handlers[:] = handlers
            logger.setLevel(level)
    text, line = capsys.readouterr().err.splitlines()
    assert " INFO req-7 {" in text
    assert json.loads(line)["event"]["name"] == "[hidden]"
    assert '"name": "[hidden]"' in text


def test_the_line_of_the_document_has_the_members_of_the_table_in_their_order() -> None:
    (line,) = blocks("docs/logs.md", "json")
    listed = re.findall(r"^[|] (`[^|]+`) [|]", read("docs/logs.md"), re.M)
    members = [name for cell in listed for name in re.findall("`([a-zA-Z]+)`", cell)]
    absent = {"patauth", "opentelemetry", "event", "exception", "stack"}
    assert list(json.loads(line)) == [name for name in members if name not in absent]


def test_a_configuration_of_logging_can_name_them(capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig({
        "version": 1, "disable_existing_loggers": False,
        "filters": {"request": {"()": "patauth.logs.RequestIdFilter"}},
        "formatters": {"json": {"()": "patauth.logs.JSONFormatter", "credential_prefixes": "pat,pats,pata"}},
        "handlers": {"err": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["request"]}},
        "loggers": {"app.named": {"handlers": ["err"], "level": "INFO", "propagate": False}},
    })  # fmt: skip
    logger = logging.getLogger("app.named")
    try:
        logger.info("hello", extra={"order": 7})
    finally:
        logger.handlers.clear()
    found = json.loads(capsys.readouterr().err)
    assert (found["message"], found["order"], found["logger"]) == ("hello", 7, "app.named")
