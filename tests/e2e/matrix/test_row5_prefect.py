"""Row 5: a run is cancelled, retried, or loses the processes that carry it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import pytest

from tests.e2e.matrix.accounts import SPEED
from tests.e2e.matrix.cell import Counted
from tests.e2e.matrix.play import Performance, Record, Scenario, Stage, cells
from tests.e2e.matrix.runs import EVERYBODY, KINDS, SLOW, WORK, Run
from tests.e2e.prefect_server import PrefectServer
from tests.e2e.processes import Process, eventually, wait_until_at_rest

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


def cancelled_to_leave(way: str, kind: str, stage: Stage[PrefectServer]) -> Counted:
    """What ends by itself goes on, the sweep leaves it too, and the run, run again, adopts it."""
    run = in_its_wait(way, kind, stage)
    run.cancel()
    run.expect("CANCELLED")
    run.sweep()
    if kind == "endpoint":
        return stage.account.count(kind, ended=1)
    return adopted_by_another_attempt(run, kind)


def process_asked_to_end(kind: str, stage: Stage[PrefectServer]) -> Counted:
    """SIGTERM to the flow's process, as at an eviction: nobody has asked for the end of the run."""
    run = in_its_wait("awaited", kind, stage)
    run.ask_to_end()
    run.expect("CRASHED")
    if kind == "endpoint":
        return stage.account.count(kind, ended=1)
    return adopted_by_another_attempt(run, kind)


def retried(kind: str, stage: Stage[PrefectServer]) -> Counted:
    """The retries adopt the job that the attempt before them had; an endpoint serves until the flow itself stops it."""
    run = Run.start(stage, "retried_while_it_serves" if kind == "endpoint" else "retried", kind)
    run.expect("COMPLETED")
    failed = {path.name for path in run.folder.glob("failed-in-*")}
    assert failed == {"failed-in-task", "failed-in-flow"}, failed
    return stage.account.count(kind, ended=int(kind == "endpoint"))


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


def tell_to_end(process: Process, with_signal: signal.Signals) -> None:
    """What a service manager does: it sends the signal, and kills what has not heard of it."""
    wait_until_at_rest(process.pid)
    process.send_signal(with_signal)
    with suppress(AssertionError):
        eventually(lambda: not process.is_alive, within=60, what="the end of the carrier")
    if process.is_alive:
        process.send_signal(signal.SIGKILL)
        eventually(lambda: not process.is_alive, within=60, what="the end of the killed carrier")


def carrier_stops(carrier: Carrier, with_signal: signal.Signals, kind: str, stage: Stage[PrefectServer]) -> Counted:
    """A deploy or an eviction: the carrier is gone, and a new one takes its place.

    The flow's process may go on. It may be ended with a report, as Prefect 3.9 does for a runner that gets SIGTERM, or
    without one, as Prefect 3.7 does, so that the run stays "running". A new attempt adopts work; a person cancels the
    run with the endpoint, and the sweep ends what it has left.
    """
    with carried(carrier, stage) as process:
        run = in_its_wait("awaited", kind, stage, served_by=own(stage))
        [job] = stage.account.job_ids(kind)
        tell_to_end(process, with_signal)
        stage.account.emulator.settings(speed=SPEED)
        run.release()
        run.wait_until_it_stops()
    completed = run.flow_run["state_type"] == "COMPLETED"
    if kind == "endpoint":
        if not completed:
            run.cancel()
        run.sweep(cancelling_for_minutes=0.0)
        return stage.account.count(kind, ended=1)
    if not completed:
        with carried(carrier, stage):
            run.run_again_once_more()
            run.expect("COMPLETED")
    assert run.job_ids() == {job}
    return stage.account.count(kind)


def everything_dies(kind: str, stage: Stage[PrefectServer]) -> Counted:
    """Nobody is left to hear of the cancellation: the sweep ends the job."""
    with carried(a_runner, stage) as process:
        run = in_its_wait("awaited", kind, stage, served_by=own(stage))
        process.kill(signal.SIGKILL)
    run.cancel()
    run.sweep(cancelling_for_minutes=0.0)
    return stage.account.count(kind, ended=1)


Play = Callable[[str, Stage[PrefectServer]], Counted]
#: What happens, in words, and what plays it with a job of each kind.
CASES: dict[str, Play] = {
    "cancelled while awaited": partial(cancelled, "awaited"),
    "cancelled in a sync flow": partial(cancelled, "called"),
    "cancelled after .submit": partial(cancelled, "submitted"),
    "cancelled in a subflow": partial(cancelled, "nested"),
    "cancelled, on_kill='leave'": partial(cancelled_to_leave, "leaving"),
    "cancelled in a subflow, on_kill='leave'": partial(cancelled_to_leave, "leaving_nested"),
    "worker's run cancelled": cancelled_by_a_worker,
    "process gets SIGTERM": process_asked_to_end,
    "all processes killed, cancelled, swept": everything_dies,
    "task retried, then flow retried": retried,
}
#: The same, where an endpoint is left to the sweep.
CARRIED: dict[str, Play] = {
    "runner gets SIGTERM": partial(carrier_stops, a_runner, signal.SIGTERM),
    "runner gets SIGKILL": partial(carrier_stops, a_runner, signal.SIGKILL),
    "worker gets SIGTERM": partial(carrier_stops, a_worker, signal.SIGTERM),
    "worker gets SIGKILL": partial(carrier_stops, a_worker, signal.SIGKILL),
}


def scenario(kind: str, case: str, play: Play) -> Scenario[PrefectServer]:
    return Scenario("5", "Prefect", kind, case, partial(play, kind))


SCENARIOS = [
    *(scenario(kind, case, play) for case, play in CASES.items() for kind in KINDS),
    *(scenario(kind, case, play) for case, play in CARRIED.items() for kind in WORK),
    *(scenario("endpoint", f"{case}, swept", play) for case, play in CARRIED.items()),
]
ALWAYS = ["fine_tune: cancelled while awaited"]


@pytest.mark.parametrize("scenario", cells(SCENARIOS, always=ALWAYS))
def test_a_run_that_is_stopped_leaves_no_orphan_and_loses_no_work(
    scenario: Scenario[PrefectServer], in_prefect: Performance[PrefectServer], record_cell: Record
) -> None:
    record_cell(in_prefect.cell(scenario))
