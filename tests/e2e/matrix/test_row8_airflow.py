"""Row 8: whatever becomes of the pipeline, its endpoint does not outlive it."""

from __future__ import annotations

import os
import signal
from functools import partial

import pytest

from tests.e2e.airflow_cluster import AirflowCluster
from tests.e2e.matrix.cell import Counted
from tests.e2e.matrix.jobs import POINTS
from tests.e2e.matrix.one_task import TASK, OneTask
from tests.e2e.matrix.play import Performance, Record, Scenario, Stage, cells
from tests.e2e.processes import eventually

pytestmark = pytest.mark.e2e

KIND = "endpoint"
READ = "endpoints.retrieve"


def step_fails(step: str, stage: Stage[AirflowCluster]) -> Counted:
    task = OneTask(stage, KIND, "pipeline_deferred")
    task.start(held=False, fails_at=step)
    stage.expect_run(task.dag, task.run, "failed")
    jobs = 0 if step == "prepare" else 1
    return task.count(wanted=jobs, ended=jobs)


def endpoint_fails(stage: Stage[AirflowCluster]) -> Counted:
    """The endpoint itself comes to nothing, so that there is nothing to stop."""
    stage.account.emulator.settings(fail={KIND: "no capacity"})
    task = OneTask(stage, KIND, "pipeline_deferred")
    task.start(held=False)
    stage.expect_run(task.dag, task.run, "failed")
    task.says("state ERROR")
    return task.count()


def worker_dies(point: str, dag: str, stage: Stage[AirflowCluster]) -> Counted:
    """The process that starts the endpoint dies. With no retry left, only the teardown is left to stop it."""
    task = OneTask(stage, KIND, dag)
    task.start(held=False, die_at={TASK: POINTS[point].format(create="send:endpoints.create", read=READ)})
    retried = dag.endswith("_retried")
    stage.expect_run(task.dag, task.run, "success" if retried else "failed")
    return task.count(ended=1)


def user_dies(stage: Stage[AirflowCluster]) -> Counted:
    """The process of the task that uses the endpoint is killed while it does."""
    task = OneTask(stage, KIND, "pipeline_deferred")
    task.start(held=False, stays_at="use")
    os.kill(process_of(task, "use"), signal.SIGKILL)
    stage.expect_run(task.dag, task.run, "failed")
    return task.count(ended=1)


def run_marked_failed(stage: Stage[AirflowCluster]) -> Counted:
    """While the endpoint starts. Its task is deferred, and the run is over."""
    task = OneTask(stage, KIND, "pipeline_deferred")
    task.start()
    task.wait_until_it_waits()
    task.airflow.mark_run(task.dag, task.run, "failed")
    return task.count(ended=1)


def run_marked_failed_while_in_use(stage: Stage[AirflowCluster]) -> Counted:
    task = OneTask(stage, KIND, "pipeline_deferred")
    task.start(held=False, stays_at="use")
    process_of(task, "use")
    task.airflow.mark_run(task.dag, task.run, "failed")
    return task.count(ended=1)


def teardown_dies(stage: Stage[AirflowCluster]) -> Counted:
    """The teardown's own process is killed in the middle of its work, and its retry does it."""
    stage.account.emulator.fault(method="DELETE", path="/endpoints/{endpointId}", delay=60)
    task = OneTask(stage, KIND, "pipeline_deferred")
    task.start(held=False)
    request = "DELETE /endpoints/{endpointId}"
    eventually(lambda: request in stage.account.emulator.counts()["requests"], within=400, what=request)
    os.kill(process_of(task, "stop_job"), signal.SIGKILL)
    stage.expect_run(task.dag, task.run, "success")
    assert task.airflow.tasks(task.dag, task.run)["stop_job"]["try_number"] == 2
    return task.count(ended=1)


def process_of(task: OneTask, name: str) -> int:
    """The process that runs another task of the run, once there is one."""

    def look() -> int | None:
        row = task.airflow.tasks(task.dag, task.run)[name]
        return row["pid"] if row["state"] == "running" else None

    return eventually(look, within=400, what=f"the process of {name}")


def row(case: str, play: object) -> Scenario[AirflowCluster]:
    return Scenario("8", "Airflow", KIND, case, play)  # type: ignore[arg-type] # partials and functions alike


SCENARIOS = [
    *(row(f"the step {step} fails", partial(step_fails, step)) for step in ("prepare", "use", "publish")),
    row("the endpoint itself fails", endpoint_fails),
    *(
        row(f"killed {point}, {words}", partial(worker_dies, point, dag))
        for point in ("answer read, id not stored", "while waiting", "result ready, before it is returned")
        for dag, words in (("pipeline_in_worker", "no retry left"), ("pipeline_in_worker_retried", "retried"))
    ),
    row("the process that uses it is killed", user_dies),
    row("run marked failed while it starts", run_marked_failed),
    row("run marked failed while it is in use", run_marked_failed_while_in_use),
    row("the teardown itself is killed", teardown_dies),
]


ALWAYS = ("endpoint: killed answer read, id not stored, no retry left", "endpoint: the step use fails")


@pytest.mark.parametrize("scenario", cells(SCENARIOS, always=ALWAYS))
def test_an_endpoint_does_not_outlive_its_pipeline(
    scenario: Scenario[AirflowCluster], in_airflow: Performance[AirflowCluster], record_cell: Record
) -> None:
    record_cell(in_airflow.cell(scenario))
