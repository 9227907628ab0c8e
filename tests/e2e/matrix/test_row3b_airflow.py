"""Row 3b: the machine is needed otherwise. A worker is told to stop, though nobody stopped the task.

What ends by itself is left running, and the retry, or the re-run where there is none, adopts it. An endpoint bills
until it is stopped: it is adopted by the retry, and stopped at once where none is left.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial

import psutil
import pytest

from tests.e2e.airflow_cluster import AirflowCluster
from tests.e2e.matrix.cell import Counted
from tests.e2e.matrix.one_task import TASK, OneTask
from tests.e2e.matrix.play import Performance, Record, Scenario, Stage
from tests.e2e.processes import eventually

pytestmark = pytest.mark.e2e

KINDS = ("fine_tune", "batch", "endpoint")
NOBODY_STOPPED_IT = "The process was told to stop, though nobody stopped the task."


def the_task(pid: int) -> int:
    return pid


def its_worker(pid: int) -> int:
    """The executor's worker process, which supervises the task."""
    return int(psutil.Process(pid).ppid())


#: Who gets the signal, as a function of the task's own process.
Whom = Callable[[int], int]


def evicted_with_a_retry_left(kind: str, whom: Whom, stage: Stage[AirflowCluster]) -> Counted:
    task = OneTask(stage, kind, f"{kind}_in_worker_1_retries")
    task.start()
    job = task.wait_until_it_waits()
    os.kill(whom(task.pid), signal.SIGTERM)
    eventually(lambda: task.adopted(job), within=180, what="the adoption by the retry")
    task.ends_as("success")
    assert task.returned() == job
    assert task.airflow.tasks(task.dag, task.run)[TASK]["try_number"] == 2
    task.says(NOBODY_STOPPED_IT)
    return task.count(ended=1 if kind == "endpoint" else 0)  # by its teardown


def evicted_with_none_left(kind: str, whom: Whom, stage: Stage[AirflowCluster]) -> Counted:
    task = OneTask(stage, kind, f"{kind}_in_worker_alone")
    task.start()
    job = task.wait_until_it_waits()
    os.kill(whom(task.pid), signal.SIGTERM)
    stage.expect_run(task.dag, task.run, "failed")
    task.says(NOBODY_STOPPED_IT)
    if kind == "endpoint":
        task.says("and no retry is left. To end: ")
        return task.count(ended=1)
    assert task.account.emulator.billing() == {kind: 1}
    task.clear()
    eventually(lambda: task.adopted(job), within=180, what="the adoption by the re-run")
    task.ends_as("success")
    assert task.returned() == job
    return task.count()


def scenarios(kind: str) -> list[Scenario[AirflowCluster]]:
    plays = {
        "task's process evicted, a retry left": partial(evicted_with_a_retry_left, kind, the_task),
        "task's process evicted, none left": partial(evicted_with_none_left, kind, the_task),
        "worker evicted, a retry left": partial(evicted_with_a_retry_left, kind, its_worker),
        "worker evicted, none left": partial(evicted_with_none_left, kind, its_worker),
    }
    return [Scenario("3b", "Airflow", kind, case, play) for case, play in plays.items()]


#: Cells that are played on every run of the CI.
REPRESENTATIVE = {("fine_tune", "worker evicted, a retry left"), ("endpoint", "worker evicted, none left")}
SCENARIOS = [
    pytest.param(
        scenario,
        id=str(scenario),
        marks=() if (scenario.kind, scenario.case) in REPRESENTATIVE else pytest.mark.exhaustive,
    )
    for kind in KINDS
    for scenario in scenarios(kind)
]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_eviction_costs_nothing(
    scenario: Scenario[AirflowCluster], in_airflow: Performance[AirflowCluster], record_cell: Record
) -> None:
    record_cell(in_airflow.cell(scenario))
