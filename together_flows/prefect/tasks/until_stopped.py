"""What bills until somebody stops it: wait until it is of use, and stop it however the work in between ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from together_flows.prefect.credentials import TogetherCredentials
from together_flows.prefect.endings import aend, end
from together_flows.prefect.identity import retries_left
from together_flows.prefect.submitting import Job
from together_flows.prefect.tasks.waiting import await_for_job, wait_for_job
from together_flows.prefect.threads import to_its_end
from together_flows.prefect.waits import reference_of

__all__ = ["aended_afterwards", "aready", "ended_afterwards", "ready"]


def ready(
    credentials: TogetherCredentials | str, job: Job, *, wait_timeout: float | None, poll_interval: float
) -> dict[str, Any]:
    """Wait until a job is of use. One that does not come to be is ended, unless a retry of this task will adopt it."""
    try:
        return wait_for_job(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)
    except Exception:
        if not retries_left():
            end(reference_of(job), credentials)
        raise


async def aready(
    credentials: TogetherCredentials | str, job: Job, *, wait_timeout: float | None, poll_interval: float
) -> dict[str, Any]:
    """The same as `ready`, on the event loop."""
    try:
        return await await_for_job(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)
    except Exception:
        if not retries_left():
            await aend(reference_of(job), credentials)
        raise


@contextmanager
def ended_afterwards(credentials: TogetherCredentials | str, job: Mapping[str, Any], stop: Any) -> Iterator[None]:
    """End a job after the block, however the block ends.

    Args:
        credentials: its account.
        job: what a task returned.
        stop: the task that ends it.
    """
    try:
        yield
    except Exception:
        stop(credentials, job)
        raise
    except BaseException:  # the run is being stopped: no time, and perhaps no way, to start another task
        end(reference_of(job), credentials)
        raise
    else:
        stop(credentials, job)


@asynccontextmanager
async def aended_afterwards(
    credentials: TogetherCredentials | str, job: Mapping[str, Any], stop: Any
) -> AsyncIterator[None]:
    """The same as `ended_afterwards`, on the event loop."""
    try:
        yield
    except Exception:
        await stop(credentials, job)
        raise
    except BaseException:  # the run is being stopped: no time, and perhaps no way, to start another task
        await to_its_end(partial(end, reference_of(job), credentials))
        raise
    else:
        await stop(credentials, job)
