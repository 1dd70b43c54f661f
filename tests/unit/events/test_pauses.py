from __future__ import annotations

from patauth.events.pauses import MOST, chance, pause_after


def test_pauses_double_up_to_a_minute_and_chance_takes_at_most_half():
    assert [pause_after(count, lambda: 1.0) for count in range(1, 10)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    assert [pause_after(count, lambda: 0.0) for count in (1, 2, 10_000)] == [0.25, 0.5, MOST / 2]


def test_chance_is_a_number_from_0_to_1():
    drawn = {chance() for _ in range(1000)}
    assert 0 <= min(drawn) < 0.1
    assert 0.9 < max(drawn) <= 1
    assert len(drawn) > 100
