"""Row 5: a run is cancelled, retried, or loses the processes that carry it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from tests.e2e.matrix.accounts import SPEED
from tests.e2e.matrix.cell import Counted
from tests.e2e.matrix.play import Performance, Record, Scenario, Stage, cells
from tests.e2e.matrix.runs import EVERYBODY, KINDS, SLOW, WORK, Run
from tests.e2e.prefect_server import PrefectServer
from tests.e2e.processes import Process, eventually

pytestmark = pytest.mark.e2e


def in_its_wait(way: str, kind: str, stage: Stage[PrefectServer], *, served_by: str = EVERYBODY) -> Run:
    """A run whose job is submitted and waited for, or whose endpoint is in use."""
    if kind == "endpoint":
        run = Run.start(stage, way, kind, served_by=served_by, hold=True)
        run.wait_until_in_use()
        return run
    stage.account.emulator.settings(speed=SLOW[kind])
    run = Run.start(stage, way, kind, served_by=served_by)
    run.wait_until_it_looks(kind)
    return run


def adopted_by_another_attempt(run: Run, kind: str) -> Counted:
    """The job was left running; the same run, run again, adopts it and returns its result."""
    account = run.stage.account
    left = account.job_ids(kind)
    assert account.emulator.billing() == {kind: 1}
    account.emulator.settings(speed=SPEED)
    run.run_again_once_more()
    run.expect("COMPLETED")
    assert run.job_ids() == set(left)
    return account.count(kind)


def cancelled(way: str, kind: str, stage: Stage[PrefectServer]) -> Counted:
    run = in_its_wait(way, kind, stage)
    run.cancel()
    run.expect("CANCELLED")
    return stage.account.count(kind, ended=1)


def process_asked_to_end(kind: str, stage: Stage[PrefectServer]) -> Counted:
    """SIGTERM to the flow's process, as at an eviction: nobody has asked for the end of the run."""
    run = in_its_wait("awaited", kind, stage)
    run.ask_to_end()
    run.expect("CRASHED")
    if kind == "endpoint":
        return stage.account.count(kind, ended=1)
    return adopted_by_another_attempt(run, kind)


def retried(kind: str, stage: Stage[PrefectServer]) -> Counted:
    run = Run.start(stage, "retried", kind)
    run.expect("COMPLETED")
    failed = {path.name for path in run.folder.glob("failed-in-*")}
    assert failed == {"failed-in-task", "failed-in-flow"}, failed
    return stage.account.count(kind)


Carrier = Callable[[Stage[PrefectServer]], Process]


def own(stage: Stage[PrefectServer]) -> str:
    """A name that no other scenario has for what carries its runs."""
    return f"carrier-{stage.folder.name}"


def a_runner(stage: Stage[PrefectServer]) -> Process:
    """A process that serves a flow for this stage alone."""
    return stage.on.serve("tests.e2e.matrix.flows.serve", own(stage), "awaited")


def a_worker(stage: Stage[PrefectServer]) -> Process:
    """A worker of a pool for this stage alone."""
    stage.on.deploy_to_pool(f"awaited/{EVERYBODY}", own(stage))
    return stage.on.work(own(stage))


@contextmanager
def carried(carrier: Carrier, stage: Stage[PrefectServer]) -> Iterator[Process]:
    process = carrier(stage)
    try:
        yield process
    finally:
        process.stop()


def cancelled_by_a_worker(kind: str, stage: Stage[PrefectServer]) -> Counted:
    with carried(a_worker, stage):
        run = in_its_wait("awaited", kind, stage, served_by=own(stage))
        run.cancel()
        run.expect("CANCELLED")
        return stage.account.count(kind, ended=1)


def runner_asked_to_end(kind: str, stage: Stage[PrefectServer]) -> Counted:
    """A deploy: the runner gets SIGTERM, and a new one takes its place.

    Prefect 3.9 cancels its runs then and calls their hooks. Prefect 3.7 kills them, and the runs stay "running".
    """
    with carried(a_runner, stage) as process:
        run = in_its_wait("awaited", kind, stage, served_by=own(stage))
        process.send_signal(signal.SIGTERM)
        eventually(lambda: not process.is_alive, within=120, what="the end of the runner")
    if kind == "endpoint":
        run.cancel()
        run.sweep(cancelling_for_minutes=0.0)
        return stage.account.count(kind, ended=1)
    with carried(a_runner, stage):
        return adopted_by_another_attempt(run, kind)


def carrier_stops(carrier: Carrier, with_signal: signal.Signals, stage: Stage[PrefectServer]) -> Counted:
    """The flow's process goes on, or Prefect ends it with a report or without, and a new carrier runs the run again."""
    with carried(carrier, stage) as process:
        run = in_its_wait("awaited", "fine_tune", stage, served_by=own(stage))
        [job] = stage.account.job_ids("fine_tune")
        process.send_signal(with_signal)
        stage.account.emulator.settings(speed=SPEED)
        run.wait_until_it_stops()
    if run.flow_run["state_type"] != "COMPLETED":
        with carried(carrier, stage):
            run.run_again_once_more()
            run.expect("COMPLETED")
    assert run.job_ids() == {job}
    return stage.account.count("fine_tune")


def everything_dies(kind: str, stage: Stage[PrefectServer]) -> Counted:
    """Nobody is left to hear of the cancellation: the sweep ends the job."""
    with carried(a_runner, stage) as process:
        run = in_its_wait("awaited", kind, stage, served_by=own(stage))
        process.kill(signal.SIGKILL)
    run.cancel()
    run.sweep(cancelling_for_minutes=0.0)
    return stage.account.count(kind, ended=1)


def scenario(kind: str, case: str, play: Callable[[Stage[PrefectServer]], Counted]) -> Scenario[PrefectServer]:
    return Scenario("5", "Prefect", kind, case, play)


SCENARIOS = [
    *(scenario(kind, "cancelled while awaited", partial(cancelled, "awaited", kind)) for kind in KINDS),
    scenario("fine_tune", "cancelled in a sync flow", partial(cancelled, "called", "fine_tune")),
    scenario("endpoint", "cancelled in a sync flow", partial(cancelled, "called", "endpoint")),
    *(scenario(kind, "cancelled after .submit", partial(cancelled, "submitted", kind)) for kind in WORK),
    *(scenario(kind, "cancelled in a subflow", partial(cancelled, "nested", kind)) for kind in KINDS),
    *(scenario(kind, "process gets SIGTERM", partial(process_asked_to_end, kind)) for kind in KINDS),
    *(scenario(kind, "task retried, then flow retried", partial(retried, kind)) for kind in WORK),
    *(scenario(kind, "runner gets SIGTERM", partial(runner_asked_to_end, kind)) for kind in WORK),
    scenario("endpoint", "runner gets SIGTERM, cancelled, swept", partial(runner_asked_to_end, "endpoint")),
    scenario("fine_tune", "runner gets SIGKILL", partial(carrier_stops, a_runner, signal.SIGKILL)),
    *(scenario(kind, "worker's run cancelled", partial(cancelled_by_a_worker, kind)) for kind in ("batch", "endpoint")),
    scenario("fine_tune", "worker gets SIGTERM", partial(carrier_stops, a_worker, signal.SIGTERM)),
    scenario("fine_tune", "worker gets SIGKILL", partial(carrier_stops, a_worker, signal.SIGKILL)),
    *(
        scenario(kind, "all processes killed, cancelled, swept", partial(everything_dies, kind))
        for kind in ("fine_tune", "endpoint")
    ),
]
ALWAYS = ["fine_tune: cancelled while awaited"]


@pytest.mark.parametrize("scenario", cells(SCENARIOS, always=ALWAYS))
def test_a_run_that_is_stopped_leaves_no_orphan_and_loses_no_work(
    scenario: Scenario[PrefectServer], in_prefect: Performance[PrefectServer], record_cell: Record
) -> None:
    record_cell(in_prefect.cell(scenario))
