"""A request's one command: prepared once, filled in exactly, and its answer believed only if it fits."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth import Owner, PersonalAccessToken, StoreUnavailable
from patauth.model.dates import LATEST
from patauth.model.pat_id import PatId
from patauth.model.quota import Quota
from patauth.store.deadline import Deadline
from patauth.store.keys import Keys
from patauth.store.record import PatRecord
from patauth.store.scripts import Script, Scripts, Wait
from patauth.store.transport.protocol import ScriptMissing
from patauth.store.verdicts import (
    ADMITTED,
    CONDITIONAL,
    LIMITED,
    REFUSED,
    ROTATED_AWAY,
    Repeat,
    Verdict,
    Verdicts,
)
from tests.support.tables import each

KEYS = Keys("p", "default")
REQUESTS, EXCHANGES = Quota(100, 10), Quota(60, 60)
ID = PatId("0123abcd" + "5e" * 12)
VERSION, LAST_USE = b"version\n", b"%b\r\n~."
PAT = b"1" + bytes(8) + LAST_USE + bytes(15) + bytes.fromhex(ID) + VERSION + bytes(92)
TOKEN = b"1" + bytes(9) + bytes.fromhex(ID)


RECORD = PatRecord(PersonalAccessToken(ID, "ci", ("a",), Owner("alice"), "default", 0, 0, 1), (), packed=PAT)
UNTIL = 1_893_456_000_000


def hash_tag(words: list[bytes]) -> bytes:
    """The hash tag of the first key of a script's call."""
    return words[3].partition(b"{")[2].partition(b"}")[0]


class Line:
    """A transport that notes what is sent, and answers what it is told to."""

    def __init__(self, reply: Any = None, *, misses: int = 0) -> None:
        self.reply = reply
        self.misses = misses
        self.sent: list[list[bytes]] = []

    def send(self, packed: bytes, count: int, deadline: float, **options: Any) -> list[Any]:
        reader = hiredis.Reader()
        reader.feed(packed)
        self.sent.append(reader.gets())
        assert not reader.has_data()
        assert (count, options) == (1, {"retry": True, "tag": hash_tag(self.sent[-1])})
        if len(self.sent) <= self.misses:
            raise ScriptMissing(detail="NOSCRIPT")
        return [self.reply]

    def call(self, *_: Any, **__: Any) -> list[Any]:
        raise AssertionError

    def close(self) -> None: ...


def verdicts(line: Line, clock: Any = None) -> Verdicts:
    return Verdicts(Scripts(line, clock, Wait(), lambda: Deadline(1.0)), KEYS, REQUESTS, EXCHANGES)


pat_ids = st.binary(min_size=16, max_size=16).map(lambda raw: PatId(raw.hex()))


@given(
    pat_ids,
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=8, max_size=8),
)
def test_what_is_sent_is_one_command_with_the_keys_of_a_pat(
    pat_id: str, digest: bytes, tag: bytes, version: bytes
) -> None:
    """Whatever bytes stand in the gaps, line ends and percent signs too."""
    line = Line([REFUSED, 1])
    asked = verdicts(line)
    asked.of_token(pat_id, digest, 1.0)
    asked.of_secret(pat_id, tag, 1.0)
    asked.of_secret(pat_id, tag, 1.0, "exchange")
    asked.of_token(pat_id, digest, 1.0, version)
    asked.of_secret(pat_id, tag, 1.0, "request", version)
    asked.of_secret(pat_id, tag, 1.0, "exchange", version)
    sha = Script("authenticate").digest
    pat, requests, exchanges = KEYS.pat(pat_id), KEYS.requests(pat_id), KEYS.exchanges(pat_id)
    token = KEYS.access_token(pat_id, digest)
    assert line.sent == [
        [b"EVALSHA", sha, b"3", pat, requests, token, b"100000", b"10000000"],
        [b"EVALSHA", sha, b"2", pat, requests, b"100000", b"10000000", tag],
        [b"EVALSHA", sha, b"2", pat, exchanges, b"1000000", b"60000000", tag, b"", b"", b"exchange"],
        [b"EVALSHA", sha, b"3", pat, requests, token, b"100000", b"10000000", b"", version],
        [b"EVALSHA", sha, b"2", pat, requests, b"100000", b"10000000", tag, version],
        [b"EVALSHA", sha, b"2", pat, exchanges, b"1000000", b"60000000", tag, version, b"", b"exchange"],
    ]


def test_a_clock_that_is_given_is_the_last_of_all_arguments() -> None:
    line = Line([REFUSED, 1])
    asked = verdicts(line, clock=lambda: 1_893_456_000_000)
    asked.of_token(ID, bytes(32), 1.0)
    asked.of_secret(ID, bytes(16), 1.0)
    asked.of_secret(ID, bytes(16), 1.0, "exchange")
    asked.of_secret(ID, bytes(16), 1.0, "exchange", bytes(8))
    assert [sent[-4:] for sent in line.sent] == [
        [b"", b"", b"", b"1893456000000"],
        [b"", b"", b"", b"1893456000000"],
        [b"", b"", b"exchange", b"1893456000000"],
        [bytes(8), b"", b"exchange", b"1893456000000"],
    ]


def test_who_asks_again_sends_the_version_and_what_it_has_read() -> None:
    """Of an access token until when it passes, of a secret the last use. Each use has its own quota."""
    line = Line([REFUSED, 1])
    asked = verdicts(line)
    digest, tag = bytes(range(32)), bytes(range(16))
    for repeat in (
        asked.repeat_of_token(RECORD, digest, UNTIL),
        asked.repeat_of_token(RECORD, digest, LATEST),
        asked.repeat_of_secret(RECORD, tag),
        asked.repeat_of_secret(RECORD, tag, "exchange"),
    ):
        assert asked.again(repeat, 1.0).verdict == REFUSED
    sha = Script("authenticate").digest
    pat, requests, exchanges = KEYS.pat(ID), KEYS.requests(ID), KEYS.exchanges(ID)
    by_token = [b"EVALSHA", sha, b"3", pat, requests, KEYS.access_token(ID, digest), b"100000", b"10000000"]
    assert line.sent == [
        [*by_token, b"1893456000000", VERSION],
        [*by_token, b"9999999999999", VERSION],
        [b"EVALSHA", sha, b"2", pat, requests, b"100000", b"10000000", tag, VERSION, LAST_USE],
        [
            *(b"EVALSHA", sha, b"2", pat, exchanges, b"1000000", b"60000000", tag),
            *(VERSION, LAST_USE, b"exchange"),
        ],
    ]


@each(
    ("pat_id", "digest"),
    [
        (ID, bytes(31)),
        (ID, bytes(33)),
        (PatId(ID + "00"), bytes(32)),
        (PatId(ID + "00"), bytes(30)),
        (PatId(ID[:-2]), bytes(34)),
        (PatId(ID[:-2] + "  "), bytes(32)),
        (PatId(""), bytes(32)),
    ],
)
def test_a_gap_of_another_size_sends_nothing(pat_id: str, digest: bytes) -> None:
    """The lengths stand in the command already: a longer value would be read as further commands."""
    line = Line([REFUSED, 1])
    with pytest.raises(ValueError, match="no credential has"):
        verdicts(line).of_token(pat_id, digest, 1.0)
    assert line.sent == []


def test_a_server_without_the_script_is_sent_its_text_and_the_same_arguments() -> None:
    line = Line([REFUSED, 1], misses=1)
    verdicts(line).of_token(ID, b"\r\n" * 16, 1.0)
    by_digest, in_full = line.sent
    script = Script("authenticate")
    assert by_digest[:2] == [b"EVALSHA", script.digest]
    assert in_full == [b"EVAL", script.text, *by_digest[2:]]


def test_answers_that_are_understood() -> None:
    line = Line()
    asked = verdicts(line)
    for verdict in (ADMITTED, LIMITED, ROTATED_AWAY, CONDITIONAL):
        line.reply = [verdict, 7, 9, PAT, TOKEN]
        found = asked.of_token(ID, bytes(32), 1.0)
        assert (found.verdict, found.now, found.micros, found.pat, found.token) == (verdict, 7, 9, PAT, TOKEN)
        line.reply = [verdict, 7, 9, PAT]
        found = asked.of_secret(ID, bytes(16), 1.0)
        assert (found.pat, found.token) == (PAT, None)
    line.reply = [REFUSED, 7]
    found = asked.of_secret(ID, bytes(16), 1.0)
    assert (found.verdict, found.now, found.pat, found.token) == (REFUSED, 7, b"", None)


OTHER_PAT, OTHER_TOKEN = PAT.replace(b"^", b"_"), TOKEN.replace(b"^", b"_")
ODD: list[Any] = [
    {0: 0, 1: 6},
    b"\x00\x06",
    None,
    True,
    -1,
    6,
    1.5,
    b"1",
    "1",
    [],
    [1],
    {},
    {1: 1},
    b"x" * 200,
    PAT,
    TOKEN,
]
NOT_UNDERSTOOD: list[Any] = [
    *ODD,
    [3, 7],
    [ADMITTED, 7, 9],
    [ADMITTED, b"7", 9, PAT, TOKEN],
    [ADMITTED, 7, b"9", PAT, TOKEN],
    [ADMITTED, 7, 9, OTHER_PAT, TOKEN],
    [ADMITTED, 7, 9, PAT, OTHER_TOKEN],
    [ADMITTED, 7, 9, OTHER_PAT, OTHER_TOKEN],
    *([ADMITTED, 7, 9, PAT, odd] for odd in ODD if odd is not TOKEN),
    *([ADMITTED, 7, 9, odd, TOKEN] for odd in ODD if odd is not PAT),
    *([odd, 7, 9, PAT, TOKEN] for odd in ODD if odd is not True),
    *([REFUSED, odd] for odd in ODD if type(odd) is not int),
]


@each("reply", NOT_UNDERSTOOD)
def test_an_answer_that_does_not_fit_is_unavailable_and_no_identity(reply: Any) -> None:
    """Never "unknown token", and never another PAT's record (REQUIREMENTS F10)."""
    with pytest.raises(StoreUnavailable):
        verdicts(Line(reply)).of_token(ID, bytes(32), 1.0)


def repeats(asked: Verdicts) -> tuple[Repeat, Repeat]:
    return asked.repeat_of_token(RECORD, bytes(32), UNTIL), asked.repeat_of_secret(RECORD, bytes(16))


@each("verdict", [ADMITTED, LIMITED])
def test_an_answer_with_the_version_alone_is_one_about_the_record_that_is_known(verdict: int) -> None:
    asked = verdicts(Line([verdict, 7, 9, VERSION]))
    for repeat in repeats(asked):
        assert asked.again(repeat, 1.0) == Verdict(verdict, 7, 9, is_known=True)


@each("verdict", [ADMITTED, LIMITED, ROTATED_AWAY, CONDITIONAL])
def test_an_answer_with_records_is_read_as_ever_and_nothing_of_it_is_known(verdict: int) -> None:
    """The answer about a secret has as many members as one with the version alone."""
    line = Line()
    asked = verdicts(line)
    for repeat, records in zip(repeats(asked), ([PAT, TOKEN], [PAT]), strict=True):
        line.reply = [verdict, 7, 9, *records]
        assert asked.again(repeat, 1.0) == Verdict(verdict, 7, 9, *records)
    line.reply = [REFUSED, 7]
    for repeat in repeats(asked):
        assert asked.again(repeat, 1.0) == Verdict(REFUSED, 7, 0)


ELSES = b"another."
NOT_SHORT: list[Any] = [
    [ADMITTED, 7, 9, ELSES],
    [LIMITED, 7, 9, ELSES],
    [ADMITTED, 7, 9, VERSION[:-1]],
    [ADMITTED, 7, 9, b""],
    [ADMITTED, 7, 9, None],
    [ADMITTED, 7, 9, VERSION, TOKEN],
    [ADMITTED, 7, VERSION],
    [ADMITTED, b"7", 9, VERSION],
    [ADMITTED, 7, b"9", VERSION],
    [ADMITTED, None, 9, VERSION],
    [ADMITTED, 7, None, VERSION],
    [ROTATED_AWAY, 7, 9, VERSION],
    [CONDITIONAL, 7, 9, VERSION],
    [3, 7, 9, VERSION],
    [b"1", 7, 9, VERSION],
    [None, 7, 9, VERSION],
    VERSION,
]


@each("reply", [*NOT_UNDERSTOOD, *NOT_SHORT])
def test_an_answer_to_who_asks_again_that_does_not_fit_is_unavailable_and_no_identity(reply: Any) -> None:
    """A reply to another caller has neither the version nor the id that was asked about."""
    asked = verdicts(Line(reply))
    by_token, by_secret = repeats(asked)
    with pytest.raises(StoreUnavailable):
        asked.again(by_token, 1.0)
    if reply in NOT_SHORT:
        with pytest.raises(StoreUnavailable):
            asked.again(by_secret, 1.0)


def test_no_repr_shows_what_is_asked_again() -> None:
    asked = verdicts(Line())
    digest = bytes(range(65, 97))
    shown = repr(asked.repeat_of_token(RECORD, digest, UNTIL))
    assert digest.decode() not in shown
    assert LAST_USE.decode() not in repr(asked.repeat_of_secret(RECORD, bytes(16)))
