"""What becomes of work that nobody waits for at the moment when its run is stopped or its time is up."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from prefect import task
from prefect.client.orchestration import get_client
from prefect.states import Cancelled, Cancelling

import together_flows.prefect as tp
from tests.integration.prefect.conftest import BLOCK, HARDWARE, MODEL, QUICK, SLOW, running
from tests.integration.prefect.test_no_orphans import call_hook, looked_at, stopped_with, this_flow_run
from together_flows.emulator import Emulator
from together_flows.errors import ArgumentInvalid


@pytest.mark.parametrize("late", ["task", "flow"])
def test_a_job_that_nobody_waits_for_yet_is_ended_when_the_time_of_its_task_or_flow_is_up(
    emulator: Emulator, file_id: str, late: str
) -> None:
    emulator.settings(speed=SLOW)

    async def submit_and_dawdle() -> None:
        await tp.asubmit_fine_tune(BLOCK, training_file=file_id, model=MODEL)
        await asyncio.sleep(60)

    @tp.together_flow(timeout_seconds=5)
    async def late_flow() -> None:
        await submit_and_dawdle()

    @tp.together_flow
    async def late_task() -> None:
        await task(submit_and_dawdle, timeout_seconds=5)()

    with pytest.raises(TimeoutError):
        asyncio.run(late_flow() if late == "flow" else late_task())
    assert emulator.counts()["cancelled"]["fine_tune"] == 1
    assert running(emulator) == {}


@pytest.mark.parametrize("late", ["task", "nobody"])
def test_only_the_jobs_of_a_task_whose_own_time_was_up_are_ended_where_a_flow_fails_of_a_time_out(
    emulator: Emulator, file_id: str, late: str
) -> None:
    """Prefect says "timed out" of whatever fails of a `TimeoutError`, such as one of a socket."""
    emulator.settings(speed=SLOW)

    @task
    async def dawdle() -> None:
        await tp.asubmit_fine_tune(BLOCK, training_file=file_id, model=MODEL, n_epochs=2)
        if late == "nobody":
            raise TimeoutError("the socket's")
        await asyncio.sleep(60)

    @tp.together_flow
    async def failing() -> None:
        await tp.asubmit_fine_tune(BLOCK, training_file=file_id, model=MODEL)
        await dawdle.with_options(timeout_seconds=5)()

    with pytest.raises(TimeoutError):
        asyncio.run(failing())
    ended = int(late == "task")
    assert emulator.counts()["cancelled"]["fine_tune"] == ended
    assert running(emulator) == {"fine_tune": 2 - ended}


async def test_a_stopped_flow_that_is_to_leave_its_work_ends_only_what_bills(emulator: Emulator, file_id: str) -> None:
    emulator.settings(speed=SLOW)
    runs: list[UUID] = []

    @tp.together_flow(on_kill="leave")
    async def leaving() -> None:
        runs.append(this_flow_run())
        await tp.asubmit_endpoint(BLOCK, model=MODEL, hardware=HARDWARE)
        await tp.afine_tune(BLOCK, training_file=file_id, model=MODEL, **QUICK)

    await stopped_with(Cancelling(), leaving, runs, until=lambda: looked_at(emulator))
    for hook in leaving.on_cancellation_hooks:
        await asyncio.to_thread(call_hook, hook, runs[0], Cancelled())
    assert running(emulator) == {"fine_tune": 1}
    assert emulator.counts()["cancelled"]["endpoint"] == 1
    async with get_client() as prefect:
        await prefect.set_flow_run_state(runs[0], Cancelled(), force=True)
    swept = await asyncio.to_thread(tp.sweep, dry_run=False)
    assert [(row["reference"].partition(":")[0], row["verdict"]) for row in swept] == [("fine_tune", "leave")]
    assert running(emulator) == {"fine_tune": 1}


def test_what_a_stop_means_for_the_jobs_of_a_flow_is_one_of_two() -> None:
    with pytest.raises(ArgumentInvalid, match=r"on_kill is 'keep'\. Say 'end' or 'leave'"):
        tp.together_flow(on_kill="keep")  # type: ignore[call-overload] # that is the point
