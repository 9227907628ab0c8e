"""Tasks for volumes that clusters share. They hold data, so they outlive the run that creates them."""

from __future__ import annotations

from typing import Any, TypedDict, Unpack

from prefect import task
from prefect.cache_policies import NO_CACHE

from together_flows.prefect.credentials import TogetherCredentials
from together_flows.prefect.retries import may_help
from together_flows.prefect.submitting import Job, asubmit, given, submit
from together_flows.prefect.tasks.waiting import await_for_job, wait_for_job
from together_flows.prefect.waits import POLL_INTERVAL

__all__ = [
    "SharedVolumeArguments",
    "acreate_shared_volume",
    "asubmit_shared_volume",
    "create_shared_volume",
    "submit_shared_volume",
]


class SharedVolumeArguments(TypedDict, total=False):
    """The arguments of `together_flows.api.compute.create_volume`: its name, its size in TiB, and its region."""

    volume_name: str
    size_tib: int
    region: str


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def submit_shared_volume(credentials: TogetherCredentials | str, **arguments: Unpack[SharedVolumeArguments]) -> Job:
    """Create a volume for clusters, once, without waiting until it is available. It bills until a person deletes it.

    Args:
        credentials: name of the credentials block, or the block.
        arguments: see `SharedVolumeArguments`.
    """
    return submit("shared_volume", given(arguments), credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def asubmit_shared_volume(
    credentials: TogetherCredentials | str, **arguments: Unpack[SharedVolumeArguments]
) -> Job:
    """The same as `submit_shared_volume`, on the event loop."""
    return await asubmit("shared_volume", given(arguments), credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def create_shared_volume(
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[SharedVolumeArguments],
) -> dict[str, Any]:
    """Create a volume for clusters and wait until it is available. It bills until a person deletes it.

    A volume that was ever available may hold data, so nothing here deletes it; `compute.delete_volume` does.
    It runs `submit_shared_volume` and `wait_for_job`.

    Args:
        credentials: name of the credentials block, or the block.
        wait_timeout: seconds, counted from the submission, that it may take.
        poll_interval: seconds between two looks, in the long run.
        arguments: see `SharedVolumeArguments`.

    Returns:
        `id`, `name`, `size_tib`, `status`, `reference` and `url`.

    Raises:
        JobFailed: it failed; the message is the API's.
    """
    job = submit_shared_volume(credentials, **arguments)
    return wait_for_job(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def acreate_shared_volume(
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[SharedVolumeArguments],
) -> dict[str, Any]:
    """The same as `create_shared_volume`, on the event loop."""
    job = await asubmit_shared_volume(credentials, **arguments)
    return await await_for_job(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)
