"""What a log shows of a text that may have credentials."""

from __future__ import annotations

import base64
import time

import pytest

from patauth import Authority
from patauth.model.credentials import Prefixes
from patauth.model.redaction import Redaction
from tests.support.authorities import issue

HEX = "0123456789abcdef" * 2


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_base64_of_a_credential_is_hidden_wherever_it_begins(authority: Authority) -> None:
    issued, redaction = issue(authority), Redaction([Prefixes()])
    secrets = [
        f"{issued.pat.id}:{issued.secret}", f"{HEX}:hunter2", f"{issued.pat.id}:{issued.secret[:-1]}",
        f"x-access-token:{issued.token}", f'{{"key": "{issued.secret}"}}',
    ]  # fmt: skip
    for secret in secrets:
        standard = encoded(secret)
        for run in (standard, standard.rstrip("="), standard.translate(str.maketrans("+/", "-_"))):
            for before in ("", "a", "ab", "abc", "abcd", "b'", "basic=", "/x/"):
                shown = redaction.hide(f"no rule for {before}{run}, sorry")
                assert run not in shown, (secret, before)
                assert "[hidden]" in shown
                assert shown.startswith("no rule for ")
                assert shown.endswith(", sorry")


def test_a_jwt_is_hidden_wherever_it_begins_and_ours_next_to_what_is_none(authority: Authority) -> None:
    redaction, jwt = Redaction([Prefixes()]), "eyJhbGciOiJF.eyJpc3MiOiJ.c2ln_-"
    assert redaction.hide(f"of %3A{jwt}, \\n{jwt}/") == "of %3A[hidden], \\n[hidden]/"
    assert redaction.hide(f"eyJ{jwt}") == "[hidden]"
    assert redaction.hide(f"got {encoded(jwt)}") == "got [hidden]"
    assert redaction.hide(f"eyJ_{issue(authority).secret}") == "eyJ_[hidden]"
    for text in ("eyJa.eyJb", "eyJa", "eyJa.b.c", "a.eyJb.c"):
        assert redaction.hide(text) == text


HOSTILE = [
    "eyJ", "eyJa.", "eyJa.eyJ", "eyJa.eyJb!", encoded("eyJ" * 16), "0", "0" * 42 + "/", "pats_",
    "pats_" + "0" * 40, "pats%5F",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hostile_text_takes_time_in_proportion_to_its_length(piece: str) -> None:
    """300 kB took half a minute when each `eyJ` was followed to the end of the text."""
    text = piece * (300_000 // len(piece))
    begun = time.process_time()
    Redaction([Prefixes()]).hide(text)
    assert time.process_time() - begun < 1


# What may be left of a credential: {0} is the prefix, {1} are the digits, {2} the first 43, {3} the first 20.
DAMAGE = (
    "{0}_{2}", "{0}_{1}more", "{1}", "{2}0", "ats_{1}", "{0}-{1}", "{0}%5F{1}", "{0}%5f{2}", "/x/{1}/y",
    "%3A{2}", "\\n{2}", "{0}_{3}", "{0}-{3}", "{0}%5F{3}", "_{1}_", "{0}_" + HEX + "_{3}",
    "{0}%5F" + HEX + "%5F{3}", "{0}_" + HEX[1:] + "_{2}",
)  # fmt: skip


@pytest.mark.parametrize("prefix", ["pat", "pats", "pata"])
def test_what_is_left_of_a_damaged_credential_is_hidden(prefix: str) -> None:
    """The last six digits are a checksum of the others, so the others alone are the secret."""
    digits = "g" + "0aZ" * 16
    for damage in DAMAGE:
        shown = Redaction([Prefixes()]).hide(
            f"no {damage.format(prefix, digits, digits[:43], digits[:20])} there"
        )
        assert digits[2:18] not in shown, damage
        assert shown.startswith("no "), damage
        assert shown.endswith(" there"), damage


def test_other_texts_stay_as_they_are() -> None:
    redaction = Redaction([Prefixes()])
    for text in (
        "/a/long/path/that/has/no/secrets/at/all/whatever/it/decodes/to", encoded("a:b?" * 12), HEX * 4,
        f"sha256={HEX * 2}", HEX.upper() * 2, "x" * 43, f"pat_{HEX}", "pats_" + "x" * 19, "=" * 50,
        "é" * 50, "",
    ):  # fmt: skip
        assert redaction.hide(text) == text


def test_the_text_of_an_exception_is_one_line_and_always_there(authority: Authority) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("hunter2")

    redaction = Redaction([Prefixes()])
    shown = redaction.text_of(ValueError(f"a\r\n2026 INFO forged\u2028 {issue(authority).token}"))
    assert shown == r"a\r\n2026 INFO forged\u2028 [hidden]"
    assert redaction.text_of(Mute()) == "(its text cannot be had)"
