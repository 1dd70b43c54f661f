from __future__ import annotations

import pytest

from patauth.errors import ConfigurationError
from patauth.model.sinks import Sinks, names_of, read_sinks, read_webhook_secrets, shown, sinks_of
from patauth.settings import Settings
from tests.support.receivers import KEY, OTHER_KEY, SECRET
from tests.support.tables import each

HOOK = "webhook:https://hooks.example/patauth"


@each(
    "given, expected",
    [
        ("log", Sinks(True, None, ())),
        ("none", Sinks(False, None, ())),
        ([], Sinks(False, None, ())),
        ((), Sinks(False, None, ())),
        ("stream:audit", Sinks(False, "audit", ())),
        ("log  stream:a.b_c-1\n", Sinks(True, "a.b_c-1", ())),
        (["log", HOOK], Sinks(True, None, ("https://hooks.example/patauth",))),
        (f"stream:s {HOOK} {HOOK}/2", Sinks(False, "s", (HOOK[8:], f"{HOOK[8:]}/2"))),
        ("webhook:http://localhost:8080/x?y=z", Sinks(False, None, ("http://localhost:8080/x?y=z",))),
        ("webhook:http://127.0.0.2/", Sinks(False, None, ("http://127.0.0.2/",))),
        ("webhook:http://[::1]:80/", Sinks(False, None, ("http://[::1]:80/",))),
    ],
)
def test_the_setting_names_where_events_go(given: object, expected: Sinks):
    assert sinks_of(read_sinks(given)) == expected
    assert read_sinks(read_sinks(given)) == read_sinks(given), "as when settings are replaced"


@each(
    "given",
    [
        "",
        " ",
        "none log",
        "log log",
        "Log",
        "log:x",
        "stream",
        "stream:",
        "stream:a:b",
        "stream:a/b",
        "stream:" + "a" * 65,
        "stream:a stream:b",
        "webhook",
        "webhook:",
        "webhook:ftp://hooks.example/",
        "webhook:https://",
        "webhook:https:///path",
        "webhook:https://hooks.example:99999/",
        "webhook:https://hooks.example/#fragment",
        "webhook:https://hush:hush@hooks.example/",
        "webhook:https://hooks.example/é",
        "webhook:http://hooks.example/",
        "webhook:http://localhost.example/",
        "webhook:http://127.0.0.1.example/",
        "webhook:http://10.0.0.1/",
        "syslog",
        5,
        None,
        ["log", 5],
    ],
)
def test_everything_else_is_refused_and_no_url_is_repeated(given: object):
    with pytest.raises((ValueError, TypeError)) as refused:
        read_sinks(given)
    assert "example" not in str(refused.value)
    assert "hush" not in str(refused.value)


def test_people_see_the_origin_of_a_url_alone():
    assert shown("webhook:https://hooks.example:8443/hush?hush=hush") == "webhook:https://hooks.example:8443"
    assert [shown(word) for word in ("log", "stream:audit")] == ["log", "stream:audit"]


@each(
    "given, expected",
    [
        (SECRET, (KEY,)),
        (SECRET.rstrip("="), (KEY,)),
        ([SECRET], (KEY,)),
        (f"{SECRET} whsec_b29vb29vb29vb29vb29vb29vb29vb29v", (KEY, OTHER_KEY)),
        ((KEY, OTHER_KEY), (KEY, OTHER_KEY)),
        ("", ()),
        ((), ()),
        (None, ()),
    ],
)
def test_a_secret_is_the_base64_of_24_to_64_bytes(given: object, expected: tuple[bytes, ...]):
    assert read_webhook_secrets(given) == expected


@each(
    "given",
    [
        SECRET.removeprefix("whsec_"),
        "whsec_",
        "whsec_" + "A" * 31,
        "whsec_" + "A" * 87,
        "whsec_hush-hush-hush-hush-hush-hush-hush-hush",
        f"{SECRET} {SECRET}",
        f"{SECRET} whsec_b29vb29vb29vb29vb29vb29vb29vb29v whsec_cHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBw",
        5,
    ],
)
def test_everything_else_is_refused_and_no_secret_is_repeated(given: object):
    with pytest.raises((ValueError, TypeError)) as refused:
        read_webhook_secrets(given)
    assert "hush" not in str(refused.value)
    assert "AAEC" not in str(refused.value)


def test_a_webhook_needs_a_secret_and_neither_is_shown():
    with pytest.raises(ConfigurationError, match="webhook_secret"):
        Settings.of(store_url="memory:", events=HOOK)
    settings = Settings.of(store_url="memory:", events=HOOK, webhook_secret=SECRET)
    for hidden in ("hooks.example", "AAEC", repr(KEY)):
        assert hidden not in repr(settings)


def test_a_file_may_hold_the_secret(tmp_path):
    file = tmp_path / "secret"
    file.touch(0o600)
    file.write_text(f"{SECRET}\n")
    environ = {"PATAUTH_STORE_URL": "memory:", "PATAUTH_WEBHOOK_SECRET_FILE": str(file)}
    assert Settings.from_env(environ).webhook_secret == (KEY,)


def test_webhooks_of_one_origin_have_names_that_differ():
    urls = ["https://a.example/x", "https://b.example/x", "https://a.example/y"]
    assert names_of(urls) == [
        "webhook:https://a.example (1)",
        "webhook:https://b.example",
        "webhook:https://a.example (2)",
    ]
