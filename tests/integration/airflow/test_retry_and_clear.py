"""Retries and clears: which job is adopted, which is ended, and that none is paid twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowTaskTimeout, TaskDeferralError, TaskDeferralTimeout

from airflow_provider.operators.batch import TogetherBatchOperator
from airflow_provider.operators.endpoint import TogetherEndpointOperator, TogetherEndpointTeardownOperator
from airflow_provider.operators.fine_tune import TogetherFineTuneOperator
from tests.integration.airflow.conftest import SPEED
from tests.integration.airflow.material import HARDWARE, MODEL, prompts, training, uploaded
from tests.integration.airflow.task import Deferral, Task
from together_flows import Together
from together_flows.api import Operation
from together_flows.emulator import Emulator
from together_flows.errors import JobFailed
from together_flows.jobs import WaitPolicy


@pytest.fixture
def slow(emulator: Emulator) -> Iterator[Emulator]:
    """Jobs that are still running when a test looks again."""
    emulator.settings(speed=40)
    yield emulator
    emulator.settings(speed=SPEED)


@pytest.fixture
def file_id(emulator: Emulator, tmp_path: Path) -> str:
    return uploaded(emulator, training(tmp_path))


def fine_tune(file_id: str, **arguments: Any) -> Task:
    wishes = {"model": MODEL, "deferrable": True, "poll_interval": 0.2, **arguments}
    return Task(lambda: TogetherFineTuneOperator(task_id="task", training_file=file_id, **wishes))


def endpoint(retries: int = 1, **arguments: Any) -> Task:
    wishes = {"model": MODEL, "hardware": HARDWARE, "deferrable": True, "poll_interval": 0.2, **arguments}
    return Task(lambda: TogetherEndpointOperator(task_id="task", **wishes), retries=retries)


def created(emulator: Emulator, kind: str = "fine_tune") -> int:
    number: int = emulator.counts()["created"][kind]
    return number


def running(emulator: Emulator, kind: str = "fine_tune") -> int:
    number: int = emulator.counts()["running"][kind]
    return number


def job_of(deferral: Deferral) -> str:
    reference: str = deferral.trigger_kwargs["references"][0]
    return reference.partition(":")[2]


class Death(BaseException):
    """What no code gets to handle."""


def test_a_retry_adopts_the_job_of_the_attempt_before(slow: Emulator, file_id: str) -> None:
    task = fine_tune(file_id)
    first = task.run()
    task.retry()
    second = task.run()
    assert job_of(second) == job_of(first)
    assert created(slow) == 1


def test_a_retry_looks_for_a_job_whose_answer_was_lost(emulator: Emulator, file_id: str) -> None:
    emulator.fault(method="POST", path="/fine-tunes", drop="after")
    assert fine_tune(file_id).finish()["model"]
    assert created(emulator) == 1


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "in process"])
def test_a_retry_after_the_process_died_returns_the_job_that_has_ended_since(
    deferrable: bool, emulator: Emulator, file_id: str
) -> None:
    task = fine_tune(file_id, wait=True, deferrable=True)
    task.run()
    task.make = fine_tune(file_id, deferrable=deferrable).make
    task.retry()
    assert task.finish()["model"]
    assert created(emulator) == 1


def test_a_retry_does_not_wait_for_a_job_that_has_ended_already(emulator: Emulator, file_id: str) -> None:
    task = fine_tune(file_id)
    task.run().event()
    task.retry()
    assert task.run()["model"]


def test_a_failed_job_is_replaced_by_the_retry(emulator: Emulator, file_id: str) -> None:
    emulator.settings(fail={"fine_tune": "the node caught fire"})
    task = fine_tune(file_id)
    with pytest.raises(JobFailed, match="the node caught fire"):
        task.finish()
    emulator.settings(fail={})
    task.retry()
    assert task.finish()["model"]
    assert created(emulator) == 2


def test_a_clear_of_a_waiting_task_ends_its_job_and_submits_one(slow: Emulator, file_id: str) -> None:
    task = fine_tune(file_id)
    first = task.run()
    task.clear()
    second = task.run()
    assert job_of(second) != job_of(first)
    assert (created(slow), running(slow)) == (2, 1)


def test_a_clear_of_a_task_that_succeeded_submits_again(emulator: Emulator, file_id: str) -> None:
    task = fine_tune(file_id)
    first = task.finish()
    task.clear()
    assert task.finish()["id"] != first["id"]
    assert created(emulator) == 2


def test_a_clear_of_a_failed_task_adopts_its_job_that_lives_on(slow: Emulator, file_id: str) -> None:
    task = fine_tune(file_id)
    first = task.run()
    with pytest.raises(TaskDeferralError):
        task.fail_deferral("Trigger failure")
    task.clear()
    assert job_of(task.run()) == job_of(first)
    assert created(slow) == 1


def test_a_clear_after_a_process_died_while_it_waited_adopts_its_job(slow: Emulator, file_id: str) -> None:
    class Dying(TogetherFineTuneOperator):
        def _wait_policy(self, attempt: object) -> WaitPolicy:
            raise Death

    task = Task(lambda: Dying(task_id="task", training_file=file_id, model=MODEL, deferrable=False))
    with pytest.raises(Death):
        task.run()
    [reference] = task.xcoms["together_jobs"]
    task.make = fine_tune(file_id).make
    task.clear()
    assert job_of(task.run()) == reference.partition(":")[2]
    assert created(slow) == 1


def test_a_clear_after_a_process_died_when_it_had_been_resumed_adopts_its_job(emulator: Emulator, file_id: str) -> None:
    class Dying(TogetherFineTuneOperator):
        def _finish(self, attempt: object, outcomes: object) -> None:
            raise Death

    task = Task(lambda: Dying(task_id="task", training_file=file_id, model=MODEL, deferrable=True))
    deferral = task.run()
    with pytest.raises(Death):
        task.resume(deferral, deferral.event())
    task.make = fine_tune(file_id).make
    task.clear()
    assert task.finish()["id"] == job_of(deferral)
    assert created(emulator) == 1


@pytest.mark.parametrize(("on_clear", "jobs"), [("reattach", 1), ("rerun", 2)])
def test_on_clear_forces_the_one_or_the_other(on_clear: str, jobs: int, slow: Emulator, file_id: str) -> None:
    task = fine_tune(file_id, on_clear=on_clear)
    task.run()
    task.clear()
    task.run()
    assert (created(slow), running(slow)) == (jobs, 1)


def test_changed_inputs_end_the_old_job(slow: Emulator, file_id: str) -> None:
    task = fine_tune(file_id)
    task.run()
    task.make = fine_tune(file_id, n_epochs=3).make
    task.retry()
    task.run()
    assert (created(slow), running(slow)) == (2, 1)


def test_a_clear_of_a_running_task_replaces_the_job_that_its_kill_has_ended(slow: Emulator, file_id: str) -> None:
    task = fine_tune(file_id)
    first = task.run()
    slow.force("fine_tune", job_of(first), "cancelled")
    task.clear_while_running()
    second = task.run()
    assert job_of(second) != job_of(first)
    assert (created(slow), running(slow)) == (2, 1)


def test_a_clear_of_a_running_task_replaces_the_job_that_its_kill_is_still_ending(slow: Emulator, file_id: str) -> None:
    task = fine_tune(file_id)
    first = task.run()
    slow.force("fine_tune", job_of(first), "cancel_requested")
    task.clear_while_running()
    adopted = task.run()
    slow.force("fine_tune", job_of(first), "cancelled")
    again = task.resume(adopted, adopted.event())
    assert isinstance(again, Deferral)
    assert job_of(again) != job_of(first)
    assert (created(slow), running(slow)) == (2, 1)


def test_a_job_that_the_late_kill_of_a_clear_has_hit_is_submitted_again(slow: Emulator, file_id: str) -> None:
    task = fine_tune(file_id, on_clear="reattach")
    task.run()
    task.clear()
    adopted = task.run()
    slow.force("fine_tune", job_of(adopted), "cancelled")
    again = task.resume(adopted, adopted.event())
    assert isinstance(again, Deferral)
    assert job_of(again) != job_of(adopted)
    assert (created(slow), running(slow)) == (2, 1)


def test_a_job_that_somebody_cancelled_fails_the_task_and_says_so(slow: Emulator, file_id: str) -> None:
    task = fine_tune(file_id)
    deferral = task.run()
    slow.force("fine_tune", job_of(deferral), "cancelled")
    with pytest.raises(AirflowFailException, match="was cancelled, and not by this task"):
        task.resume(deferral, deferral.event())
    assert created(slow) == 1


def test_a_passed_deadline_ends_the_job_and_fails_the_task(slow: Emulator, file_id: str) -> None:
    task = fine_tune(file_id, timeout=0.5)
    deferral = task.run()
    event = deferral.event()
    assert running(slow) == 0, "the trigger has ended it, though no worker was free yet"
    with pytest.raises(AirflowFailException, match="was not done by the deadline"):
        task.resume(deferral, event)


def test_a_retry_does_not_prolong_the_deadline(slow: Emulator, file_id: str) -> None:
    task = fine_tune(file_id, timeout=1000)
    first = task.run().trigger_kwargs["deadline"]
    time.sleep(0.05)
    task.retry()
    assert task.run().trigger_kwargs["deadline"] == first


def test_an_execution_timeout_holds_while_deferred_and_the_retry_starts_anew(slow: Emulator, file_id: str) -> None:
    task = fine_tune(file_id, timeout=1000, execution_timeout=timedelta(seconds=0.5))
    deferral = task.run()
    with pytest.raises(AirflowTaskTimeout, match="took longer than its execution_timeout") as late:
        task.resume(deferral, deferral.event())
    assert running(slow) == 0
    assert "A retry" in late.value.__notes__[0]
    task.retry()
    assert task.run().trigger_kwargs["references"] != deferral.trigger_kwargs["references"]
    assert created(slow) == 2


def test_a_deadline_that_comes_before_the_execution_timeout_fails_the_task_for_good(
    slow: Emulator, file_id: str
) -> None:
    task = fine_tune(file_id, timeout=0.5, execution_timeout=timedelta(seconds=1000))
    deferral = task.run()
    with pytest.raises(AirflowFailException, match="was not done by the deadline"):
        task.resume(deferral, deferral.event())


def test_airflows_own_time_out_comes_after_the_deadline_and_ends_the_job(slow: Emulator, file_id: str) -> None:
    task = fine_tune(file_id, timeout=1000)
    assert 1000 < (task.run().timeout or 0) <= 1700
    with pytest.raises(TaskDeferralTimeout):
        task.fail_deferral("Trigger timeout")
    assert running(slow) == 0


def test_an_endpoint_is_left_to_the_retry_and_ended_when_none_is_left(slow: Emulator) -> None:
    task = endpoint(retries=1)
    task.run()
    with pytest.raises(TaskDeferralError):
        task.fail_deferral("Trigger failure")
    assert running(slow, "endpoint") == 1
    task.retry()
    task.run()
    with pytest.raises(TaskDeferralError):
        task.fail_deferral("Trigger failure")
    assert created(slow, "endpoint") == 1
    assert running(slow, "endpoint") == 0


def test_a_retry_of_a_batch_adopts_every_shard_and_needs_no_folder(emulator: Emulator, tmp_path: Path) -> None:
    def make() -> TogetherBatchOperator:
        return TogetherBatchOperator(
            task_id="task",
            rows=prompts(7),
            model=MODEL,
            max_rows=3,
            output_path=str(tmp_path / "answers.jsonl"),
            directory=str(tmp_path / folders.pop()),
            deferrable=True,
            poll_interval=0.2,
        )

    folders = ["third-machine", "second-machine", "first-machine"]
    emulator.settings(speed=2)
    task = Task(make)
    task.run()
    task.retry()
    deferral = task.run()
    emulator.settings(speed=SPEED)
    answered = task.resume(deferral, deferral.event())
    assert answered["succeeded"] == 7
    assert created(emulator, "batch") == 3


def test_shards_that_changed_rows_no_longer_need_are_ended(slow: Emulator, tmp_path: Path) -> None:
    rows = prompts(7)

    def make() -> TogetherBatchOperator:
        return TogetherBatchOperator(
            task_id="task",
            rows=list(rows),
            model=MODEL,
            max_rows=3,
            output_path=str(tmp_path / "answers.jsonl"),
            directory=str(tmp_path / "work"),
            deferrable=True,
            poll_interval=0.2,
        )

    slow.settings(speed=2)
    task = Task(make)
    task.run()
    del rows[5:]
    task.retry()
    assert len(task.run().trigger_kwargs["references"]) == 2
    assert running(slow, "batch") == 2


def test_a_cancelled_batch_keeps_the_answers_it_has(emulator: Emulator, tmp_path: Path) -> None:
    output = tmp_path / "answers.jsonl"
    task = Task(
        lambda: TogetherBatchOperator(
            task_id="task",
            rows=prompts(4),
            model=MODEL,
            max_rows=2,
            output_path=str(output),
            directory=str(tmp_path / "work"),
            deferrable=True,
            poll_interval=0.2,
        )
    )
    emulator.settings(speed=2)
    deferral = task.run()
    references = deferral.trigger_kwargs["references"]
    emulator.settings(speed=SPEED)
    event = deferral.event()
    emulator.force("batch", references[1].partition(":")[2], "CANCELLED")
    event["outcomes"][1] |= {"state": "cancelled", "status": "CANCELLED"}
    with pytest.raises(AirflowFailException, match="was cancelled"):
        task.resume(deferral, event)
    assert len(output.read_text().splitlines()) == 4


def test_a_teardown_finds_an_endpoint_whose_task_died_before_it_knew_the_answer(
    slow: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(client: Together, operation: Operation[Any]) -> Any:
        answer = send(client, operation)
        if operation.name == "endpoints.create":
            raise Death
        return answer

    send = Together.send
    task = endpoint(retries=0)
    monkeypatch.setattr(Together, "send", die)
    with pytest.raises(Death):
        task.run()
    monkeypatch.setattr(Together, "send", send)
    assert running(slow, "endpoint") == 1

    assert len(torn_down(task)) == 1
    assert running(slow, "endpoint") == 0


def test_a_teardown_finds_an_endpoint_that_a_retry_has_adopted(slow: Emulator) -> None:
    task = endpoint(retries=1)
    task.run()
    with pytest.raises(TaskDeferralError):
        task.fail_deferral("Trigger failure")
    task.retry()
    task.xcoms.clear()  # as Airflow does before an attempt begins
    task.run()
    assert len(torn_down(task)) == 1
    assert running(slow, "endpoint") == 0


def torn_down(task: Task) -> list[str]:
    """What the teardown of an endpoint's task stops."""
    stop = TogetherEndpointTeardownOperator(task_id="stop", setup_task_id="task")
    context = task.context(stop)
    context["ti"].xcom_pull = lambda *, task_ids, key: task.xcoms.get(key)
    return stop.execute(context)
