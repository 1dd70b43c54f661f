"""What a leak report has in it."""

from __future__ import annotations

import tracemalloc
from base64 import b64encode
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from patauth.errors import InvalidRequest
from patauth.model.credentials import Format, Prefixes
from patauth.model.leaks import CredentialInText, Leak, LeakReader, holds_credential, refuse_credential
from tests.support.tables import each

FORM = Format([Prefixes(), Prefixes("acme", "acmes", "acmea")])
ID, OTHER_ID = "0123456789abcdef" * 2, "fedcba9876543210" * 2
SECRET_BYTES = bytes(range(32))
SECRET, TOKEN = FORM.secret_text(SECRET_BYTES), FORM.token_text(ID, SECRET_BYTES)
ACCESS, _ = FORM.mint_access_token(ID)
OLD = Format([Prefixes("acme", "acmes", "acmea")])
OLD_TOKEN = OLD.token_text(OTHER_ID, SECRET_BYTES)


def read(*pieces: bytes, form: Format = FORM) -> list[Leak]:
    return list(LeakReader(form).read(pieces))


def kinds(text: str | bytes) -> list[str]:
    return [leak.kind for leak in read(text if isinstance(text, bytes) else text.encode())]


@each(
    "text, found",
    [
        ("", []),
        (TOKEN, ["PAT token"]),
        (SECRET, ["PAT secret"]),
        (ACCESS, ["access token"]),
        (ID, ["PAT id"]),
        (OLD_TOKEN, ["PAT token"]),
        (f"{ID}:{SECRET}", ["PAT id", "PAT secret"]),
        (f"https://{ID}:{SECRET}@host/x", ["PAT id", "PAT secret"]),
        (f'{{"client_id":"{ID}","client_secret":"{SECRET}"}}', ["PAT id", "PAT secret"]),
        (f"client_id={ID}&client_secret={SECRET.replace('_', '%5F')}", ["PAT id", "PAT secret"]),
        (f"Authorization%3A%20Bearer%20{TOKEN}", ["PAT token"]),
        (f"x%3A{ID}%0A", ["PAT id"]),
        (rf"a\n{ID}\n{TOKEN}\n", ["PAT id", "PAT token"]),
        (f"a{TOKEN}b{ACCESS}{TOKEN}", ["PAT token", "access token", "PAT token"]),
        (f"\x1b[31m{TOKEN}\x1b[0m", ["PAT token"]),
        # Basic, as it is in a header: the id and secret, or a PAT token as the password.
        (f"authorization: basic {b64encode(f'{ID}:{SECRET}'.encode()).decode()}", ["PAT id", "PAT secret"]),
        (f"Basic {b64encode(f'git:{TOKEN}'.encode()).decode()}", ["PAT token"]),
        (f"Basic {b64encode(b'x' * 90).decode()}", []),
        (f"Basic {'=' * 120}", []),
        # A wrong checksum, one that is cut, and one that is cut before a whole one.
        (TOKEN[:-1] + ("0" if TOKEN[-1] != "0" else "1"), []),
        (TOKEN[:-1], []),
        (TOKEN[:-9] + TOKEN, ["PAT token"]),
        (SECRET[:20] + "\n" + SECRET[20:], []),
        # Hex that is no id.
        (ID.upper(), []),
        (ID + "0", []),
        ("0" + ID, []),
        (f"{ID}_x", []),
        (f"sha_{ID}", []),
        (f"{ID[:8]}-{ID[8:]}", []),
        (f"patx_{ID}_{SECRET[5:]}", []),
    ],
)
def test_each_kind_is_found_wherever_it_is_written(text: str, found: list[str]) -> None:
    assert kinds(text) == found


@each("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "latin-1", "utf-32"])
def test_text_in_other_encodings_is_read(encoding: str) -> None:
    text = f"see {TOKEN}\r\nand {ID}:{SECRET}\r\n"
    assert kinds(text.encode(encoding)) == ["PAT token", "PAT id", "PAT secret"]


def test_bytes_that_are_no_text_hide_nothing() -> None:
    noise = bytes(range(256)) * 3
    assert kinds(noise + TOKEN.encode() + noise + ACCESS.encode() + noise) == ["PAT token", "access token"]


def test_what_was_found_says_where_and_what() -> None:
    token, access, secret, found_id = read(f"\n\n{TOKEN} {ACCESS}\n\n{SECRET}\n{OTHER_ID}".encode())
    assert (token.line, token.pat_id, token.secret) == (3, ID, SECRET_BYTES)
    assert access.token is not None
    assert (access.line, access.pat_id, access.token.digest) == (3, ID, FORM.bearer(ACCESS).digest)
    assert (secret.line, secret.pat_id, secret.secret) == (5, None, SECRET_BYTES)
    assert (found_id.line, found_id.pat_id, found_id.secret) == (6, OTHER_ID, None)
    for leak in (token, access, secret):
        shown = repr(leak)
        assert not [part for part in (TOKEN[38:], ACCESS[39:], SECRET[5:], "x01") if part in shown]


words = st.sampled_from([TOKEN, SECRET, ACCESS, ID, OLD_TOKEN, TOKEN[:60], "%5F", "%3A", "\n", " ", "Basic "])


@given(st.lists(words | st.text(max_size=5), max_size=12), st.lists(st.integers(0, 900), max_size=20))
@example([TOKEN, "%5F", TOKEN], [99, 100, 101])
def test_how_the_text_is_cut_into_pieces_makes_no_difference(given_words: list[str], cuts: list[int]) -> None:
    text = "".join(given_words).encode()
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(places)]
    assert read(*pieces) == read(text) == read(*(bytes([byte]) for byte in text))


def test_a_line_of_megabytes_takes_no_more_memory_than_a_short_one() -> None:
    def pieces() -> Iterator[bytes]:
        for number in range(200):  # 13 MB without a line break
            yield (b"eyJ" if number % 2 else b"0123456789abcdef_pat_") * 4096
            if number % 50 == 0:
                yield b" " + TOKEN.encode() + b" "

    tracemalloc.start()
    try:
        assert [leak.kind for leak in LeakReader(FORM, with_jwts=True).read(pieces())] == ["PAT token"] * 4
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_signed_token_is_found_if_the_form_reads_it() -> None:
    pytest.importorskip("joserfc")
    read_texts: list[str] = []

    def jwt(text: str) -> object:
        read_texts.append(text)
        return FORM.bearer(ACCESS)

    text = f"{'e' * 3}eyJ{'a' * 30}.{'b' * 30}.{'c' * 30} eyJ{'a' * 30}.{'b' * 30}.{'c-_' * 30}."
    form = Format(jwt=jwt)  # type: ignore[arg-type]
    (found,) = LeakReader(form, with_jwts=True).read([text.encode()])
    assert found.kind == "access token"
    assert read_texts == [f"eyJ{'a' * 30}.{'b' * 30}.{'c-_' * 30}"]
    assert list(LeakReader(form).read([text.encode()])) == []


@each(
    ("text", "holds"),
    [
        ("", False), (ID, False), (f"ci {ID}", False), ("pat_of_mine", False), ("caf\udce9", False),
        (TOKEN, True), (f"for {SECRET}!", True), (ACCESS, True), (OLD_TOKEN, True), (f"é{TOKEN}é", True),
        (TOKEN[:-1] + ("a" if TOKEN[-1] != "a" else "b"), False), (TOKEN[:-1], False),
        ("Basic " + b64encode(f"{ID}:{SECRET}".encode()).decode(), True),
    ],
)  # fmt: skip
def test_a_text_for_people_has_no_credential_in_it(text: str, holds: bool) -> None:
    """One under a prefix that is not accepted here is none, and neither is one that is mistyped or an id."""
    prefixes = (Prefixes(), Prefixes("acme", "acmes", "acmea"))
    assert holds_credential(text, prefixes) is holds
    assert not holds_credential(text, (Prefixes("x", "xs", "xa"),))
    if holds:
        with pytest.raises(CredentialInText) as refused:
            refuse_credential(text, prefixes, "reason")
        assert refused.value.field == "reason"
        assert isinstance(refused.value, InvalidRequest)
        assert text not in f"{refused.value!r} {refused.value}"
    else:
        refuse_credential(text, prefixes, "reason")
