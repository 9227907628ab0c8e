"""Tasks for dedicated endpoints, which bill by the minute until somebody stops them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypedDict, Unpack

from prefect import task
from prefect.cache_policies import NO_CACHE

from together_flows.jobs.model import Spec
from together_flows.jobs.pricing import PriceEstimate, endpoint_price
from together_flows.jobs.steps import Steps
from together_flows.prefect.credentials import TogetherCredentials
from together_flows.prefect.endings import aend, end
from together_flows.prefect.lineage import amaterialized, endpoint_asset, materialized, model_asset
from together_flows.prefect.retries import may_help
from together_flows.prefect.submitting import Job, Money, asubmit, given, submit
from together_flows.prefect.tasks.until_stopped import aended_afterwards, aready, ended_afterwards, ready
from together_flows.prefect.waits import POLL_INTERVAL, reference_of

__all__ = [
    "EndpointArguments",
    "adeploy_endpoint",
    "aendpoint",
    "astop_endpoint",
    "asubmit_endpoint",
    "deploy_endpoint",
    "endpoint",
    "endpoint_money",
    "endpoint_spec",
    "stop_endpoint",
    "submit_endpoint",
]


class EndpointArguments(TypedDict, total=False):
    """What an endpoint is.

    Attributes:
        model: model to serve.
        hardware: id of a configuration out of `together_flows.api.hardware.list`; it tells the price.
        min_replicas: fewest replicas, 1 unless given.
        max_replicas: most replicas, 1 unless given. Each is billed.
        display_name: name for people.
        inactive_timeout: minutes without a request after which it stops by itself; 0 means never.
        disable_speculative_decoding: do without speculative decoding.
        availability_zone: zone to run in.
    """

    model: str
    hardware: str
    min_replicas: int
    max_replicas: int
    display_name: str | None
    inactive_timeout: int | None
    disable_speculative_decoding: bool | None
    availability_zone: str | None


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def submit_endpoint(
    credentials: TogetherCredentials | str,
    *,
    budget: float | None = None,
    hours: float = 1.0,
    **arguments: Unpack[EndpointArguments],
) -> Job:
    """Create an endpoint, once, without waiting until it serves.

    The flow should have the hooks of `together_flow`: they end it when the run is cancelled, fails or crashes.

    Args:
        credentials: name of the credentials block, or the block.
        budget: US dollars. An endpoint that costs more in `hours` is not created.
        hours: how long it is expected to serve; for the budget alone.
        arguments: see `EndpointArguments`.

    Raises:
        EndpointCreationClosed: the account can no longer create such endpoints.
        BudgetExceeded: it would cost more than the budget.
    """
    return submit("endpoint", endpoint_spec(arguments), credentials, money=endpoint_money(budget, hours))


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def asubmit_endpoint(
    credentials: TogetherCredentials | str,
    *,
    budget: float | None = None,
    hours: float = 1.0,
    **arguments: Unpack[EndpointArguments],
) -> Job:
    """The same as `submit_endpoint`, on the event loop."""
    return await asubmit("endpoint", endpoint_spec(arguments), credentials, money=endpoint_money(budget, hours))


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def deploy_endpoint(
    credentials: TogetherCredentials | str,
    *,
    budget: float | None = None,
    hours: float = 1.0,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[EndpointArguments],
) -> dict[str, Any]:
    """Create an endpoint and wait until it serves. It bills until `stop_endpoint`; `endpoint` does both.

    An endpoint that does not come to serve is ended, unless a retry of this task is left to adopt it.

    Args:
        credentials: name of the credentials block, or the block.
        budget: US dollars. An endpoint that costs more in `hours` is not created.
        hours: how long it is expected to serve; for the budget alone.
        wait_timeout: seconds, counted from its creation, that it may take to start.
        poll_interval: seconds between two looks, in the long run.
        arguments: see `EndpointArguments`.

    Returns:
        `name`, which requests give as their model, and `id`, `model`, `hardware`, `reference` and `url`.
    """
    job = submit_endpoint(credentials, budget=budget, hours=hours, **arguments)
    served = ready(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)
    materialized(_asset(served), upstream=[model_asset(served["model"])], facts=_facts(served))
    return served


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def adeploy_endpoint(
    credentials: TogetherCredentials | str,
    *,
    budget: float | None = None,
    hours: float = 1.0,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[EndpointArguments],
) -> dict[str, Any]:
    """The same as `deploy_endpoint`, on the event loop."""
    job = await asubmit_endpoint(credentials, budget=budget, hours=hours, **arguments)
    served = await aready(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)
    await amaterialized(_asset(served), upstream=[model_asset(served["model"])], facts=_facts(served))
    return served


@task(cache_policy=NO_CACHE, retries=3, retry_delay_seconds=[2, 10, 30], retry_condition_fn=may_help)
def stop_endpoint(credentials: TogetherCredentials | str, endpoint: str | Mapping[str, Any]) -> str:
    """Stop an endpoint's billing and delete it, and confirm that it is gone. Doing it twice is harmless.

    Args:
        credentials: name of the credentials block, or the block.
        endpoint: what `deploy_endpoint` or `submit_endpoint` returned, or `endpoint:<id>`.

    Returns:
        The last state seen: `gone` when it does not exist any more.
    """
    return end(reference_of(endpoint), credentials)


@task(cache_policy=NO_CACHE, retries=3, retry_delay_seconds=[2, 10, 30], retry_condition_fn=may_help)
async def astop_endpoint(credentials: TogetherCredentials | str, endpoint: str | Mapping[str, Any]) -> str:
    """The same as `stop_endpoint`, on the event loop."""
    return await aend(reference_of(endpoint), credentials)


@contextmanager
def endpoint(
    credentials: TogetherCredentials | str,
    *,
    budget: float | None = None,
    hours: float = 1.0,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[EndpointArguments],
) -> Iterator[dict[str, Any]]:
    """An endpoint that serves for as long as the block lasts, and is surely ended after it, however the block ends.

    Arguments and value are those of `deploy_endpoint`.

    Example:
        ```python
        with endpoint("together", model=tuned["model"], hardware="1x_nvidia_h100_80gb_sxm") as served:
            call("together", "chat.create", {"model": served["name"], "messages": [...]})
        ```
    """
    deploy = deploy_endpoint.with_options(task_run_name="endpoint")
    served = deploy(
        credentials,
        budget=budget,
        hours=hours,
        wait_timeout=wait_timeout,
        poll_interval=poll_interval,
        **arguments,
    )
    with ended_afterwards(credentials, served, stop_endpoint):
        yield served


@asynccontextmanager
async def aendpoint(
    credentials: TogetherCredentials | str,
    *,
    budget: float | None = None,
    hours: float = 1.0,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[EndpointArguments],
) -> AsyncIterator[dict[str, Any]]:
    """The same as `endpoint`, on the event loop: `async with aendpoint(…) as served:`."""
    deploy = adeploy_endpoint.with_options(task_run_name="endpoint")
    served = await deploy(
        credentials,
        budget=budget,
        hours=hours,
        wait_timeout=wait_timeout,
        poll_interval=poll_interval,
        **arguments,
    )
    async with aended_afterwards(credentials, served, astop_endpoint):
        yield served


def endpoint_spec(arguments: EndpointArguments) -> dict[str, Any]:
    spec: dict[str, Any] = given(arguments)
    fewest, most = spec.pop("min_replicas", 1), spec.pop("max_replicas", 1)
    return {**spec, "autoscaling": {"min_replicas": fewest, "max_replicas": max(fewest, most)}}


def endpoint_money(budget: float | None, hours: float) -> Money | None:
    if budget is None:
        return None

    def price(spec: Spec) -> Steps[PriceEstimate]:
        return endpoint_price(spec, hours=hours)

    return Money(budget, price)


def _asset(served: dict[str, Any]) -> Any:
    return endpoint_asset(served["name"], page=served["url"])


def _facts(served: dict[str, Any]) -> dict[str, Any]:
    return {name: served.get(name) for name in ("id", "model", "hardware")}
