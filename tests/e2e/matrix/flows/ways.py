"""Flows that run one job of any kind, in each way that a flow can run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

from prefect import Task, task

import together_flows.prefect as tp
from tests.e2e.matrix.flows.order import Order
from together_flows.prefect import together_flow

#: Seconds that a task or a flow is given which is to be late: enough to submit its job on a busy machine.
LATE = 30

_TASKS: Mapping[str, Task[..., Any]] = {
    "fine_tune": tp.afine_tune,
    "batch": tp.abatch,
    "file": tp.aupload_file,
    "evaluation": tp.aevaluate,
    "model_upload": tp.aupload_model,
}
_BLOCKING_TASKS: Mapping[str, Task[..., Any]] = {
    "fine_tune": tp.fine_tune,
    "batch": tp.batch,
    "file": tp.upload_file,
    "evaluation": tp.evaluate,
    "model_upload": tp.upload_model,
    "endpoint": tp.deploy_endpoint,
}

#: What is used in a block, and stopped after it.
_ASYNC_BLOCKS: Mapping[str, Callable[..., AbstractAsyncContextManager[dict[str, Any]]]] = {
    "endpoint": tp.aendpoint,
    "deployment": tp.acontainer,
}
_BLOCKS: Mapping[str, Callable[..., AbstractContextManager[dict[str, Any]]]] = {
    "endpoint": tp.endpoint,
    "deployment": tp.container,
}
#: By which operation each of them is read, the name of its argument, and the field and the word that say it is up.
_UP = {
    "endpoint": ("endpoints.retrieve", "endpoint_id", "state", "STARTED"),
    "deployment": ("deployments.retrieve", "id", "status", "Ready"),
}


async def run_job(order: Order, **options: Any) -> None:
    """One job through the async tasks."""
    if order.kind in _ASYNC_BLOCKS:
        async with _ASYNC_BLOCKS[order.kind](order.account, **order.arguments()) as served:
            await serves(order, served)
            await order.astay()
            order.leave(served)
        return
    order.leave(await _TASKS[order.kind].with_options(**options)(order.account, **order.arguments()))


async def serves(order: Order, served: dict[str, Any]) -> None:
    """Fail unless what was started is really there."""
    operation, name, field, up = _UP[order.kind]
    found = await tp.acall(order.account, operation, {name: served["id"]})
    if found[field] != up:
        raise ValueError(f"{served['reference']} is {found[field]}")


def run_job_blocking(order: Order, **options: Any) -> None:
    """One job through the sync tasks."""
    if order.kind in _BLOCKS:
        with _BLOCKS[order.kind](order.account, **order.arguments()) as served:
            order.stay()
            order.leave(served)
        return
    order.leave(_BLOCKING_TASKS[order.kind].with_options(**options)(order.account, **order.arguments()))


@together_flow
async def awaited(order: Order) -> None:
    order.begin()
    await run_job(order)


@together_flow(on_kill="leave")
async def leaving(order: Order) -> None:
    order.begin()
    await run_job(order)


@together_flow(on_kill="leave")
async def leaving_nested(order: Order) -> None:
    order.begin()
    await inner(order)


@together_flow
def called(order: Order) -> None:
    order.begin()
    run_job_blocking(order)


@together_flow
def submitted(order: Order) -> None:
    """The way that hears of no signal: the task runs in a thread, and the flow waits for its future."""
    order.begin()
    done = _BLOCKING_TASKS[order.kind].submit(order.account, **order.arguments()).result()
    order.stay()
    order.leave(done)


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


@task(retries=1)
async def deploying_and_failing_once(order: Order) -> dict[str, Any]:
    served = await tp.adeploy_endpoint(order.account, **order.arguments())
    await serves(order, served)
    order.fail_once("task")
    return served


@together_flow(retries=1)
async def retried_while_it_serves(order: Order) -> None:
    """The same as `retried`, with an endpoint that is to outlive both failures."""
    order.begin()
    served = await deploying_and_failing_once(order)
    order.fail_once("flow")
    order.leave(served)
    await tp.astop_endpoint(order.account, served)


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
