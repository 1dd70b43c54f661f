"""Store URLs: which engine one names, and that none shows a password."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth import ConfigurationError
from patauth.store.url import StoreUrl, masked, masked_within

READ = {
    "memory:": ("memory", None, ""),
    "memory://": ("memory", None, ""),
    "local:./data": ("local", Path("data"), ""),
    "local:/srv/a%20b": ("local", Path("/srv/a b"), ""),
    "redis://h:1/2": ("server", None, "redis://h:1/2"),
    "rediss://h": ("server", None, "rediss://h"),
    "valkey://u:p@h": ("server", None, "redis://u:p@h"),
    "valkeys://h": ("server", None, "rediss://h"),
    "unix:///run/s": ("server", None, "unix:///run/s"),
}


def test_each_spelling_names_its_engine() -> None:
    for text, expected in READ.items():
        url = StoreUrl.read(text)
        assert (url.engine, url.directory, url.server) == expected, text


CLUSTERS = {
    "redis+cluster://h": ("redis://h:6379", ("h:6379",)),
    "redis+cluster://h1:1,h2,[::1]:3/": ("redis://h1:1", ("h1:1", "h2:6379", "[::1]:3")),
    "rediss+cluster://u:p%2Cq@h1:1,h2:2/0?ssl_ca_certs=/ca": (
        "rediss://u:p%2Cq@h1:1?ssl_ca_certs=/ca", ("h1:1", "h2:2")
    ),
    "valkey+cluster://:p@h": ("redis://:p@h:6379", ("h:6379",)),
    "valkeys+cluster://h?db=0": ("rediss://h:6379?db=0", ("h:6379",)),
}  # fmt: skip


def test_a_cluster_has_seeds_and_each_node_the_user_and_options_of_the_url() -> None:
    for text, (server, seeds) in CLUSTERS.items():
        url = StoreUrl.read(text)
        assert (url.engine, url.directory, url.server, url.seeds) == ("cluster", None, server, seeds), text
        assert url.node(seeds[0]) == server
        assert url.node("10.0.0.9:7") == server.replace(seeds[0], "10.0.0.9:7")
    assert "p%2Cq" not in repr(StoreUrl.read(list(CLUSTERS)[2]))


def test_a_cluster_without_nodes_or_with_a_database_is_refused_and_says_why() -> None:
    for text, why in (
        ("redis+cluster://", "host:port"),
        ("redis+cluster://hunter2@", "host:port"),
        ("redis+cluster://h1:1,,h2:2", "host:port"),
        ("redis+cluster://u:hunter2@[::1", "host:port"),
        ("redis+cluster://u:hunter2@h:1/1", "database"),
        ("redis+cluster://u:hunter2@h:1/name", "database"),
        ("redis+cluster://u:hunter2@h:1?db=2", "database"),
    ):
        with pytest.raises(ConfigurationError, match=why) as refused:
            StoreUrl.read(text)
        assert "hunter2" not in str(refused.value), text


SENTINELS = {
    "redis+sentinel://h/tokens": ("redis://h:26379", "redis://h:26379", ("h:26379",)),
    "valkeys+sentinel://u:p%40q@h1:1,h2,[::1]:3/tokens/2": (
        "rediss://u:p%40q@h1:1/2", "rediss://h1:1", ("h1:1", "h2:26379", "[::1]:3")
    ),
    "rediss+sentinel://u:p@h:1/tokens/?ssl_ca_certs=/c%20a&sentinel_username=w&sentinel_password=s%40%2Fw": (
        "rediss://u:p@h:1/?ssl_ca_certs=/c%20a", "rediss://w:s%40%2Fw@h:1?ssl_ca_certs=/c%20a", ("h:1",)
    ),
    "redis+sentinel://h:1/tokens?username=u&password=p&db=3&sentinel_password=s": (
        "redis://h:1?username=u&password=p&db=3", "redis://:s@h:1", ("h:1",)
    ),
}  # fmt: skip


def test_sentinels_have_a_service_and_credentials_of_their_own() -> None:
    for text, (server, sentinel, seeds) in SENTINELS.items():
        url = StoreUrl.read(text)
        assert (url.engine, url.service, url.seeds) == ("sentinel", "tokens", seeds), text
        assert (url.server, url.sentinel) == (server, sentinel), text
        assert url.node("10.0.0.9:7") == server.replace(seeds[0], "10.0.0.9:7")
        assert url.sentinel_at("[::2]:8") == sentinel.replace(seeds[0], "[::2]:8")
        assert not any(secret in repr(url) for secret in ("p%40q", ":p@", "s%40", "=p&"))


def test_sentinels_without_an_address_or_a_service_are_refused_and_it_is_said_why() -> None:
    for text, why in (
        ("redis+sentinel://", "name the Sentinels"),
        ("redis+sentinel:///tokens", "name the Sentinels"),
        ("redis+sentinel://u:hunter2@[::1/tokens", "name the Sentinels"),
        ("redis+sentinel://u:hunter2@h", "SERVICE"),
        ("redis+sentinel://u:hunter2@h/", "SERVICE"),
        ("redis+sentinel://u:hunter2@h/to%20kens", "SERVICE"),
        ("redis+sentinel://u:hunter2@h/tokens/name", "SERVICE"),
        ("redis+sentinel://u:hunter2@h/tokens/1/2", "SERVICE"),
    ):
        with pytest.raises(ConfigurationError, match=why) as refused:
            StoreUrl.read(text)
        assert "hunter2" not in str(refused.value), text


def test_what_names_no_engine_is_refused_and_not_repeated() -> None:
    for text in (
        "",
        "local:",
        "local:a%00b",
        "memory:x",
        "postgres://u:hunter2@h",
        "redis:/hunter2",
        "hunter2",
        "Redis://h",
        "unix+cluster://h",
        "redis+clusters://hunter2@h",
    ):
        with pytest.raises(ConfigurationError) as refused:
            StoreUrl.read(text)
        assert "hunter2" not in str(refused.value), text


def test_no_repr_shows_a_password() -> None:
    assert "hunter2" not in repr(StoreUrl.read("redis://u:hunter2@h"))


def test_passwords_in_a_store_url_are_masked() -> None:
    for url, shown in (
        ("redis://user:hush@h:1/0", "redis://***@h:1/0"),
        ("rediss://:hush@h", "rediss://***@h"),
        ("redis://hush@h:1/0", "redis://***@h:1/0"),
        ("valkeys://hush@h", "valkeys://***@h"),
        ("redis://hush:@h", "redis://***@h"),
        ("redis://u:hush@hush/hush@h", "redis://***@h"),
        ("redis://hush@h?password=hush", "redis://***@h?password=***"),
        ("redis://h?password=hu@sh", "redis://***"),
        ("unix://user:hush@/s?db=1", "unix://***@/s?db=1"),
        ("unix://hush@/s", "unix://***@/s"),
        ("unix:///s?password=hu@sh&db=1", "unix:///s?password=***&db=1"),
        ("unix:///run/a@b.sock", "unix:///run/a@b.sock"),
        ("redis:hush@h", "redis:***@h"),
        ("hush@h", "***@h"),
        ("rediss+cluster://u:hush@h1:1,h2:2", "rediss+cluster://***@h1:1,h2:2"),
        ("redis+sentinel://u:hush@h1,h2/s/1", "redis+sentinel://***@h1,h2/s/1"),
        ("redis+sentinel://h/s?sentinel_password=hush", "redis+sentinel://h/s?sentinel_password=***"),
        ("valkey+cluster://h1:1,h2:2?password=hush", "valkey+cluster://h1:1,h2:2?password=***"),
        ("unix:///s?password=hush&db=1", "unix:///s?password=***&db=1"),
        ("rediss://h?ssl_password=hush", "rediss://h?ssl_password=***"),
        ("unix:///run/valkey.sock", "unix:///run/valkey.sock"),
        ("local:./a:b@c", "local:./a:b@c"),
        ("memory:", "memory:"),
    ):
        assert masked(url) == shown


@given(password=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4))
def test_no_password_is_shown_whatever_it_is_made_of(password: str) -> None:
    for url in (
        f"redis://user:{password}@host:1",
        f"redis://{password}@host:1",
        f"redis://{password}:@host:1",
    ):
        assert masked(url) in ("redis://***@host:1", "redis://***")


@given(password=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4))
def test_no_password_is_shown_in_a_text_with_a_url(password: str) -> None:
    for url in (f"redis://user:{password}@h:1", f"rediss://{password}@h:1", f"redis:{password}@h:1"):
        assert re.fullmatch(r"No '(redis|rediss):(//)?\*\*\*@h:1'\.", masked_within(f"No '{url}'."))


def test_texts_around_urls_and_paths_stay() -> None:
    for text, shown in (
        ("at http://h:1/; in redis://u:hush@h.", "at http://h:1/; in redis://***@h."),
        (
            "from redis://a:hush@h to valkeys+cluster://b:hush@g:1,i",
            "from redis://***@h to valkeys+cluster://***@g:1,i",
        ),
        ("--storeredis://:hush@h", "--storeredis://***@h"),
        ("unix:///run/a@b and local:./a@b", "unix:///run/a@b and local:./a@b"),
        ("https://u:hush@h/x", "https://***@h/x"),
        ("see https://h/x or ask ops@h", "see https://h/x or ask ops@h"),
        ("at http://h:1/@x", "at http://h:1/@x"),
        ("give memory: or redis:", "give memory: or redis:"),
        ("redis:// or rediss://, http://", "redis:// or rediss://, http://"),
        ("redis: nobody knows bob@h", "redis: nobody knows bob@h"),
        ("redis://u:hush hush@h", "redis://***@h"),
        ("write to a@b", "write to a@b"),
    ):
        assert masked_within(text) == shown
    assert masked_within("://" * 100_000) == "://" * 100_000
