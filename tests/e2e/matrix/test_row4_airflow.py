"""Row 4: time runs out while a task waits. Its job is ended, and the task fails and says so."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from tests.e2e.airflow_cluster import AirflowCluster
from tests.e2e.matrix.cell import Counted
from tests.e2e.matrix.one_task import TASK, OneTask
from tests.e2e.matrix.play import Performance, Record, Scenario, Stage, cells

pytestmark = pytest.mark.e2e

_RESTART = threading.Lock()


def deadline_passes(kind: str, how: str, stage: Stage[AirflowCluster], *, restart: bool = False) -> Counted:
    task = OneTask(stage, kind, f"{kind}_{how}_timeout")
    task.start()
    if restart:
        task.wait_until_it_waits()
        restart_triggerer(stage.on)
    task.wait_until("failed")
    task.says("WaitTimeout", f"{kind}:{task.jobs[0]}")
    # The deadline is the job's and not the attempt's: a retry would have none left, so there is none.
    assert task.airflow.tasks(task.dag, task.run)[TASK]["try_number"] == 1
    return task.count(ended=1)


def deadline_passes_after_a_restart(kind: str, stage: Stage[AirflowCluster]) -> Counted:
    """The deadline is a moment and no stretch of time, so a restart does not prolong it."""
    return deadline_passes(kind, "deferred", stage, restart=True)


def execution_timeout_passes(kind: str, how: str, stage: Stage[AirflowCluster]) -> Counted:
    task = OneTask(stage, kind, f"{kind}_{how}_execution_timeout")
    task.start()
    task.wait_until("failed")
    task.says(f"{kind}:{task.jobs[0]}")
    return task.count(ended=1)


def restart_triggerer(airflow: AirflowCluster) -> None:
    """Kill the triggerer without warning, and start it again."""
    with _RESTART:
        airflow.triggerer.kill()
        airflow.triggerer.start()


def scenarios(kind: str) -> list[Scenario[AirflowCluster]]:
    made = [
        Scenario(
            "4", "Airflow", kind, "deadline passes, triggerer killed", partial(deadline_passes_after_a_restart, kind)
        )
    ]
    for how, words in (("deferred", "while deferred"), ("in_worker", "in the worker")):
        made += [
            Scenario("4", "Airflow", kind, f"deadline passes {words}", partial(deadline_passes, kind, how)),
            Scenario("4", "Airflow", kind, f"execution_timeout {words}", partial(execution_timeout_passes, kind, how)),
        ]
    return made


CELLS = cells([*scenarios("fine_tune"), *scenarios("batch")], always=["fine_tune: deadline passes while deferred"])


@pytest.mark.parametrize("scenario", CELLS)
def test_a_task_whose_time_is_up_leaves_no_job(
    scenario: Scenario[AirflowCluster], in_airflow: Performance[AirflowCluster], record_cell: Record
) -> None:
    record_cell(in_airflow.cell(scenario))
