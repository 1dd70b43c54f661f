"""Store URLs: which engine one names, and that none shows a password."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth import ConfigurationError
from patauth.store.url import StoreUrl, masked

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


def test_what_names_no_engine_is_refused_and_not_repeated() -> None:
    for text in (
        "",
        "local:",
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
