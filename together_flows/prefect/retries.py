"""When Prefect should try a task again: `retry_condition_fn` for tasks that talk to Together."""

from __future__ import annotations

from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun

from together_flows.errors import JobFailed, TogetherError

__all__ = ["may_help", "may_help_to_wait"]


def may_help(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether doing the same again can succeed. Errors that are not ours are for Prefect's own count of retries."""
    error = state.data
    return error.retryable if isinstance(error, TogetherError) else True


def may_help_to_wait(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether waiting again can succeed. A job that has failed stays so: only a submission makes another."""
    return not isinstance(state.data, JobFailed) and may_help(task, task_run, state)
