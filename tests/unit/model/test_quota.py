"""Quotas: what passes, what remains, and when to come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patauth.errors import ConfigurationError
from patauth.model import quota
from patauth.model.quota import Decision, Quota, admit
from tests.support.tables import each

SECOND = 1_000_000  # µs
NOW = 1_750_000_000 * SECOND

quotas = st.builds(Quota, st.integers(1, 1_000_000), st.integers(1, 86_400))
small = st.builds(Quota, st.integers(1, 8), st.integers(1, 5))
# A tat of any origin: none, of the past, or of another clock or quota.
tats = st.none() | st.integers(NOW - 10**12, NOW + 10**12)


def decide(step, of, name="requests"):
    return Decision(step.allowed, name, of, step.backlog_us, step.wait_us)


def passed(of, times):
    """The times, in µs, of the requests that pass; tat is kept as a store keeps it."""
    tat, through = None, []
    for now in times:
        step = admit(tat, now, of)
        tat = step.tat_us
        if step.allowed:
            through.append(now)
    return through


class TestQuota:
    @given(quotas)
    def test_its_text_is_read_back(self, of):
        assert quota.parse(str(of)) == of

    @each(
        "text",
        [
            *(
                "",
                "100",
                "100/",
                "/10",
                "0/10",
                "100/0",
                "-1/10",
                "+1/10",
                "1.5/10",
                "1e3/10",
                "1_0/10",
                "01/10",
            ),
            *(" 1/10", "1/ 10", "1/10\n", "１/10", "1000001/1", "1/86401", "1/2/3", "9" * 5000 + "/1"),
        ],
    )
    def test_any_other_text_is_a_configuration_error(self, text):
        with pytest.raises(ConfigurationError):
            quota.parse(text)

    @each(("count", "seconds"), [(0, 1), (1, 0), (-1, 1), (1_000_001, 1), (1, 86_401)])
    def test_a_quota_out_of_bounds_cannot_be_made(self, count, seconds):
        with pytest.raises(ConfigurationError):
            Quota(count, seconds)

    @given(quotas)
    def test_rounding_never_shortens_the_emission_interval(self, of):
        assert of.emission_us * of.count >= of.seconds * SECOND
        assert (of.emission_us - 1) * of.count < of.seconds * SECOND
        assert of.tolerance_us == of.count * of.emission_us


class TestAdmit:
    @given(small, st.lists(st.integers(0, 2 * SECOND) | st.just(0), max_size=60))
    def test_a_window_of_t_seconds_lets_through_at_most_count_and_t_times_the_rate(self, of, gaps):
        now, times = NOW, []
        for gap in gaps:
            now += gap
            times.append(now)
        through = passed(of, times)
        for first, start in enumerate(through):
            for last in range(first, len(through)):
                beyond = last - first + 1 - of.count
                assert beyond * of.seconds * SECOND <= (through[last] - start) * of.count

    @given(small)
    def test_who_was_quiet_sends_the_whole_count_at_once_and_not_one_more(self, of):
        assert len(passed(of, [NOW] * (of.count + 5))) == of.count

    @given(quotas, st.integers(1, 50))
    def test_who_keeps_to_the_pace_is_never_refused(self, of, requests):
        times = [NOW + n * of.emission_us for n in range(requests)]
        assert passed(of, times) == times

    @given(quotas, tats)
    def test_who_waits_as_told_succeeds_and_a_microsecond_earlier_would_not(self, of, tat):
        step = admit(tat, NOW, of)
        if step.allowed:
            assert step.wait_us == 0
        else:
            assert admit(step.tat_us, NOW + step.wait_us, of).allowed
            assert not admit(step.tat_us, NOW + step.wait_us - 1, of).allowed
            assert admit(step.tat_us, NOW + decide(step, of).retry_after * SECOND, of).allowed

    @given(quotas, tats, st.integers(0, 10**12))
    def test_a_later_request_is_never_worse_off_than_an_earlier_one(self, of, tat, later):
        early, late = admit(tat, NOW, of), admit(tat, NOW + later, of)
        assert late.allowed >= early.allowed
        assert late.wait_us <= early.wait_us
        assert late.tat_us >= early.tat_us

    @given(quotas, tats)
    def test_whatever_was_stored_nobody_waits_longer_than_one_emission_interval(self, of, tat):
        step = admit(tat, NOW, of)
        assert step.tat_us - NOW == step.backlog_us
        assert 0 < step.backlog_us <= of.tolerance_us
        assert 0 <= step.wait_us <= of.emission_us

    @given(small, st.integers(0, 3600 * SECOND))
    def test_a_clock_set_back_costs_at_most_one_window_and_admits_nothing_extra(self, of, back):
        tat = None
        for _ in range(of.count):
            tat = admit(tat, NOW, of).tat_us
        now = NOW - back
        step = admit(tat, now, of)
        assert not step.allowed
        refilled = admit(step.tat_us, now + of.tolerance_us, of)
        assert refilled.backlog_us == of.emission_us  # as if it were the first request ever

    @given(small, st.integers(1, 3600 * SECOND))
    def test_a_clock_set_back_does_not_refuse_for_as_long_as_it_was_set_back(self, of, back):
        tat = NOW + of.tolerance_us  # used up, on the clock as it was
        now = NOW - back
        for _ in range(3):  # who tries again and again and always waits as told
            step = admit(tat, now, of)
            tat, now = step.tat_us, now + step.wait_us
        assert admit(tat, now, of).allowed

    @given(quotas, quotas)
    def test_a_lowered_quota_applies_from_its_first_request_on(self, before, after):
        step = admit(NOW + before.tolerance_us, NOW, after)
        assert step.backlog_us <= after.tolerance_us


class TestDecision:
    @given(quotas, tats)
    def test_on_a_refusal_nothing_remains_and_retry_after_is_t(self, of, tat):
        decision = decide(admit(tat, NOW, of), of)
        if not decision.allowed:
            assert decision.remaining == 0
            assert decision.retry_after == decision.reset_seconds >= 1
            refusal = decision.refusal()
            assert (refusal.retry_after, refusal.quota) == (decision.retry_after, "requests")
            assert (refusal.count, refusal.seconds) == (of.count, of.seconds)

    @given(small, tats)
    def test_as_many_more_pass_as_it_says_remain(self, of, tat):
        step = admit(tat, NOW, of)
        decision = decide(step, of)
        more = 0
        while (step := admit(step.tat_us, NOW, of)).allowed:
            more += 1
        assert decision.remaining == more

    @given(small, tats)
    def test_after_t_seconds_more_remains_than_now(self, of, tat):
        step = admit(tat, NOW, of)
        decision = decide(step, of)
        later = admit(step.tat_us, NOW + decision.reset_seconds * SECOND, of)
        assert later.allowed
        # That request itself took one, so as many remain only because at least one came back.
        assert decide(later, of).remaining >= decision.remaining

    @each(
        ("backlog_us", "remaining", "reset_seconds"),
        [
            (1, 4, 1),
            (2 * SECOND, 4, 2),  # one request taken, of one emission interval
            (2 * SECOND + 1, 3, 1),  # the second has begun, and ends first
            (3 * SECOND, 3, 1),
            (4 * SECOND, 3, 2),
            (7 * SECOND, 1, 1),
            (7 * SECOND + 1, 1, 2),
            (10 * SECOND, 0, 2),
        ],
    )
    def test_of_several_requests_taken_the_last_one_begun_comes_back_first(
        self, backlog_us, remaining, reset_seconds
    ):
        """Five requests in ten seconds: one comes back every two."""
        decision = Decision(True, "requests", Quota(5, 10), backlog_us, 0)
        assert (decision.remaining, decision.reset_seconds) == (remaining, reset_seconds)

    def test_waits_are_rounded_up_to_whole_seconds(self):
        waits = [0, 1, SECOND, SECOND + 1]
        assert [Decision(False, "requests", Quota(1, 10), 0, us).retry_after for us in waits] == [1, 1, 1, 2]
