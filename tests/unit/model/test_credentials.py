"""The texts of secrets and tokens, and what is read from an Authorization value."""

from __future__ import annotations

import re
import string
import subprocess
import sys
import time
from base64 import b64encode
from hashlib import sha256
from urllib.parse import quote, quote_plus
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth.errors import ConfigurationError, InvalidCredentials, InvalidRequest, PatAuthError
from patauth.model.credentials import (
    MAX_AUTHORIZATION,
    AccessToken,
    Format,
    PatCredentials,
    Prefixes,
    mint_secret,
    split_basic,
)
from patauth.model.pat_id import PatId
from tests.support.tables import each

FORMAT = Format()
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase

PAT_ID = "0123456789abcdef0123456789abcdef"
SECRET_BYTES = bytes(range(32))
SECRET = FORMAT.secret_text(SECRET_BYTES)
TOKEN = FORMAT.token_text(PAT_ID, SECRET_BYTES)
ACCESS, ACCESS_KEY = FORMAT.mint_access_token(PAT_ID)

pat_ids = st.binary(min_size=16, max_size=16).map(bytes.hex)
secret_bytes = st.binary(min_size=32, max_size=32)


def base62(number: int, width: int) -> str:
    """Digit by digit, as one would write it first: the module does two at a time."""
    digits = ""
    while number:
        number, rest = divmod(number, 62)
        digits = ALPHABET[rest] + digits
    return digits.rjust(width, "0")


def basic(text: str | bytes) -> str:
    return "Basic " + b64encode(text if isinstance(text, bytes) else text.encode()).decode()


GOOD = basic(f"{PAT_ID}:{SECRET}")


class TestMint:
    def test_a_secret_is_spelt_as_the_contract_says(self):
        body = "pats_" + base62(int.from_bytes(SECRET_BYTES, "big"), 43)
        assert body + base62(crc32(body.encode()), 6) == SECRET
        # A fixed text, so that no change of both sides goes unseen: PATs live for years.
        assert FORMAT.secret_text(bytes(32)) == "pats_" + "0" * 43 + "4GExxB"
        assert FORMAT.secret_text(b"\xff" * 32).startswith("pats_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1")

    @given(pat_ids, secret_bytes)
    def test_secret_token_and_bytes_are_the_same_thing(self, pat_id, secret):
        assert FORMAT.basic(pat_id, FORMAT.secret_text(secret)) == PatCredentials(pat_id, secret, "basic")
        assert FORMAT.bearer(FORMAT.token_text(pat_id, secret)) == PatCredentials(pat_id, secret, "pat")
        assert FORMAT.token_text(pat_id, secret)[-49:-6] == FORMAT.secret_text(secret)[-49:-6]

    @given(secret_bytes)
    def test_the_random_part_is_the_number_in_base_62_in_as_many_digits_as_it_takes(self, secret):
        text = FORMAT.secret_text(secret)
        assert text[5:48] == base62(int.from_bytes(secret, "big"), 43)
        assert len(text) == 54

    @given(secret_bytes, secret_bytes)
    def test_texts_sort_as_their_bytes_do(self, one, other):
        assert (one < other) == (FORMAT.secret_text(one)[:48] < FORMAT.secret_text(other)[:48])

    def test_an_access_token_names_its_pat_and_its_key_is_the_sha_256_of_its_text(self):
        assert ACCESS.startswith(f"pata_{PAT_ID}_")
        assert sha256(ACCESS.encode()).digest() == ACCESS_KEY
        assert FORMAT.bearer(ACCESS) == AccessToken(PAT_ID, ACCESS_KEY)

    def test_minted_things_differ_and_have_their_lengths(self):
        secrets = {mint_secret() for _ in range(1000)}
        assert len(secrets) == 1000
        assert {len(secret) for secret in secrets} == {32}
        ids = {PatId.mint("0123abcd") for _ in range(1000)}
        assert len(ids) == 1000
        assert all(PatId.read(pat_id) and pat_id.tag == "0123abcd" for pat_id in ids)
        assert len({FORMAT.mint_access_token(PAT_ID)[0] for _ in range(1000)}) == 1000

    def test_the_digits_of_an_access_token_are_drawn_evenly_until_they_are_a_number_of_32_bytes(
        self, monkeypatch
    ):
        """Bytes from 248 on have no digit, and 43 times the digit z is more than 32 bytes can hold."""
        drawn = iter([b"\xff" * 64, b"\x00" * 42 + b"\xff" * 22, b"\x3d" * 64, bytes(range(205, 256)) * 2])
        asked = []

        def token_bytes(size):
            asked.append(size)
            return next(drawn)

        monkeypatch.setattr("secrets.token_bytes", token_bytes)
        text, key = FORMAT.mint_access_token(PAT_ID)
        assert asked == [64] * 4
        digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
        assert text[:-6] == f"pata_{PAT_ID}_{digits[205 - 3 * 62 :]}"
        assert FORMAT.bearer(text) == AccessToken(PAT_ID, key)

    def test_any_32_bytes_may_be_drawn_for_an_access_token(self):
        least, most = b"0" * 43, base62(2**256 - 1, 43).encode()
        for digits in (least, most):
            with pytest.MonkeyPatch.context() as patch:
                places = [ALPHABET.index(chr(digit)) for digit in digits]
                patch.setattr("secrets.token_bytes", lambda size, places=places: bytes(places).ljust(size))
                assert digits.decode() in FORMAT.mint_access_token(PAT_ID)[0]

    def test_a_forked_child_does_not_mint_what_its_parent_mints(self):
        code = (
            "import os, sys; from patauth.model.credentials import mint_secret; mint_secret()\n"
            "if os.fork() == 0: os.write(1, mint_secret().hex().encode() + b'\\n'); os._exit(0)\n"
            "os.wait(); print(mint_secret().hex())"
        )
        lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert len(set(lines.stdout.split())) == 2


def changed(text: str):
    """Every proper prefix and suffix, every text without, with one more or another character."""
    for at in range(len(text)):
        yield text[:at]
        yield text[at + 1 :]
        yield text[:at] + text[at + 1 :]
        for char in ALPHABET + "_- =\n\x00é":
            yield text[:at] + char + text[at:]
            if char != text[at]:
                yield text[:at] + char + text[at + 1 :]
    for char in ALPHABET + "_- =\n\r\x00é/~+":
        yield text + char
    yield text + text
    yield text.upper()
    yield text.swapcase()


class TestShape:
    """Zitadel took a truncated opaque token (GHSA-6mq3): every length and every character is tried."""

    @each(
        ("text", "read"),
        [
            pytest.param(SECRET, lambda text: FORMAT.basic(PAT_ID, text), id="secret"),
            pytest.param(TOKEN, FORMAT.bearer, id="PAT token"),
            pytest.param(ACCESS, FORMAT.bearer, id="access token"),
        ],
    )
    def test_whatever_is_changed_cut_or_added_is_refused(self, text, read):
        tried = 0
        for other in changed(text):
            if other == text:
                continue
            with pytest.raises(InvalidCredentials):
                read(other)
            tried += 1
        assert tried > 5000

    @each(
        "pat_id",
        [
            pytest.param("", id="empty"),
            pytest.param(PAT_ID[:-1], id="one less"),
            pytest.param(PAT_ID + "0", id="one more"),
            pytest.param(PAT_ID.upper(), id="upper case"),
            pytest.param(PAT_ID + "\n", id="line feed"),
            pytest.param(" " + PAT_ID, id="blank"),
            pytest.param(PAT_ID[:-1] + "g", id="no hex digit"),
            pytest.param(PAT_ID[:-1] + "٣", id="Arabic digit"),
            pytest.param(PAT_ID[:-1] + "\uff11", id="full-width digit"),
        ],
    )
    def test_an_id_is_32_lower_case_hex_and_nothing_else(self, pat_id):
        assert PatId.read(pat_id) is None
        with pytest.raises(InvalidCredentials):
            FORMAT.basic(pat_id, SECRET)

    @each("number", [2**256, 2**256 + 1, 62**43 - 1])
    def test_a_number_that_is_no_32_bytes_is_refused_whatever_its_checksum(self, number):
        for head in ("pats_", f"pat_{PAT_ID}_", f"pata_{PAT_ID}_"):
            body = head + base62(number, 43)
            text = body + base62(crc32(body.encode()), 6)
            with pytest.raises(InvalidCredentials):
                FORMAT.basic(PAT_ID, text) if head == "pats_" else FORMAT.bearer(text)

    def test_the_largest_number_is_taken(self):
        assert FORMAT.basic(PAT_ID, FORMAT.secret_text(b"\xff" * 32)).secret == b"\xff" * 32

    @given(pat_ids, secret_bytes)
    def test_one_kind_is_never_taken_for_another(self, pat_id, secret):
        token, text = FORMAT.token_text(pat_id, secret), FORMAT.secret_text(secret)
        for other in (text, "pata" + token[3:], "pats" + token[3:], f"pat_{pat_id}_{text[5:]}"):
            with pytest.raises(InvalidCredentials):
                FORMAT.bearer(other)
        with pytest.raises(InvalidCredentials):
            FORMAT.basic(pat_id, token)

    @given(st.text() | st.text(alphabet=ALPHABET + "_"), st.text())
    def test_any_texts_raise_only_our_error(self, one, other):
        for read in (lambda: FORMAT.basic(one, other), lambda: FORMAT.bearer(one)):
            with pytest.raises(InvalidCredentials):
                read()


# Authorization values that are read; each as PatCredentials of PAT_ID unless an access token is meant.
READ = [
    pytest.param(GOOD, id="Basic"),
    pytest.param("basic" + GOOD[5:], id="scheme in lower case, RFC 9110 §11.1"),
    pytest.param("BASIC" + GOOD[5:], id="scheme in upper case"),
    pytest.param("BaSiC" + GOOD[5:], id="scheme in mixed case"),
    pytest.param("Basic    " + GOOD[6:], id="1*SP after the scheme, RFC 9110 §11.4"),
    pytest.param("Bearer " + TOKEN, id="Bearer"),
    pytest.param("bEARER " + TOKEN, id="bEARER"),
]

# Credentials that are refused: 401.
REFUSED = [
    pytest.param("", id="empty"),
    pytest.param(" ", id="a blank"),
    pytest.param("Basic", id="Basic alone"),
    pytest.param("Basic ", id="Basic and nothing"),
    pytest.param("Bearer", id="Bearer alone (sanic-jwt #143)"),
    pytest.param("Bearer ", id="Bearer and nothing"),
    pytest.param("Basic Og==", id="empty id and secret (sanic-jwt #143)"),
    pytest.param("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", id="RFC 7617 §2, Aladdin"),
    pytest.param("Basic dGVzdDoxMjPCow==", id="RFC 7617 §2.1, test and 123 pound"),
    pytest.param("Bearer mF_9.B5f-4.1JqM", id="RFC 6750 §2.1"),
    pytest.param('Digest username="Mufasa", realm="a@b"', id="Digest"),
    pytest.param("Negotiate YII=", id="Negotiate"),
    pytest.param(" " + GOOD, id="blank before the scheme"),
    pytest.param(GOOD + " ", id="blank after it"),
    pytest.param(GOOD.replace(" ", "\t"), id="tab after the scheme"),
    pytest.param(GOOD.replace(" ", "\u00a0"), id="no-break space after the scheme"),
    pytest.param(GOOD.replace(" ", ""), id="nothing after the scheme"),
    pytest.param("Bearer " + GOOD[6:], id="Basic's value as Bearer"),
    pytest.param("Basic " + TOKEN, id="PAT token as Basic"),
    pytest.param(f"Basic {PAT_ID}:{SECRET}", id="Basic not encoded"),
    pytest.param(basic(f"{PAT_ID}{SECRET}"), id="no colon, RFC 7617 §2"),
    pytest.param(basic(f"{PAT_ID}:"), id="no secret"),
    pytest.param(basic(f":{SECRET}"), id="no id"),
    pytest.param(basic(f":{PAT_ID}:{SECRET}"), id="colon before the id"),
    pytest.param(basic(f"{PAT_ID}:{SECRET}:"), id="colon after the secret"),
    pytest.param(basic(f"{PAT_ID.upper()}:{SECRET}"), id="id in upper case"),
    pytest.param(basic(f"{SECRET}:{PAT_ID}"), id="the other way round"),
    pytest.param(basic(f"{'0' * 32}:{TOKEN}"), id="PAT token as password, and the id of another PAT"),
    pytest.param(basic(f"x:{TOKEN[:-1]}"), id="PAT token as password, mistyped"),
    pytest.param(basic(f"{TOKEN}:"), id="PAT token as user name"),
    pytest.param(basic(f"{PAT_ID}:{SECRET}".encode("utf-16")), id="UTF-16"),
    pytest.param(basic(b"\xef\xbb\xbf" + f"{PAT_ID}:{SECRET}".encode()), id="byte order mark"),
    pytest.param(basic(b"a:\xa3"), id="Latin-1, no second reading of it"),
    pytest.param(basic(b"a:\xed\xa0\x80"), id="lone surrogate in UTF-8"),
    pytest.param(basic(b"a:\xc0\xba"), id="overlong UTF-8"),
    pytest.param(GOOD[:-1] + "\n", id="line feed in base64"),
    pytest.param(GOOD + "\n", id="line feed after base64"),
    pytest.param(GOOD + "=", id="more padding"),
    pytest.param(basic(f"{PAT_ID}:{SECRET}x").rstrip("="), id="no padding"),
    pytest.param(GOOD + "YTo=", id="two base64 texts joined"),
    pytest.param("Basic é", id="not ASCII"),
    pytest.param("Basic \ud800", id="lone surrogate"),
    pytest.param("Bearer " + TOKEN + "\r\nX-Evil: 1", id="line break"),
    pytest.param("Bearer \x00" + TOKEN, id="NUL"),
    pytest.param(f'Bearer "{TOKEN}"', id="quotes"),
    pytest.param(f"Bearer token={TOKEN}", id="as a parameter"),
    pytest.param(f"Token {TOKEN}", id="another scheme"),
    pytest.param(f"Bearer Bearer {TOKEN}", id="scheme twice"),
    pytest.param("Bearer " + "a" * MAX_AUTHORIZATION, id="too long"),
    pytest.param("Bearer " + " " * 1000 + TOKEN, id="too long by blanks"),
    pytest.param("a" * 10_000_000, id="ten megabytes"),
]

# Several values that a server has joined, or one that reads like it (RFC 9110 §5.3): 400.
COMBINED = [
    pytest.param(f"{GOOD},Bearer {TOKEN}", id="Basic,Bearer as gunicorn joins them"),
    pytest.param(f"{GOOD}, Bearer {TOKEN}", id="Basic, Bearer"),
    pytest.param(f"{GOOD}, {GOOD}", id="Basic, Basic: the same twice"),
    pytest.param(f"Bearer {TOKEN}, Bearer {TOKEN}", id="Bearer, Bearer"),
    pytest.param(f"Bearer {TOKEN},\t{GOOD}", id="tab after the comma"),
    pytest.param(f"Bearer {TOKEN},", id="comma at the end"),
    pytest.param(f", {GOOD}", id="an empty value first"),
    pytest.param(f"Negotiate YII=, {GOOD}", id="another scheme first"),
    pytest.param(f'Digest username="a", realm="b", {GOOD}', id="Digest first"),
    pytest.param(f"bearer x,BASIC {GOOD[6:]}", id="schemes in other cases"),
    pytest.param(f"Bearer {TOKEN}, Digest username=a", id="another scheme last"),
]


class TestParse:
    @each("value", READ)
    def test_read(self, value):
        method = "basic" if value.lower().startswith("basic") else "pat"
        assert FORMAT.parse(value) == PatCredentials(PAT_ID, SECRET_BYTES, method)

    def test_an_access_token_is_read(self):
        assert FORMAT.parse(f"Bearer {ACCESS}") == AccessToken(PAT_ID, ACCESS_KEY)

    @each("form_encoded", [False, True])
    @each("value", REFUSED)
    def test_refused(self, value, form_encoded):
        with pytest.raises(InvalidCredentials) as caught:
            FORMAT.parse(value, form_encoded=form_encoded)
        assert TOKEN[-49:] not in str(caught.value)

    @each("user", ["", PAT_ID, "x-access-token", "alice", "Ä", PAT_ID.upper(), "a b"])
    @each("form_encoded", [False, True])
    def test_a_pat_token_as_the_password_of_basic_is_that_token_whatever_the_user_name(
        self, user, form_encoded
    ):
        read = FORMAT.parse(basic(f"{user}:{TOKEN}"), form_encoded=form_encoded)
        assert read == FORMAT.bearer(TOKEN)
        assert read.method == "pat"

    @each("value", COMBINED)
    def test_combined_values_are_a_bad_request_and_none_of_them_is_tried(self, value):
        with pytest.raises(InvalidRequest) as caught:
            FORMAT.parse(value)
        assert str(caught.value) == "more than one Authorization value was sent; send exactly one"

    @each("control", [*range(0x20), 0x7F])
    @each("template", ["{}a:b", "a{}:b", "a:{}b", "a:b{}"])
    def test_control_characters_are_refused_wherever_they_stand(self, control, template):
        """RFC 7617 §2: user-id and password MUST NOT contain any control characters."""
        with pytest.raises(InvalidCredentials):
            split_basic(b64encode(template.format(chr(control)).encode()).decode())

    @given(st.text(max_size=2000), st.booleans())
    def test_any_text_raises_only_our_errors(self, value, form_encoded):
        with pytest.raises((InvalidCredentials, InvalidRequest)):
            FORMAT.parse(value, form_encoded=form_encoded)

    @given(st.sampled_from(["Basic ", "Bearer ", "basic  "]), st.text(max_size=1000), st.booleans())
    def test_any_text_behind_a_scheme_raises_only_our_errors(self, scheme, rest, form_encoded):
        with pytest.raises((InvalidCredentials, InvalidRequest)):
            FORMAT.parse(scheme + rest, form_encoded=form_encoded)

    @given(st.binary(max_size=500), st.booleans())
    def test_any_bytes_in_base64_raise_only_our_errors(self, decoded, form_encoded):
        with pytest.raises((InvalidCredentials, InvalidRequest)):
            FORMAT.parse(basic(decoded), form_encoded=form_encoded)

    @given(st.text(alphabet=st.characters(codec="latin-1"), max_size=300))
    def test_what_a_wsgi_server_can_put_there_raises_only_our_errors(self, value):
        with pytest.raises(PatAuthError):
            FORMAT.parse(value)

    @given(pat_ids, secret_bytes)
    def test_every_credential_that_is_handed_out_is_read(self, pat_id, secret):
        text = FORMAT.secret_text(secret)
        assert FORMAT.parse(basic(f"{pat_id}:{text}")) == PatCredentials(pat_id, secret, "basic")
        assert FORMAT.parse(f"Bearer {FORMAT.token_text(pat_id, secret)}") == PatCredentials(
            pat_id, secret, "pat"
        )

    def test_a_long_value_is_refused_at_once(self):
        value = "Basic " + "," * 50_000_000
        before = time.perf_counter()
        with pytest.raises(InvalidCredentials):
            FORMAT.parse(value)
        assert time.perf_counter() - before < 0.05

    def test_the_longest_that_is_allowed_costs_little(self):
        values = ["Bearer " + "," * 1000, "x" + ", " * 500, "x" + "," + " \t" * 500, "Basic " + "%" * 1000]
        before = time.perf_counter()
        for value in values * 10:
            with pytest.raises((InvalidCredentials, InvalidRequest)):
                FORMAT.parse(value, form_encoded=True)
        assert time.perf_counter() - before < 0.5


class TestFormEncoded:
    """RFC 6749 §2.3.1: at the token endpoint, id and secret may come form-urlencoded inside Basic."""

    @each(
        "secret",
        [
            pytest.param(SECRET, id="raw"),
            pytest.param(SECRET.replace("_", "%5F"), id="%5F, as some clients send it"),
            pytest.param(SECRET.replace("_", "%5f"), id="%5f"),
            pytest.param("".join(f"%{ord(char):02X}" for char in SECRET), id="all of it"),
            pytest.param(quote_plus(SECRET), id="as Python encodes it"),
        ],
    )
    def test_both_spellings_are_read(self, secret):
        value = basic(f"{PAT_ID}:{secret}")
        assert FORMAT.parse(value, form_encoded=True) == PatCredentials(PAT_ID, SECRET_BYTES, "basic")
        value = basic(f"%30{PAT_ID[1:]}:{secret}")
        assert FORMAT.parse(value, form_encoded=True) == PatCredentials(PAT_ID, SECRET_BYTES, "basic")

    @each(
        "secret",
        [
            pytest.param(SECRET.replace("_", "%255F"), id="encoded twice"),
            pytest.param(SECRET.replace("_", "%5"), id="cut escape"),
            pytest.param(SECRET + "%", id="percent sign at the end"),
            pytest.param(SECRET + "%00", id="NUL"),
            pytest.param(SECRET + "%0A", id="line feed"),
            pytest.param(SECRET + "%20", id="blank"),
            pytest.param(SECRET + "+", id="plus"),
            pytest.param(SECRET + "%FF", id="not UTF-8"),
            pytest.param(SECRET + "%ED%A0%80", id="lone surrogate"),
            pytest.param("%3A" + SECRET, id="colon"),
        ],
    )
    def test_other_spellings_are_refused(self, secret):
        with pytest.raises(InvalidCredentials):
            FORMAT.parse(basic(f"{PAT_ID}:{secret}"), form_encoded=True)

    def test_elsewhere_only_the_raw_spelling_counts(self):
        with pytest.raises(InvalidCredentials):
            FORMAT.parse(basic(f"{PAT_ID}:{SECRET.replace('_', '%5F')}"))

    def test_a_bearer_is_never_decoded(self):
        with pytest.raises(InvalidCredentials):
            FORMAT.parse(f"Bearer {TOKEN.replace('_', '%5F')}", form_encoded=True)


class TestBase64:
    """Python's decoders take many spellings of the same bytes; each credential has one."""

    @given(
        st.text(alphabet=st.characters(exclude_characters=":", exclude_categories=["Cc", "Cs"])), st.text()
    )
    def test_the_first_colon_parts_user_name_and_password(self, user, password):
        if re.search(r"[\x00-\x1f\x7f]", password):
            return
        try:
            token68 = b64encode(f"{user}:{password}".encode()).decode()
        except UnicodeEncodeError:
            return
        assert split_basic(token68) == (user, password)

    def test_a_colon_in_the_password_stays_there(self):
        """RFC 7617 §2: the first colon separates; `patauth`'s own secrets have none."""
        assert split_basic(b64encode(b"a:b:c").decode()) == ("a", "b:c")

    @given(st.data())
    def test_one_change_to_the_spelling_gives_a_refusal_or_other_bytes(self, data):
        good = b64encode(
            data.draw(st.sampled_from([b"a:", b"a:b", b"a:bc", f"{PAT_ID}:{SECRET}".encode()]))
        ).decode()
        at = data.draw(st.integers(0, len(good)))
        cut = data.draw(st.integers(0, 2))
        put = data.draw(st.text(alphabet=ALPHABET + "+/-_=\n\r\t \x00!é", max_size=3))
        other = good[:at] + put + good[at + cut :]
        try:
            user, password = split_basic(other)
        except InvalidCredentials:
            return
        assert b64encode(f"{user}:{password}".encode()).decode() == other

    @each("more", ["", "x", "xy"])
    def test_of_all_spellings_of_the_end_only_the_canonical_is_read(self, more):
        """More than 10 000 spellings: trailing bits, padding, and what lenient decoders skip."""
        password = SECRET[: -len(more)] if more else SECRET
        good, tried, read = b64encode(f"{PAT_ID}:{password}".encode()).decode(), 0, set()
        ends = [a + b + c for a in ALPHABET + "+/-_" for b in ALPHABET + "+/-_=" for c in ("", "=", "==")]
        for end in ends:
            for kept in (good[: -len(end)], good.rstrip("=")[:-1]):
                try:
                    if split_basic(kept + end) == (PAT_ID, password):
                        read.add(kept + end)
                except InvalidCredentials:
                    pass
                tried += 1
        assert tried > 10_000
        assert read == {good}

    @each("char", list(" \n\r\t\x00!=-_.~*,é"))
    def test_characters_that_lenient_decoders_skip_are_refused_wherever_they_stand(self, char):
        good = GOOD[6:]
        for at in range(len(good) + 1):
            with pytest.raises(InvalidCredentials):
                split_basic(good[:at] + char + good[at:])


class TestPrefixes:
    OLD, NEW = Prefixes("old", "olds", "olda"), Prefixes("new", "news", "newa")

    def test_the_first_triple_is_issued_and_all_are_accepted(self):
        before, after = Format([self.OLD]), Format([self.NEW, self.OLD])
        assert after.secret_text(SECRET_BYTES).startswith("news_")
        assert after.token_text(PAT_ID, SECRET_BYTES).startswith("new_")
        assert after.mint_access_token(PAT_ID)[0].startswith("newa_")
        for form in (before, after):
            good = PatCredentials(PAT_ID, SECRET_BYTES, "basic")
            assert after.basic(PAT_ID, form.secret_text(SECRET_BYTES)) == good
            assert after.bearer(form.token_text(PAT_ID, SECRET_BYTES)).pat_id == PAT_ID
            text, key = form.mint_access_token(PAT_ID)
            assert after.bearer(text) == AccessToken(PAT_ID, key)

    def test_a_prefix_that_is_not_listed_is_refused(self):
        with pytest.raises(InvalidCredentials):
            Format([self.NEW]).basic(PAT_ID, SECRET)
        with pytest.raises(InvalidCredentials):
            Format([self.NEW]).bearer(TOKEN)

    def test_prefixes_that_begin_alike_are_not_mixed_up(self):
        form = Format([Prefixes("a", "aa", "aaa"), Prefixes("ab", "abb", "abbb")])
        assert form.bearer(form.token_text(PAT_ID, SECRET_BYTES)) == PatCredentials(
            PAT_ID, SECRET_BYTES, "pat"
        )
        assert isinstance(form.bearer(form.mint_access_token(PAT_ID)[0]), AccessToken)

    @each(
        "triples",
        [
            pytest.param([], id="none"),
            pytest.param([Prefixes("", "b", "c")], id="empty"),
            pytest.param([Prefixes("A", "b", "c")], id="upper case"),
            pytest.param([Prefixes("1a", "b", "c")], id="digit first"),
            pytest.param([Prefixes("a_b", "b", "c")], id="underscore"),
            pytest.param([Prefixes("a.*", "b", "c")], id="pattern"),
            pytest.param([Prefixes("a|b", "b", "c")], id="alternation"),
            pytest.param([Prefixes("é", "b", "c")], id="not ASCII"),
            pytest.param([Prefixes("a" * 17, "b", "c")], id="17 characters"),
            pytest.param([Prefixes("a\n", "b", "c")], id="line feed"),
            pytest.param([Prefixes("a", "a", "c")], id="two alike"),
            pytest.param([Prefixes("a", "b", "c"), Prefixes("d", "e", "a")], id="alike in two triples"),
        ],
    )
    def test_prefixes_that_would_not_work_are_refused(self, triples):
        with pytest.raises(ConfigurationError):
            Format(triples)


class TestPatterns:
    """One published regular expression for each kind, for secret scanners and log filters."""

    KINDS = (("secret", SECRET), ("token", TOKEN), ("access_token", ACCESS))

    @each(("kind", "text"), KINDS)
    def test_each_kind_is_matched_whole_by_its_own_and_by_no_other(self, kind, text):
        for name, pattern in FORMAT.patterns().items():
            assert bool(re.search(pattern, text)) == (name == kind)
        found = re.search(FORMAT.patterns()[kind], f"key = '{text}';")
        assert found is not None
        assert found[0] == text

    @each("kind", ["secret", "token", "access_token"])
    @each(
        "template",
        [
            pytest.param("{}", id="alone"),
            pytest.param("https://{}@example.org/", id="user name in a URL"),
            pytest.param(quote("id:") + "{}", id="after an escaped colon, %3A"),
            pytest.param("a=1&client_secret%3D{}%26b", id="after an escaped equals sign"),
            pytest.param('"text\\n{}\\n"', id="after an escaped line feed"),
            pytest.param("MY_{}", id="after an underscore"),
            pytest.param("{}_old", id="before an underscore"),
            pytest.param("\x1b[31m{}\x1b[0m", id="in colours"),
        ],
    )
    def test_no_neighbour_hides_a_secret(self, kind, template):
        text = dict(self.KINDS)[kind]
        assert text not in re.sub(FORMAT.patterns()[kind], "***", template.format(text))

    def test_secrets_of_an_older_brand_are_found_too(self):
        form = Format([Prefixes("new", "news", "newa"), Prefixes()])
        for kind, text in self.KINDS:
            assert re.fullmatch(form.patterns()[kind], text)
        assert re.fullmatch(form.patterns()["secret"], form.secret_text(SECRET_BYTES))

    def test_they_need_nothing_that_re2_lacks(self):
        """Most scanners use RE2: no look-around, no back reference."""
        for pattern in FORMAT.patterns().values():
            assert not re.search(r"\(\?[=!<P]|\\\d", pattern)


def test_no_repr_shows_a_secret():
    for shown in (
        repr(FORMAT.basic(PAT_ID, SECRET)),
        repr(FORMAT.bearer(TOKEN)),
        repr(FORMAT.bearer(ACCESS)),
    ):
        assert PAT_ID in shown
        for secret in (
            SECRET_BYTES.hex(),
            repr(SECRET_BYTES)[2:-1],
            SECRET[5:],
            ACCESS_KEY.hex(),
            repr(ACCESS_KEY)[2:-1],
        ):
            assert secret not in shown
