from __future__ import annotations

import gc
import threading
from dataclasses import replace
from itertools import combinations_with_replacement

import pytest

from patauth import proofs
from patauth.errors import ConfigurationError, Overloaded, StoreUnavailable
from patauth.hashing import PROFILES, Digest, Hasher
from patauth.proofs import Proofs

from .test_hashing import in_threads, until

PAT = b"0123456789abcdef0123456789abcdef"
SECRET = bytes(range(32))
STORED = Digest(b"s" * 16, b"d" * 32, 8, 1, 1)


class Asked:
    """A hasher that only notes what it was asked, and answers `verdict` or raises it."""

    max_wait = 0.1

    def __init__(self, verdict=True):
        self.verdict = verdict
        self.questions = []

    def verify(self, secret, stored):
        self.questions.append((secret, stored))
        if isinstance(self.verdict, BaseException):
            raise self.verdict
        return self.verdict


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def make(hasher, ttl=900.0, entries=1000, **more):
    return Proofs(hasher, ttl=ttl, entries=entries, **more)


class TestMemory:
    @pytest.mark.parametrize("verdict", [True, False])
    def test_a_verdict_of_either_kind_is_computed_once(self, verdict):
        hasher = Asked(verdict)
        cache = make(hasher)
        assert [cache.check(PAT, SECRET, STORED) for _ in range(5)] == [verdict] * 5
        assert len(hasher.questions) == 1

    def test_a_real_hasher_computes_once_for_the_right_secret_and_once_for_a_wrong_one(self):
        hasher = Hasher(PROFILES["testing"], slots=1, queue=0)
        stored = hasher.hash(SECRET)
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
        assert len(cache._verdicts) == 10
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

    @pytest.mark.parametrize(("ttl", "entries"), [(-1, 10), (900, 0)])
    def test_a_cache_that_cannot_hold_anything_is_a_configuration_error(self, ttl, entries):
        with pytest.raises(ConfigurationError):
            make(Asked(), ttl=ttl, entries=entries)

    def test_a_child_forgets_all_and_has_a_free_lock(self):
        hasher = Asked()
        cache = make(hasher)
        cache.check(PAT, SECRET, STORED)
        cache._lock.acquire()
        cache.after_fork()
        assert cache.check(PAT, SECRET, STORED)
        assert len(hasher.questions) == 2


class TestKeys:
    @pytest.mark.parametrize(
        "change",
        [
            {"salt": b"S" * 16},
            {"digest": b"D" * 32},
            {"memory_kib": 9},
            {"time_cost": 2},
            {"parallelism": 2},
        ],
        ids=str,
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

    @pytest.mark.parametrize("together", [bytes(10), bytes(range(10))], ids=["all alike", "all different"])
    def test_however_the_same_bytes_are_split_into_parts_no_two_questions_share_an_answer(self, together):
        hasher = Asked()
        cache = make(hasher)
        splits = list(combinations_with_replacement(range(len(together) + 1), 3))
        for one, two, three in splits:
            stored = Digest(together[one:two], together[two:three], 8, 1, 1)
            cache.check(together[:one], together[three:], stored)
        assert len(hasher.questions) == len(splits) == 286

    def test_a_head_inside_a_part_does_not_make_two_questions_one(self):
        hasher = Asked()
        cache = make(hasher)
        cache.check(PAT, SECRET, STORED)
        head = proofs._HEAD.pack(len(PAT), 16, 32, 8, 1, 1)
        nothing = Digest(b"", b"", 8, 1, 1)
        cache.check(b"", PAT + STORED.salt + STORED.digest + SECRET, nothing)
        cache.check(b"", head + PAT + STORED.salt + STORED.digest + SECRET, nothing)
        assert len(hasher.questions) == 3

    def test_two_processes_never_use_the_same_key(self):
        one, two = make(Asked()), make(Asked())
        one.check(PAT, SECRET, STORED)
        two.check(PAT, SECRET, STORED)
        assert set(one._verdicts) != set(two._verdicts)

    @pytest.mark.parametrize(
        "claim", [{"memory_kib": 2**70}, {"time_cost": -1}, {"salt": bytes(300)}], ids=str
    )
    def test_a_record_with_absurd_numbers_is_an_outage_here_too(self, claim):
        cache = make(Hasher(PROFILES["testing"], slots=1, queue=0))
        with pytest.raises(StoreUnavailable):
            cache.check(PAT, SECRET, replace(STORED, **claim))

    def test_nothing_of_the_secret_stays_behind(self):
        cache = make(Asked())
        secret = b"canary-canary-canary-canary-cana"
        cache.check(PAT, secret, STORED)
        seen, todo = set(), [cache]
        while todo:  # everything that the cache refers to, to any depth
            thing = todo.pop()
            if id(thing) in seen or isinstance(thing, type) or callable(thing):
                continue
            seen.add(id(thing))
            if isinstance(thing, bytes | str):
                assert "canary" not in repr(thing)
            if not isinstance(thing, Asked):
                todo.extend(gc.get_referents(thing))
        assert len(seen) > 10
        assert "canary" not in repr(cache._verdicts) + repr(vars(cache))


class TestSingleFlight:
    """Many threads with one fresh credential. The leader is held until all the others have joined it."""

    FOLLOWERS = 63

    @pytest.fixture
    def joined(self, monkeypatch):
        """Counts the followers, who then wait as they always do."""
        count, lock, real = [], threading.Lock(), proofs._Flight.join

        def join(flight, timeout):
            with lock:
                count.append(timeout)
            return real(flight, 10)

        monkeypatch.setattr(proofs._Flight, "join", join)
        return count

    def ask(self, verdict, joined):
        """64 threads ask the same; the outcomes of all, and the hasher."""

        class Held(Asked):
            def verify(self, secret, stored):
                until(lambda: len(joined) == TestSingleFlight.FOLLOWERS)
                return super().verify(secret, stored)

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
        assert set(joined) == {Asked.max_wait + proofs._LONGEST_HASH}

    def test_who_comes_as_the_verdict_lands_does_not_hash_again(self):
        hasher = Asked(False)
        cache = make(hasher)
        cache.check(PAT, SECRET, STORED)
        (key,) = cache._verdicts
        assert cache._compute_once(key, SECRET, STORED) is False
        assert len(hasher.questions) == 1

    def test_a_follower_whose_leader_is_stuck_gives_up(self):
        with pytest.raises(Overloaded) as caught:
            proofs._Flight().join(0)
        assert caught.value.retry_after == 1

    def test_sixty_four_threads_compute_one_real_hash(self):
        hasher = Hasher(PROFILES["owasp"], slots=1, queue=0)
        stored = hasher.hash(SECRET)
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
