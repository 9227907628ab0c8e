"""Tasks that give work to the queue of a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

from prefect import task
from prefect.cache_policies import NO_CACHE

from together_flows.prefect.credentials import TogetherCredentials
from together_flows.prefect.retries import may_help
from together_flows.prefect.submitting import Job, asubmit, given, submit
from together_flows.prefect.tasks.waiting import await_for_job, wait_for_job
from together_flows.prefect.waits import POLL_INTERVAL

__all__ = [
    "QueueArguments",
    "arun_queue_job",
    "asubmit_queue_job",
    "run_queue_job",
    "submit_queue_job",
]


class QueueArguments(TypedDict, total=False):
    """The arguments of `together_flows.api.queue.submit`.

    Attributes:
        model: name of the deployment that does the work.
        payload: what the worker gets, as it is.
        info: notes that stay with the job.
        priority: higher goes first, 0 unless given.
    """

    model: str
    payload: Mapping[str, Any]
    info: Mapping[str, Any] | None
    priority: int | None


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def submit_queue_job(credentials: TogetherCredentials | str, **arguments: Unpack[QueueArguments]) -> Job:
    """Put a job into the queue of a deployment, once.

    The API has no list of such jobs: if the answer is lost, this fails rather than have the work done twice.

    Args:
        credentials: name of the credentials block, or the block.
        arguments: see `QueueArguments`.
    """
    return submit("queue", given(arguments), credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def asubmit_queue_job(credentials: TogetherCredentials | str, **arguments: Unpack[QueueArguments]) -> Job:
    """The same as `submit_queue_job`, on the event loop."""
    return await asubmit("queue", given(arguments), credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def run_queue_job(
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[QueueArguments],
) -> dict[str, Any]:
    """Have the worker of a deployment do a job, and wait until it is done.

    It runs `submit_queue_job` and `wait_for_job`.

    Args:
        credentials: name of the credentials block, or the block.
        wait_timeout: seconds, counted from the submission, that it may take.
        poll_interval: seconds between two looks, in the long run.
        arguments: see `QueueArguments`.

    Returns:
        `id`, `model`, `retries`, `outputs`, `reference` and `url`. Of large outputs only those are there that fit
        into a small result; `outputs_left_out` is the number of the others, and `queue.status` tells them all.

    Raises:
        JobFailed: it failed; the message is the API's.
    """
    job = submit_queue_job(credentials, **arguments)
    return wait_for_job(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def arun_queue_job(
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[QueueArguments],
) -> dict[str, Any]:
    """The same as `run_queue_job`, on the event loop."""
    job = await asubmit_queue_job(credentials, **arguments)
    return await await_for_job(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)
