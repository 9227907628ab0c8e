"""Row 7: many tasks that want the same, at the same time."""

from __future__ import annotations

from functools import partial

import pytest

from tests.e2e.matrix.cell import Counted
from tests.e2e.matrix.flows.many import CROWD
from tests.e2e.matrix.play import Performance, Record, Scenario, Stage, cells
from tests.e2e.matrix.runs import WORK, Run
from tests.e2e.prefect_server import PrefectServer

pytestmark = pytest.mark.e2e


def twins(kind: str, stage: Stage[PrefectServer]) -> Counted:
    """Two tasks of a map with the same inputs want two jobs."""
    run = Run.start(stage, "twins", kind)
    run.expect("COMPLETED")
    assert run.job_ids() == set(stage.account.job_ids(kind))
    return stage.account.count(kind, wanted=2)


def crowd(stage: Stage[PrefectServer]) -> Counted:
    """Killed when half of the jobs are there, and run again."""
    run = Run.start(stage, "crowd", "fine_tune")
    stage.account.wait_for_paid("fine_tune", CROWD // 2, within=400)
    run.kill()
    run.expect("CRASHED")
    run.run_again()
    run.pid(2)
    run.expect("COMPLETED", within=600)
    assert run.job_ids() == set(stage.account.job_ids("fine_tune"))
    return stage.account.count("fine_tune", wanted=CROWD)


SCENARIOS = [
    *(Scenario("7", "Prefect", kind, "two tasks with the same inputs", partial(twins, kind)) for kind in WORK),
    Scenario("7", "Prefect", "fine_tune", f"{CROWD} tasks, killed in the middle, run again", crowd),
]


@pytest.mark.parametrize("scenario", cells(SCENARIOS, always=("batch: two tasks with the same inputs",)))
def test_each_of_many_tasks_has_one_job(
    scenario: Scenario[PrefectServer], in_prefect: Performance[PrefectServer], record_cell: Record
) -> None:
    record_cell(in_prefect.cell(scenario))
