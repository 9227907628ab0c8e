"""What Airflow says about a task, seen from a process that was told to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow.sdk import conf

__all__ = ["ABOUT_TO_RUN", "seconds_until_seen", "state_in_airflow"]

#: States of a task that has been cleared, from the moment of the clear to its new attempt.
ABOUT_TO_RUN = ("none", "scheduled", "queued", "running", "up_for_retry", "restarting")


def state_in_airflow(get_task_states: Callable[..., Mapping[str, Mapping[str, Any]]], task: Any) -> str:
    """
    Ask Airflow for a task instance's present state.

    :param get_task_states: ``RuntimeTaskInstance.get_task_states``. It blocks.
    :param task: the task instance.
    :returns: the state; ``"none"`` for a task that was cleared and is not scheduled yet, and ``"missing"`` for one that
        does not exist any more, because its DAG run was deleted.
    """
    states = get_task_states(
        dag_id=task.dag_id, task_ids=[task.task_id], run_ids=[task.run_id], map_index=task.map_index
    )
    name = task.task_id if task.map_index < 0 else f"{task.task_id}_{task.map_index}"
    of_run = states.get(task.run_id, {})
    if name not in of_run:
        return "missing"
    return "none" if of_run[name] is None else str(of_run[name])


def seconds_until_seen() -> float:
    """Seconds after which the scheduler has surely seen that a process has ended, unless it is overloaded."""
    return 2 * float(conf.getfloat("scheduler", "scheduler_heartbeat_sec", fallback=5.0))
