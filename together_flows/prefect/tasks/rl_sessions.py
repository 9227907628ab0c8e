"""Tasks for training sessions of reinforcement learning, which bill until somebody stops them."""

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
    "RLSessionArguments",
    "arl_session",
    "astart_rl_session",
    "astop_rl_session",
    "asubmit_rl_session",
    "rl_session",
    "start_rl_session",
    "stop_rl_session",
    "submit_rl_session",
]


class RLSessionArguments(TypedDict, total=False):
    """The arguments of `together_flows.api.rl.create_session`, which describes each of them."""

    base_model: str
    lora_config: Mapping[str, Any] | None
    resume_from_checkpoint_id: str | None


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def submit_rl_session(credentials: TogetherCredentials | str, **arguments: Unpack[RLSessionArguments]) -> Job:
    """Start a training session, once, without waiting until it runs.

    The flow should have the hooks of `together_flow`: they end it when the run is cancelled, fails or crashes.

    The API gives nothing to find a lost session by: if the answer is lost, this fails rather than pay twice.

    Args:
        credentials: name of the credentials block, or the block.
        arguments: see `RLSessionArguments`.
    """
    return submit("rl_session", given(arguments), credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def asubmit_rl_session(credentials: TogetherCredentials | str, **arguments: Unpack[RLSessionArguments]) -> Job:
    """The same as `submit_rl_session`, on the event loop."""
    return await asubmit("rl_session", given(arguments), credentials)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def start_rl_session(
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[RLSessionArguments],
) -> dict[str, Any]:
    """Start a training session and wait until it runs. It bills until `stop_rl_session`; `rl_session` does both.

    One that does not come so far is ended, unless a retry of this task is left to adopt it.

    Args:
        credentials: name of the credentials block, or the block.
        wait_timeout: seconds, counted from its creation, that it may take.
        poll_interval: seconds between two looks, in the long run.
        arguments: see `RLSessionArguments`.

    Returns:
        `id`, `base_model`, `step`, `inference_checkpoints`, `training_checkpoints`, `status`, `reference` and `url`.

    Raises:
        JobFailed: it failed; the message is the API's.
        WaitTimeout: it took too long, and was ended.
    """
    job = submit_rl_session(credentials, **arguments)
    return ready(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def astart_rl_session(
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[RLSessionArguments],
) -> dict[str, Any]:
    """The same as `start_rl_session`, on the event loop."""
    job = await asubmit_rl_session(credentials, **arguments)
    return await aready(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)


@task(cache_policy=NO_CACHE, retries=3, retry_delay_seconds=[2, 10, 30], retry_condition_fn=may_help)
def stop_rl_session(credentials: TogetherCredentials | str, session: str | Mapping[str, Any]) -> str:
    """Stop a training session, which ends its billing, and confirm that it has stopped. Doing it twice is harmless.

    What was not saved as a checkpoint is lost.

    Args:
        credentials: name of the credentials block, or the block.
        session: what `start_rl_session` or `submit_rl_session` returned, or `rl_session:<id>`.

    Returns:
        The last state seen: `gone` when it does not exist any more.
    """
    return end(reference_of(session), credentials)


@task(cache_policy=NO_CACHE, retries=3, retry_delay_seconds=[2, 10, 30], retry_condition_fn=may_help)
async def astop_rl_session(credentials: TogetherCredentials | str, session: str | Mapping[str, Any]) -> str:
    """The same as `stop_rl_session`, on the event loop."""
    return await aend(reference_of(session), credentials)


@contextmanager
def rl_session(
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[RLSessionArguments],
) -> Iterator[dict[str, Any]]:
    """A training session that runs for as long as the block lasts; it is surely ended after it, however the block ends.

    Arguments and value are those of `start_rl_session`.

    Example:
        ```python
        with rl_session("together", base_model="…", lora_config={"rank": 8}) as session:
            run_rl_operation("together", session_id=session["id"], operation="training_checkpoint")
        ```
    """
    started = start_rl_session(credentials, wait_timeout=wait_timeout, poll_interval=poll_interval, **arguments)
    with ended_afterwards(credentials, started, stop_rl_session):
        yield started


@asynccontextmanager
async def arl_session(
    credentials: TogetherCredentials | str,
    *,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[RLSessionArguments],
) -> AsyncIterator[dict[str, Any]]:
    """The same as `rl_session`, on the event loop: `async with arl_session(…) as started:`."""
    started = await astart_rl_session(credentials, wait_timeout=wait_timeout, poll_interval=poll_interval, **arguments)
    async with aended_afterwards(credentials, started, astop_rl_session):
        yield started
