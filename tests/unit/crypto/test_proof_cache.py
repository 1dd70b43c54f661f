"""Proofs that a secret was right: remembered for a while, and found by one of many threads."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from itertools import combinations_with_replacement

import pytest

from patauth.crypto import proof_cache
from patauth.crypto.hashing import Digest, Hasher
from patauth.crypto.pepper import Pepper
from patauth.crypto.profiles import PROFILES
from patauth.crypto.proof_cache import ProofCache
from patauth.errors import Overloaded, StoreUnavailable
from tests.support.referents import texts_in
from tests.support.servers import until
from tests.support.tables import each
from tests.support.threads import hold, in_threads

PAT = b"0123456789abcdef0123456789abcdef"
SECRET = bytes(range(32))
OWNER = PAT[:4].hex()
STORED = Digest(b"s" * 16, b"d" * 32, 8, 1, 1)


class Asked:
    """A hasher that only notes what it was asked, and answers `verdict` or raises it."""

    def __init__(self, verdict=True):
        self.verdict = verdict
        self.questions = []

    def is_due(self, stored):
        return False

    wait = 0.1

    def verify(self, secret, stored, owner):
        self.questions.append((secret, stored))
        if isinstance(self.verdict, BaseException):
            raise self.verdict
        return self.verdict


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def make(hasher, ttl=900.0, entries=1000, **more):
    return ProofCache(hasher, ttl=ttl, entries=entries, **more)


class TestMemory:
    @each("verdict", [True, False])
    def test_a_verdict_of_either_kind_is_computed_once(self, verdict):
        hasher = Asked(verdict)
        cache = make(hasher)
        assert [cache.check(PAT, SECRET, STORED) for _ in range(5)] == [verdict] * 5
        assert len(hasher.questions) == 1

    def test_a_real_hasher_computes_once_for_the_right_secret_and_once_for_a_wrong_one(self):
        hasher = Hasher(PROFILES["testing"], slots=1, queue=0, wait=0)
        stored = hasher.hash(SECRET, OWNER)
        cache = make(hasher)
        assert [cache.check(PAT, SECRET, stored) for _ in range(3)] == [True] * 3
        assert [cache.check(PAT, b"wrong", stored) for _ in range(3)] == [False] * 3
        assert hasher.computed == 3

    def test_a_verdict_is_forgotten_after_its_time(self):
        hasher, clock = Asked(), Clock()
        cache = make(hasher, ttl=10, timer=clock)
        cache.check(PAT, SECRET, STORED)
        clock.now = 9.999
        cache.check(PAT, SECRET, STORED)
        assert len(hasher.questions) == 1
        clock.now = 10
        cache.check(PAT, SECRET, STORED)
        assert len(hasher.questions) == 2

    def test_being_asked_for_does_not_prolong_a_proof(self):
        hasher, clock = Asked(), Clock()
        cache = make(hasher, ttl=10, timer=clock)
        for second in range(100):
            clock.now = float(second)
            cache.check(PAT, SECRET, STORED)
        assert len(hasher.questions) == 10

    def test_the_proof_that_was_unused_longest_makes_room(self):
        hasher = Asked()
        cache = make(hasher, entries=2)
        for pat in (b"a", b"b", b"a", b"c", b"a"):
            cache.check(pat, SECRET, STORED)
        assert len(hasher.questions) == 3
        cache.check(b"b", SECRET, STORED)
        assert len(hasher.questions) == 4

    def test_the_cache_never_holds_more_than_its_entries(self):
        cache = make(Asked(), entries=10)
        for number in range(200):
            cache.check(PAT, number.to_bytes(32), STORED)
        assert len(cache._verdicts._kept) == 10
        assert not cache._flights

    def test_errors_are_not_remembered(self):
        hasher = Asked(Overloaded(retry_after=1))
        cache = make(hasher)
        for _ in range(3):
            with pytest.raises(Overloaded):
                cache.check(PAT, SECRET, STORED)
        hasher.verdict = True
        assert cache.check(PAT, SECRET, STORED)
        assert len(hasher.questions) == 4

    def test_a_child_forgets_all_and_has_a_free_lock(self):
        hasher = Asked()
        cache = make(hasher)
        cache.check(PAT, SECRET, STORED)
        hold(cache._lock)
        cache.after_fork()
        assert cache.check(PAT, SECRET, STORED)
        assert len(hasher.questions) == 2


class TestKeys:
    @each(
        "change",
        [
            {"salt": b"S" * 16},
            {"digest": b"D" * 32},
            {"memory_kib": 9},
            {"time_cost": 2},
            {"parallelism": 2},
            {"pepper": b"\1\2\3\4"},
        ],
    )
    def test_a_proof_never_speaks_for_a_record_that_changed(self, change):
        hasher = Asked(True)
        cache = make(hasher)
        cache.check(PAT, SECRET, STORED)
        hasher.verdict = False
        assert cache.check(PAT, SECRET, replace(STORED, **change)) is False

    def test_a_proof_speaks_for_one_pat_and_one_secret_only(self):
        hasher = Asked(True)
        cache = make(hasher)
        cache.check(PAT, SECRET, STORED)
        hasher.verdict = False
        assert cache.check(b"f" * 32, SECRET, STORED) is False
        assert cache.check(PAT, SECRET[::-1], STORED) is False
        assert cache.check(PAT, STORED.digest, STORED) is False

    @each("together", [bytes(10), bytes(range(10))])
    def test_however_the_same_bytes_are_split_into_parts_no_two_questions_share_an_answer(self, together):
        hasher = Asked()
        cache = make(hasher)
        splits = list(combinations_with_replacement(range(len(together) + 1), 4))
        for one, two, three, four in splits:
            stored = Digest(together[one:two], together[two:three], 8, 1, 1, together[three:four])
            cache.check(together[:one], together[four:], stored)
        assert len(hasher.questions) == len(splits) == 1001

    def test_a_head_inside_a_part_does_not_make_two_questions_one(self):
        hasher = Asked()
        cache = make(hasher)
        cache.check(PAT, SECRET, STORED)
        head = proof_cache._HEAD.pack(len(PAT), 16, 32, 4, 8, 1, 1)
        nothing = Digest(b"", b"", 8, 1, 1, b"")
        parts = PAT + STORED.salt + STORED.digest + STORED.pepper
        cache.check(b"", parts + SECRET, nothing)
        cache.check(b"", head + parts + SECRET, nothing)
        assert len(hasher.questions) == 3

    def test_all_parts_of_ours_fit_into_one_block_of_the_mac(self):
        stored = Digest(bytes(16), bytes(32), 19_456, 2, 1)
        parts = (bytes(16), stored.salt, stored.digest, stored.pepper, bytes(32))
        assert proof_cache._HEAD.size + sum(map(len, parts)) <= blake2b().block_size

    def test_two_processes_never_use_the_same_key(self):
        one, two = make(Asked()), make(Asked())
        one.check(PAT, SECRET, STORED)
        two.check(PAT, SECRET, STORED)
        assert set(one._verdicts._kept) != set(two._verdicts._kept)

    @each("claim", [{"memory_kib": 2**70}, {"time_cost": -1}, {"salt": bytes(300)}])
    def test_a_record_with_absurd_numbers_is_an_outage_here_too(self, claim):
        cache = make(Hasher(PROFILES["testing"], slots=1, queue=0, wait=0))
        with pytest.raises(StoreUnavailable):
            cache.check(PAT, SECRET, replace(STORED, **claim))

    def test_nothing_of_the_secret_stays_behind(self):
        asked = Asked()
        cache = make(asked)
        secret = b"canary-canary-canary-canary-cana"
        cache.check(PAT, secret, STORED)
        asked.questions.clear()
        kept = texts_in(cache)
        assert kept
        assert not [text for text in kept if b"canary" in text]
        assert "canary" not in repr(cache._verdicts._kept) + repr(vars(cache))


class TestRenewal:
    """A new digest for an old one, where the profile has changed."""

    def renewing(self, **more):
        hasher = Hasher(PROFILES["testing"], slots=1, queue=0, wait=0)
        return make(hasher, **more), hasher

    def test_the_new_digest_is_one_of_the_secret_and_its_proof_is_there_at_once(self):
        cache, hasher = self.renewing()
        digest = cache.renew(PAT, SECRET)
        assert hasher.verify(SECRET, digest, OWNER)
        hashes = hasher.computed
        assert cache.check(PAT, SECRET, digest) is True
        assert hasher.computed == hashes
        assert cache.check(PAT, b"wrong", digest) is False
        assert cache.check(b"f" * 32, SECRET, digest) is True
        assert hasher.computed == hashes + 2

    def test_a_pat_is_hashed_again_once_in_15_minutes_whatever_its_secret(self):
        clock = Clock()
        cache, hasher = self.renewing(timer=clock)
        assert cache.renew(PAT, SECRET)
        for clock.now in (0.0, 1.0, 899.999):
            assert cache.renew(PAT, SECRET) is None
            assert cache.renew(PAT, b"another secret") is None
        assert hasher.computed == 1
        assert cache.renew(b"f" * 32, SECRET), "each PAT by itself"
        clock.now = 900.0
        assert cache.renew(PAT, SECRET)

    def test_a_failure_counts_as_one_and_is_told(self):
        clock = Clock()
        cache, hasher = self.renewing(timer=clock)
        held = hasher._slots.take(0)
        with pytest.raises(Overloaded):
            cache.renew(PAT, SECRET)
        hasher._slots.give_back(held)
        assert cache.renew(PAT, SECRET) is None
        clock.now = 900.0
        assert cache.renew(PAT, SECRET)

    def test_no_more_pats_are_remembered_than_proofs(self):
        cache, _ = self.renewing(entries=10)
        for number in range(50):
            cache.renew(number.to_bytes(16), SECRET)
        assert len(cache._renewed._kept) == len(cache._verdicts._kept) == 10

    def test_a_child_knows_of_no_renewal(self):
        cache, _ = self.renewing()
        cache.renew(PAT, SECRET)
        cache.after_fork()
        assert cache.renew(PAT, SECRET)

    def test_only_other_costs_than_the_profiles_are_due(self):
        cache, hasher = self.renewing()
        assert not cache.is_due(hasher.hash(SECRET, OWNER))
        assert cache.is_due(replace(hasher.hash(SECRET, OWNER), memory_kib=16))

    def test_a_digest_without_the_newest_pepper_is_due_and_its_new_one_has_it_with_its_proof(self):
        old, new = Pepper("old", b"o" * 32), Pepper("new", b"n" * 32)
        hasher = Hasher(PROFILES["testing"], slots=1, queue=0, wait=0, peppers=(old, new))
        cache = make(hasher)
        plain = Hasher(PROFILES["testing"], slots=1, queue=0, wait=0).hash(SECRET, OWNER)
        assert cache.is_due(plain)
        renewed = cache.renew(PAT, SECRET)
        assert renewed.pepper == new.mark
        assert not cache.is_due(renewed)
        hashes = hasher.computed
        assert cache.check(PAT, SECRET, renewed) is True
        assert hasher.computed == hashes
        # The same digest under another mark is another question, and its answer another one.
        for mark in (old.mark, bytes(4)):
            assert cache.check(PAT, SECRET, replace(renewed, pepper=mark)) is False
        assert cache.check(PAT, SECRET, plain) is True

    def test_that_a_pepper_is_missing_is_never_remembered(self):
        stored = Hasher(PROFILES["testing"], slots=1, queue=0, wait=0, peppers=[Pepper("a", b"a" * 32)]).hash(
            SECRET, OWNER
        )
        cache, hasher = self.renewing()
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                cache.check(PAT, SECRET, stored)
        assert hasher.computed == len(cache._verdicts._kept) == 0

    def test_of_many_threads_one_hashes_again(self):
        cache, hasher = self.renewing()
        threads, outcomes = in_threads(lambda: cache.renew(PAT, SECRET), 32)
        for thread in threads:
            thread.join()
        assert sum(outcome is not None for outcome in outcomes) == hasher.computed == 1


class TestSingleFlight:
    """Many threads with one fresh credential. The leader is held until all the others have joined it."""

    FOLLOWERS = 63

    @pytest.fixture
    def joined(self, monkeypatch):
        """Counts the followers, who then wait as they always do."""
        count, lock, real = [], threading.Lock(), proof_cache._Flight.join

        def join(flight, timeout):
            with lock:
                count.append(timeout)
            return real(flight, 10)

        monkeypatch.setattr(proof_cache._Flight, "join", join)
        return count

    def ask(self, verdict, joined):
        """64 threads ask the same; the outcomes of all, and the hasher."""

        class Held(Asked):
            def verify(self, secret, stored, owner):
                until(lambda: len(joined) == TestSingleFlight.FOLLOWERS)
                return super().verify(secret, stored, owner)

        hasher = Held(verdict)
        cache = make(hasher)
        threads, outcomes = in_threads(lambda: cache.check(PAT, SECRET, STORED), self.FOLLOWERS + 1)
        for thread in threads:
            thread.join()
        assert not cache._flights
        return outcomes, hasher, cache

    @pytest.mark.parametrize("verdict", [True, False])
    def test_one_hashes_and_all_get_its_verdict(self, joined, verdict):
        outcomes, hasher, _ = self.ask(verdict, joined)
        assert outcomes == [verdict] * (self.FOLLOWERS + 1)
        assert len(hasher.questions) == 1

    @pytest.mark.parametrize(
        "error", [Overloaded(retry_after=7), StoreUnavailable(detail="odd record")], ids=repr
    )
    def test_all_get_the_leaders_error_each_its_own_copy_and_the_next_one_hashes(self, joined, error):
        outcomes, hasher, cache = self.ask(error, joined)
        assert {type(outcome) for outcome in outcomes} == {type(error)}
        assert {(outcome.retry_after, outcome.detail, str(outcome)) for outcome in outcomes} == {
            (error.retry_after, error.detail, str(error))
        }
        assert len({id(outcome) for outcome in outcomes}) == self.FOLLOWERS + 1
        assert len(hasher.questions) == 1
        hasher.verdict = True
        assert cache.check(PAT, SECRET, STORED)

    def test_a_fault_in_the_leader_is_an_overload_to_the_others(self, joined):
        outcomes, hasher, cache = self.ask(ZeroDivisionError(), joined)
        kinds = [type(outcome) for outcome in outcomes]
        assert kinds.count(ZeroDivisionError) == 1
        assert kinds.count(Overloaded) == self.FOLLOWERS
        hasher.verdict = True
        assert cache.check(PAT, SECRET, STORED)

    def test_a_leader_stopped_from_outside_leaves_nothing_behind(self):
        hasher = Asked(KeyboardInterrupt())
        cache = make(hasher)
        with pytest.raises(KeyboardInterrupt):
            cache.check(PAT, SECRET, STORED)
        hasher.verdict = True
        assert cache.check(PAT, SECRET, STORED)

    def test_a_follower_waits_for_the_slot_and_the_hash_and_no_longer(self, joined):
        self.ask(True, joined)
        assert set(joined) == {Asked.wait + proof_cache._LONGEST_HASH}

    def test_a_pat_has_at_most_two_hashes_under_way_and_others_do_not_count(self):
        """It has two secrets at most; one whose secrets are made anew all the time has no more hashes."""
        inside, go = [], threading.Event()

        class Slow(Asked):
            def verify(self, secret, stored, owner):
                inside.append((secret, owner))
                assert go.wait(10)
                return super().verify(secret, stored, owner)

        cache = make(Slow())
        secrets = iter([b"1", b"2"])
        threads, outcomes = in_threads(lambda: cache.check(PAT, next(secrets), STORED), 2)
        until(lambda: len(inside) == 2)
        with pytest.raises(Overloaded) as caught:
            cache.check(PAT, b"3", STORED)
        assert "two hashes of one PAT are under way" in caught.value.detail
        more, found = in_threads(lambda: cache.check(b"another" + PAT, b"3", STORED), 1)
        follower, shared = in_threads(lambda: cache.check(PAT, b"1", STORED), 1)
        until(lambda: len(inside) == 3)
        go.set()
        for thread in threads + more + follower:
            thread.join()
        assert outcomes + found + shared == [True] * 4
        assert {owner for _, owner in inside} == {OWNER, b"anot".hex()}
        assert cache.check(PAT, b"3", STORED)

    def test_the_wait_for_a_hash_is_within_the_context_and_a_proof_is_not(self):
        entered, hasher = [], Asked()
        cache = make(hasher)

        @contextmanager
        def paused():
            entered.append(len(hasher.questions))
            yield

        for _ in range(3):
            cache.check(PAT, SECRET, STORED, paused)
        assert entered == [0]

    def test_who_comes_as_the_verdict_lands_does_not_hash_again(self):
        hasher = Asked(False)
        cache = make(hasher)
        cache.check(PAT, SECRET, STORED)
        (key,) = cache._verdicts._kept
        assert cache._compute_once(key, PAT, SECRET, STORED) is False
        assert len(hasher.questions) == 1

    def test_a_follower_whose_leader_is_stuck_gives_up(self):
        with pytest.raises(Overloaded) as caught:
            proof_cache._Flight(PAT).join(0)
        assert caught.value.retry_after == 1

    def test_sixty_four_threads_compute_one_real_hash(self):
        hasher = Hasher(PROFILES["owasp"], slots=1, queue=0, wait=0)
        stored = hasher.hash(SECRET, OWNER)
        cache = make(hasher)
        together = threading.Barrier(64)

        def ask():
            together.wait()
            return cache.check(PAT, SECRET, stored)

        threads, outcomes = in_threads(ask, 64)
        for thread in threads:
            thread.join()
        assert outcomes == [True] * 64
        assert hasher.computed == 2  # the stored one, and one for all of them
