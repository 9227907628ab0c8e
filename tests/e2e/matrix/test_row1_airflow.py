"""Row 1: the task's process dies at every point of a job's life, and the retry finds the job."""

from __future__ import annotations

import json
import os
import signal
from functools import partial

import pytest

from tests.e2e.airflow_cluster import AirflowCluster
from tests.e2e.matrix.cell import Counted
from tests.e2e.matrix.jobs import MAKE, OPERATIONS, POINTS
from tests.e2e.matrix.play import Performance, Record, Scenario, Stage, cells

pytestmark = pytest.mark.e2e

#: Kinds that are ended by their teardown when the run is over.
TORN_DOWN = ("endpoint", "deployment")
#: The request of each kind whose effect is the creation.
CREATIONS = {
    "file": ("POST", "/files/{id}/preprocess"),
    "fine_tune": ("POST", "/fine-tunes"),
    "batch": ("POST", "/batches"),
    "evaluation": ("POST", "/evaluation"),
    "endpoint": ("POST", "/endpoints"),
    "model_upload": ("POST", "/models"),
    "deployment": ("POST", "/deployments"),
}


def killed_at_every_point(kind: str, stage: Stage[AirflowCluster]) -> Counted:
    """One task for each point, side by side: with the same inputs each wants a job of its own, and gets it."""
    create, read = OPERATIONS[kind]
    die_at = {f"job_{n}": point.format(create=create, read=read) for n, point in enumerate(POINTS.values())}
    for task in die_at:  # content that no two of them share, because the API keeps the same content once
        (stage.folder / f"{task}.jsonl").write_text(batch_line(task))
    dag = f"{kind}_at_every_point"
    run = stage.trigger(dag, die_at=die_at)
    stage.expect_run(dag, run, "success", within=400)
    died = {path.stem for path in stage.folder.glob("*.died")}
    assert died == set(die_at), f"only {died} were killed"
    jobs = {stage.on.xcom(dag, run, task, "together_jobs")[0] for task in die_at}
    assert len(jobs) == len(die_at), f"a job was adopted twice: {jobs}"
    return stage.account.count(kind, wanted=len(die_at), ended=len(die_at) if kind in TORN_DOWN else 0)


def killed_while_the_answer_is_on_its_way(kind: str, stage: Stage[AirflowCluster]) -> Counted:
    method, path = CREATIONS[kind]
    (stage.folder / "job.jsonl").write_text(batch_line("job"))
    stage.account.emulator.fault(method=method, path=path, linger=90)
    dag = f"{kind}_in_worker_1_retries"
    run = stage.trigger(dag)
    stage.account.wait_for_paid(kind)
    os.kill(stage.on.tasks(dag, run)["job"]["pid"], signal.SIGKILL)
    stage.expect_run(dag, run, "success")
    assert stage.on.tasks(dag, run)["job"]["try_number"] == 2
    return stage.account.count(kind, ended=1 if kind in TORN_DOWN else 0)


def batch_line(custom_id: str) -> str:
    body = {"model": "Qwen/Qwen3-8B", "messages": [{"role": "user", "content": "hello"}]}
    return json.dumps({"custom_id": custom_id, "body": body}) + "\n"


def scenarios(kind: str) -> list[Scenario[AirflowCluster]]:
    points = f"killed at {len(POINTS)} points, retried"
    unread = "killed when the request was sent, the answer not read"
    return [
        Scenario("1", "Airflow", kind, points, partial(killed_at_every_point, kind)),
        Scenario("1", "Airflow", kind, unread, partial(killed_while_the_answer_is_on_its_way, kind)),
    ]


SCENARIOS = [scenario for kind in MAKE for scenario in scenarios(kind)]


ALWAYS = [f"{kind}: killed at {len(POINTS)} points, retried" for kind in ("fine_tune", "endpoint")]


@pytest.mark.parametrize("scenario", cells(SCENARIOS, always=ALWAYS))
def test_a_killed_task_pays_for_one_job(
    scenario: Scenario[AirflowCluster], in_airflow: Performance[AirflowCluster], record_cell: Record
) -> None:
    record_cell(in_airflow.cell(scenario))
