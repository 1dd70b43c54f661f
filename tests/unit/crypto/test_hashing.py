"""Digests of secrets: their costs, their caps, and how many are computed at the same time."""

from __future__ import annotations

import base64
import hashlib
import resource
import sys
import threading
from dataclasses import replace

import pytest
from argon2.exceptions import HashingError
from argon2.low_level import Type, verify_secret
from hypothesis import given
from hypothesis import strategies as st

from patauth.crypto import hashing
from patauth.crypto.hashing import Digest, Hasher
from patauth.crypto.pepper import NO_PEPPER, Pepper
from patauth.crypto.profiles import PROFILES, Profile
from patauth.errors import ConfigurationError, Overloaded, StoreUnavailable
from patauth.settings import Settings
from tests.support.servers import until
from tests.support.tables import each
from tests.support.threads import all_at_once, hold, in_threads

SECRET = b"a secret of thirty-two bytes....."[:32]
OWNER, ANOTHER = "0123abcd", "4567cdef"  # owner tags
TESTING = PROFILES["testing"]
A, B = Pepper("a", b"a" * 32), Pepper("b", b"b" * 32)


def make(slots=2, queue=32, wait=10, **more):
    return Hasher(TESTING, slots=slots, queue=queue, wait=wait, **more)


class Blocked:
    """Stands in for argon2: holds each hash until `go`, and counts those inside at the same time."""

    def __init__(self, monkeypatch):
        self.go = threading.Event()
        self.inside = self.most = 0
        self._lock = threading.Lock()
        monkeypatch.setattr(hashing, "_argon2id", self)

    def __call__(self, *_):
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        assert self.go.wait(10)
        with self._lock:
            self.inside -= 1
        return bytes(32)


class TestDigests:
    def test_the_right_secret_verifies_and_others_do_not(self):
        hasher = make()
        stored = hasher.hash(SECRET, OWNER)
        assert hasher.verify(SECRET, stored, OWNER) is True
        assert hasher.verify(SECRET[:-1], stored, OWNER) is False
        assert hasher.verify(SECRET + b"\0", stored, OWNER) is False
        assert hasher.verify(stored.digest, stored, OWNER) is False
        assert hasher.computed == 5

    @each("profile", PROFILES.values())
    def test_argon2s_own_verifier_accepts_the_digest_under_the_costs_that_it_claims(self, profile):
        stored = Hasher(profile, slots=1, queue=0, wait=0).hash(SECRET, OWNER)
        salt, digest = (base64.b64encode(part).rstrip(b"=") for part in (stored.salt, stored.digest))
        costs = f"m={stored.memory_kib},t={stored.time_cost},p={stored.parallelism}".encode()
        assert verify_secret(b"$argon2id$v=19$%s$%s$%s" % (costs, salt, digest), SECRET, Type.ID)

    def test_ten_thousand_digests_of_one_secret_have_as_many_salts(self):
        hasher = make()
        digests = [hasher.hash(SECRET, OWNER) for _ in range(10_000)]
        assert (
            len({stored.salt for stored in digests}) == len({stored.digest for stored in digests}) == 10_000
        )
        assert {(len(stored.salt), len(stored.digest)) for stored in digests} == {(16, 32)}

    def test_repr_shows_the_costs_and_nothing_of_salt_or_digest(self):
        assert repr(make().hash(SECRET, OWNER)) == "Digest(memory_kib=8, time_cost=1, parallelism=1)"

    def test_a_digest_of_another_profile_still_verifies(self):
        stored = Hasher(Profile("old", 64, 2, 2), slots=1, queue=0, wait=0).hash(SECRET, OWNER)
        assert make().verify(SECRET, stored, OWNER)


class TestProfiles:
    def test_all_but_the_one_for_tests_meet_owasps_minimum(self):
        for name, profile in PROFILES.items():
            assert profile.name == name
            if name != "testing":
                assert profile.memory_kib >= 19 * 1024
                assert profile.time_cost >= 2

    @each("costs", [(65_537, 1, 1), (64, 11, 1), (64, 1, 5), (7, 1, 1), (8, 0, 1), (8, 1, 0)])
    def test_a_profile_that_verify_would_refuse_cannot_be_used(self, costs):
        with pytest.raises(ConfigurationError):
            Hasher(Profile("odd", *costs), slots=1, queue=0, wait=0)


class TestDue:
    """Which digests are to be made again: those of other costs than the profile's, higher or lower."""

    @each("profile", PROFILES.values())
    def test_a_profiles_own_digests_never_are(self, profile):
        hasher = Hasher(profile, slots=1, queue=0, wait=0)
        assert not hasher.is_due(hasher.hash(SECRET, OWNER))

    @each(
        "change",
        [
            {"memory_kib": 63},
            {"memory_kib": 65},
            {"time_cost": 1},
            {"time_cost": 3},
            {"parallelism": 1},
            {"parallelism": 3},
        ],
    )
    def test_one_other_cost_is_enough_and_salt_and_digest_are_none(self, change):
        hasher = Hasher(Profile("any", 64, 2, 2), slots=1, queue=0, wait=0)
        stored = hasher.hash(SECRET, OWNER)
        assert hasher.is_due(replace(stored, **change))
        assert not hasher.is_due(replace(stored, salt=b"another", digest=b"other"))


class TestPepper:
    """C5: before argon2, a secret is keyed with the newest of the peppers; the digest says with which."""

    def test_argon2_gets_the_hmac_of_the_secret_and_never_the_secret(self, monkeypatch):
        """By another implementation of HMAC (RFC 2104), so that stores are readable for years."""
        got = []

        def note(secret, *_):
            got.append(secret)
            return bytes(32)

        monkeypatch.setattr(hashing, "_argon2id", note)
        hasher = make(peppers=[A])
        hasher.verify(SECRET, hasher.hash(SECRET, OWNER), OWNER)
        pads = [bytes(byte ^ pad for byte in A.key.ljust(64, b"\0")) for pad in (0x36, 0x5C)]
        inner = hashlib.sha256(pads[0] + SECRET).digest()
        assert got == [hashlib.sha256(pads[1] + inner).digest()] * 2

    def test_the_mark_is_the_start_of_sha_256_of_the_id(self):
        assert make(peppers=[A]).hash(SECRET, OWNER).pepper == A.mark == hashlib.sha256(b"a").digest()[:4]
        assert (
            make().hash(SECRET, OWNER).pepper
            == make(peppers=[A, None]).hash(SECRET, OWNER).pepper
            == NO_PEPPER
        )

    @each("peppers", [[], [A], [A, B], [B, A], [A, B, None]])
    def test_all_that_are_known_verify_and_only_digests_of_the_newest_are_not_due(self, peppers):
        hasher = make(peppers=peppers)
        newest = peppers[-1] if peppers else None
        for used in {None, *peppers}:
            stored = make(peppers=[used]).hash(SECRET, OWNER)
            assert hasher.verify(SECRET, stored, OWNER) is True
            assert hasher.verify(SECRET[::-1], stored, OWNER) is False
            assert hasher.is_due(stored) is (used != newest)

    def test_each_digest_verifies_by_its_own_mark_and_key_alone(self):
        for used in (None, A, B):
            stored = make(peppers=[used]).hash(SECRET, OWNER)
            for other in {None, A, B} - {used}:
                mark = other.mark if other else NO_PEPPER
                assert make(peppers=[A, B]).verify(SECRET, replace(stored, pepper=mark), OWNER) is False
        assert (
            make(peppers=[Pepper("a", B.key)]).verify(SECRET, make(peppers=[A]).hash(SECRET, OWNER), OWNER)
            is False
        )

    @each("mark", [B.mark, b"\0\0\0\1", b"", A.mark + b"\0"])
    def test_a_pepper_that_is_not_there_is_an_outage_and_no_verdict(self, mark):
        """401 would tell a client to give up a secret that is right."""
        hasher = make(peppers=[A])
        for secret in (SECRET, b"wrong"):
            with pytest.raises(StoreUnavailable) as caught:
                hasher.verify(secret, replace(hasher.hash(SECRET, OWNER), pepper=mark), OWNER)
            assert caught.value.detail.startswith("pepper: ")
            assert caught.value.detail.endswith(f" {mark.hex()}")
            assert "pepper" not in str(caught.value), "the client need not know"
        assert hasher.computed == 2, "nothing but the two that were stored"

    def test_neither_pepper_nor_digest_shows_a_key(self):
        assert repr([A, make(peppers=[A]).hash(SECRET, OWNER)]) == (
            "[Pepper(id='a'), Digest(memory_kib=8, time_cost=1, parallelism=1)]"
        )


class TestCaps:
    """What a record claims never makes a hash cost more than the caps (fact C7)."""

    @each(
        "claim",
        [
            {"memory_kib": 4 * 1024 * 1024},
            {"memory_kib": 65_537},
            {"memory_kib": 2**70},
            {"memory_kib": 7},
            {"memory_kib": 31, "parallelism": 4},
            {"memory_kib": -1},
            {"time_cost": 11},
            {"time_cost": 0},
            {"parallelism": 5},
            {"parallelism": 0},
            {"salt": b""},
            {"salt": bytes(15)},
            {"digest": b""},
            {"digest": bytes(4)},
            {"digest": bytes(64)},
        ],
    )
    def test_a_record_that_cannot_be_ours_is_an_outage_and_no_verdict(self, claim):
        hasher = make()
        stored = replace(Digest(bytes(16), bytes(32), 8, 1, 1), **claim)
        with pytest.raises(StoreUnavailable) as caught:
            hasher.verify(SECRET, stored, OWNER)
        assert hasher.computed == 0
        assert caught.value.detail.startswith("a stored argon2 digest is refused: ")
        assert "argon2" not in str(caught.value)

    def test_the_caps_themselves_are_allowed(self, monkeypatch):
        Blocked(monkeypatch).go.set()
        assert make().verify(SECRET, Digest(bytes(16), bytes(32), 65_536, 10, 4), OWNER)

    def test_no_memory_is_taken_for_a_claim_of_four_gibibytes(self):
        unit = 1 if sys.platform == "darwin" else 1024
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        for _ in range(5):
            with pytest.raises(StoreUnavailable):
                make().verify(SECRET, Digest(bytes(16), bytes(32), 4 * 1024 * 1024, 1, 1), OWNER)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - before < 64 * 1024 * 1024

    @given(
        st.builds(
            Digest,
            st.binary(max_size=40),
            st.binary(max_size=40),
            st.integers(),
            st.integers(),
            st.integers(),
            st.binary(max_size=5),
        )
    )
    def test_any_record_gives_a_verdict_or_an_outage(self, stored):
        try:
            assert make().verify(SECRET, stored, OWNER) is False
        except StoreUnavailable:
            pass


STORED = Digest(bytes(16), bytes(32), 8, 1, 1)


class TestSlots:
    def test_at_most_so_many_hash_at_the_same_time(self, monkeypatch):
        argon2 = Blocked(monkeypatch)
        hasher = make(slots=3, queue=32)
        threads, outcomes = in_threads(lambda: hasher.verify(SECRET, STORED, OWNER), 20)
        until(lambda: hasher._slots.waiting == 17)
        assert argon2.inside == 3
        argon2.go.set()
        for thread in threads:
            thread.join()
        assert argon2.most == 3
        assert hasher.computed == outcomes.count(True) == 20

    def test_who_finds_the_queue_full_is_told_at_once_to_come_back(self, monkeypatch):
        argon2 = Blocked(monkeypatch)
        hasher = make(slots=1, queue=2)
        threads, outcomes = in_threads(lambda: hasher.verify(SECRET, STORED, OWNER), 3)
        until(lambda: hasher._slots.waiting == 2)
        with pytest.raises(Overloaded) as caught:
            hasher.verify(SECRET, STORED, OWNER)
        assert caught.value.retry_after == 1
        assert "2 threads wait already" in caught.value.detail
        argon2.go.set()
        for thread in threads:
            thread.join()
        assert outcomes == [True] * 3
        assert hasher.hash(SECRET, OWNER)  # and all is free again

    def test_who_waits_too_long_is_told_to_come_back_and_leaves_the_queue(self, monkeypatch):
        argon2 = Blocked(monkeypatch)
        hasher = make(slots=1, queue=1, wait=0.005)
        threads, _ = in_threads(lambda: hasher.hash(SECRET, OWNER), 1)
        until(lambda: argon2.inside == 1)
        for _ in range(3):
            for ask in (lambda: hasher.verify(SECRET, STORED, OWNER), lambda: hasher.hash(SECRET, ANOTHER)):
                with pytest.raises(Overloaded, match="busy") as caught:
                    ask()
                assert "no hash slot came free in 0.005 s" in caught.value.detail
        assert (hasher._slots.waiting, hasher._new.waiting, hasher._new.held) == (0, 0, 1)
        argon2.go.set()
        threads[0].join()
        assert hasher.hash(SECRET, OWNER)

    def test_64_owners_who_come_at_once_are_all_served(self):
        """On a process that has just started, with the queue that it has as installed."""
        installed = Settings(store_url="memory:")
        hasher = make(slots=2, queue=installed.hash_queue)
        stored = hasher.hash(SECRET, OWNER)
        asks = [lambda n=n: hasher.verify(SECRET, stored, f"{n:08x}") for n in range(64)]
        assert all_at_once(asks) == [True] * 64

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError(), MemoryError()], ids=repr)
    def test_a_slot_comes_back_when_the_hash_raises(self, monkeypatch, error):
        def fail(*_):
            raise error

        hasher = make(slots=1, queue=0, wait=0)
        with monkeypatch.context() as patch:
            patch.setattr(hashing, "_argon2id", fail)
            for _ in range(3):
                with pytest.raises(type(error)):
                    hasher.hash(SECRET, OWNER)
        assert hasher.computed == 0
        assert hasher.hash(SECRET, OWNER)

    def test_argon2_without_memory_is_an_overload(self, monkeypatch):
        def fail(*_, **__):
            raise HashingError("Memory allocation error")

        hasher = make(slots=1, queue=0, wait=0)
        with monkeypatch.context() as patch:
            patch.setattr("argon2.low_level.hash_secret_raw", fail)
            with pytest.raises(Overloaded) as caught:
                hasher.hash(SECRET, OWNER)
        assert caught.value.detail == "argon2: Memory allocation error"
        assert hasher.hash(SECRET, OWNER)

    def test_a_child_starts_with_all_slots_even_if_the_parent_holds_them(self):
        hasher = make(slots=1, queue=0, wait=0)
        held = [lane.take(0) for lane in (hasher._slots, hasher._new)]
        for lane in (hasher._slots, hasher._new):
            hold(lane._lock)
        hasher.after_fork()
        assert None not in held
        assert hasher.hash(SECRET, OWNER)


class TestLanes:
    """New digests take at most half of the slots, and one for each owner; owners take turns."""

    @each(("slots", "most"), [(1, 1), (2, 1), (3, 1), (4, 2), (9, 4)])
    def test_new_digests_take_at_most_half_of_the_slots(self, monkeypatch, slots, most):
        argon2 = Blocked(monkeypatch)
        hasher = make(slots=slots)
        owners = iter(f"{number:08x}" for number in range(20))
        threads, outcomes = in_threads(lambda: hasher.hash(SECRET, next(owners)), 20)
        until(lambda: hasher._new.waiting == 20 - most)
        until(lambda: argon2.inside == most)
        assert hasher._slots.waiting == 0, "they do not fill the queue of the others"
        checks, found = in_threads(lambda: hasher.verify(SECRET, STORED, OWNER), slots - most)
        until(lambda: argon2.inside == slots)
        argon2.go.set()
        for thread in threads + checks:
            thread.join()
        assert found == [True] * (slots - most)
        assert {type(outcome) for outcome in outcomes} == {Digest}

    def test_an_owner_makes_one_new_digest_at_a_time_and_others_go_on(self, monkeypatch):
        argon2 = Blocked(monkeypatch)
        hasher = make(slots=8)
        threads, outcomes = in_threads(lambda: hasher.hash(SECRET, OWNER), 20)
        until(lambda: hasher._new.waiting == 19)
        assert argon2.inside == 1
        others, found = in_threads(lambda: hasher.hash(SECRET, ANOTHER), 1)
        until(lambda: argon2.inside == 2)
        argon2.go.set()
        for thread in threads + others:
            thread.join()
        assert {type(outcome) for outcome in outcomes + found} == {Digest}

    def test_a_new_digest_stands_before_no_check_that_came_earlier(self, monkeypatch):
        order, go = [], threading.Semaphore(0)

        def argon2(secret, *_):
            assert go.acquire(timeout=10)
            order.append(secret)
            return bytes(32)

        monkeypatch.setattr(hashing, "_argon2id", argon2)
        hasher = make(slots=1)
        threads = []
        for number, secret in enumerate([b"new"] * 5 + [b"check"] + [b"new"] * 5):
            ask = {
                b"new": lambda: hasher.hash(b"new", OWNER),
                b"check": lambda: hasher.verify(b"check", STORED, ANOTHER),
            }[secret]
            threads += in_threads(ask, 1)[0]
            until(lambda n=number: hasher._slots.held + hasher._slots.waiting + hasher._new.waiting == n + 1)
        for _ in threads:
            go.release()
        for thread in threads:
            thread.join()
        assert order == [b"new", b"check"] + [b"new"] * 9
