"""Whose failures count together."""

from __future__ import annotations

import ipaddress
import threading

from hypothesis import given
from hypothesis import strategies as st

from patauth.model.address import client_network
from patauth.model.quota import Quota
from patauth.operations.failures import Failures
from tests.support.tables import each
from tests.support.threads import hold, in_threads

v4 = st.ip_addresses(v=4)
v6 = st.ip_addresses(v=6).filter(lambda address: address.ipv4_mapped is None)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class TestClientNetwork:
    @given(v4)
    def test_an_ipv4_address_is_one_client_in_every_spelling(self, address):
        spellings = [
            f"{address}",
            f"{address}:5678",
            f"::ffff:{address}",
            f"[::FFFF:{address}]",
            f"[::ffff:{address}]:80",
            f"::ffff:{int(address) >> 16:x}:{int(address) & 0xFFFF:x}",
        ]
        assert {client_network(text) for text in spellings} == {str(address)}

    @given(v6, st.integers(0, 2**64 - 1))
    def test_a_64_of_ipv6_is_one_client_in_every_spelling(self, address, other_half):
        neighbour = ipaddress.IPv6Address(int(address) >> 64 << 64 | other_half)
        if neighbour.ipv4_mapped is not None:
            return
        spellings = [
            f"{address}",
            address.exploded.upper(),
            f"[{address}]",
            f"[{address}]:443",
            f"{address}%eth0",
            f"[{address}%25eth0]:443",
            f"{neighbour}",
        ]
        expected = str(ipaddress.IPv6Network((address, 64), strict=False))
        assert {client_network(text) for text in spellings} == {expected}

    @given(v6, v6)
    def test_two_64s_are_two_clients(self, one, two):
        same = int(one) >> 64 == int(two) >> 64
        assert (client_network(str(one)) == client_network(str(two))) == same

    @each(
        "address",
        [
            *(None, "", " ", "unknown", "unix:", "unix:@", "/run/app.sock", "localhost", "_hidden", "12345"),
            *("1.2.3", "256.1.1.1", "1.2.3.4.5", "01.2.3.4", "1.2.3.4/8", "1.2.3.4:", "1.2.3.4:x", "١.2.3.4"),
            *("1.2.3.4, 5.6.7.8", "1.2.3.4\n", "[1.2.3.4]:80", "::1/128", "[::1", "::1]", ":::", "::1\n"),
            *("1:2:3:4:5:6:7:8:9", "::" * 5000),
        ],
    )
    def test_anything_else_is_unknown(self, address):
        assert client_network(address) is None

    @given(st.text(max_size=50) | st.text("0123456789abcdef:.[]%/", max_size=50))
    def test_any_text_is_a_client_or_unknown_and_a_clients_name_is_its_own(self, text):
        network = client_network(text)
        if network is not None:
            assert client_network(network.removesuffix("/64")) == network


class TestFailures:
    def test_so_many_are_refused_plainly_and_then_told_to_wait(self):
        clock = Clock()
        failures = Failures(Quota(20, 60), entries=10, timer=clock)
        decisions = [failures.charge("203.0.113.9") for _ in range(25)]
        assert [decision.allowed for decision in decisions] == [True] * 20 + [False] * 5
        assert {decision.name for decision in decisions} == {"failures"}
        assert [decision.remaining for decision in decisions[:20]] == list(range(19, -1, -1))
        clock.now += decisions[-1].retry_after
        assert failures.charge("203.0.113.9").allowed

    def test_addresses_do_not_share_a_quota_and_a_64_does(self):
        failures = Failures(Quota(1, 60), entries=10, timer=Clock())
        assert failures.charge("2001:db8::1").allowed
        assert not failures.charge("[2001:db8::2]:99").allowed
        assert failures.charge("2001:db8:0:1::1").allowed
        assert failures.charge("203.0.113.9").allowed
        assert not failures.charge("::ffff:203.0.113.9").allowed

    @each("address", [None, "", "unknown", "/run/app.sock"])
    def test_an_unknown_address_is_not_limited(self, address):
        failures = Failures(Quota(1, 60), entries=10)
        assert [failures.charge(address) for _ in range(5)] == [None] * 5

    def test_the_table_is_bounded_and_forgets_the_address_that_was_quiet_longest(self):
        failures = Failures(Quota(1, 60), entries=3, timer=Clock())
        failures.charge("10.0.0.1")
        failures.charge("10.0.0.2")
        assert not failures.charge("10.0.0.1").allowed  # refused, and the youngest again
        for last in range(3, 5):
            failures.charge(f"10.0.0.{last}")
        assert len(failures._tats) == 3
        assert not failures.charge("10.0.0.1").allowed
        assert failures.charge("10.0.0.2").allowed

    def test_a_thousand_addresses_leave_no_more_than_the_entries(self):
        failures = Failures(Quota(20, 60), entries=100)
        for number in range(1000):
            failures.charge(str(ipaddress.IPv4Address(number)))
        assert len(failures._tats) == 100

    def test_threads_together_get_no_more_than_the_quota(self):
        failures = Failures(Quota(100, 60), entries=10, timer=Clock())
        together = threading.Barrier(16)

        def charge():
            together.wait()
            return sum(failures.charge("203.0.113.9").allowed for _ in range(50))

        threads, outcomes = in_threads(charge, 16)
        for thread in threads:
            thread.join()
        assert sum(outcomes) == 100

    def test_a_signal_handler_that_comes_in_while_its_own_thread_counts_does_not_wait_for_it(self):
        failures = Failures(Quota(20, 60), entries=1, timer=Clock())

        def interrupted():
            with failures._lock:
                return [failures.charge(f"203.0.113.{number}").allowed for number in range(3)]

        thread = threading.Thread(target=interrupted, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()

    def test_a_child_starts_with_an_empty_table_and_a_free_lock(self):
        failures = Failures(Quota(1, 60), entries=10)
        failures.charge("203.0.113.9")
        hold(failures._lock)
        failures.after_fork()
        assert failures.charge("203.0.113.9").allowed
