"""Inference over rows in real DAG runs, and over the attempts of one task."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider.operators.inference import TogetherInferenceOperator
from tests.integration.airflow.dag_run import FinishedRun
from tests.integration.airflow.material import MODEL, prompts, write_rows
from tests.integration.airflow.task import Task
from tests.integration.inference.every_kind import OPERATIONS, cases
from together_flows.client import instant_retries
from together_flows.emulator import Emulator
from together_flows.errors import TogetherError

RunDag = Callable[..., FinishedRun]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def asked(emulator: Emulator) -> int:
    return int(emulator.counts()["requests"].get("POST /chat/completions", 0))


def inference(output: Path, **wishes: Any) -> Task:
    arguments: dict[str, Any] = {
        "operation": "chat.create",
        "rows": prompts(60),
        "model": MODEL,
        "output_path": str(output),
        "defaults": {"max_tokens": 8},
        "concurrency": 4,
        **wishes,
    }
    return Task(lambda: TogetherInferenceOperator(task_id="task", **arguments))


def test_rows_are_answered_in_their_order(run_dag: RunDag, emulator: Emulator, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", ({"prompt": text, "n": n} for n, text in enumerate(prompts(40))))
    output = tmp_path / "answers.jsonl"
    with DAG("infer", schedule=None) as dag:
        TogetherInferenceOperator(
            task_id="answer",
            operation="chat.create",
            rows=str(rows),
            model=MODEL,
            output_path=f"file://{output}",
            defaults={"max_tokens": "{{ 4 + 4 }}"},
            concurrency="{{ 8 }}",
        )
    run = run_dag(dag)
    assert run.states == {"answer": "success"}
    made = run.xcom("answer")
    assert (made["rows"], made["succeeded"]) == (40, 40)
    assert run.xcom("answer", "succeeded") == 40
    assert len(json.dumps(made)) < 1_000
    assert [line["columns"] for line in lines(output)] == [{"n": n} for n in range(40)]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_keeps_order_bound_and_failures(operation: str, emulator: Emulator, tmp_path: Path) -> None:
    case = cases(tmp_path)[operation]
    rows = write_rows(tmp_path / "rows.jsonl", case.rows())
    output = f"file://{tmp_path}/deep/out.jsonl"
    arguments = case.arguments(f"file://{rows}", output)
    emulator.fault(method="POST", path=case.route.partition(" ")[2], status=429, times=1)
    emulator.fault(method="POST", path=case.route.partition(" ")[2], delay=0.05, times=None)
    with instant_retries():
        made = Task(lambda: TogetherInferenceOperator(task_id="task", operation=operation, **arguments)).run()
    case.check(emulator, made, output)


def test_pictures_are_made_from_rows(run_dag: RunDag, emulator: Emulator, tmp_path: Path) -> None:
    with DAG("paint", schedule=None) as dag:
        TogetherInferenceOperator(
            task_id="paint",
            operation="images.generate",
            rows=["a cat", "a dog"],
            model="black-forest-labs/FLUX.1-schnell",
            output_path=f"file://{tmp_path}/pictures.jsonl",
            files_path=f"file://{tmp_path}/pictures",
            defaults={"width": 64, "height": 64},
        )
    run = run_dag(dag)
    assert run.states == {"paint": "success"}
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["000000000.jpg", "000000001.jpg"]


def test_a_retry_goes_on_where_the_attempt_before_stopped(emulator: Emulator, tmp_path: Path) -> None:
    output = tmp_path / "answers.jsonl"
    task = inference(output)
    emulator.fault(path="/chat/completions", status=402, skip=25)
    with pytest.raises(AirflowFailException):
        task.run()
    before = asked(emulator)
    task.clear()
    made = task.run()
    assert made["succeeded"] == 60
    assert made["resumed"] >= 25
    assert asked(emulator) - before == 60 - made["resumed"]


def test_a_retry_after_all_was_done_pays_nothing_and_a_clear_asks_again(emulator: Emulator, tmp_path: Path) -> None:
    task = inference(tmp_path / "answers.jsonl")
    made = task.run()
    task.retry()
    assert task.run() == made
    assert asked(emulator) == 60
    task.clear()
    assert task.run()["resumed"] == 0
    assert asked(emulator) == 120


def test_a_clear_that_reattaches_keeps_a_complete_output(emulator: Emulator, tmp_path: Path) -> None:
    task = inference(tmp_path / "answers.jsonl", on_clear="reattach")
    made = task.run()
    task.clear()
    assert task.run() == made
    assert asked(emulator) == 60


def test_a_clear_that_reruns_sends_all_rows_again_and_its_retry_goes_on(emulator: Emulator, tmp_path: Path) -> None:
    task = inference(tmp_path / "answers.jsonl", on_clear="rerun")
    emulator.fault(path="/chat/completions", status=402, skip=25)
    with pytest.raises(AirflowFailException):
        task.run()
    task.clear()
    emulator.clear_faults()
    before = asked(emulator)
    emulator.fault(path="/chat/completions", status=402, skip=10)
    with pytest.raises(AirflowFailException):
        task.run()
    task.retry()
    emulator.clear_faults()
    made = task.run()
    assert made["resumed"] >= 10
    assert asked(emulator) - before >= 60


def test_a_task_that_is_told_to_stop_keeps_its_answers_for_the_next_attempt(emulator: Emulator, tmp_path: Path) -> None:
    output = tmp_path / "answers.jsonl"
    task = inference(output)
    operator = task.make()
    emulator.fault(path="/chat/completions", delay=0.02, times=None)
    part = tmp_path / ".answers.jsonl.part"

    def kill_in_the_middle() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and (not part.exists() or part.read_bytes().count(b'"succeeded":true') < 20):
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: operator.on_kill())  # as Airflow calls it: from a handler
    killer = threading.Thread(target=kill_in_the_middle)
    killer.start()
    try:
        with pytest.raises(TogetherError, match="told to stop") as stopped:
            operator.execute(task.context(operator))
    finally:
        killer.join()
        signal.signal(signal.SIGUSR1, before)
    assert stopped.value.retryable
    emulator.clear_faults()
    task.retry()
    made = task.run()
    assert made["succeeded"] == 60
    assert made["resumed"] >= 20
    assert asked(emulator) <= 64


def test_a_slip_fails_the_task_for_good_before_anything_is_sent(emulator: Emulator, tmp_path: Path) -> None:
    with pytest.raises(AirflowFailException, match="max_tokens"):
        inference(tmp_path / "out.jsonl", defaults={"max_token": 3}).run()
    with pytest.raises(AirflowFailException, match="whole number"):
        inference(tmp_path / "out.jsonl", concurrency="2.5").run()
    assert asked(emulator) == 0
