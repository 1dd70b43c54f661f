"""The client's address, as far as it can be believed."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from patauth.wsgi.request import client_address


def address_of(remote_addr: str, forwarded_for: str | None, trusted_proxies: int) -> str | None:
    environ = {"REMOTE_ADDR": remote_addr}
    if forwarded_for is not None:
        environ["HTTP_X_FORWARDED_FOR"] = forwarded_for
    return client_address(environ, trusted_proxies)


def test_without_trusted_proxies_headers_are_not_read() -> None:
    for header in (None, "", "6.6.6.6", "6.6.6.6, 7.7.7.7"):
        assert address_of("10.0.0.1", header, 0) == "10.0.0.1", header


def test_the_nth_entry_from_the_right_is_the_client() -> None:
    for header, proxies in (
        ("203.0.113.9", 1),
        ("6.6.6.6, 203.0.113.9", 1),
        ("6.6.6.6,203.0.113.9 , 10.0.0.2", 2),
        (",,,203.0.113.9", 1),
        ("203.0.113.9,10.0.0.3\t,10.0.0.2", 3),
    ):
        assert address_of("10.0.0.1", header, proxies) == "203.0.113.9", header


def test_with_too_few_entries_or_an_empty_one_it_is_the_peer() -> None:
    for header, proxies in (
        (None, 1),
        ("", 1),
        (" ", 1),
        ("6.6.6.6", 2),
        ("6.6.6.6,", 1),
        ("6.6.6.6,,9.9.9.9", 2),
    ):
        assert address_of("198.51.100.1", header, proxies) == "198.51.100.1", header


@given(
    st.lists(st.text("0123456789.:, ", max_size=20), max_size=5),
    st.lists(st.ip_addresses(v=4), min_size=1, max_size=4),
)
def test_nothing_that_a_client_sends_moves_its_own_address(
    sent: list[str], appended: list[IPv4Address]
) -> None:
    """`appended` is what the trusted proxies add, the outermost first: the client that called it."""
    header = ",".join([*sent, *map(str, appended)])
    assert address_of("10.0.0.1", header, len(appended)) == str(appended[0])
