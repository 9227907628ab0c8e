"""Which failures the retry policy retries, and when."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from airflow_provider.retries import together_retry_policy
from together_flows.errors import (
    AuthenticationFailed,
    BudgetExceeded,
    ConnectionFailed,
    RateLimited,
    ServerFailed,
    TogetherError,
)


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationFailed("wrong key", status_code=401),
        BudgetExceeded("too dear", estimate=5, budget=1),
        TogetherError("it is so"),
    ],
)
def test_what_a_retry_cannot_mend_fails_at_once(error: TogetherError) -> None:
    assert together_retry_policy().evaluate(error, 1, 5).action is RetryAction.FAIL


@pytest.mark.parametrize("error", [ConnectionFailed("cut"), ServerFailed("overloaded", status_code=503)])
def test_what_may_pass_is_retried_after_the_tasks_own_delay(error: TogetherError) -> None:
    decision = together_retry_policy().evaluate(error, 1, 5)
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, None)


@pytest.mark.parametrize(("asked", "delay"), [(20.0, timedelta(seconds=20)), (1e6, timedelta(hours=1))])
def test_a_rate_limit_is_waited_out_as_long_as_the_api_asks_within_reason(asked: float, delay: timedelta) -> None:
    decision = together_retry_policy().evaluate(RateLimited("slow down", status_code=429, retry_after=asked), 1, 5)
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, delay)


@pytest.mark.parametrize(("otherwise", "action"), [(None, RetryAction.DEFAULT), ("strict", RetryAction.FAIL)])
def test_other_exceptions_are_judged_by_somebody_else(otherwise: Any, action: RetryAction) -> None:
    strict = ExceptionRetryPolicy(rules=[RetryRule(exception=ValueError, action=RetryAction.FAIL)])
    policy = together_retry_policy(strict if otherwise else None)
    assert policy.evaluate(ValueError(), 1, 5).action is action
