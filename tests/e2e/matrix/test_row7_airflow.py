"""Row 7: mapped tasks that want the same, at the same time. Each gets a job of its own, and one only."""

from __future__ import annotations

from functools import partial

import pytest

from tests.e2e.airflow_cluster import AirflowCluster
from tests.e2e.matrix.cell import Counted
from tests.e2e.matrix.crowd import CROWD, deaths
from tests.e2e.matrix.jobs import OPERATIONS, POINTS
from tests.e2e.matrix.play import Performance, Record, Scenario, Stage, cells

pytestmark = pytest.mark.e2e

KINDS = ("batch", "fine_tune")


def twins(kind: str, how: str, stage: Stage[AirflowCluster], *, die_at: str = "") -> Counted:
    """Two tasks with the same inputs want two jobs, also where both die and look for what they had begun."""
    create, read = OPERATIONS[kind]
    point = die_at.format(create=create, read=read)
    tasks = ["job[0]", "job[1]"]
    dag = f"{kind}_{how}_twins"
    run = stage.trigger(dag, die_at=dict.fromkeys(tasks, point) if point else {})
    stage.expect_run(dag, run, "success", within=900)
    died = {path.stem for path in stage.folder.glob("*.died")}
    assert died == (set(tasks) if point else set()), f"{died} were killed"
    check_each_has_its_own(stage, dag, run, kind, tasks)
    return stage.account.count(kind, wanted=2)


def crowd(stage: Stage[AirflowCluster]) -> Counted:
    """A third of the tasks die once, somewhere in the life of their jobs."""
    die_at = {task: point for kind in KINDS for task, point in deaths(kind).items()}
    run = stage.trigger("crowd", die_at=die_at)
    stage.expect_run("crowd", run, "success", within=1500)
    died = {path.stem for path in stage.folder.glob("*.died")}
    assert died == set(die_at), f"not killed: {set(die_at) - died}"
    for kind in KINDS:
        check_each_has_its_own(stage, "crowd", run, kind, [f"{kind}[{index}]" for index in range(CROWD)])
    first, second = (stage.account.count(kind, wanted=CROWD) for kind in KINDS)
    return first + second


def check_each_has_its_own(stage: Stage[AirflowCluster], dag: str, run: str, kind: str, tasks: list[str]) -> None:
    """Fail unless each task has succeeded with a job that no other has."""
    rows = stage.on.tasks(dag, run)
    assert {rows[task]["state"] for task in tasks} == {"success"}
    returned = [stage.on.xcom(dag, run, task)["reference"].removeprefix(f"{kind}:") for task in tasks]
    assert len(set(returned)) == len(tasks), "a job was adopted twice"
    assert set(returned) <= set(stage.account.job_ids(kind))  # more than these were paid for, and so the counts say


SCENARIOS = [
    *(
        Scenario("7", "Airflow", kind, f"two mapped tasks with the same inputs, {words}", partial(twins, kind, how))
        for kind in KINDS
        for how, words in (("deferred", "deferred"), ("in_worker", "in the worker"))
    ),
    *(
        Scenario(
            "7",
            "Airflow",
            kind,
            f"two mapped tasks with the same inputs, both killed: {point}",
            partial(twins, kind, "deferred", die_at=POINTS[point]),
        )
        for kind in KINDS
        for point in ("after the intent, before the request", "answer read, id not stored")
    ),
    Scenario("7", "Airflow", "batch, fine_tune", f"{2 * CROWD} mapped tasks at once, {2 * (CROWD // 3)} killed", crowd),
]
#: Played on every run of the CI.
ALWAYS = [f"{kind}: two mapped tasks with the same inputs, deferred" for kind in KINDS]


@pytest.mark.parametrize("scenario", cells(SCENARIOS, always=ALWAYS))
def test_each_of_many_mapped_tasks_has_one_job(
    scenario: Scenario[AirflowCluster], in_airflow: Performance[AirflowCluster], record_cell: Record
) -> None:
    record_cell(in_airflow.cell(scenario))
