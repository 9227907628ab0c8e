"""Tasks for the operations of a training session: passes, steps, samplings and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict, Unpack

from prefect import task
from prefect.cache_policies import NO_CACHE

from together_flows.prefect.credentials import TogetherCredentials
from together_flows.prefect.retries import may_help
from together_flows.prefect.submitting import Job, asubmit, submit
from together_flows.prefect.tasks.waiting import await_for_job, wait_for_job
from together_flows.prefect.waits import POLL_INTERVAL

__all__ = [
    "RLOperationArguments",
    "arun_rl_operation",
    "asubmit_rl_operation",
    "rl_operation_spec",
    "run_rl_operation",
    "submit_rl_operation",
]


class RLOperationArguments(TypedDict, total=False):
    """What a training session is to do.

    Attributes:
        session_id: the session.
        operation: what it does.
        arguments: the arguments of that, as `together_flows.api.rl` describes them.
    """

    session_id: str
    operation: Literal["forward_backward", "optim_step", "sample", "inference_checkpoint", "training_checkpoint"] | str
    arguments: Mapping[str, Any] | None


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def submit_rl_operation(credentials: TogetherCredentials | str, **arguments: Unpack[RLOperationArguments]) -> Job:
    """Have a training session begin an operation, once. The API knows a repeated request again.

    Args:
        credentials: name of the credentials block, or the block.
        arguments: see `RLOperationArguments`.
    """
    return submit("rl_operation", rl_operation_spec(arguments), credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def asubmit_rl_operation(
    credentials: TogetherCredentials | str, **arguments: Unpack[RLOperationArguments]
) -> Job:
    """The same as `submit_rl_operation`, on the event loop."""
    return await asubmit("rl_operation", rl_operation_spec(arguments), credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def run_rl_operation(
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[RLOperationArguments],
) -> dict[str, Any]:
    """Have a training session do an operation, and wait until it is done.

    It runs `submit_rl_operation` and `wait_for_job`.

    Args:
        credentials: name of the credentials block, or the block.
        wait_timeout: seconds, counted from the submission, that it may take.
        poll_interval: seconds between two looks, in the long run.
        arguments: see `RLOperationArguments`.

    Returns:
        `id`, `output`, `reference` and `url`. Of a large output only those parts are there that fit into a small
        result; `output_left_out` is the number of the others, and the `retrieve_…` operations tell them all.

    Raises:
        JobFailed: it failed; the message is the API's.
    """
    job = submit_rl_operation(credentials, **arguments)
    return wait_for_job(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def arun_rl_operation(
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[RLOperationArguments],
) -> dict[str, Any]:
    """The same as `run_rl_operation`, on the event loop."""
    job = await asubmit_rl_operation(credentials, **arguments)
    return await await_for_job(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)


def rl_operation_spec(arguments: RLOperationArguments) -> dict[str, Any]:
    named = {name: value for name, value in arguments.items() if name != "arguments" and value is not None}
    return {**(arguments.get("arguments") or {}), **named}
