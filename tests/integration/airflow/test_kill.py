"""What becomes of a job when its task is told to stop: in the triggerer, and in the worker."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout
from airflow.sdk.execution_time.timeout import timeout

from airflow_provider.operators.endpoint import TogetherEndpointOperator
from airflow_provider.operators.fine_tune import TogetherFineTuneOperator
from airflow_provider.triggers.job import TogetherJobTrigger
from tests.integration.airflow.conftest import SPEED
from tests.integration.airflow.material import HARDWARE, MODEL, training, uploaded
from tests.integration.airflow.task import Deferral, Task, kill_in_triggerer
from together_flows.emulator import Emulator
from together_flows.errors import ArgumentInvalid, TogetherError

Make = Callable[..., Task]


@pytest.fixture
def slow(emulator: Emulator) -> Iterator[Emulator]:
    """Jobs that are still running when a test looks again."""
    emulator.settings(speed=40)
    yield emulator
    emulator.settings(speed=SPEED)


@pytest.fixture
def fine_tune(slow: Emulator, tmp_path: Path) -> Make:
    file_id = uploaded(slow, training(tmp_path))

    def make(**wishes: Any) -> Task:
        arguments: dict[str, Any] = {"model": MODEL, "poll_interval": 0.2, "deferrable": True, **wishes}
        return Task(lambda: TogetherFineTuneOperator(task_id="task", training_file=file_id, **arguments))

    return make


def endpoint(**wishes: Any) -> Task:
    retries = wishes.pop("retries", 1)
    arguments: dict[str, Any] = {
        "model": MODEL,
        "hardware": HARDWARE,
        "poll_interval": 0.2,
        "deferrable": True,
        **wishes,
    }
    return Task(lambda: TogetherEndpointOperator(task_id="task", **arguments), retries=retries)


def defer_and_kill(task: Task, state: str | None, monkeypatch: pytest.MonkeyPatch) -> Deferral:
    """Run a task until it waits in the triggerer, and kill it there when it has come into this state."""
    deferral = task.run()
    assert isinstance(deferral, Deferral)
    task.states.state = state
    kill_in_triggerer(task, deferral, monkeypatch)
    return deferral


def running(emulator: Emulator, kind: str = "fine_tune") -> int:
    number: int = emulator.counts()["running"][kind]
    return number


@pytest.mark.parametrize("state", ["failed", "success", "removed", None])
def test_a_job_that_nobody_wants_any_more_is_ended(
    state: str | None, fine_tune: Make, slow: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = fine_tune()
    defer_and_kill(task, state, monkeypatch)
    assert running(slow) == 0


def test_a_job_is_ended_also_where_the_state_of_its_task_is_told_after_the_time_for_a_kill(
    fine_tune: Make, slow: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = fine_tune()
    deferral = task.run()
    task.states.state = "failed"
    over, states, on_kill = threading.Event(), task.states, TogetherJobTrigger.on_kill

    def told_late(**asked: Any) -> Any:
        over.wait(30)
        return states(**asked)

    async def cut_short(trigger: TogetherJobTrigger) -> None:
        await on_kill(trigger)
        over.set()

    monkeypatch.setattr("airflow_provider.triggers.job._KILL_SECONDS", 0.1)
    monkeypatch.setattr(TogetherJobTrigger, "on_kill", cut_short)
    monkeypatch.setattr(task, "states", told_late)
    kill_in_triggerer(task, deferral, monkeypatch)
    assert running(slow) == 0


def test_the_end_of_a_job_outlives_the_cancellations_that_airflow_repeats_meanwhile(
    fine_tune: Make, slow: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = fine_tune()
    deferral = task.run()
    task.states.state = "failed"
    slow.fault(method="POST", path="/fine-tunes/{id}/cancel", delay=0.5)
    kill_in_triggerer(task, deferral, monkeypatch, cancelled_every=0.1)
    assert running(slow) == 0


def test_a_job_of_a_deleted_run_is_ended(fine_tune: Make, slow: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    task = fine_tune(on_clear="reattach")
    deferral = task.run()
    task.states.missing = True
    kill_in_triggerer(task, deferral, monkeypatch)
    assert running(slow) == 0


def test_a_job_whose_trigger_moves_to_another_triggerer_is_left_alone(
    fine_tune: Make, slow: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = fine_tune()
    defer_and_kill(task, "deferred", monkeypatch)
    assert running(slow) == 1


@pytest.mark.parametrize("state", [None, "scheduled", "queued", "running"])
def test_a_cleared_task_that_reattaches_keeps_its_job(
    state: str | None, fine_tune: Make, slow: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = fine_tune(on_clear="reattach")
    defer_and_kill(task, state, monkeypatch)
    assert running(slow) == 1


@pytest.mark.parametrize("state", ["failed", "success", None, "queued"])
def test_a_job_that_a_kill_is_to_leave_goes_on_and_the_next_attempt_adopts_it(
    state: str | None, fine_tune: Make, slow: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = fine_tune(on_kill="leave")
    first = defer_and_kill(task, state, monkeypatch)
    assert running(slow) == 1
    task.clear()
    assert task.run().trigger_kwargs["references"] == first.trigger_kwargs["references"]
    assert slow.counts()["created"]["fine_tune"] == 1


def test_a_job_that_a_kill_has_left_is_ended_by_a_clear_that_reruns(
    fine_tune: Make, slow: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = fine_tune(on_kill="leave", on_clear="rerun")
    defer_and_kill(task, None, monkeypatch)
    assert running(slow) == 1
    task.clear()
    task.run()
    assert (slow.counts()["created"]["fine_tune"], running(slow)) == (2, 1)


def test_an_endpoint_is_ended_by_a_kill_in_any_case(slow: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    task = endpoint(on_kill="leave")
    defer_and_kill(task, "failed", monkeypatch)
    assert running(slow, "endpoint") == 0


@pytest.mark.parametrize("name", ["on_clear", "on_kill", "on_unknown"])
def test_a_policy_that_there_is_not_is_refused_where_the_dag_is_read(name: str, fine_tune: Make) -> None:
    with pytest.raises(ArgumentInvalid, match=f"{name} of task .*'Leave'.*Say one of"):
        fine_tune(**{name: "Leave"}).make()


@pytest.mark.parametrize("state", [None, "queued", "running"])
def test_a_clear_leaves_one_job_whichever_comes_first(
    state: str | None, fine_tune: Make, slow: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = fine_tune()
    old = task.run()
    task.clear()
    task.states.state = state
    if state == "running":  # the new attempt was faster than the old trigger's on_kill
        task.run()
        kill_in_triggerer(task, old, monkeypatch)
    else:
        kill_in_triggerer(task, old, monkeypatch)
        task.run()
    assert slow.counts()["created"]["fine_tune"] == 2
    assert running(slow) == 1


def test_an_endpoint_that_serves_is_left_to_the_task_that_goes_on_with_it(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = endpoint()
    deferral = task.run()
    deferral.event()  # another triggerer has fired, and the task is resumed
    task.states.state = "running"
    kill_in_triggerer(task, deferral, monkeypatch)
    assert running(emulator, "endpoint") == 1


@pytest.mark.parametrize(("make", "kind", "left"), [("fine_tune", "fine_tune", 1), ("endpoint", "endpoint", 0)])
def test_when_airflow_cannot_be_asked_only_what_bills_until_it_is_stopped_is_ended(
    make: str, kind: str, left: int, fine_tune: Make, slow: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = fine_tune() if make == "fine_tune" else endpoint()
    defer_and_kill(task, "unreachable", monkeypatch)
    assert running(slow, kind) == left


def test_the_end_of_a_triggerer_ends_no_job(fine_tune: Make, slow: Emulator) -> None:
    task = fine_tune()
    deferral = task.run()

    async def stopped() -> None:
        trigger = deferral.trigger(task)
        run = asyncio.create_task(anext(trigger.run()))
        await asyncio.sleep(0.3)
        run.cancel()
        await asyncio.wait({run})
        await trigger.cleanup()

    asyncio.run(stopped())
    assert running(slow) == 1


@contextmanager
def sigterm_when(condition: Callable[[], bool]) -> Iterator[Callable[[Any], None]]:
    """Deliver SIGTERM to this process once a condition holds, as the supervisor does; the handler is Airflow's."""
    operators: list[Any] = []

    def handler(signum: int, frame: object) -> None:
        operators[0].on_kill()

    def deliver() -> None:
        until = time.monotonic() + 20
        while time.monotonic() < until and not condition():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, handler)
    thread = threading.Thread(target=deliver)
    thread.start()
    try:
        yield operators.append
    finally:
        thread.join()
        signal.signal(signal.SIGTERM, before)


def run_until_killed(task: Task, condition: Callable[[], bool]) -> None:
    make = task.make
    with sigterm_when(condition) as handle:

        def made() -> Any:
            operator = make()
            handle(operator)
            return operator

        task.make = made
        task.run()


@pytest.mark.parametrize("state", ["failed", "success", "restarting", None])
def test_a_person_who_stops_a_task_that_waits_in_a_worker_ends_its_job(
    state: str | None, fine_tune: Make, slow: Emulator
) -> None:
    task = fine_tune(deferrable=False)
    task.states.state = state
    with pytest.raises(AirflowFailException, match="stopped by a person"):
        run_until_killed(task, lambda: running(slow) == 1)
    assert running(slow) == 0


def test_a_person_who_stops_a_task_that_is_to_leave_its_job_leaves_it(fine_tune: Make, slow: Emulator) -> None:
    task = fine_tune(deferrable=False, on_kill="leave")
    task.states.state = "failed"
    with pytest.raises(AirflowFailException, match=r"goes on, as on_kill says: fine_tune:(?s:.*) may still run"):
        run_until_killed(task, lambda: running(slow) == 1)
    task.make = fine_tune(on_kill="leave").make
    task.clear()
    assert task.run().trigger_kwargs["references"] == task.xcoms["together_jobs"]
    assert (slow.counts()["created"]["fine_tune"], running(slow)) == (1, 1)


def test_a_running_task_that_is_cleared_to_run_again_ends_its_job_although_a_kill_is_to_leave_it(
    fine_tune: Make, slow: Emulator
) -> None:
    task = fine_tune(deferrable=False, on_kill="leave", on_clear="rerun")
    task.states.state = "restarting"
    with pytest.raises(AirflowFailException, match="stopped by a person"):
        run_until_killed(task, lambda: running(slow) == 1)
    task.make = fine_tune(on_kill="leave", on_clear="rerun").make
    task.clear_while_running()
    task.run()
    assert (slow.counts()["created"]["fine_tune"], running(slow)) == (2, 1)


def test_a_running_task_that_is_cleared_to_reattach_keeps_its_job(fine_tune: Make, slow: Emulator) -> None:
    task = fine_tune(deferrable=False, on_clear="reattach")
    task.states.state = "restarting"
    with pytest.raises(AirflowFailException, match="its new attempt adopts its work"):
        run_until_killed(task, lambda: running(slow) == 1)
    task.make = fine_tune(on_clear="reattach").make
    task.clear_while_running()
    assert task.run().trigger_kwargs["references"] == task.xcoms["together_jobs"]
    assert (slow.counts()["created"]["fine_tune"], running(slow)) == (1, 1)


def test_an_eviction_leaves_the_job_and_the_retry_adopts_it(fine_tune: Make, slow: Emulator) -> None:
    task = fine_tune(deferrable=False)
    task.states.state = "running"
    with pytest.raises(TogetherError, match=r"The job fine_tune:.* may still run. A retry waits for this job again\.$"):
        run_until_killed(task, lambda: running(slow) == 1)
    assert running(slow) == 1
    task.make = fine_tune().make
    task.retry()
    assert task.run().trigger_kwargs["references"] == task.xcoms["together_jobs"]
    assert slow.counts()["created"]["fine_tune"] == 1


@pytest.mark.parametrize(("retries", "left"), [(1, 1), (0, 0)])
def test_an_eviction_ends_an_endpoint_only_when_no_retry_is_left(retries: int, left: int, slow: Emulator) -> None:
    task = endpoint(deferrable=False, retries=retries)
    task.states.state = "running"
    with pytest.raises(TogetherError, match="told to stop"):
        run_until_killed(task, lambda: running(slow, "endpoint") == 1)
    assert running(slow, "endpoint") == left


def test_a_kill_during_the_creation_waits_for_its_answer_and_ends_the_job(fine_tune: Make, slow: Emulator) -> None:
    task = fine_tune(deferrable=False)
    task.states.state = "failed"
    slow.fault(method="POST", path="/fine-tunes", delay=1.5)
    with pytest.raises(AirflowFailException, match="stopped by a person"):
        run_until_killed(task, lambda: bool(slow.counts()["requests"].get("POST /fine-tunes/estimate-price")))
    assert slow.counts()["created"]["fine_tune"] <= 1
    assert running(slow) == 0


def test_a_passed_execution_timeout_ends_the_job(fine_tune: Make, slow: Emulator) -> None:
    task = fine_tune(deferrable=False)
    with pytest.raises(AirflowTaskTimeout), timeout(3):
        task.run()
    assert running(slow) == 0
