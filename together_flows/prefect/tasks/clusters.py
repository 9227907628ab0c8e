"""Tasks for GPU clusters, which bill until somebody deletes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypedDict, Unpack

from prefect import task
from prefect.cache_policies import NO_CACHE

from together_flows.prefect.credentials import TogetherCredentials
from together_flows.prefect.endings import aend, end
from together_flows.prefect.retries import may_help
from together_flows.prefect.submitting import Job, asubmit, given, submit
from together_flows.prefect.tasks.until_stopped import aended_afterwards, aready, ended_afterwards, ready
from together_flows.prefect.waits import POLL_INTERVAL, reference_of

__all__ = [
    "ClusterArguments",
    "acluster",
    "acreate_cluster",
    "adelete_cluster",
    "asubmit_cluster",
    "cluster",
    "create_cluster",
    "delete_cluster",
    "submit_cluster",
]


class ClusterArguments(TypedDict, total=False):
    """The arguments of `together_flows.api.compute.create_cluster`, which describes each of them."""

    cluster_name: str
    region: str
    gpu_type: str
    num_gpus: int
    billing_type: str
    driver_version: str | None
    cluster_type: str | None
    duration_days: int | None
    shared_volume: Mapping[str, Any] | None
    volume_id: str | None
    cuda_version: str | None
    nvidia_driver_version: str | None


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def submit_cluster(credentials: TogetherCredentials | str, **arguments: Unpack[ClusterArguments]) -> Job:
    """Create a GPU cluster, once, without waiting until it is ready.

    The flow should have the hooks of `together_flow`: they end it when the run is cancelled, fails or crashes.

    Args:
        credentials: name of the credentials block, or the block.
        arguments: see `ClusterArguments`.
    """
    return submit("cluster", given(arguments), credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def asubmit_cluster(credentials: TogetherCredentials | str, **arguments: Unpack[ClusterArguments]) -> Job:
    """The same as `submit_cluster`, on the event loop."""
    return await asubmit("cluster", given(arguments), credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def create_cluster(
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[ClusterArguments],
) -> dict[str, Any]:
    """Create a GPU cluster and wait until it is ready. It bills until `delete_cluster`; `cluster` does both.

    One that does not come so far is ended, unless a retry of this task is left to adopt it.

    Args:
        credentials: name of the credentials block, or the block.
        wait_timeout: seconds, counted from its creation, that it may take.
        poll_interval: seconds between two looks, in the long run.
        arguments: see `ClusterArguments`.

    Returns:
        `id`, `name`, `region`, `gpu_type`, `num_gpus`, `volumes`, `status`, `reference` and `url`. The access to the
        cluster is a secret and not among them: `compute.retrieve_cluster` tells it where it is needed.

    Raises:
        JobFailed: it failed; the message is the API's.
        WaitTimeout: it took too long, and was ended.
    """
    job = submit_cluster(credentials, **arguments)
    return ready(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def acreate_cluster(
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[ClusterArguments],
) -> dict[str, Any]:
    """The same as `create_cluster`, on the event loop."""
    job = await asubmit_cluster(credentials, **arguments)
    return await aready(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)


@task(cache_policy=NO_CACHE, retries=3, retry_delay_seconds=[2, 10, 30], retry_condition_fn=may_help)
def delete_cluster(credentials: TogetherCredentials | str, cluster: str | Mapping[str, Any]) -> str:
    """Delete a GPU cluster, which ends its billing, and confirm that it is gone. Doing it twice is harmless.

    Args:
        credentials: name of the credentials block, or the block.
        cluster: what `create_cluster` or `submit_cluster` returned, or `cluster:<id>`.

    Returns:
        The last state seen: `gone` when it does not exist any more.
    """
    return end(reference_of(cluster), credentials)


@task(cache_policy=NO_CACHE, retries=3, retry_delay_seconds=[2, 10, 30], retry_condition_fn=may_help)
async def adelete_cluster(credentials: TogetherCredentials | str, cluster: str | Mapping[str, Any]) -> str:
    """The same as `delete_cluster`, on the event loop."""
    return await aend(reference_of(cluster), credentials)


@contextmanager
def cluster(
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[ClusterArguments],
) -> Iterator[dict[str, Any]]:
    """A GPU cluster that runs for as long as the block lasts; it is surely ended after it, however the block ends.

    Arguments and value are those of `create_cluster`.

    Example:
        ```python
        with cluster("together", cluster_name="training", region="…", gpu_type="H100_SXM", num_gpus=8, …) as created:
            train_on(created["id"])
        ```
    """
    started = create_cluster(credentials, wait_timeout=wait_timeout, poll_interval=poll_interval, **arguments)
    with ended_afterwards(credentials, started, delete_cluster):
        yield started


@asynccontextmanager
async def acluster(
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[ClusterArguments],
) -> AsyncIterator[dict[str, Any]]:
    """The same as `cluster`, on the event loop: `async with acluster(…) as started:`."""
    started = await acreate_cluster(credentials, wait_timeout=wait_timeout, poll_interval=poll_interval, **arguments)
    async with aended_afterwards(credentials, started, adelete_cluster):
        yield started
