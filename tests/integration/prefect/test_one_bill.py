"""One job, one bill: what was paid for after retries, lost answers and killed processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_HOME

import together_flows.prefect as tp
from tests.integration.prefect import crashing_flow
from tests.integration.prefect.conftest import BLOCK, MODEL, QUICK, SLOW, created
from together_flows.api import fine_tunes
from together_flows.client import Together
from together_flows.emulator import Emulator
from together_flows.errors import TogetherError

REPOSITORY = Path(__file__).parents[3]


class Flaky(Exception):
    """Something that has nothing to do with Together."""


def test_a_lost_answer_is_looked_for_and_not_paid_twice(emulator: Emulator, file_id: str) -> None:
    emulator.fault(method="POST", path="/fine-tunes", drop="after")

    @flow
    def lost() -> dict[str, Any]:
        return tp.fine_tune(BLOCK, training_file=file_id, model=MODEL, **QUICK)

    assert lost()["model"]
    assert created(emulator, "fine_tune") == 1


def test_a_flow_retry_adopts_the_jobs_of_the_attempt_before(emulator: Emulator, file_id: str) -> None:
    attempts: list[list[str]] = []

    @flow(retries=1)
    def flaky() -> None:
        jobs = tp.submit_fine_tune.map(BLOCK, training_file=[file_id] * 3, model=MODEL).result()
        attempts.append(sorted(job["id"] for job in jobs))
        if len(attempts) == 1:
            raise Flaky
        tp.wait_many(BLOCK, jobs, **QUICK)

    flaky()
    assert len(set(attempts[0])) == 3, "equal inputs of different task runs are different jobs"
    assert attempts[0] == attempts[1]
    assert created(emulator, "fine_tune") == 3


def test_a_retry_of_a_task_around_our_tasks_finds_their_job(emulator: Emulator, file_id: str) -> None:
    ids: list[str] = []

    @task
    def inner() -> None:
        ids.append(tp.submit_fine_tune(BLOCK, training_file=file_id, model=MODEL)["id"])
        if len(ids) == 1:
            raise Flaky

    @task(retries=1)
    def outer() -> None:
        inner()

    @flow
    def nested() -> None:
        outer()

    nested()
    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert created(emulator, "fine_tune") == 1


def test_a_failed_subflow_that_is_started_anew_finds_the_job_of_the_first(emulator: Emulator, file_id: str) -> None:
    ids: list[str] = []

    @flow
    def child() -> None:
        ids.append(tp.submit_fine_tune(BLOCK, training_file=file_id, model=MODEL)["id"])
        if len(ids) == 1:
            raise Flaky

    @flow(retries=1)
    def parent() -> None:
        child()

    parent()
    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert created(emulator, "fine_tune") == 1


def test_a_job_that_failed_is_submitted_anew_by_a_retry(emulator: Emulator, file_id: str, client: Together) -> None:
    emulator.settings(speed=SLOW)
    ids: list[str] = []

    @flow
    def failing() -> dict[str, Any]:
        return tp.fine_tune.with_options(retries=1, on_running=[fail_the_first])(
            BLOCK, training_file=file_id, model=MODEL, **QUICK
        )

    def fail_the_first(task: Any, task_run: Any, state: Any) -> None:
        if task_run.run_count == 1:
            emulator.fault(method="GET", path="/fine-tunes/{id}", replace={"status": "error"}, times=2)
        else:
            emulator.settings(speed=3600)
            ids.extend(job["id"] for job in emulator.jobs() if job["kind"] == "fine_tune")

    assert failing()["id"] not in ids
    assert created(emulator, "fine_tune") == 2


def test_a_killed_process_leaves_one_job_that_the_next_one_adopts(
    emulator: Emulator, file_id: str, tmp_path: Path
) -> None:
    with get_client(sync_client=True) as prefect:
        parameters = {"block": BLOCK, "file_id": file_id, "model": MODEL}
        flow_run = prefect.create_flow_run(crashing_flow.crashing, parameters=parameters)
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        "PREFECT_HOME": str(PREFECT_HOME.value()),
        "TOGETHER_FLOWS_CRASH_AT": "after:send:fine_tunes.create",
        "TOGETHER_FLOWS_CRASH_ONCE": str(tmp_path / "crashed"),
    }
    command = [sys.executable, "-m", "tests.integration.prefect.crashing_flow", str(flow_run.id)]
    first = subprocess.run(command, env=environment, capture_output=True, timeout=60, cwd=REPOSITORY)
    assert first.returncode == -signal.SIGKILL, first.stderr.decode()
    second = subprocess.run(command, env=environment, capture_output=True, timeout=60, cwd=REPOSITORY, text=True)
    assert second.returncode == 0, second.stderr
    assert second.stdout.strip().startswith("ft-")
    assert created(emulator, "fine_tune") == 1


def test_one_failed_job_of_many_fails_the_wait_after_all_have_ended(
    emulator: Emulator, file_id: str, client: Together
) -> None:
    @flow
    def some() -> list[dict[str, Any]]:
        jobs = tp.submit_fine_tune.map(BLOCK, training_file=[file_id] * 2, model=MODEL).result()
        client.send(fine_tunes.cancel(jobs[0]["id"]))
        emulator.settings(speed=3600)
        entries = tp.wait_many(BLOCK, jobs, allow_failures=True, **QUICK)
        with pytest.raises(TogetherError):
            tp.wait_many(BLOCK, jobs, **QUICK)
        return entries

    emulator.settings(speed=SLOW)
    entries = some()
    assert entries[0]["error"]["type"] == "JobCancelled"
    assert entries[1]["model"]
