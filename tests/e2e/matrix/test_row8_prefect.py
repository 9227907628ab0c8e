"""Row 8: however a run with an endpoint ends, its endpoint ends with it."""

from __future__ import annotations

from functools import partial

import pytest

from tests.e2e.matrix.cell import Counted
from tests.e2e.matrix.flows.endpoints import STEPS
from tests.e2e.matrix.play import Performance, Record, Scenario, Stage, cells
from tests.e2e.matrix.runs import SLOW, Run
from tests.e2e.prefect_server import PrefectServer

pytestmark = pytest.mark.e2e


def flow_fails(stage: Stage[PrefectServer]) -> Counted:
    """A run for each step, side by side."""
    runs = [Run.start(stage, "failing", "endpoint", fails_at=step) for step in STEPS]
    for run, step in zip(runs, STEPS, strict=True):
        run.expect("FAILED")
        assert step in run.message(), run.message()
    return stage.account.count("endpoint", wanted=len(STEPS), ended=len(STEPS))


def starting_fails(stage: Stage[PrefectServer]) -> Counted:
    """The endpoint itself comes to nothing, so that there is nothing to stop."""
    stage.account.emulator.settings(speed=SLOW["endpoint"])
    run = Run.start(stage, "awaited", "endpoint")
    stage.account.wait_for_paid("endpoint")
    [endpoint] = stage.account.job_ids("endpoint")
    stage.account.emulator.force("endpoint", endpoint, "ERROR", "no hardware")
    run.expect("FAILED")
    return stage.account.count("endpoint")


def process_dies(way: str, stage: Stage[PrefectServer]) -> Counted:
    """In use, in a flow or in a subflow of it: Prefect does not retry a crash, so nobody would adopt the endpoint."""
    run = Run.start(stage, way, "endpoint", hold=True)
    run.wait_until_in_use()
    run.kill()
    run.expect("CRASHED")
    return stage.account.count("endpoint", ended=1)


def cancelled_while_starting(way: str, stage: Stage[PrefectServer]) -> Counted:
    stage.account.emulator.settings(speed=SLOW["endpoint"])
    run = Run.start(stage, way, "endpoint")
    stage.account.wait_for_paid("endpoint")
    run.cancel()
    run.expect("CANCELLED")
    return stage.account.count("endpoint", ended=1)


def marked_failed(way: str, stage: Stage[PrefectServer]) -> Counted:
    """Prefect tells no process of it: the wait asks."""
    stage.account.emulator.settings(speed=SLOW["endpoint"])
    run = Run.start(stage, way, "endpoint")
    stage.account.wait_for_paid("endpoint")
    run.set_state("FAILED")
    counted = stage.account.count("endpoint", ended=1)
    run.expect("FAILED", "CRASHED")
    return counted


def marked_failed_in_use(stage: Stage[PrefectServer]) -> Counted:
    """The flow's own code goes on, and nothing of ours is there to ask: the sweep ends the endpoint."""
    run = Run.start(stage, "awaited", "endpoint", hold=True)
    run.wait_until_in_use()
    run.set_state("FAILED")
    run.sweep()
    counted = stage.account.count("endpoint", ended=1)
    run.release()
    return counted


SCENARIOS = [
    Scenario("8", "Prefect", "endpoint", f"flow fails at each of {len(STEPS)} steps", flow_fails),
    Scenario("8", "Prefect", "endpoint", "the endpoint does not start", starting_fails),
    Scenario("8", "Prefect", "endpoint", "process killed, in use", partial(process_dies, "awaited")),
    Scenario("8", "Prefect", "endpoint", "process killed, in use, sync", partial(process_dies, "called")),
    Scenario("8", "Prefect", "endpoint", "process killed, in use, in a subflow", partial(process_dies, "nested")),
    Scenario("8", "Prefect", "endpoint", "cancelled while it starts", partial(cancelled_while_starting, "awaited")),
    Scenario(
        "8",
        "Prefect",
        "endpoint",
        "cancelled while it starts, after .submit",
        partial(cancelled_while_starting, "submitted"),
    ),
    Scenario("8", "Prefect", "endpoint", "marked failed while it starts", partial(marked_failed, "awaited")),
    Scenario(
        "8",
        "Prefect",
        "endpoint",
        "marked failed while it starts, sync",
        partial(marked_failed, "called"),
    ),
    Scenario("8", "Prefect", "endpoint", "marked failed in use, swept", marked_failed_in_use),
]


@pytest.mark.parametrize("scenario", cells(SCENARIOS, always=("endpoint: process killed, in use",)))
def test_an_endpoint_ends_with_its_run(
    scenario: Scenario[PrefectServer], in_prefect: Performance[PrefectServer], record_cell: Record
) -> None:
    record_cell(in_prefect.cell(scenario))
