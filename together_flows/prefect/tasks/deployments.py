"""Tasks for deployments: containers on GPUs, which bill until somebody deletes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
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
    "DeploymentArguments",
    "acontainer",
    "adeploy_container",
    "astop_container",
    "asubmit_deployment",
    "container",
    "deploy_container",
    "stop_container",
    "submit_deployment",
]


class DeploymentArguments(TypedDict, total=False):
    """The arguments of `together_flows.api.deployments.create`, which describes each of them.

    The `value` of an environment variable may be a pydantic `SecretStr`, which no repr, log or record shows. Or keep it
    in a secret of Together's, and name that by `value_from_secret`."""

    name: str
    image: str
    gpu_type: str
    gpu_count: int | None
    port: int | None
    command: Sequence[str] | None
    args: Sequence[str] | None
    autoscaling: Mapping[str, Any] | None
    cpu: float | None
    memory: float | None
    storage: int | None
    min_replicas: int | None
    max_replicas: int | None
    environment_variables: Sequence[Mapping[str, Any]] | None
    volumes: Sequence[Mapping[str, Any]] | None
    health_check_path: str | None
    description: str | None
    termination_grace_period_seconds: int | None


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def submit_deployment(credentials: TogetherCredentials | str, **arguments: Unpack[DeploymentArguments]) -> Job:
    """Run a container image, once, without waiting until it is ready.

    The flow should have the hooks of `together_flow`: they end it when the run is cancelled, fails or crashes.

    Args:
        credentials: name of the credentials block, or the block.
        arguments: see `DeploymentArguments`.
    """
    return submit("deployment", given(arguments), credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def asubmit_deployment(credentials: TogetherCredentials | str, **arguments: Unpack[DeploymentArguments]) -> Job:
    """The same as `submit_deployment`, on the event loop."""
    return await asubmit("deployment", given(arguments), credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def deploy_container(
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[DeploymentArguments],
) -> dict[str, Any]:
    """Run a container image and wait until it is ready. It bills until `stop_container`; `container` does both.

    One that does not come so far is ended, unless a retry of this task is left to adopt it.

    Args:
        credentials: name of the credentials block, or the block.
        wait_timeout: seconds, counted from its creation, that it may take.
        poll_interval: seconds between two looks, in the long run.
        arguments: see `DeploymentArguments`.

    Returns:
        `id`, `name`, `image`, `gpu_type`, `gpu_count`, `ready_replicas`, `status`, `reference` and `url`.

    Raises:
        JobFailed: it failed; the message is the API's.
        WaitTimeout: it took too long, and was ended.
    """
    job = submit_deployment(credentials, **arguments)
    return ready(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def adeploy_container(
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[DeploymentArguments],
) -> dict[str, Any]:
    """The same as `deploy_container`, on the event loop."""
    job = await asubmit_deployment(credentials, **arguments)
    return await aready(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)


@task(cache_policy=NO_CACHE, retries=3, retry_delay_seconds=[2, 10, 30], retry_condition_fn=may_help)
def stop_container(credentials: TogetherCredentials | str, deployment: str | Mapping[str, Any]) -> str:
    """Delete a deployment, which ends its billing, and confirm that it is gone. Doing it twice is harmless.

    Args:
        credentials: name of the credentials block, or the block.
        deployment: what `deploy_container` or `submit_deployment` returned, or `deployment:<id>`.

    Returns:
        The last state seen: `gone` when it does not exist any more.
    """
    return end(reference_of(deployment), credentials)


@task(cache_policy=NO_CACHE, retries=3, retry_delay_seconds=[2, 10, 30], retry_condition_fn=may_help)
async def astop_container(credentials: TogetherCredentials | str, deployment: str | Mapping[str, Any]) -> str:
    """The same as `stop_container`, on the event loop."""
    return await aend(reference_of(deployment), credentials)


@contextmanager
def container(
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[DeploymentArguments],
) -> Iterator[dict[str, Any]]:
    """A container that runs for as long as the block lasts; it is surely ended after it, however the block ends.

    Arguments and value are those of `deploy_container`.

    Example:
        ```python
        with container("together", name="detector", image="…", gpu_type="h100-80gb", gpu_count=1) as detector:
            run_queue_job("together", model=detector["name"], payload={"image": "…"})
        ```
    """
    started = deploy_container(credentials, wait_timeout=wait_timeout, poll_interval=poll_interval, **arguments)
    with ended_afterwards(credentials, started, stop_container):
        yield started


@asynccontextmanager
async def acontainer(
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[DeploymentArguments],
) -> AsyncIterator[dict[str, Any]]:
    """The same as `container`, on the event loop: `async with acontainer(…) as started:`."""
    started = await adeploy_container(credentials, wait_timeout=wait_timeout, poll_interval=poll_interval, **arguments)
    async with aended_afterwards(credentials, started, astop_container):
        yield started
