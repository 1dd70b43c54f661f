"""What `patauth doctor` finds in the settings."""

from __future__ import annotations

from patauth import Settings
from patauth.cli.doctor.settings import judge_settings
from patauth.store.server_facts import ServerFacts


def test_risky_settings_are_named() -> None:
    for given, store_key, expected in (
        ({"store_url": "redis://localhost"}, True, {("warning", "store key")}),
        ({"store_url": "redis://localhost", "secret_key": b"k" * 32}, False, {("ok", "store key")}),
        ({"store_url": "local:x"}, True, {("ok", "store key")}),
        ({"store_url": "redis://10.0.0.1", "secret_key": b"k" * 32}, None, {("warning", "transport")}),
        ({"store_url": "valkey://db", "secret_key": b"k" * 32}, None, {("warning", "transport")}),
        ({"store_url": "rediss://db", "secret_key": b"k" * 32}, None, set()),
        ({"store_url": "redis+cluster://127.0.0.1,db", "secret_key": b"k" * 32}, None,
         {("warning", "transport")}),
        ({"store_url": "redis+cluster://127.0.0.1:1,[::1]:2", "secret_key": b"k" * 32}, None, set()),
        ({"store_url": "rediss+cluster://db", "secret_key": b"k" * 32}, None, set()),
        ({"store_url": "redis://[::1]", "secret_key": b"k" * 32}, None, set()),
        ({"store_url": "local:x", "keep_authorization": True}, None, {("warning", "settings")}),
        ({"store_url": "local:x", "trusted_proxies": 1}, None, {("ok", "settings"), ("warning", "settings")}),
        ({"store_url": "local:x", "trusted_proxies": 1, "proxy_networks": "10.0.0.0/8"}, None,
         {("ok", "settings")}),
    ):  # fmt: skip
        facts = ServerFacts(store_key=store_key)
        found = {(one.level, one.check) for one in judge_settings(Settings.of(**given), facts)}
        assert expected <= found, given
        assert {one for one in found if one[0] != "ok"} == {one for one in expected if one[0] != "ok"}, given


def test_that_pats_may_last_for_ever_is_said_and_is_no_warning() -> None:
    never = [f for f in judge_settings(Settings.of(store_url="local:x"), None) if "max_lifetime" in f.text]
    assert [finding.level for finding in never] == ["ok"]
    limited = judge_settings(Settings.of(store_url="local:x", max_lifetime="30d"), None)
    assert not [finding for finding in limited if "max_lifetime" in finding.text]


def test_that_no_address_is_known_behind_proxies_of_anywhere_is_said_with_what_it_means() -> None:
    given = Settings.of(store_url="local:x", trusted_proxies=1)
    (found,) = [finding for finding in judge_settings(given, None) if "proxy_networks" in finding.text]
    assert "If a PAT has networks, it is refused" in found.text
    assert "proxy_networks" in found.remedy
