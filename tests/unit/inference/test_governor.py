"""When requests may start: what the governor learns from answers and refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from together_flows.errors import ArgumentInvalid
from together_flows.inference.governor import NOBODY_LEAVES_SOONER, Governor

NOTHING: dict[str, str] = {}


def filled(governor: Governor, now: float = 0.0) -> int:
    """Start as many requests as may start at once."""
    number = 0
    while governor.delay(now) == 0:
        governor.started(now)
        number += 1
    return number


def test_no_more_start_than_the_ceiling() -> None:
    governor = Governor(7)
    assert filled(governor) == 7
    assert governor.delay(0.0) == NOBODY_LEAVES_SOONER
    governor.ended()
    assert governor.delay(0.0) == 0


def test_a_ceiling_below_one_is_refused() -> None:
    with pytest.raises(ArgumentInvalid, match="concurrency"):
        Governor(0)


def test_a_refusal_halves_what_may_be_in_flight_and_good_answers_bring_it_back_one_a_round() -> None:
    governor = Governor(16)
    filled(governor)
    governor.refused(began=0.0, now=1.0, retry_after=0.0)
    assert governor.limit == 8
    for _ in range(8):
        governor.answered(NOTHING)
    assert 8.9 < governor.limit <= 9
    for _ in range(1000):
        governor.answered(NOTHING)
    assert governor.limit == 16


def test_of_requests_that_were_in_flight_together_only_the_first_refusal_counts() -> None:
    governor = Governor(16)
    filled(governor)
    for _ in range(5):
        governor.refused(began=0.0, now=1.0, retry_after=0.0)
    assert governor.limit == 8
    assert governor.refusals == 5
    governor.refused(began=2.0, now=3.0, retry_after=0.0)
    assert governor.limit == 4


def test_everybody_waits_as_long_as_the_api_asked_one_to_wait() -> None:
    governor = Governor(4)
    governor.started(0.0)
    governor.refused(began=0.0, now=10.0, retry_after=7.0)
    governor.ended()
    assert governor.delay(12.0) == 5.0
    assert governor.delay(17.0) == 0


def test_refusals_without_a_word_of_when_hold_longer_each_time() -> None:
    governor, now, holds = Governor(4), 0.0, []
    for _ in range(6):
        governor.started(now)
        governor.refused(began=now, now=now)
        governor.ended()
        holds.append(governor.delay(now))
        now += holds[-1]
    assert all(hold > 0 for hold in holds)
    assert holds[5] > holds[2] > holds[0]
    assert holds[5] <= 60


def test_a_stated_limit_that_is_nearly_used_up_spreads_the_starts() -> None:
    governor = Governor(10)
    governor.started(0.0)
    governor.answered({"x-ratelimit-limit": "60", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "60"})
    governor.started(0.0)
    assert governor.delay(0.0) == pytest.approx(1.0)
    assert governor.delay(1.0) == 0


def test_a_stated_limit_with_room_in_it_slows_nobody() -> None:
    governor = Governor(10)
    governor.started(0.0)
    governor.answered({"x-ratelimit-limit": "600", "x-ratelimit-remaining": "500", "x-ratelimit-reset": "10"})
    assert filled(governor) == 9


def test_the_smaller_of_two_limits_counts() -> None:
    governor = Governor(10)
    governor.started(0.0)
    both = {"x-ratelimit-remaining": "500", "x-ratelimit-remaining-dynamic": "0"}
    governor.answered({"x-ratelimit-limit": "600", "x-ratelimit-reset": "60", **both})
    governor.started(0.0)
    assert governor.delay(0.0) == pytest.approx(0.1)


@pytest.mark.parametrize("nonsense", ["", "soon", "nan", "-3", "inf"])
def test_headers_that_make_no_sense_change_nothing(nonsense: str) -> None:
    governor = Governor(3)
    governor.started(0.0)
    names = ("limit", "remaining", "reset")
    governor.answered({f"x-ratelimit-{name}": nonsense for name in names})
    assert filled(governor) == 2


@given(st.lists(st.tuples(st.sampled_from(["start", "good", "refused"]), st.floats(0, 5)), max_size=200))
def test_somebody_may_always_go_on_and_never_more_than_the_ceiling(steps: list[tuple[str, float]]) -> None:
    governor, now = Governor(8), 0.0
    for what, seconds in steps:
        now += seconds
        if what == "start" and governor.delay(now) == 0:
            governor.started(now)
        elif what != "start" and governor.in_flight:
            if what == "good":
                governor.answered(NOTHING)
            else:
                governor.refused(began=now - 1, now=now, retry_after=seconds)
            governor.ended()
        assert 0 <= governor.in_flight <= 8
        assert 1 <= governor.limit <= 8
        if not governor.in_flight:
            assert governor.delay(now) < NOBODY_LEAVES_SOONER


def test_a_limit_that_is_nearly_used_up_allows_no_burst_while_few_are_in_flight() -> None:
    governor = Governor(10)
    governor.started(0.0)
    governor.answered({"x-ratelimit-limit": "60", "x-ratelimit-remaining": "9", "x-ratelimit-reset": "51"})
    governor.ended()
    assert filled(governor) == 1
