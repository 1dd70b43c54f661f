from __future__ import annotations

import copy
import os
import pickle
import re
from base64 import b64encode, urlsafe_b64encode
from dataclasses import FrozenInstanceError, fields, replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from patauth import ConfigurationError, Quota, Settings
from patauth.crypto.pepper import Pepper
from patauth.crypto.profiles import PROFILES, Profile
from patauth.model.credentials import Prefixes
from patauth.settings import _READERS, SURFACE_NAMES, parse_duration
from tests.support.private import write_private
from tests.support.searches import examples
from tests.support.tables import each

URL = "redis://user:hunter2@db.example:6379/0"
KEY, OLD, NEW = bytes(range(32)), b"o" * 32, b"n" * 32
WEAK = Profile("weak", 8, 1, 1)


def manages(caller, owner_id):
    return owner_id == "bob"


# name: the value as Python has it, a text that stands for it (None: there is none), a text that is refused
TABLE = {
    "store_url": (URL, URL, "redis://a\nb"),
    "key_prefix": ("prod", "prod", "a{b}"),
    "secret_key": (KEY, KEY.hex(), "hunter2"),
    "connect_timeout": (0.5, "0.5", "0"),
    "command_timeout": (0.5, "0.5", "nan"),
    "max_connections": (8, "8", "0"),
    "durability": (2, "replicas:2", "replicas:0"),
    "durability_timeout": (1.0, "1", "-1"),
    "sentinel_lost": ("continue", "continue", "ignore"),
    "request_quota": (Quota(5, 1), "5/1", "5"),
    "exchange_quota": (Quota(5, 1), "5/1", "0/1"),
    "create_quota": (Quota(5, 1), "5/1", "0/5"),
    "person_quota": (Quota(5, 1), "5/1", "x"),
    "failure_quota": (Quota(5, 1), "5/1", "5/0"),
    "failure_entries": (100, "100", "1_000"),
    "trusted_proxies": (1, "1", "-1"),
    "address_detail": ("prefix", "prefix", "some"),
    "proxy_networks": (("10.0.0.0/8",), "10.0.0.0/8", "10.0.0.1/8"),
    "hash_profile": (PROFILES["rfc9106_low_memory"], "rfc9106_low_memory", "testing"),
    "pepper": (
        (Pepper("old", OLD), Pepper("new", NEW)),
        f"old:{OLD.hex()} new:{urlsafe_b64encode(NEW).decode()}",
        "old:hunter2",
    ),
    "hash_slots": (2, "2", "0"),
    "hash_queue": (0, "0", "many"),
    "hash_wait": (0.5, "0.5", "61"),
    "proof_ttl": (60.0, "60", "inf"),
    "proof_entries": (10, "10", ""),
    "tenant": ("acme", "acme", "me"),
    "access_token_ttl": (3600, "1h", "14"),
    "access_token_format": ("jwt", "jwt", "JWS"),
    "audience": (("https://a.example", "b"), "https://a.example b", "a a"),
    "keys": (("/etc/keys/a.pem", "b.pem"), "/etc/keys/a.pem b.pem", "a\0b"),
    "max_pats_per_owner": (3, "3", "0"),
    "max_kept_per_owner": (0, "0", "-1"),
    "max_tokens_per_secret": (5, "5", "0"),
    "max_lifetime": (365 * 86_400, "365d", "0"),
    "expiry_warning": (86_400, "1d", "1y"),
    "retention": (86_400, "1d", "1y"),
    "scopes": ({"a": "", "b": ""}, "a b", 'a "b"'),
    "ignored_scopes": (("openid", "x:*"), "openid x:*", "*"),
    "credential_prefixes": (
        (Prefixes("new", "news", "newa"), Prefixes("pat", "pats", "pata")),
        "new,news,newa pat,pats,pata",
        "pat,pat,pata",
    ),
    "owner_types": (("IDENTITY", "APPLICATION"), "IDENTITY APPLICATION", "ROBOT"),
    "may_act_in": (manages, None, "x"),
    "manages": (manages, None, "x"),
    "events": (
        ("log", "stream:audit", "webhook:https://a.example/b"),
        "log stream:audit webhook:https://a.example/b",
        "log webhook:http://a.example/",
    ),
    "webhook_secret": ((OLD,), f"whsec_{b64encode(OLD).decode()}", "whsec_hunter2"),
    "identify": ("host.people:who", "host.people:who", "host"),
    "reauthenticate": ("host:Checks.fresh", "host:Checks.fresh", "host:"),
    "login_url": ("/login?next={next}", "/login?next={next}", "login"),
    "page_example_url": ("/api/me?x=1", "/api/me?x=1", "api"),
    "page_folder": (Path("/"), "/", "/dev/null/page"),
    "issuer": ("https://a.example/b", "https://a.example/b", "https://a.example/"),
    "page_limit_zitadel": (50, "50", "0"),
    "path_prefix": ("/auth", "/auth", "auth/"),
    "surfaces": ((), "", "everything"),
    "realm": ("My API", "My API", 'a"b'),
    "challenges": (("bearer",), "Bearer", "digest"),
    "token_headers": (("X-API-Key", "X-Token"), "X-API-Key X-Token", "X_API_Key"),
    "cors_origins": (("https://a.example", "http://b:8080"), "https://a.example http://b:8080", "https://a/"),
    "keep_authorization": (True, "true", "maybe"),
    "metrics": (True, "true", "maybe"),
    "traces": (True, "true", "maybe"),
}
# what must be set with it
NEEDS = {
    "pepper": {"secret_key": KEY},
    "proxy_networks": {"trusted_proxies": 1},
    "events": {"webhook_secret": (OLD,)},
}
NAMES = [field.name for field in fields(Settings)]
AS_TEXT = [name for name in NAMES if name not in ("manages", "may_act_in")]
anything = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.timedeltas()
    | st.lists(st.text() | st.integers() | st.lists(st.text(), min_size=3, max_size=3))
    | st.dictionaries(st.text() | st.integers(), st.text() | st.integers())
)
# Texts near to what is understood, so that not all fall at the first character.
likely = st.from_regex(r"\A[0-9a-z/:,. *_=-]{0,70}\Z") | st.from_regex(r"\A[0-9]{1,400}[smhdw]?\Z")


def settings(**given) -> Settings:
    return Settings.of(**{"store_url": "memory:", **given})


def with_needs(name: str, value: object) -> dict:
    return {"store_url": "memory:", **NEEDS.get(name, {}), name: value}


def environment(name: str, text: str) -> dict[str, str]:
    needs = {f"PATAUTH_{other.upper()}": TABLE[other][1] for other in NEEDS.get(name, {})}
    return {"PATAUTH_STORE_URL": "memory:", **needs, f"PATAUTH_{name.upper()}": text}


def test_the_table_of_these_tests_has_every_setting():
    assert sorted(TABLE) == sorted(NAMES) == sorted(_READERS)


class TestEachSetting:
    @each("name", NAMES)
    def test_by_keyword_as_a_value(self, name):
        value = TABLE[name][0]
        assert getattr(settings(**with_needs(name, value)), name) == value

    @each("name", AS_TEXT)
    def test_by_keyword_as_a_text(self, name):
        value, text, _ = TABLE[name]
        assert getattr(settings(**with_needs(name, text)), name) == value

    @each("name", AS_TEXT)
    def test_by_the_environment(self, name):
        value, text, _ = TABLE[name]
        assert getattr(Settings.from_env(environment(name, text)), name) == value

    @each("name", NAMES)
    def test_a_keyword_wins_over_the_environment(self, name):
        value, _, bad = TABLE[name]
        assert getattr(Settings.from_env(environment(name, bad), **{name: value}), name) == value

    @each("name", NAMES)
    def test_a_wrong_text_is_an_error_that_names_the_setting(self, name):
        with pytest.raises(ConfigurationError, match=rf"\A{name}: ") as caught:
            settings(**with_needs(name, TABLE[name][2]))
        assert "hunter2" not in str(caught.value)
        assert str(caught.value).count(f"{name}:") == 1

    @each("name", NAMES)
    @hypothesis_settings(max_examples=examples(30))
    @given(value=anything | likely)
    @example(value=10**400)
    @example(value=-(10**400))
    @example(value="9" * 5000)
    @example(value="1e999")
    @example(value=[None])
    @example(value={"a": None})
    @example(value=object())
    @example(value="\ud800")
    def test_anything_is_understood_or_a_configuration_error(self, name, value):
        """What is understood is understood again when it is copied: `dataclasses.replace` checks it again."""
        try:
            made = settings(**with_needs(name, value))
        except ConfigurationError:
            return
        assert replace(made) == made

    @each("name", NAMES)
    def test_made_without_of_it_is_checked_the_same(self, name):
        value, text, bad = TABLE[name]
        given = value if text is None else text
        assert getattr(Settings(**with_needs(name, given)), name) == value
        with pytest.raises(ConfigurationError, match=rf"\A{name}: "):
            Settings(**with_needs(name, bad))


class TestDefaults:
    def test_they_are_those_of_the_contract(self):
        made = settings()
        assert {name: getattr(made, name) for name in NAMES if name not in ("store_url", "hash_slots")} == {
            "key_prefix": "patauth",
            "secret_key": None,
            "connect_timeout": 0.2,
            "command_timeout": 0.25,
            "max_connections": 64,
            "durability": None,
            "durability_timeout": 0.2,
            "sentinel_lost": "refuse",
            "request_quota": Quota(100, 10),
            "exchange_quota": Quota(60, 60),
            "create_quota": Quota(60, 3600),
            "person_quota": Quota(100, 10),
            "failure_quota": Quota(20, 60),
            "failure_entries": 10_000,
            "trusted_proxies": 0,
            "address_detail": "full",
            "proxy_networks": (),
            "hash_profile": PROFILES["owasp"],
            "pepper": (),
            "hash_queue": 256,
            "hash_wait": 2.0,
            "proof_ttl": 900,
            "proof_entries": 10_000,
            "tenant": "default",
            "access_token_ttl": 900,
            "access_token_format": "opaque",
            "audience": None,
            "keys": None,
            "max_pats_per_owner": 10,
            "max_kept_per_owner": 50,
            "max_tokens_per_secret": 1000,
            "max_lifetime": None,
            "expiry_warning": 7 * 86_400,
            "retention": 30 * 86_400,
            "scopes": None,
            "ignored_scopes": ("openid", "profile", "offline_access", "urn:zitadel:*", "sp:scopes:default"),
            "credential_prefixes": (("pat", "pats", "pata"),),
            "owner_types": None,
            "may_act_in": None,
            "manages": None,
            "page_limit_zitadel": 1000,
            "events": ("log",),
            "webhook_secret": (),
            "metrics": False,
            "traces": False,
            "identify": None,
            "reauthenticate": None,
            "login_url": None,
            "page_example_url": None,
            "page_folder": None,
            "issuer": None,
            "path_prefix": "",
            "surfaces": ("oauth",),
            "realm": "patauth",
            "challenges": ("basic", "bearer"),
            "token_headers": (),
            "cors_origins": (),
            "keep_authorization": False,
        }
        assert made.hash_slots >= 1

    @each("given", [{}, {"store_url": ""}, {"store_url": None}, {"tenant": "acme"}])
    def test_there_is_no_default_store(self, given):
        with pytest.raises(ConfigurationError, match="PATAUTH_STORE_URL"):
            Settings.of(**given)
        with pytest.raises(ConfigurationError, match="PATAUTH_STORE_URL"):
            Settings.from_env({}, **given)

    def test_it_is_frozen_and_can_be_copied(self):
        made = settings(scopes={"a": "read"}, secret_key=KEY, pepper=[("a", OLD)])
        with pytest.raises(FrozenInstanceError):
            made.tenant = "acme"
        assert copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == made

    def test_a_catalogue_that_is_changed_later_is_not_the_one_that_was_checked(self):
        catalogue = {"a": "read"}
        made = settings(scopes=catalogue)
        catalogue["not a scope"] = "x"
        assert made.scopes == {"a": "read"}


class TestLists:
    def test_commas_separate_as_blanks_do(self):
        made = settings(
            token_headers="X-A, X-B", cors_origins="https://a,https://b", challenges="bearer,basic"
        )
        assert made.token_headers == ("X-A", "X-B")
        assert made.cors_origins == ("https://a", "https://b")
        assert made.challenges == ("bearer", "basic")

    def test_none_means_unset(self):
        made = settings(token_headers="none", cors_origins="none")
        assert made.token_headers == made.cors_origins == ()

    @each(
        "name, value, advice",
        [
            ("token_headers", "X-A x-a", "once"),
            ("token_headers", ["X-A", "X-A"], "once"),
            ("token_headers", 5, "list of texts"),
            ("token_headers", [5], "list of texts"),
            ("token_headers", b"X-A", "list of texts"),
            *(
                ("token_headers", name, "another name")
                for name in (
                    "Remote-User", "Auth-Type", "Content-Type", "content-length", "Transfer-Encoding",
                    "connection", "X-Forwarded-For", "x-forwarded-host", "Authorization",
                )
            ),
            ("cors_origins", "https://a https://a", "once"),
            ("cors_origins", "* https://a", "alone"),
            ("cors_origins", 5, "list of texts"),
            ("cors_origins", "https://b\u00fccher.example", "xn--"),
            ("cors_origins", "https://a:65536", "port"),
            ("cors_origins", "https://a:0443", "port"),
            ("cors_origins", "https://a:", "https://app.example"),
            ("challenges", "basic BASIC", "once"),
            ("challenges", 5, "list of texts"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_meant_is_named_with_what_to_do(self, name, value, advice):
        with pytest.raises(ConfigurationError, match=rf"\A{name}: .*{advice}"):
            settings(**{name: value})


class TestNames:
    def test_an_unknown_keyword_is_an_error_that_lists_the_known(self):
        with pytest.raises(ConfigurationError, match=r"unknown setting 'tennant'.*tenant"):
            settings(tennant="acme")

    @each("name", ["PATAUTH_TENNANT", "PATAUTH_FORMAT", "PATAUTH_", "PATAUTH_TENANT_FILE"])
    def test_an_unknown_variable_is_a_warning_with_its_name_and_without_its_value(self, name):
        with pytest.warns(UserWarning, match=f"{name} is not a setting") as caught:
            made = Settings.from_env({"PATAUTH_STORE_URL": "memory:", name: "hunter2"})
        assert made == settings(hash_slots=made.hash_slots)
        assert "hunter2" not in str(caught[0].message)

    @each("name", ["PROTECT", "PUBLIC", "OPTIONAL", "REQUIRE", "CORS", "ON_REFUSAL"])
    def test_a_variable_for_what_belongs_to_code_is_a_warning_that_says_so(self, name):
        with pytest.warns(UserWarning, match=f"PATAUTH_{name} .* code .* Flask's configuration"):
            Settings.from_env({"PATAUTH_STORE_URL": "memory:", f"PATAUTH_{name}": "/*"})

    def test_other_variables_and_that_of_the_engine_are_passed_over(self):
        environ = {
            "PATAUTH_STORE_URL": "memory:",
            "PATAUTH_ENGINE": "x",
            "TENANT": "x",
            "XPATAUTH_TENANT": "x",
        }
        assert Settings.from_env(environ).tenant == "default"

    def test_the_environment_of_the_process_is_the_default(self, monkeypatch):
        monkeypatch.setenv("PATAUTH_STORE_URL", "memory:")
        monkeypatch.setenv("PATAUTH_TENANT", "acme")
        assert Settings.from_env().tenant == "acme"


class TestFiles:
    @each("end", ["", "\n", "\r\n", " \n\n"])
    @each("name", ["pepper", "secret_key", "store_url"])
    def test_a_secret_may_stand_in_a_file_with_or_without_a_last_line_end(self, name, end, tmp_path):
        value, text, _ = TABLE[name]
        path = tmp_path / "secret"
        write_private(path, (text + end).encode())
        environ = environment(name, "") | {f"PATAUTH_{name.upper()}_FILE": str(path)}
        del environ[f"PATAUTH_{name.upper()}"]
        assert getattr(Settings.from_env(environ), name) == value

    @each(
        "content",
        [
            pytest.param(KEY[::-1] + b"\xff\xfe", id="raw bytes"),
            pytest.param(b"", id="nothing"),
            pytest.param(b"hunter2", id="something else"),
            pytest.param(KEY.hex().encode() + b"\n" + KEY.hex().encode(), id="two keys"),
            pytest.param(b"\xef\xbb\xbf" + KEY.hex().encode(), id="byte order mark"),
        ],
    )
    def test_a_file_without_a_key_is_an_error_that_shows_nothing_of_it(self, content, tmp_path):
        path = tmp_path / "secret"
        write_private(path, content)
        with pytest.raises(ConfigurationError, match=r"\A(?:PATAUTH_SECRET_KEY_FILE|secret_key): ") as caught:
            Settings.from_env({"PATAUTH_STORE_URL": "memory:", "PATAUTH_SECRET_KEY_FILE": str(path)})
        for shown in ("hunter2", "0xff", KEY.hex()):
            assert shown not in str(caught.value)
        assert caught.value.__suppress_context__

    @each("path", ["", "/nonexistent/secret", "/", "a\x00b", "/x/\ud800"])
    def test_a_file_that_cannot_be_read_is_an_error_that_names_the_variable(self, path):
        with pytest.raises(ConfigurationError, match=r"\APATAUTH_SECRET_KEY_FILE: "):
            Settings.from_env({"PATAUTH_STORE_URL": "memory:", "PATAUTH_SECRET_KEY_FILE": path})

    def test_a_file_that_others_can_change_is_refused_and_one_that_all_can_read_is_warned_of(self, tmp_path):
        path = tmp_path / "secret"
        write_private(path, KEY.hex())
        environ = {"PATAUTH_STORE_URL": "memory:", "PATAUTH_SECRET_KEY_FILE": str(path)}
        path.chmod(0o606)
        with pytest.raises(ConfigurationError) as caught:
            Settings.from_env(environ)
        said = f"PATAUTH_SECRET_KEY_FILE: {path} (mode 0606) can be changed by every user: chmod o-w {path}"
        assert str(caught.value) == said
        path.chmod(0o604)
        with pytest.warns(UserWarning, match=r"secret \(mode 0604\) can be read by every user") as warned:
            assert Settings.from_env(environ).secret_key == KEY
        assert warned[0].filename == __file__, "it points at the caller"
        path.chmod(0o600)
        assert Settings.from_env(environ).secret_key == KEY

    def test_a_pipe_is_a_file_too(self):
        """As in PATAUTH_SECRET_KEY_FILE=<(pass show patauth)."""
        reading, writing = os.pipe()
        os.write(writing, KEY.hex().encode())
        os.close(writing)
        environ = {"PATAUTH_STORE_URL": "memory:", "PATAUTH_SECRET_KEY_FILE": f"/dev/fd/{reading}"}
        assert Settings.from_env(environ).secret_key == KEY
        os.close(reading)

    def test_a_secret_that_is_set_twice_is_an_error_and_no_choice(self, tmp_path):
        path = tmp_path / "secret"
        write_private(path, KEY.hex())
        environ = {"PATAUTH_SECRET_KEY": "00" * 32, "PATAUTH_SECRET_KEY_FILE": str(path)}
        for order in (environ, dict(reversed(environ.items()))):
            with pytest.raises(ConfigurationError, match="secret_key twice"):
                Settings.from_env({"PATAUTH_STORE_URL": "memory:", **order})


class TestSecretKey:
    @given(st.binary(min_size=32, max_size=32))
    def test_hex_and_base64url_are_read_with_and_without_padding(self, key):
        padded = urlsafe_b64encode(key).decode()
        for spelling in (key, key.hex(), key.hex().upper(), padded, padded.rstrip("=")):
            assert settings(secret_key=spelling).secret_key == key

    @each(
        "text",
        [
            pytest.param(KEY[:31].hex(), id="31 bytes"),
            pytest.param(KEY.hex() + "00", id="33 bytes"),
            pytest.param(" ".join(f"{byte:02x}" for byte in KEY), id="hex with blanks"),
            pytest.param(KEY.hex()[:-1] + "g", id="no hex digit"),
            pytest.param(KEY.hex()[:-1] + "٣", id="Arabic digit"),
            pytest.param(urlsafe_b64encode(KEY).decode()[:-2] + "9=", id="spare bits set"),
            pytest.param("!" + urlsafe_b64encode(KEY).decode(), id="a character that lenient decoders drop"),
            pytest.param(b64encode(b"\xfb\xff" * 16).decode(), id="standard base64"),
            pytest.param(KEY.hex().encode(), id="hex as bytes"),
            pytest.param(bytearray(KEY), id="a bytearray"),
            pytest.param("", id="empty"),
            pytest.param(b"", id="no bytes"),
            pytest.param(32, id="a number"),
        ],
    )
    def test_whatever_else_is_refused_and_not_shown(self, text):
        """A mistyped key must not be read as another one."""
        with pytest.raises(ConfigurationError) as caught:
            settings(secret_key=text)
        assert str(caught.value) == "secret_key: give 32 bytes as 64 hex digits or as base64url"

    @given(st.text(min_size=8, max_size=42) | st.binary(min_size=8).filter(lambda key: len(key) != 32))
    def test_no_wrong_key_is_ever_shown(self, value):
        with pytest.raises(ConfigurationError) as caught:
            settings(secret_key=value)
        assert str(caught.value) == "secret_key: give 32 bytes as 64 hex digits or as base64url"


class TestPepper:
    """One or more keys by their ids, oldest to newest, as strictly read as `secret_key`."""

    A, B = f"a:{OLD.hex()}", f"b:{NEW.hex()}"

    def read(self, value):
        return settings(secret_key=KEY, pepper=value).pepper

    @each("name", ["a", "2026-01", "A.b_c-9", "x" * 32, "none"])
    def test_an_id_is_1_to_32_letters_digits_and_some_signs(self, name):
        assert self.read(f"{name}:{OLD.hex()}") == (Pepper(name, OLD),)

    @given(st.binary(min_size=32, max_size=32).filter(lambda key: key != KEY))
    def test_a_key_is_spelt_as_secret_key_is(self, key):
        padded = urlsafe_b64encode(key).decode()
        for spelling in (key.hex(), key.hex().upper(), padded, padded.rstrip("=")):
            assert self.read(f"a:{spelling}") == self.read([("a", key)]) == (Pepper("a", key),)

    def test_the_order_is_kept_whatever_stands_between(self):
        for text in (f"{self.A} {self.B}", f" {self.A}\n{self.B}\n", f"{self.A}\t \r\n{self.B}"):
            assert [one.id for one in self.read(text)] == ["a", "b"]
        assert [one.id for one in self.read(f"{self.B} {self.A}")] == ["b", "a"]

    def test_none_in_the_last_place_means_to_know_those_before_it_and_hash_without(self):
        assert self.read(f"{self.A} none") == self.read([("a", OLD), None]) == (Pepper("a", OLD), None)
        for nothing in ("none", None, [], (), [None]):
            assert self.read(nothing) == settings(pepper=nothing).pepper == ()

    @each(
        "value",
        [
            pytest.param("", id="empty, as when a file could not be mounted"),
            pytest.param(" \n", id="blanks"),
            pytest.param(OLD.hex(), id="no id"),
            pytest.param(f":{OLD.hex()}", id="an empty id"),
            pytest.param(f"{'x' * 33}:{OLD.hex()}", id="an id of 33"),
            pytest.param(f"é:{OLD.hex()}", id="an id that is not ASCII"),
            pytest.param(f"a/b:{OLD.hex()}", id="an id with another sign"),
            pytest.param(f"{OLD.hex()}:a", id="key before id"),
            pytest.param("a:", id="no key"),
            pytest.param("a", id="an id alone"),
            pytest.param(f"a :{OLD.hex()}", id="a blank inside"),
            pytest.param(f"a:{OLD.hex()[:-2]}", id="31 bytes"),
            pytest.param(f"a:b:{OLD.hex()}", id="two ids"),
            pytest.param(f"a:{OLD.hex()},b:{NEW.hex()}", id="a comma between"),
            pytest.param(f"none a:{OLD.hex()}", id="none before another"),
            pytest.param(f"a:{OLD.hex()} NONE", id="none in capitals"),
            pytest.param([("a", OLD), None, ("b", NEW)], id="None before another"),
            pytest.param([("a", OLD), None, None], id="None twice"),
            pytest.param({"a": OLD}, id="a mapping"),
            pytest.param([OLD], id="bytes"),
            pytest.param([f"a:{OLD.hex()}"], id="a text in a list"),
            pytest.param(["ab"], id="a text of two"),
            pytest.param([(1, OLD)], id="a number as id"),
            pytest.param([("a", OLD[:31])], id="31 raw bytes"),
            pytest.param([("a", OLD, 1)], id="three parts"),
        ],
    )
    def test_whatever_else_is_refused_and_not_shown(self, value):
        with pytest.raises(ConfigurationError, match=r"\Apepper: give ") as caught:
            self.read(value)
        assert not re.search(r"6f6f|6e6e|oooo|nnnn|xxxx", str(caught.value))
        assert caught.value.__suppress_context__

    # SHA-256 of both begins with the same four bytes; found by trying.
    ALIKE = ("id46973", "id139689")

    def test_two_ids_that_records_cannot_tell_apart_are_refused(self):
        one, two = self.ALIKE
        assert Pepper(one, OLD).mark == Pepper(two, NEW).mark
        for first, second in (("a", "a"), (one, two)):
            with pytest.raises(ConfigurationError, match=r"\Apepper: .*choose another id\Z"):
                self.read([(first, OLD), (second, NEW)])
            with pytest.raises(ConfigurationError, match=r"\Apepper: .*choose another id\Z"):
                self.read([(first, OLD), ("between", KEY[::-1]), (second, NEW), None])

    def test_an_id_whose_mark_would_say_that_there_is_none_is_refused(self, monkeypatch):
        monkeypatch.setattr(Pepper, "mark", bytes(4))
        with pytest.raises(ConfigurationError, match="choose another id"):
            self.read(self.A)

    def test_one_key_twice_is_no_rotation_and_secret_key_is_no_pepper(self):
        with pytest.raises(ConfigurationError, match=r"\Apepper: two have the same key"):
            self.read([("a", OLD), ("b", OLD)])
        for value in ([("a", KEY)], [("a", OLD), ("b", KEY), None]):
            with pytest.raises(ConfigurationError, match=r"\Apepper: it is the same key as secret_key"):
                self.read(value)

    @each("more", ["", " none"])
    def test_it_needs_secret_key(self, more):
        """A store key in the store lets a dump check guesses by the secret tag, whatever the pepper does."""
        with pytest.raises(ConfigurationError, match=r"\Apepper: it needs secret_key"):
            settings(pepper=self.A + more)
        with pytest.raises(ConfigurationError, match=r"\Apepper: it needs secret_key"):
            Settings.from_env({"PATAUTH_STORE_URL": "memory:", "PATAUTH_PEPPER": self.A + more})


class TestReaders:
    @each(
        ("text", "seconds"),
        [
            ("0", 0),
            ("90", 90),
            ("90s", 90),
            ("15m", 900),
            ("12h", 43_200),
            ("30d", 2_592_000),
            ("2w", 1_209_600),
            (" 1h ", 3600),
        ],
    )
    def test_a_duration_is_an_integer_and_a_unit(self, text, seconds):
        assert parse_duration(text) == seconds

    @each("text", ["", "s", "1y", "1.5h", "-1", "+1", "1 h", "1h30m", "٣d", "1_0", "9" * 10, "1D"])
    def test_all_else_is_no_duration(self, text):
        with pytest.raises(ValueError, match="give an integer and one of s m h d w"):
            parse_duration(text)

    def test_a_timedelta_is_understood_where_seconds_are(self):
        made = settings(
            retention=timedelta(days=1),
            proof_ttl=timedelta(minutes=1),
            connect_timeout=timedelta(milliseconds=50),
        )
        assert (made.retention, made.proof_ttl, made.connect_timeout) == (86_400, 60.0, 0.05)

    @each("value", [True, 1.5, "1.5", "1e3", "0x10", "1_000", "٣", "+1", None, []])
    def test_a_whole_number_is_digits_or_an_int(self, value):
        with pytest.raises(ConfigurationError, match="max_connections: give a whole number from 1 to 100000"):
            settings(max_connections=value)

    @each(
        ("value", "truth"),
        [
            (True, True),
            (False, False),
            ("1", True),
            ("0", False),
            ("TRUE", True),
            ("False", False),
            ("yes", True),
            ("no", False),
        ],
    )
    def test_truth(self, value, truth):
        assert settings(keep_authorization=value).keep_authorization is truth

    @each("value", ["", "on", "2", 1, 0, None])
    def test_what_is_neither_true_nor_false_is_refused(self, value):
        """An empty or misspelt value must not decide whether a secret is passed on."""
        with pytest.raises(ConfigurationError, match="keep_authorization: give true or false"):
            settings(keep_authorization=value)

    def test_the_profile_for_tests_cannot_be_named_but_given(self):
        with pytest.raises(ConfigurationError, match="hash_profile"):
            settings(hash_profile="testing")
        assert settings(hash_profile=WEAK).hash_profile is WEAK

    @each("value", ["*", ["*"], "openid *"])
    def test_ignoring_every_scope_would_grant_more_than_was_asked(self, value):
        with pytest.raises(ConfigurationError, match="ignored_scopes"):
            settings(ignored_scopes=value)

    @each("value", [["ab", "cd"], [("a", "b")], "a  \x00", {"a": None}, {1: "a"}, {"a b": ""}])
    def test_a_catalogue_is_a_mapping_of_scopes_to_words(self, value):
        """`dict(["ab", "cd"])` is {"a": "b", "c": "d"}: a list of scopes must not become that."""
        with pytest.raises(ConfigurationError, match="scopes"):
            settings(scopes=value)

    @each("value", ["/", "/a/", "a", "//", "/a b", "/ä", "/a?b", "/a\n", "/a%2e"])
    def test_a_path_prefix_is_a_plain_path(self, value):
        with pytest.raises(ConfigurationError, match="path_prefix"):
            settings(path_prefix=value)

    @each(
        "value",
        ["https://auth.example.com", "https://auth.example.com:8443/a/b-c", "https://10.0.0.1", "https://[2001:db8::1]",
         "https://localhost", "http://localhost:8000", "http://LOCALHOST", "http://127.0.0.1", "http://127.8.9.10:1/x",
         "http://[::1]:65535", "http://[0:0:0:0:0:0:0:1]", "https://Auth.Example.com"],
    )  # fmt: skip
    def test_an_issuer_is_kept_as_it_was_written(self, value):
        """RFC 8414 section 3.3: clients compare it character by character."""
        assert settings(issuer=value).issuer == value

    @each(
        "value",
        ["", "auth.example.com", "//auth.example.com", "ftp://a.example", "HTTPS://a.example", "https://",
         "https:///x", "https://a.example/", "https://a.example/x/", "https://a.example?", "https://a.example?x=1",
         "https://a.example#", "https://a.example/x#y", "https://u@a.example", "https://u:p@a.example",
         "https://a.example:", "https://a.example:0", "https://a.example:65536", "https://a.example:8\u0663",
         "https://a.example/..", "https://a.example/./x", "https://a.example//x", "https://a.example/%2e",
         "https://a..example", "https://.a.example", "https://\u00e4.example", "https://a.example\n",
         " https://a.example", "https://a.example\\x", "https://[::1", "https://[127.0.0.1]", "https://[:::1]",
         "http://a.example", "http://127.0.0.1.evil.example", "http://localhost.evil.example", "http://10.0.0.1",
         "http://0.0.0.0", "http://[::]", "http://[::2]", "http://[::ffff:127.0.0.1]", "http://128.0.0.1",
         "http://127.1", b"https://a.example", 8000, True, ["https://a.example"]],
    )  # fmt: skip
    def test_an_issuer_is_an_https_url_or_http_on_this_machine(self, value):
        with pytest.raises(ConfigurationError, match=r"\Aissuer: "):
            settings(issuer=value)

    def test_no_issuer_can_be_said_in_words(self):
        assert settings(issuer="none").issuer is settings().issuer is None

    @each("value", ["manages", "", "lambda caller, owner: True", 1, True, ["x"], {}])
    def test_who_manages_whom_is_code(self, value):
        with pytest.raises(ConfigurationError, match=r"\Amanages: give a function"):
            settings(manages=value)

    @each("text", ["", "none", "module:function", "true"])
    def test_who_manages_whom_is_never_from_the_environment(self, text):
        with pytest.raises(ConfigurationError, match=r"\Amanages: give a function"):
            Settings.from_env({"PATAUTH_STORE_URL": "memory:", "PATAUTH_MANAGES": text})

    @each("name", ["identify", "reauthenticate"])
    @each("value", [len, "os:getcwd", "os.getcwd", "a.b_2:C.d", "none", None])
    def test_a_function_of_the_environ_is_itself_or_its_name(self, name, value):
        assert getattr(settings(**{name: value}), name) == (None if value == "none" else value)

    @each("name", ["identify", "reauthenticate"])
    @each(
        "value",
        ["", "x", ":x", "x:", "x.", "a b:c", "a:b()", ".a:b", "a..b:c", "a:b:c", "a:b\n", 1, True, []],
    )
    def test_what_is_neither_is_refused_and_told_what_to_give(self, name, value):
        with pytest.raises(ConfigurationError, match=rf"\A{name}: give a function .*package.module:function"):
            settings(**{name: value})

    @each(
        "value",
        ["/", "/login", "/login?next={next}&a=b#c", "https://id.example/in?to={next}", "http://[::1]:8000/",
         "/%7Bnext%7D", "/a//b", "https://a"],
    )  # fmt: skip
    def test_people_sign_in_at_a_path_or_a_url(self, value):
        assert settings(login_url=value).login_url == value

    @each(
        "value",
        ["", "login", "//evil.example", "/\\evil.example", "/a\\b", "javascript:alert(1)", "https://",
         "https:///x", "HTTPS://a.example", "ftp://a", "/a b", "/\u00e4", "/{Next}", "/{next", "/next}",
         "/{next}}", "/{}", "/a\n", b"/login", 7, ["/login"]],
    )  # fmt: skip
    def test_they_sign_in_nowhere_else(self, value):
        with pytest.raises(ConfigurationError, match=r"\Alogin_url: give an http\(s\) URL or a path"):
            settings(login_url=value)

    @each("value", ["/", "/api/me?a=b&c=(d)#e", "https://api.example/me", "http://[::1]:8000/%7B"])
    def test_the_page_shows_how_a_token_opens_a_path_or_a_url(self, value):
        assert settings(page_example_url=value).page_example_url == value

    @each(
        "value",
        ["", "me", "//evil.example", "/\\x", "javascript:alert(1)", "https://", "/a b", "/\u00e4", "/$(id)",
         "/`id`", "/'", '/"', "/{next}", "/a\n", b"/me", 7],
    )  # fmt: skip
    def test_it_shows_nothing_that_a_shell_would_run(self, value):
        with pytest.raises(ConfigurationError, match=r"\Apage_example_url: give an http\(s\) URL or a path"):
            settings(page_example_url=value)

    @each("value", ["oauth,isc,zitadel,page,openapi", "oauth isc zitadel page openapi", list(SURFACE_NAMES)])
    def test_surfaces_are_names_of_groups(self, value):
        expected = ("oauth", "isc", "zitadel", "page", "openapi")
        assert settings(surfaces=value).surfaces == SURFACE_NAMES == expected

    @each(
        "value, read",
        [
            ("unix", ("unix",)),
            ("unix 10.0.0.0/8 2001:db8::/32 10.0.0.0/8 unix", ("10.0.0.0/8", "2001:db8::/32", "unix")),
            (["::ffff:192.0.2.1", "unix"], ("192.0.2.1/32", "unix")),
            ([f"10.0.{number}.0/24" for number in range(200)], None),
        ],
    )
    def test_proxies_are_in_networks_or_at_the_other_end_of_a_unix_socket(self, value, read):
        found = settings(proxy_networks=value, trusted_proxies=1).proxy_networks
        assert found == read if read else len(found) == 200

    @each(
        "value", ["UNIX", "unix:", "unix:/run/x", "10.0.0.1/8", "proxy.example", "::1%eth0", [b"unix"], [""]]
    )
    def test_nothing_else_is_a_network_of_proxies(self, value):
        with pytest.raises(ConfigurationError, match=r"\Aproxy_networks: "):
            settings(proxy_networks=value, trusted_proxies=1)

    def test_networks_of_proxies_need_their_number(self):
        """With 0 their field is not read, so no client would ever be known."""
        with pytest.raises(ConfigurationError, match=r"\Aproxy_networks: it needs trusted_proxies"):
            settings(proxy_networks="10.0.0.0/8")

    @each("value", ['a"b', "a\\b", "a\r\nX: 1", "é", "", "a" * 129])
    def test_a_realm_fits_a_quoted_string(self, value):
        with pytest.raises(ConfigurationError, match="realm"):
            settings(realm=value)

    @each("value", ["a{b", "a}b", "", "a b", "a" * 65, "é"])
    def test_a_key_prefix_has_no_braces(self, value):
        """They would move keys to another slot of a cluster, and make other keys meet them."""
        with pytest.raises(ConfigurationError, match="key_prefix"):
            settings(key_prefix=value)

    @each("value", ["pat,pats", "pat pats pata", "", ["abc"], ["pat", "pats", "pata"], [(1, 2, 3)], "a,b,C"])
    def test_prefixes_are_triples(self, value):
        with pytest.raises(ConfigurationError, match=r"\Acredential_prefixes: "):
            settings(credential_prefixes=value)

    @each(("value", "asked"), [("engine", None), (None, None), ("disk", "disk"), ("replicas:1", 1), (99, 99)])
    def test_durability(self, value, asked):
        assert settings(durability=value).durability == asked

    @each("value", ["", "replicas", "replicas:", "replicas:01", "replicas:100", 0, True, 100, "none"])
    def test_durability_that_is_not_understood_is_refused(self, value):
        with pytest.raises(ConfigurationError, match="durability"):
            settings(durability=value)


def test_neither_key_nor_password_is_shown():
    made = settings(store_url=URL, secret_key=KEY, pepper=[("a", OLD)])
    for shown in (repr(made), str(made), f"{made}", repr(made.pepper), f"{[*made.pepper]}"):
        assert not re.search(rf"hunter2|user:|{KEY.hex()}|\\x01\\x02|{OLD.hex()}|oooo", shown)
    with pytest.raises(ConfigurationError) as caught:
        settings(store_url=URL + "\n")
    assert "hunter2" not in str(caught.value)
