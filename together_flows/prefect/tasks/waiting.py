"""Tasks that wait for jobs by reference. They submit nothing, so they may be tried again at any time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any

from anyio.from_thread import start_blocking_portal
from prefect import task
from prefect.cache_policies import NO_CACHE

from together_flows.errors import TogetherError
from together_flows.prefect.attention import RunCancelled
from together_flows.prefect.credentials import TogetherCredentials
from together_flows.prefect.retries import may_help_to_wait
from together_flows.prefect.waits import POLL_INTERVAL, await_end, await_ends, error_of, reference_of, wait_end

__all__ = ["await_for_job", "await_many", "wait_for_job", "wait_many"]

#: Seconds before the second and the third try of a wait.
_DELAYS = [10.0, 60.0]


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=_DELAYS, retry_condition_fn=may_help_to_wait)
def wait_for_job(
    credentials: TogetherCredentials | str,
    job: str | Mapping[str, Any],
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
) -> dict[str, Any]:
    """Wait until a job has ended.

    A job that this flow run has submitted is ended when its time is over, or when the run is cancelled. Any other job
    is only looked at.

    Args:
        credentials: name of the credentials block, or the block.
        job: `kind:id`, such as `fine_tune:ft-1a2b`, or what a submit task returned.
        wait_timeout: seconds, counted from the submission, that the job may take. Retries do not prolong it.
        poll_interval: seconds between two looks, in the long run.

    Returns:
        The job's result as small JSON, with its `reference` and the `url` of its page.

    Raises:
        JobFailed: the job failed or expired; the message is its own.
        JobCancelled: somebody else cancelled it.
        WaitTimeout: it was not done in time.
    """
    return wait_end(reference_of(job), credentials, wait_timeout=wait_timeout, poll_interval=poll_interval)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=_DELAYS, retry_condition_fn=may_help_to_wait)
async def await_for_job(
    credentials: TogetherCredentials | str,
    job: str | Mapping[str, Any],
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
) -> dict[str, Any]:
    """The same as `wait_for_job`, on the event loop, where all waits of an account share their looks."""
    return await await_end(reference_of(job), credentials, wait_timeout=wait_timeout, poll_interval=poll_interval)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=_DELAYS, retry_condition_fn=may_help_to_wait)
def wait_many(
    credentials: TogetherCredentials | str,
    jobs: Sequence[str | Mapping[str, Any]],
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    allow_failures: bool = False,
) -> list[dict[str, Any]]:
    """Wait until all of many jobs have ended, in one task and with the requests of one wait.

    Args:
        credentials: name of the credentials block, or the block.
        jobs: references or what submit tasks returned; of any kinds.
        wait_timeout: seconds, counted from each job's submission, that it may take.
        poll_interval: seconds between two looks, in the long run.
        allow_failures: answer `{"reference", "url", "error": {"type", "message", "retryable"}, "status"}` for a job
            that came to nothing. Otherwise the task fails when all have ended, and says which ones failed.

    Returns:
        The results in the order of `jobs`.

    Raises:
        TogetherError: at least one job came to nothing.
    """
    references = [reference_of(job) for job in jobs]

    async def wait() -> list[dict[str, Any]]:
        return await await_ends(references, credentials, wait_timeout=wait_timeout, poll_interval=poll_interval)

    with start_blocking_portal() as portal:  # a loop of its own, also where this thread runs one already
        try:
            entries = portal.call(wait)
        except CancelledError as cancelled:  # which is an error to futures, and would be tried again
            raise RunCancelled("The flow run was cancelled") from cancelled
    return entries if allow_failures else _all_well(entries)


@task(cache_policy=NO_CACHE, retries=2, retry_delay_seconds=_DELAYS, retry_condition_fn=may_help_to_wait)
async def await_many(
    credentials: TogetherCredentials | str,
    jobs: Sequence[str | Mapping[str, Any]],
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    allow_failures: bool = False,
) -> list[dict[str, Any]]:
    """The same as `wait_many`, on the event loop."""
    references = [reference_of(job) for job in jobs]
    entries = await await_ends(references, credentials, wait_timeout=wait_timeout, poll_interval=poll_interval)
    return entries if allow_failures else _all_well(entries)


def _all_well(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    errors = [error for entry in entries if (error := error_of(entry))]
    if not errors:
        return entries
    if len(errors) == 1:
        raise errors[0]
    raise TogetherError(
        f"{len(errors)} of {len(entries)} jobs came to nothing. The first: {errors[0]}",
        mend="The log names the others.",
        retryable=all(may_be_waited_for(error) for error in errors),
    )


def may_be_waited_for(error: TogetherError) -> bool:
    """Whether waiting for the job again makes sense after this error."""
    return error.retryable and not hasattr(error, "reference")
