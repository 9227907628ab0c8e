"""The log of a failed task ends in its job's id and page, in whether it still runs, and in what a retry will do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider.operators.fine_tune import TogetherFineTuneOperator
from airflow_provider.operators.queue import TogetherQueueOperator
from tests.integration.airflow.dag_run import FinishedRun
from tests.integration.airflow.material import MODEL, training, uploaded
from together_flows.emulator import Emulator

RunDag = Callable[..., FinishedRun]
in_both_ways = pytest.mark.parametrize("deferrable", [False, True], ids=["in process", "deferred"])

JOB = r"The job fine_tune:(ft-[\w-]+) \(http://127\.0\.0\.1:\d+/_emulator/jobs/fine_tune/\1\) "
READ = {"method": "GET", "path": "/fine-tunes/{id}", "times": None}
LIST = {"method": "GET", "path": "/fine-tunes", "times": None}


def last_words(run_dag: RunDag, operator: type, **arguments: Any) -> str:
    """What the log of a task that fails says last of all that is no frame of a traceback."""
    with DAG("failing", schedule=None) as dag:
        operator(task_id="task", **arguments)
    run = run_dag(dag)
    assert run.states == {"task": "failed"}
    *_, end = re.split(
        r"^\S*(?:Error|Exception|Timeout|Failed|Cancelled|Unknown|Exceeded|Invalid): ", run.log, flags=re.M
    )
    told = [line for line in end.splitlines() if re.match(r"(The job \w+:|No job|A .* may have been submitted)", line)]
    assert len(told) == 1, run.log[-3_000:]
    return told[0]


@pytest.fixture
def tuning(emulator: Emulator, tmp_path: Path) -> dict[str, Any]:
    return {"training_file": uploaded(emulator, training(tmp_path)), "model": MODEL, "poll_interval": 0.2}


@in_both_ways
def test_of_a_job_that_failed(deferrable: bool, run_dag: RunDag, emulator: Emulator, tuning: dict[str, Any]) -> None:
    for route in (READ, LIST):
        emulator.fault(**route, replace={"status": "error"})
    words = last_words(run_dag, TogetherFineTuneOperator, **tuning, deferrable=deferrable)
    assert re.fullmatch(rf"{JOB}has ended \(failed\) and does not run any more\. A retry submits a new job\.", words)


@in_both_ways
def test_of_a_job_that_somebody_cancelled(
    deferrable: bool, run_dag: RunDag, emulator: Emulator, tuning: dict[str, Any]
) -> None:
    for route in (READ, LIST):
        emulator.fault(**route, replace={"status": "cancelled"})
    words = last_words(run_dag, TogetherFineTuneOperator, **tuning, deferrable=deferrable)
    assert re.fullmatch(
        rf"{JOB}has ended \(cancelled\) and does not run any more\. No retry can mend this; run again all the same, "
        r"the task submits a new job\.",
        words,
    )


@in_both_ways
def test_of_a_deadline_that_passed(
    deferrable: bool, run_dag: RunDag, emulator: Emulator, tuning: dict[str, Any]
) -> None:
    emulator.settings(speed=20)
    words = last_words(run_dag, TogetherFineTuneOperator, **tuning, timeout=1, deferrable=deferrable)
    emulator.settings(speed=1200)
    assert re.fullmatch(rf"{JOB}has ended \(cancelled\) and does not run any more\. No retry can .* new job\.", words)


@in_both_ways
def test_of_a_wait_that_was_given_up(
    deferrable: bool, run_dag: RunDag, emulator: Emulator, tuning: dict[str, Any]
) -> None:
    for route in (READ, LIST):
        emulator.fault(**route, status=403)
    words = last_words(run_dag, TogetherFineTuneOperator, **tuning, deferrable=deferrable)
    assert re.fullmatch(
        rf"{JOB}was left alone and may still run\. No retry can mend this; run again all the same, "
        r"the task waits for this job again\.",
        words,
    )


def test_of_a_submission_whose_answer_was_lost(run_dag: RunDag, emulator: Emulator) -> None:
    emulator.fault(method="POST", path="/queue/submit", drop="before")
    words = last_words(run_dag, TogetherQueueOperator, model="detector", payload={})
    assert words == (
        "A queue job may have been submitted; its answer is lost. It may run. A retry submits nothing and fails in "
        "the same way, unless it is told to run the risk."
    )


@pytest.mark.parametrize("wish", [{"budget": 0.01}, {"n_epochs": "many"}, {"together_conn_id": "together_nowhere"}])
def test_of_a_refusal_before_anything_was_sent(
    wish: dict[str, Any], run_dag: RunDag, emulator: Emulator, tuning: dict[str, Any]
) -> None:
    words = last_words(run_dag, TogetherFineTuneOperator, **{**tuning, **wish})
    assert words == "No job was submitted. A retry would fail in the same way."


def test_of_a_submission_that_the_api_could_not_take_for_now(
    run_dag: RunDag, emulator: Emulator, tuning: dict[str, Any]
) -> None:
    emulator.fault(method="POST", path="/fine-tunes", status=503, times=None)
    words = last_words(run_dag, TogetherFineTuneOperator, **tuning)
    assert words == "No job was submitted. A retry submits it."
