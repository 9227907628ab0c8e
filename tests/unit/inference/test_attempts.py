"""Whether a row is sent again."""

from __future__ import annotations

import pytest

from together_flows.client import Retries
from together_flows.errors import (
    AnswerInvalid,
    ArgumentInvalid,
    AuthenticationFailed,
    BadRequest,
    ConnectionFailed,
    PaymentRequired,
    RateLimited,
    ServerFailed,
    SubmissionUnknown,
    TogetherError,
)
from together_flows.inference.attempts import Again, AttemptPolicy, Enough, Halt

POLICY = AttemptPolicy(retries=Retries(attempts=3), refusals=4)


def failed(status: int) -> ServerFailed:
    return ServerFailed("no", status_code=status, retryable=True)


def limited(retry_after: float | None = None) -> RateLimited:
    return RateLimited("slow", status_code=429, retry_after=retry_after)


@pytest.mark.parametrize("error", [failed(500), ConnectionFailed("cut"), AnswerInvalid("no JSON")])
def test_what_passes_by_itself_is_tried_again_as_often_as_allowed(error: TogetherError) -> None:
    first = POLICY.after(error, failures=1, refusals=0)
    assert isinstance(first, Again)
    assert first.wait > 0
    assert isinstance(POLICY.after(error, failures=2, refusals=0), Again)
    assert isinstance(POLICY.after(error, failures=3, refusals=0), Enough)


@pytest.mark.parametrize("error", [BadRequest("bad", status_code=400), ArgumentInvalid("bad"), SubmissionUnknown("?")])
def test_what_would_fail_again_is_not_tried_again(error: TogetherError) -> None:
    assert isinstance(POLICY.after(error, failures=1, refusals=0), Enough)


@pytest.mark.parametrize(
    "error", [AuthenticationFailed("key", status_code=401), PaymentRequired("money", status_code=402)]
)
def test_what_concerns_every_row_stops_everything(error: TogetherError) -> None:
    assert isinstance(POLICY.after(error, failures=1, refusals=0), Halt)


@pytest.mark.parametrize("error", [limited(), failed(503)])
def test_a_refusal_for_the_rate_of_all_rows_is_no_failure_of_this_one(error: TogetherError) -> None:
    assert isinstance(POLICY.after(error, failures=3, refusals=4), Again)
    assert isinstance(POLICY.after(error, failures=0, refusals=5), Enough)


def test_after_a_refusal_the_governor_alone_makes_rows_wait() -> None:
    decision = POLICY.after(limited(9.0), failures=0, refusals=1)
    assert isinstance(decision, Again)
    assert decision.wait == 0


def test_a_wait_that_the_api_asked_for_is_kept() -> None:
    error = ServerFailed("no", status_code=500, retry_after=9.0, retryable=True)
    decision = POLICY.after(error, failures=1, refusals=0)
    assert isinstance(decision, Again)
    assert decision.wait >= 9
