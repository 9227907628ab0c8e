"""Row 4: the time of a task or of a flow is up while it waits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from tests.e2e.matrix.cell import Counted
from tests.e2e.matrix.play import Performance, Record, Scenario, Stage, cells
from tests.e2e.matrix.runs import SLOW, WORK, Run
from tests.e2e.prefect_server import PrefectServer

pytestmark = pytest.mark.e2e

#: The flows whose time is up, and what is up in them.
LATE = {
    "late_task": "timeout_seconds of a task passes",
    "late_task_called": "timeout_seconds of a task passes, sync",
    "late_flow": "timeout_seconds of a flow passes",
    "late_flow_called": "timeout_seconds of a flow passes, sync",
}


def late(way: str, kind: str, stage: Stage[PrefectServer]) -> Counted:
    stage.account.emulator.settings(speed=SLOW[kind])
    run = Run.start(stage, way, kind)
    run.expect("FAILED")
    assert "timeout" in run.message(), run.message()
    return stage.account.count(kind, ended=1)


def late_after_a_kill(kind: str, stage: Stage[PrefectServer]) -> Counted:
    """The deadline counts from the submission: it was near when the process died, and passes before another runs."""
    stage.account.emulator.settings(speed=SLOW[kind])
    run = Run.start(stage, "late_job", kind)
    run.wait_until_it_looks(kind)
    run.kill()
    run.expect("CRASHED")
    run.run_again()
    run.pid(2)
    run.expect("FAILED")
    assert "was not done by the deadline" in run.message(), run.message()
    return stage.account.count(kind, ended=1)


def scenario(kind: str, case: str, play: Callable[[Stage[PrefectServer]], Counted]) -> Scenario[PrefectServer]:
    return Scenario("4", "Prefect", kind, case, play)


SCENARIOS = [
    *(scenario(kind, case, partial(late, way, kind)) for way, case in LATE.items() for kind in WORK),
    *(scenario(kind, "wait_timeout passes, after a kill", partial(late_after_a_kill, kind)) for kind in WORK),
]


@pytest.mark.parametrize("scenario", cells(SCENARIOS, always=()))
def test_a_job_whose_time_is_up_is_ended(
    scenario: Scenario[PrefectServer], in_prefect: Performance[PrefectServer], record_cell: Record
) -> None:
    record_cell(in_prefect.cell(scenario))
