"""Flows that run one job of any kind, in each way that a flow can run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect import Task, task

import together_flows.prefect as tp
from tests.e2e.matrix.flows.order import Order
from together_flows.prefect import together_flow

#: Seconds that a task or a flow is given which is to be late: enough to submit its job on a busy machine.
LATE = 30

_TASKS: Mapping[str, Task[..., Any]] = {"fine_tune": tp.afine_tune, "batch": tp.abatch}
_BLOCKING_TASKS: Mapping[str, Task[..., Any]] = {"fine_tune": tp.fine_tune, "batch": tp.batch}


async def run_job(order: Order, **options: Any) -> None:
    """One job through the async tasks."""
    if order.kind == "endpoint":
        async with tp.aendpoint(order.account, **order.arguments()) as served:
            await serves(order, served)
            await order.astay()
            order.leave(served)
        return
    order.leave(await _TASKS[order.kind].with_options(**options)(order.account, **order.arguments()))


async def serves(order: Order, served: dict[str, Any]) -> None:
    """Fail unless the endpoint is really there."""
    found = await tp.acall(order.account, "endpoints.retrieve", {"endpoint_id": served["id"]})
    if found["state"] != "STARTED":
        raise ValueError(f"{served['reference']} is {found['state']}")


def run_job_blocking(order: Order, **options: Any) -> None:
    """One job through the sync tasks."""
    if order.kind == "endpoint":
        with tp.endpoint(order.account, **order.arguments()) as served:
            order.stay()
            order.leave(served)
        return
    order.leave(_BLOCKING_TASKS[order.kind].with_options(**options)(order.account, **order.arguments()))


@together_flow
async def awaited(order: Order) -> None:
    order.begin()
    await run_job(order)


@together_flow
def called(order: Order) -> None:
    order.begin()
    run_job_blocking(order)


@together_flow
def submitted(order: Order) -> None:
    """The way that hears of no signal: the task runs in a thread, and the flow waits for its future."""
    order.begin()
    order.leave(_BLOCKING_TASKS[order.kind].submit(order.account, **order.arguments()).result())


@together_flow
async def inner(order: Order) -> None:
    await run_job(order)


@together_flow
async def nested(order: Order) -> None:
    order.begin()
    await inner(order)


@task(retries=1)
async def failing_once(order: Order) -> None:
    await run_job(order)
    order.fail_once("task")


@together_flow(retries=1)
async def retried(order: Order) -> None:
    """After its job has succeeded the task around it fails, is retried, and then the flow fails, and is retried."""
    order.begin()
    await failing_once(order)
    order.fail_once("flow")


@together_flow
async def late_job(order: Order) -> None:
    order.begin()
    job = await _TASKS[order.kind](order.account, **order.arguments(), wait_timeout=LATE)
    order.leave(job)


@together_flow
async def late_task(order: Order) -> None:
    order.begin()
    await run_job(order, timeout_seconds=LATE)


@together_flow
def late_task_called(order: Order) -> None:
    order.begin()
    run_job_blocking(order, timeout_seconds=LATE)


@together_flow(timeout_seconds=LATE)
async def late_flow(order: Order) -> None:
    order.begin()
    await run_job(order)


@together_flow(timeout_seconds=LATE)
def late_flow_called(order: Order) -> None:
    order.begin()
    run_job_blocking(order)
