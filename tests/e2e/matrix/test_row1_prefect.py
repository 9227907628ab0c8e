"""Row 1: the flow's process dies at every point of a job's life, and the run that is run again finds the job."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from tests.e2e.matrix.cell import Counted
from tests.e2e.matrix.jobs import OPERATIONS, POINTS
from tests.e2e.matrix.play import Performance, Record, Scenario, Stage, cells
from tests.e2e.matrix.runs import Run
from tests.e2e.matrix.test_row1_airflow import CREATIONS, TORN_DOWN, batch_line
from tests.e2e.prefect_server import PrefectServer

pytestmark = pytest.mark.e2e

#: Async waits of an account share their looks, which are no steps of a job's own flow. So only a sync flow dies between
#: two looks.
WAYS = dict.fromkeys(OPERATIONS, "called") | {"batch": "awaited"}
POINTS_IN_A_SUBFLOW = ("answer read, id not stored", "while waiting")
#: Deaths before anything is there.
NOTHING_PAID = ("before the intent is stored", "after the intent, before the request")


def started(stage: Stage[PrefectServer], way: str, kind: str, **order: Any) -> Run:
    """A run, with the file that it uploads if it is to upload one."""
    source = stage.folder / "upload.jsonl"
    source.write_text(batch_line("job"))
    return Run.start(stage, way, kind, source=str(source), **order)


def killed_at(cases: Sequence[str], way: str, kind: str, stage: Stage[PrefectServer]) -> Counted:
    """One run, killed at each point in turn and run again each time."""
    create, read = OPERATIONS[kind]
    points = [POINTS[case].format(create=create, read=read) for case in cases]
    run = started(stage, way, kind, die_at=points)
    for attempt in range(1, len(points) + 1):
        run.pid(attempt)
        run.expect("CRASHED")
        run.run_again()
    run.pid(len(points) + 1)
    run.expect("COMPLETED")
    return counted(run, kind, lost=len([case for case in cases if case not in NOTHING_PAID]))


def killed_while_the_answer_is_on_its_way(kind: str, stage: Stage[PrefectServer]) -> Counted:
    method, path = CREATIONS[kind]
    stage.account.emulator.fault(method=method, path=path, linger=90)
    run = started(stage, "awaited", kind)
    stage.account.wait_for_paid(kind)
    run.kill()
    run.expect("CRASHED")
    run.run_again()
    run.pid(2)
    run.expect("COMPLETED")
    return counted(run, kind, lost=1)


def counted(run: Run, kind: str, *, lost: int) -> Counted:
    """One job, whose result the run has. But Prefect never retries a crash, so what bills was ended by each `lost`."""
    account = run.stage.account
    if kind in TORN_DOWN:
        return account.count(kind, wanted=lost + 1, ended=lost + 1)
    own = set(account.job_ids(kind)) - set(account.files.values())
    assert run.job_ids() == own
    return account.count(kind)


def points_of(kind: str) -> tuple[str, ...]:
    """A file is known by its content, so Prefect keeps no record of it, into which its end could be written."""
    return tuple(case for case in POINTS if kind != "file" or POINTS[case] != "before:save:ended")


def scenarios(kind: str) -> list[Scenario[PrefectServer]]:
    cases = points_of(kind)
    points, unread = (
        f"killed at {len(cases)} points, run again",
        "killed when the request was sent, the answer not read",
    )
    return [
        Scenario("1", "Prefect", kind, points, partial(killed_at, cases, WAYS[kind], kind)),
        Scenario("1", "Prefect", kind, unread, partial(killed_while_the_answer_is_on_its_way, kind)),
    ]


IN_A_SUBFLOW = partial(killed_at, POINTS_IN_A_SUBFLOW, "nested", "fine_tune")
SCENARIOS = [
    *(scenario for kind in OPERATIONS for scenario in scenarios(kind)),
    Scenario(
        "1",
        "Prefect",
        "fine_tune",
        "killed in a subflow, run again",
        partial(killed_at, POINTS_IN_A_SUBFLOW, "nested", "fine_tune"),
    ),
]


@pytest.mark.parametrize(
    "scenario", cells(SCENARIOS, always=("fine_tune: killed when the request was sent, the answer not read",))
)
def test_a_killed_flow_run_pays_for_one_job(
    scenario: Scenario[PrefectServer], in_prefect: Performance[PrefectServer], record_cell: Record
) -> None:
    record_cell(in_prefect.cell(scenario))
