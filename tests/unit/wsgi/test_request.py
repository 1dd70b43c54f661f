"""The client's address, as far as it can be believed."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from patauth.model.address import Address
from patauth.wsgi.request import bare, client_address


def address_of(
    remote_addr: str, forwarded_for: str | None, trusted_proxies: int, proxy_networks: tuple[str, ...] = ()
) -> Address:
    environ = {"REMOTE_ADDR": remote_addr}
    if forwarded_for is not None:
        environ["HTTP_X_FORWARDED_FOR"] = forwarded_for
    return client_address(environ, trusted_proxies, proxy_networks)


def test_without_trusted_proxies_headers_are_not_read() -> None:
    for header in (None, "", "6.6.6.6", "6.6.6.6, 7.7.7.7"):
        assert address_of("10.0.0.1", header, 0).charged == "10.0.0.1", header


def test_the_nth_entry_from_the_right_is_the_client() -> None:
    for header, proxies in (
        ("203.0.113.9", 1),
        ("6.6.6.6, 203.0.113.9", 1),
        ("6.6.6.6,203.0.113.9 , 10.0.0.2", 2),
        (",,,203.0.113.9", 1),
        ("203.0.113.9,10.0.0.3\t,10.0.0.2", 3),
    ):
        assert address_of("10.0.0.1", header, proxies).charged == "203.0.113.9", header


def test_with_too_few_entries_or_an_empty_one_it_is_the_peer() -> None:
    for header, proxies in (
        (None, 1),
        ("", 1),
        (" ", 1),
        ("6.6.6.6", 2),
        ("6.6.6.6,", 1),
        ("6.6.6.6,,9.9.9.9", 2),
    ):
        assert address_of("198.51.100.1", header, proxies).charged == "198.51.100.1", header


@given(
    st.lists(st.text("0123456789.:, ", max_size=20), max_size=5),
    st.lists(st.ip_addresses(v=4), min_size=1, max_size=4),
)
def test_nothing_that_a_client_sends_moves_its_own_address(
    sent: list[str], appended: list[IPv4Address]
) -> None:
    """`appended` is what the trusted proxies add, the outermost first: the client that called it."""
    header = ",".join([*sent, *map(str, appended)])
    assert address_of("10.0.0.1", header, len(appended)).charged == str(appended[0])


def test_a_bare_environ_has_neither_credentials_nor_the_query_under_any_name() -> None:
    secret = {
        "HTTP_AUTHORIZATION", "HTTP_PROXY_AUTHORIZATION", "HTTP_X_FORWARDED_AUTHORIZATION", "HTTP_COOKIE",
        "REDIRECT_HTTP_AUTHORIZATION", "REDIRECT_URL", "REDIRECT_STATUS", "HTTP_COOKIE2", "HTTP_SET_COOKIE",
        "RAW_URI", "REQUEST_URI", "UNENCODED_URL", "HTTP_X_ORIGINAL_URL", "HTTP_X_FORWARDED_URI",
        "HTTP_X_QUERY", "HTTP_REFERER", "HTTP_X_API_KEY", "CONTENT_LENGTH", "CONTENT_TYPE",
    }  # fmt: skip
    kept = {"PATH_INFO", "SCRIPT_NAME", "HTTP_HOST", "HTTP_ACCEPT", "REMOTE_ADDR", "wsgi.url_scheme"}
    given = dict.fromkeys([*secret, *kept, "QUERY_STRING"], "secret")
    seen = bare({**given, "patauth.principal": object()}, ["HTTP_X_API_KEY"])
    assert seen.keys() == kept | {"QUERY_STRING", "wsgi.input"}
    assert (seen["QUERY_STRING"], seen["wsgi.input"].read()) == ("", b"")
