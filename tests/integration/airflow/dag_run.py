"""Runs a DAG to its end in this process, as `airflow dags test` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dags_examples.demo.airflow_run import register

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.sdk import DAG

__all__ = ["FinishedRun", "run_in_process"]


@dataclass
class FinishedRun:
    """A DAG run that has come to its end.

    Attributes:
        state: of the run.
        states: of its tasks, by id.
        log: what was logged.
    """

    state: str
    states: dict[str, str]
    log: str
    _run: DagRun

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        """What a task has pushed."""
        task = next(task for task in self._run.get_task_instances() if task.task_id == task_id)
        return task.xcom_pull(task_ids=task_id, key=key, map_indexes=task.map_index)

    def xcoms(self, task_id: str) -> list[Any]:
        """What each instance of a mapped task has returned, in the order of the map."""
        tasks = [task for task in self._run.get_task_instances() if task.task_id == task_id]
        tasks.sort(key=lambda task: task.map_index)
        return [task.xcom_pull(task_ids=task_id, map_indexes=task.map_index) for task in tasks]


def run_in_process(dag: DAG, conf: Mapping[str, object], log: Callable[[], str]) -> FinishedRun:
    """Run a DAG.

    Args:
        dag: the DAG.
        conf: values for its params.
        log: what was written since it was called last.
    """
    register(dag)
    run = dag.test(run_conf=dict(conf) or None)
    states = {task.task_id: str(task.state) for task in run.get_task_instances()}
    return FinishedRun(state=str(run.state), states=states, log=log(), _run=run)
