"""A retry policy that knows which failures of Together AI a retry can mend."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import RetryAction, RetryDecision, RetryPolicy

from together_flows.errors import ApiError, TogetherError

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["TogetherRetryPolicy", "together_retry_policy"]

_LONGEST_DELAY = timedelta(hours=1)


class TogetherRetryPolicy(RetryPolicy):
    """
    Retry what a retry can mend, and fail at once what it cannot.

    A wrong key, an unknown model or a bad file fails the task at once. A rate limit is waited out for as long as the
    API asks, a failing API or network for the task's own ``retry_delay``. Any other exception is judged by
    ``otherwise``, or by Airflow's own rules. The operators of this provider do most of this by themselves; the policy
    is for tasks of your own that use ``TogetherHook``, and for the delays.

    :param otherwise: what to do about exceptions that do not come from Together AI.
    """

    def __init__(self, otherwise: RetryPolicy | None = None) -> None:
        self.otherwise = otherwise

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Decide about one failure."""
        if not isinstance(exception, TogetherError):
            if self.otherwise:
                return self.otherwise.evaluate(exception, try_number, max_tries, context)
            return RetryDecision(action=RetryAction.DEFAULT)
        if not exception.retryable:
            return RetryDecision.fail(reason=f"A retry cannot mend {type(exception).__name__}.")
        asked = exception.retry_after if isinstance(exception, ApiError) else None
        if asked is None:
            return RetryDecision.retry(reason=f"{type(exception).__name__} may pass by itself.")
        delay = min(timedelta(seconds=asked), _LONGEST_DELAY)
        return RetryDecision.retry(delay=delay, reason=f"The API asked to wait {asked:.0f} s.")

    def serialize(self) -> dict[str, Any]:
        """As JSON, for Airflow's serialized DAGs."""
        return {"__type": type(self).__name__, "otherwise": self.otherwise.serialize() if self.otherwise else None}


def together_retry_policy(otherwise: RetryPolicy | None = None) -> TogetherRetryPolicy:
    """
    A retry policy for tasks that talk to Together AI.

    .. code-block:: python

        @task(retries=5, retry_policy=together_retry_policy())
        def count_models() -> int:
            return len(TogetherHook().client.send(models.list()))

    :param otherwise: what to do about exceptions that do not come from Together AI; Airflow's own rules by default.
    """
    return TogetherRetryPolicy(otherwise)
