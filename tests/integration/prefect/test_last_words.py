"""A failed task ends in its job's id and page, in whether it still runs, and in what a retry will do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from prefect import flow

import together_flows.prefect as tp
from tests.integration.prefect.conftest import BLOCK, MODEL, QUICK
from together_flows.emulator import Emulator

JOB = r"The job fine_tune:(ft-[\w-]+) \(http://127\.0\.0\.1:\d+/_emulator/jobs/fine_tune/\1\) "


def tuned(emulator: Emulator, file_id: str, **rest: Any) -> Any:
    return tp.fine_tune(BLOCK, training_file=file_id, model=MODEL, **{**QUICK, **rest})


def faulty(emulator: Emulator, **fault: Any) -> None:
    for path in ("/fine-tunes/{id}", "/fine-tunes"):
        emulator.fault(method="GET", path=path, times=None, **fault)


def that_fails(emulator: Emulator, file_id: str) -> None:
    faulty(emulator, replace={"status": "error"})
    tuned(emulator, file_id)


def that_somebody_cancels(emulator: Emulator, file_id: str) -> None:
    faulty(emulator, replace={"status": "cancelled"})
    tuned(emulator, file_id)


def that_is_late(emulator: Emulator, file_id: str) -> None:
    emulator.settings(speed=15)
    tuned(emulator, file_id, wait_timeout=1)


def that_cannot_be_looked_at(emulator: Emulator, file_id: str) -> None:
    faulty(emulator, status=403)
    tuned(emulator, file_id)


def above_the_budget(emulator: Emulator, file_id: str) -> None:
    tuned(emulator, file_id, budget=0.01)


def with_a_wrong_argument(emulator: Emulator, file_id: str) -> None:
    tuned(emulator, file_id, n_epochs="many")


def whose_answer_is_lost(emulator: Emulator, file_id: str) -> None:
    emulator.fault(method="POST", path="/queue/submit", drop="before")
    tp.run_queue_job(BLOCK, model="detector", payload={}, **QUICK)


ENDS: list[tuple[Callable[[Emulator, str], None], str]] = [
    (that_fails, rf"{JOB}has ended \(failed\) and does not run any more\. A retry submits a new job\."),
    (that_somebody_cancels, rf"{JOB}has ended \(cancelled\) and .* No retry can mend this; .* submits a new job\."),
    (that_is_late, rf"{JOB}has ended \(cancelled\) and .* No retry can mend this; .* submits a new job\."),
    (that_cannot_be_looked_at, rf"{JOB}was left alone and may still run\. No retry .* waits for this job again\."),
    (above_the_budget, r"No job was submitted\. A retry would fail in the same way\."),
    (with_a_wrong_argument, r"No job was submitted\. A retry would fail in the same way\."),
    (
        whose_answer_is_lost,
        r"A queue job may have been submitted; its answer is lost\. It may run\. A retry submits .*",
    ),
]


@pytest.mark.parametrize(("job", "expected"), ENDS, ids=lambda part: getattr(part, "__name__", ""))
def test_the_log_of_a_task_says_what_became_of_a_job(
    job: Callable[[Emulator, str], None],
    expected: str,
    emulator: Emulator,
    file_id: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    @flow
    def failing() -> None:
        job(emulator, file_id)

    state = failing(return_state=True)
    last = str(state.message).rstrip(")'\"").splitlines()[-1]
    assert re.fullmatch(expected, last), state.message
    finished = [record for record in caplog.records if record.name == "prefect.task_runs" and record.exc_info]
    traceback = str(finished[-1].exc_info[1])  # type: ignore[index] # the records chosen have one
    assert re.fullmatch(expected, traceback.splitlines()[-1])
