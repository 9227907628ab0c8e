"""When a request is sent again, and how long the wait is."""

from __future__ import annotations

import logging
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from together_flows import errors
from together_flows.client.retry import Retries, answer_is_lost, instant_retries, may_repeat, verdict
from together_flows.errors import (
    AnswerInvalid,
    ApiError,
    ArgumentInvalid,
    ConnectionFailed,
    SubmissionUnknown,
    TogetherError,
)


def api_error(status: int, *, retry_after: float | None = None) -> ApiError:
    passes = status in {408, 429} or status >= 500
    return ApiError("no", status_code=status, retry_after=retry_after, retryable=passes)


failures = st.one_of(
    st.builds(api_error, st.integers(400, 599)),
    st.builds(lambda sent: ConnectionFailed("cut", sent=sent), st.booleans()),
    st.just(AnswerInvalid("not JSON")),
    st.just(ArgumentInvalid("no")),
)


@given(failures)
def test_what_may_have_taken_effect_is_never_repeated_for_an_operation_that_may_not_be(error: TogetherError) -> None:
    if may_repeat(error, repeatable=False):
        assert not answer_is_lost(error)


@given(failures)
def test_whatever_is_repeated_for_a_paid_operation_is_repeated_for_others_too(error: TogetherError) -> None:
    if may_repeat(error, repeatable=False):
        assert may_repeat(error, repeatable=True)


@given(failures)
def test_a_lost_answer_to_a_paid_operation_always_ends_as_unknown(error: TogetherError) -> None:
    outcome = verdict(error, name="jobs.create", repeatable=False)

    assert isinstance(outcome, SubmissionUnknown) is answer_is_lost(error)
    assert not (isinstance(outcome, SubmissionUnknown) and outcome.retryable)
    assert verdict(error, name="jobs.create", repeatable=True) is error


@pytest.mark.parametrize("status", [429, 503])
def test_refusals_before_any_effect_are_repeated_even_for_paid_operations(status: int) -> None:
    assert may_repeat(api_error(status), repeatable=False)


@pytest.mark.parametrize("status", [500, 502, 504, 520])
def test_other_server_failures_are_repeated_only_where_that_is_safe(status: int) -> None:
    assert may_repeat(api_error(status), repeatable=True)
    assert not may_repeat(api_error(status), repeatable=False)
    assert answer_is_lost(api_error(status))


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 422])
def test_refusals_are_final(status: int) -> None:
    assert not may_repeat(api_error(status), repeatable=True)
    assert not answer_is_lost(api_error(status))


def test_a_request_that_never_left_is_always_repeated() -> None:
    assert may_repeat(ConnectionFailed("refused", sent=False), repeatable=False)
    assert not may_repeat(ConnectionFailed("cut", sent=True), repeatable=False)


def test_what_is_not_ours_is_not_repeated() -> None:
    for error in (KeyboardInterrupt(), ValueError(), ArgumentInvalid("no"), AnswerInvalid("not JSON")):
        assert not may_repeat(error, repeatable=True)


times = st.floats(0, 1000)


@given(st.integers(1, 10_000), times, times, st.floats(0, 1))
def test_the_wait_is_drawn_from_the_upper_half_of_a_growing_and_bounded_span(
    attempt: int, first: float, longest: float, chance: float
) -> None:
    retries = Retries(first=first, longest=longest)
    wait = retries.wait(attempt, chance=chance)

    assert 0 <= wait <= longest
    assert wait >= min(longest, first) / 2
    assert retries.wait(attempt + 1, chance=chance) >= wait


@given(times, st.floats(0, 1))
def test_the_servers_word_replaces_the_wait_and_is_never_undercut(asked: float, chance: float) -> None:
    wait = Retries(first=0.5).wait(1, retry_after=asked, chance=chance)

    assert asked <= wait <= asked + 0.5


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"first": -1.0}, {"longest": -1.0}, {"total": -1.0}])
def test_impossible_patience_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ArgumentInvalid):
        Retries(**wrong)  # type: ignore[arg-type] # one of several fields


class Flaky:
    """Fails with the given errors, one after the other, then succeeds."""

    def __init__(self, *failures: TogetherError) -> None:
        self.failures = list(failures)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"

    async def awaited(self) -> str:
        return self()


def test_attempts_are_counted() -> None:
    flaky = Flaky(*[api_error(503)] * 9)
    with instant_retries(), pytest.raises(ApiError):
        Retries(attempts=3).driver("GET /x", repeatable=True)(flaky)

    assert flaky.calls == 3


async def test_the_async_driver_decides_the_same() -> None:
    flaky = Flaky(*[api_error(503)] * 2)
    with instant_retries():
        assert await Retries(attempts=3).async_driver("GET /x", repeatable=False)(flaky.awaited) == "done"
    assert flaky.calls == 3

    flaky = Flaky(api_error(500))
    with instant_retries(), pytest.raises(ApiError):
        await Retries().async_driver("POST /x", repeatable=False)(flaky.awaited)
    assert flaky.calls == 1


def test_one_attempt_means_no_retry() -> None:
    flaky = Flaky(api_error(503))
    with pytest.raises(ApiError):
        Retries(attempts=1).driver("GET /x", repeatable=True)(flaky)

    assert flaky.calls == 1


def test_a_wait_beyond_the_total_is_left_to_the_caller() -> None:
    flaky, slept = Flaky(api_error(429, retry_after=3600.0)), list[float]()
    with pytest.raises(ApiError) as refused:
        Retries(total=120).driver("GET /x", repeatable=True, sleep=slept.append)(flaky)

    assert flaky.calls == 1
    assert slept == []
    assert refused.value.retry_after == 3600.0


def test_waits_are_real_outside_the_testing_switch() -> None:
    slept: list[float] = []
    Retries(first=8.0).driver("GET /x", repeatable=True, sleep=slept.append)(Flaky(api_error(503), api_error(503)))

    assert 4 <= slept[0] <= 8
    assert 8 <= slept[1] <= 16


def test_the_testing_switch_is_undone_at_its_end() -> None:
    with instant_retries(), instant_retries():
        pass
    started = time.monotonic()
    Retries(first=0.2).driver("GET /x", repeatable=True)(Flaky(api_error(503)))

    assert time.monotonic() - started >= 0.1


def test_a_retry_is_logged_with_its_reason_and_wait(caplog: pytest.LogCaptureFixture) -> None:
    with instant_retries(), caplog.at_level(logging.WARNING):
        Retries().driver("GET /files/{id}", repeatable=True)(Flaky(api_error(503), ConnectionFailed("no route")))

    assert "GET /files/{id}: HTTP 503; trying again in" in caplog.messages[0]
    assert "no route" in caplog.messages[1]


def test_every_error_says_whether_a_retry_can_help() -> None:
    helped = {name for name in errors.__all__ if getattr(errors, name).retryable}

    assert helped == {"AnswerInvalid", "ConnectionFailed", "RateLimited", "ServerFailed", "TransferIncomplete"}
