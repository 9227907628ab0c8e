"""No orphans: what is left on the server after cancellations, crashes, time-outs and failures."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Cancelling, Crashed, Failed, Running

import together_flows.prefect as tp
from tests.integration.prefect.conftest import BLOCK, HARDWARE, MODEL, QUICK, SLOW, created, running
from together_flows.api import fine_tunes
from together_flows.client import Together
from together_flows.emulator import Emulator
from together_flows.errors import JobCancelled, WaitTimeout
from together_flows.jobs import Phase
from together_flows.prefect.attention import RunCancelled
from together_flows.prefect.hooks import end_kept_job
from together_flows.prefect.identity import Owner
from together_flows.prefect.kept import kept_by, write
from together_flows.prefect.records import FlowRunStore


def this_flow_run() -> UUID:
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    return context.flow_run.id


class Flaky(Exception):
    """Something that has nothing to do with Together."""


async def stopped_with(
    state: State | None, wanted: Callable[[], Any], runs: list[UUID], *, until: Callable[[], bool]
) -> None:
    """Run a flow, and cut it through when `until` says so, after the state of its run was set on the server."""
    running_flow = asyncio.create_task(wanted())
    while not until():
        assert not running_flow.done(), running_flow
        await asyncio.sleep(0.05)
    if state is not None:
        async with get_client() as prefect:
            await prefect.set_flow_run_state(runs[-1], state, force=True)
    running_flow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running_flow


@asynccontextmanager
async def interrupted(
    wanted: Callable[[], Any], *, state: State | None, until: Callable[[], bool]
) -> AsyncIterator[None]:
    """The aftermath of a flow run that was cut through."""
    await stopped_with(state, wanted, _run_ids, until=until)
    yield


_run_ids: list[UUID] = []


def waiting_flow(work: Callable[[], Any], **hooks: Any) -> Callable[[], Any]:
    @flow(**hooks)
    async def waiting() -> None:
        _run_ids.append(this_flow_run())
        await work()

    return waiting


def looked_at(emulator: Emulator, path: str = "/fine-tunes/{id}") -> bool:
    """Whether the wait for a job has begun."""
    return f"GET {path}" in emulator.counts()["requests"]


@pytest.fixture(autouse=True)
def _no_run_yet() -> None:
    _run_ids.clear()


async def test_a_cancelled_wait_cancels_the_job(emulator: Emulator, file_id: str) -> None:
    emulator.settings(speed=SLOW)

    async def work() -> None:
        await tp.afine_tune(BLOCK, training_file=file_id, model=MODEL, **QUICK)

    async with interrupted(waiting_flow(work), state=Cancelling(), until=lambda: looked_at(emulator)):
        assert running(emulator) == {}
        assert emulator.counts()["cancelled"]["fine_tune"] == 1


def test_an_interruption_that_nobody_asked_for_leaves_work_and_stops_what_bills(
    emulator: Emulator, file_id: str
) -> None:
    emulator.settings(speed=SLOW)
    emulator.fault(method="DELETE", path="/endpoints/{endpointId}", status=503, delay=0.5)

    async def work() -> None:
        served = tp.adeploy_endpoint(BLOCK, model=MODEL, hardware=HARDWARE, **QUICK)
        tuned = tp.afine_tune(BLOCK, training_file=file_id, model=MODEL, **QUICK)
        await asyncio.gather(served, tuned, asyncio.sleep(3600))  # it is over when one of them is: the sleep, at once

    def both_looked_at() -> bool:
        return looked_at(emulator) and looked_at(emulator, "/endpoints/{endpointId}")

    async def process() -> None:
        async with interrupted(waiting_flow(work), state=None, until=both_looked_at):
            pass

    asyncio.run(process())  # at its end it cancels what is left, also those who just end their job
    assert running(emulator) == {"fine_tune": 1}


@pytest.mark.parametrize("name", ["fine_tune", "afine_tune", "wait_many"])
def test_a_wait_in_a_worker_thread_hears_of_the_cancellation_too(emulator: Emulator, file_id: str, name: str) -> None:
    emulator.settings(speed=SLOW)

    @flow
    def threads() -> None:
        flow_run_id = this_flow_run()
        if name == "wait_many":
            jobs = [tp.submit_fine_tune(BLOCK, training_file=file_id, model=MODEL)]
            waiting = tp.wait_many.submit(BLOCK, jobs, **QUICK)
        else:
            waiting = getattr(tp, name).submit(BLOCK, training_file=file_id, model=MODEL, **QUICK)
        while not looked_at(emulator):
            time.sleep(0.05)
        with get_client(sync_client=True) as prefect:
            prefect.set_flow_run_state(flow_run_id, Cancelling(), force=True)
        waiting.wait()

    with pytest.raises((RunCancelled, asyncio.CancelledError)):
        threads()
    assert running(emulator) == {}
    assert emulator.counts()["cancelled"]["fine_tune"] == 1


async def test_an_endpoint_in_use_is_ended_when_its_block_is_cut_through(emulator: Emulator) -> None:
    inside = asyncio.Event()

    async def work() -> None:
        async with tp.aendpoint(BLOCK, model=MODEL, hardware=HARDWARE, **QUICK):
            inside.set()
            await asyncio.sleep(60)

    async with interrupted(waiting_flow(work), state=None, until=inside.is_set):
        assert created(emulator, "endpoint") == 1
        assert running(emulator) == {}


def submit_two(emulator: Emulator, file_id: str) -> UUID:
    """A flow run that has submitted a fine-tune and an endpoint, which take hours from now on."""

    @flow
    def submitting() -> UUID:
        tp.submit_fine_tune(BLOCK, training_file=file_id, model=MODEL)
        tp.submit_endpoint(BLOCK, model=MODEL, hardware=HARDWARE)
        return this_flow_run()

    emulator.settings(speed=SLOW)
    return submitting()


def call_hook(hook: Any, flow_run_id: UUID, state: State) -> None:
    """The way a runner calls hooks: by keyword."""

    @flow
    def reloaded() -> None: ...

    with get_client(sync_client=True) as prefect:
        flow_run = prefect.read_flow_run(flow_run_id)
    hook(flow=reloaded, flow_run=flow_run, state=state)


def test_the_cancellation_hook_ends_everything_from_another_process_and_twice_is_harmless(
    emulator: Emulator, file_id: str
) -> None:
    flow_run_id = submit_two(emulator, file_id)
    assert running(emulator) == {"fine_tune": 1, "endpoint": 1}
    call_hook(tp.end_jobs, flow_run_id, Cancelled())
    assert running(emulator) == {}
    call_hook(tp.end_jobs, flow_run_id, Cancelled())
    assert emulator.counts()["cancelled"] == {**emulator.counts()["cancelled"], "fine_tune": 1, "endpoint": 1}


def test_the_crash_hook_ends_only_what_bills(emulator: Emulator, file_id: str) -> None:
    flow_run_id = submit_two(emulator, file_id)
    call_hook(tp.end_billing_jobs, flow_run_id, Crashed())
    assert running(emulator) == {"fine_tune": 1}


def test_the_hooks_of_a_run_end_what_its_subflows_have_submitted(emulator: Emulator, file_id: str) -> None:
    @flow
    def parent() -> UUID:
        submit_two(emulator, file_id)
        return this_flow_run()

    flow_run_id = parent()
    call_hook(tp.end_billing_jobs, flow_run_id, Crashed())
    assert running(emulator) == {"fine_tune": 1}
    call_hook(tp.end_jobs, flow_run_id, Cancelled())
    assert running(emulator) == {}


def test_a_subflow_that_a_killed_process_has_left_running_ends_with_the_run_around_it(
    emulator: Emulator, file_id: str
) -> None:
    children: list[UUID] = []

    @flow
    def parent() -> UUID:
        children.append(submit_two(emulator, file_id))
        return this_flow_run()

    flow_run_id = parent()
    with get_client(sync_client=True) as prefect:
        prefect.set_flow_run_state(children[0], Running(), force=True)
        prefect.set_flow_run_state(flow_run_id, Cancelled(), force=True)
    verdicts = [row["verdict"] for row in tp.sweep() if row["flow_run"] == str(children[0])]
    assert verdicts == ["end", "end"]


def test_the_cancellation_hook_finds_a_job_whose_id_was_never_learned(emulator: Emulator, file_id: str) -> None:
    flow_run_id = submit_two(emulator, file_id)
    forget_ids(flow_run_id)
    call_hook(tp.end_jobs, flow_run_id, Cancelled())
    assert running(emulator) == {}


def test_a_hook_leaves_alone_what_a_re_run_has_taken_over_since_it_looked(emulator: Emulator, file_id: str) -> None:
    flow_run_id = submit_two(emulator, file_id)
    seen = kept_by(flow_run_id)
    for kept in seen:
        heir = FlowRunStore(Owner(flow_run_id, 2, "heir"), kept.credentials)
        assert heir.load(f"heir.{kept.key.rpartition('.')[2]}") == kept.record
    said: list[str] = []
    for kept in seen:
        assert end_kept_job(kept, lambda message, level: said.append(message)) is None
    assert running(emulator) == {"fine_tune": 1, "endpoint": 1}
    assert ["a re-run wants it again" in message for message in said] == [True, True]


def forget_ids(flow_run_id: UUID) -> None:
    """Put the records back to where they were before the answers came."""
    for kept in kept_by(flow_run_id):
        write(replace(kept, record=replace(kept.record, id=None, phase=Phase.INTENT)))


def test_a_failed_flow_run_leaves_no_endpoint_behind(emulator: Emulator) -> None:
    @tp.together_flow
    def failing() -> None:
        tp.deploy_endpoint(BLOCK, model=MODEL, hardware=HARDWARE, **QUICK)
        raise Flaky

    with pytest.raises(Flaky):
        failing()
    assert created(emulator, "endpoint") == 1
    assert running(emulator) == {}


def test_a_job_that_is_not_done_in_time_is_cancelled_and_says_so(emulator: Emulator, file_id: str) -> None:
    emulator.settings(speed=SLOW)

    @flow
    def late() -> None:
        tp.fine_tune(BLOCK, training_file=file_id, model=MODEL, wait_timeout=0.5, **QUICK)

    with pytest.raises(WaitTimeout, match="It was cancelled"):
        late()
    assert running(emulator) == {}


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_job_is_ended_when_the_time_of_the_task_that_waits_for_it_is_up(
    emulator: Emulator, file_id: str, way: str
) -> None:
    emulator.settings(speed=SLOW)

    @flow
    def late() -> None:
        job = tp.submit_fine_tune(BLOCK, training_file=file_id, model=MODEL)
        tp.wait_for_job.with_options(timeout_seconds=5, retries=0)(BLOCK, job, **QUICK)

    @flow
    async def alate() -> None:
        job = await tp.asubmit_fine_tune(BLOCK, training_file=file_id, model=MODEL)
        await tp.await_for_job.with_options(timeout_seconds=5, retries=0)(BLOCK, job, **QUICK)

    with pytest.raises(TimeoutError):
        late() if way == "sync" else asyncio.run(alate())
    assert running(emulator) == {}
    assert emulator.counts()["cancelled"]["fine_tune"] == 1


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_wait_whose_run_a_person_marks_failed_ends_the_job(
    emulator: Emulator, file_id: str, client: Together, way: str
) -> None:
    emulator.settings(speed=SLOW)

    def mark_failed(flow_run_id: UUID) -> None:
        while not looked_at(emulator):
            time.sleep(0.05)
        with get_client(sync_client=True) as prefect:
            prefect.set_flow_run_state(flow_run_id, Failed(), force=True)

    @flow
    def marked() -> None:
        threading.Thread(target=copy_context().run, args=(mark_failed, this_flow_run())).start()
        tp.fine_tune(BLOCK, training_file=file_id, model=MODEL, **QUICK)

    @flow
    async def amarked() -> None:
        threading.Thread(target=copy_context().run, args=(mark_failed, this_flow_run())).start()
        await tp.afine_tune(BLOCK, training_file=file_id, model=MODEL, **QUICK)

    with pytest.raises((RunCancelled, asyncio.CancelledError)):
        marked() if way == "sync" else asyncio.run(amarked())
    assert running(emulator) == {}
    assert emulator.counts()["cancelled"]["fine_tune"] == 1


def test_a_flow_that_fails_leaves_the_work_that_its_other_tasks_wait_for(emulator: Emulator, file_id: str) -> None:
    emulator.settings(speed=SLOW)

    async def fail() -> None:
        while not looked_at(emulator):
            await asyncio.sleep(0.05)
        raise Flaky

    @tp.together_flow
    async def failing() -> None:
        await asyncio.gather(tp.afine_tune(BLOCK, training_file=file_id, model=MODEL, **QUICK), fail())

    with pytest.raises(Flaky):
        asyncio.run(failing())
    assert running(emulator) == {"fine_tune": 1}


def test_a_runner_that_is_stopped_leaves_work_to_whoever_runs_the_run_again(emulator: Emulator, file_id: str) -> None:
    evicted = submit_two(emulator, file_id)
    call_hook(tp.end_jobs, evicted, Cancelling(message="Runner is shutting down."))
    assert running(emulator) == {"fine_tune": 1}
    with get_client(sync_client=True) as prefect:
        prefect.set_flow_run_state(evicted, Cancelled(message="Runner is shutting down."), force=True)
    assert [row["verdict"] for row in tp.sweep(dry_run=False) if row["flow_run"] == str(evicted)] == ["leave"]
    assert running(emulator) == {"fine_tune": 1}


def test_a_job_that_an_attempt_before_cancelled_at_the_deadline_was_late_and_not_cancelled_by_somebody(
    emulator: Emulator, file_id: str, client: Together
) -> None:
    """The attempt before died between the cancellation and the record of it."""
    emulator.settings(speed=SLOW)

    @flow
    def late() -> None:
        job = tp.submit_fine_tune(BLOCK, training_file=file_id, model=MODEL)
        client.send(fine_tunes.cancel(job["id"]))
        while running(emulator):
            time.sleep(0.05)
        tp.wait_for_job.with_options(retries=0)(BLOCK, job, wait_timeout=0, **QUICK)

    with pytest.raises(WaitTimeout):
        late()


def test_a_job_of_somebody_else_is_only_looked_at(emulator: Emulator, file_id: str, client: Together) -> None:
    emulator.settings(speed=SLOW)
    job = client.send(fine_tunes.create(training_file=file_id, model=MODEL))

    @flow
    def looking() -> None:
        tp.wait_for_job(BLOCK, f"fine_tune:{job.id}", wait_timeout=0.3, **QUICK)

    with pytest.raises(WaitTimeout, match="left alone"):
        looking()
    assert running(emulator) == {"fine_tune": 1}


def test_a_job_that_somebody_cancels_fails_the_task_and_says_so(
    emulator: Emulator, file_id: str, client: Together
) -> None:
    @flow
    def cancelled() -> None:
        job = tp.submit_fine_tune(BLOCK, training_file=file_id, model=MODEL)
        client.send(fine_tunes.cancel(job["id"]))
        tp.wait_for_job(BLOCK, job, **QUICK)

    emulator.settings(speed=SLOW)
    with pytest.raises(JobCancelled, match="not by this task"):
        cancelled()


def test_the_sweep_lists_what_a_dead_run_left_and_ends_what_nobody_wants(emulator: Emulator, file_id: str) -> None:
    crashed, cancelled = submit_two(emulator, file_id), submit_two(emulator, file_id)
    emulator.settings(speed=3.0)
    with get_client(sync_client=True) as prefect:
        prefect.set_flow_run_state(crashed, Crashed(), force=True)
        prefect.set_flow_run_state(cancelled, Cancelled(), force=True)
    listed = {(row["flow_run"], row["reference"].partition(":")[0]): row["verdict"] for row in tp.sweep()}
    assert listed == {
        (str(crashed), "fine_tune"): "leave",
        (str(crashed), "endpoint"): "end",
        (str(cancelled), "fine_tune"): "end",
        (str(cancelled), "endpoint"): "end",
    }
    assert running(emulator) == {"fine_tune": 2, "endpoint": 2}, "a dry run ends nothing"
    tp.sweep(dry_run=False)
    assert running(emulator) == {"fine_tune": 1}


def test_a_completed_run_that_deployed_an_endpoint_on_purpose_keeps_it(emulator: Emulator, file_id: str) -> None:
    submit_two(emulator, file_id)
    verdicts = {row["reference"].partition(":")[0]: row["verdict"] for row in tp.sweep(dry_run=False)}
    assert verdicts["endpoint"] == "keep"
    assert running(emulator) == {"fine_tune": 1, "endpoint": 1}
