"""The client's address, as far as it can be believed."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from werkzeug.middleware.proxy_fix import ProxyFix

from patauth.model.address import Address, check_proxy_networks, is_within
from patauth.wsgi.request import bare, client_address
from tests.support.tables import each

OURS = ("10.0.0.0/8", "2001:db8::/32")
CLIENT, PROXY = "203.0.113.9", "10.0.0.1"


def address_of(
    remote_addr: str,
    forwarded_for: str | None,
    trusted_proxies: int,
    proxy_networks: tuple[str, ...] = (),
    *,
    forwarded: str | None = None,
) -> Address:
    given = {
        "REMOTE_ADDR": remote_addr,
        "HTTP_X_FORWARDED_FOR": forwarded_for,
        "HTTP_FORWARDED": forwarded,
    }
    environ = {name: value for name, value in given.items() if value is not None}
    return client_address(trusted_proxies, check_proxy_networks(proxy_networks), environ)


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


@each(
    "peer, header, proxies, networks, charged, known",
    [
        # Without proxies, the peer is the client, unless the request says that somebody has passed it on.
        (CLIENT, None, 0, (), CLIENT, CLIENT),
        (CLIENT, "6.6.6.6", 0, (), CLIENT, None),
        (CLIENT, "", 0, (), CLIENT, None),
        ("", None, 0, (), None, None),
        # Where nobody knows the proxies' addresses, the field is read, and not believed for certain.
        (PROXY, CLIENT, 1, (), CLIENT, None),
        (PROXY, None, 1, (), PROXY, None),
        # A proxy that is known has said who called it.
        (PROXY, CLIENT, 1, OURS, CLIENT, CLIENT),
        (PROXY, "6.6.6.6, 203.0.113.9", 1, OURS, CLIENT, CLIENT),
        ("2001:db8::1", CLIENT, 1, OURS, CLIENT, CLIENT),
        (PROXY, "2001:db8:1::9", 1, OURS, "2001:db8:1::9", "2001:db8:1::9"),
        # It sends no entry, an empty one, or too few.
        (PROXY, None, 1, OURS, PROXY, None),
        (PROXY, "", 1, OURS, PROXY, None),
        (PROXY, "6.6.6.6,", 1, OURS, PROXY, None),
        (PROXY, CLIENT, 2, OURS, PROXY, None),
        (PROXY, "203.0.113.9,", 2, OURS, PROXY, None),
        # A peer that is no proxy is the client, whatever it sends; what it sends makes it unknown.
        (CLIENT, None, 1, OURS, CLIENT, CLIENT),
        (CLIENT, "6.6.6.6", 1, OURS, CLIENT, None),
        (CLIENT, "6.6.6.6, 10.0.0.2", 2, OURS, CLIENT, None),
        # Through two proxies, or around the outer one: then who called the inner one is no proxy.
        (PROXY, "203.0.113.9, 10.0.0.2", 2, OURS, CLIENT, CLIENT),
        (PROXY, "6.6.6.6, 203.0.113.9", 2, OURS, CLIENT, None),
        (PROXY, "6.6.6.6, 203.0.113.9, 10.0.0.2", 3, OURS, CLIENT, None),
        # Both spellings of a mapped address, in networks and in addresses.
        ("::ffff:10.0.0.1", CLIENT, 1, OURS, CLIENT, CLIENT),
        ("::ffff:a00:1", CLIENT, 1, OURS, CLIENT, CLIENT),
        (PROXY, CLIENT, 1, ("::ffff:10.0.0.0/104",), CLIENT, CLIENT),
        (PROXY, "203.0.113.9, ::FFFF:10.0.0.2", 2, OURS, CLIENT, CLIENT),
        # With ports and brackets, as some proxies write them.
        (PROXY, "203.0.113.9, 10.0.0.2:51234", 2, OURS, CLIENT, CLIENT),
        (PROXY, "203.0.113.9, [2001:db8::7]:51234", 2, OURS, CLIENT, CLIENT),
        # A Unix socket's peer has no address: it is a proxy if the setting says `unix`.
        ("", CLIENT, 1, ("unix",), CLIENT, CLIENT),
        ("localhost", CLIENT, 1, ("unix",), CLIENT, CLIENT),
        ("0.0.0.0", CLIENT, 1, ("unix",), CLIENT, CLIENT),
        ("0.0.0.0", CLIENT, 1, ("0.0.0.0/0",), None, None),
        ("0.0.0.0", None, 0, (), None, None),
        ("", CLIENT, 1, OURS, None, None),
        ("", CLIENT, 1, (), CLIENT, None),
        ("", None, 1, ("unix",), None, None),
        ("", CLIENT, 1, (*OURS, "unix"), CLIENT, CLIENT),
        (PROXY, "203.0.113.9, unix:", 2, (*OURS, "unix"), CLIENT, CLIENT),
        (PROXY, "203.0.113.9, unix:", 2, OURS, "unix:", None),
        (PROXY, CLIENT, 1, ("unix",), PROXY, None),
        ("unknown", CLIENT, 1, ("unix",), "unknown", None),
    ],
)
def test_an_address_is_known_only_from_a_peer_or_from_proxies_of_ours(
    peer: str,
    header: str | None,
    proxies: int,
    networks: tuple[str, ...],
    charged: str | None,
    known: str | None,
) -> None:
    assert address_of(peer, header, proxies, networks) == Address(charged, known)


@each("networks", [(), OURS])
def test_who_sends_forwarded_without_a_proxy_of_ours_has_no_known_address(networks: tuple[str, ...]) -> None:
    proxies = len(networks[:1])
    for value in ("", "for=6.6.6.6", "for=203.0.113.9"):
        assert address_of(CLIENT, None, proxies, networks, forwarded=value) == Address(CLIENT, None)
    if networks:  # a proxy that adds to the other field passes this one on
        assert address_of(PROXY, CLIENT, proxies, networks, forwarded="for=6.6.6.6").known == CLIENT


@given(
    st.integers(0, 4),
    st.lists(st.sampled_from([PROXY, "10.9.9.9", "::ffff:10.0.0.3"]), max_size=4),
    st.ip_addresses(network="192.0.0.0/4").map(str),
    st.lists(
        st.sampled_from([PROXY, "", "unix:", "198.51.100.1"]) | st.text("0123456789.:, ", max_size=9),
        max_size=4,
    ),
)
def test_nobody_outside_of_the_proxies_networks_moves_the_known_address(
    trusted: int, passed: list[str], client: str, sent: list[str]
) -> None:
    """`client` calls the last of the proxies `passed`, which may be more or fewer than are trusted."""
    peer, *hops = [*passed, client]
    header = ", ".join([*sent, *reversed(hops)]) if sent or hops else None
    found = address_of(peer, header, trusted, OURS)
    way = [*passed, client]
    assert found.known in (None, way[trusted] if trusted < len(way) else client)
    if len(passed) <= trusted:
        assert (found.known == client) == (len(passed) == trusted > 0 or header is None)


def test_behind_proxy_fix_an_address_is_known_only_if_it_leaves_the_address_alone() -> None:
    """docs/deployment.md, "Which address a request comes from"."""
    for proxies, networks, x_for, known in (
        (0, (), 1, None), (1, (), 1, None), (1, OURS, 1, None), (1, OURS, 0, CLIENT),
    ):  # fmt: skip
        found: list[Address] = []

        def app(environ: Any, start_response: Any, proxies: int = proxies, networks: Any = networks) -> Any:
            found.append(client_address(proxies, networks, environ))  # noqa: B023 - called at once
            return []

        environ = {"REMOTE_ADDR": PROXY, "HTTP_X_FORWARDED_FOR": f"6.6.6.6, {CLIENT}"}
        ProxyFix(app, x_for=x_for)(environ, lambda *_: None)
        assert [address.known for address in found] == [known]


def test_a_long_entry_is_no_address_and_is_not_kept() -> None:
    long = "9" * 8000
    found = address_of(PROXY, f"{CLIENT}, {long}", 1, OURS)
    assert len(found.known or "") <= 64
    assert not is_within(found.known, ("0.0.0.0/0",))
    assert address_of(PROXY, f"{CLIENT}, {long}", 2, OURS).known is None


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
