"""Bad input: one clear error, nothing left running, and nothing paid."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider.operators.batch import TogetherBatchOperator
from airflow_provider.operators.endpoint import TogetherEndpointOperator
from airflow_provider.operators.evaluation import TogetherEvaluationOperator
from airflow_provider.operators.file import TogetherUploadFileOperator
from airflow_provider.operators.fine_tune import TogetherFineTuneOperator
from airflow_provider.operators.operation import TogetherOperator
from tests.integration.airflow.conftest import connect
from tests.integration.airflow.dag_run import FinishedRun
from tests.integration.airflow.material import HARDWARE, JUDGE, MODEL, prompts, training, uploaded, write_rows
from together_flows.emulator import Emulator

RunDag = Callable[..., FinishedRun]


def fails_with(run_dag: RunDag, emulator: Emulator, operator: type, words: str, **arguments: Any) -> FinishedRun:
    """Run one task that must fail with these words, once, and leave nothing behind."""
    with DAG("refused", schedule=None) as dag:
        operator(task_id="task", retries=2, retry_delay=0, poll_interval=0.5, **arguments)
    run = run_dag(dag)
    assert run.states == {"task": "failed"}, "an error that a retry cannot mend is not retried"
    assert words in run.log
    assert run.log.count("Task failed with exception") == 1
    counts = emulator.counts()
    assert not any(counts["running"].values())
    assert not any(number for kind, number in counts["created"].items() if kind != "file")
    return run


def test_a_missing_connection_is_named_with_how_to_make_it(run_dag: RunDag, emulator: Emulator, tmp_path: Path) -> None:
    run = fails_with(
        run_dag,
        emulator,
        TogetherUploadFileOperator,
        "There is no Airflow connection 'together_elsewhere'.",
        path=str(training(tmp_path)),
        together_conn_id="together_elsewhere",
    )
    assert "airflow connections add together_elsewhere" in run.log
    assert "AIRFLOW_CONN_TOGETHER_ELSEWHERE" in run.log


def test_a_wrong_key_is_told_from_everything_else(
    run_dag: RunDag, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, emulator.url, "a-wrong-key")
    run = fails_with(
        run_dag, emulator, TogetherUploadFileOperator, "AuthenticationFailed", path=str(training(tmp_path))
    )
    assert "a-wrong-key" not in run.log


def test_an_unknown_model_is_refused(run_dag: RunDag, emulator: Emulator, tmp_path: Path) -> None:
    file_id = uploaded(emulator, training(tmp_path))
    fails_with(
        run_dag, emulator, TogetherFineTuneOperator, "no/such-model", training_file=file_id, model="no/such-model"
    )


def test_an_empty_file_is_refused_before_it_is_sent(run_dag: RunDag, emulator: Emulator, tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.touch()
    fails_with(run_dag, emulator, TogetherUploadFileOperator, "empty", path=str(path))
    assert emulator.counts()["created"]["file"] == 0


def test_a_malformed_file_is_refused_with_every_line_named(run_dag: RunDag, emulator: Emulator, tmp_path: Path) -> None:
    path = training(tmp_path)
    lines = path.read_text().splitlines()
    lines[2] = lines[2].replace('"assistant"', '"bot"')
    lines[5] = lines[5][:-3]
    path.write_text("\n".join(lines) + "\n")
    run = fails_with(run_dag, emulator, TogetherUploadFileOperator, "line 3, messages[1].role", path=str(path))
    assert "line 6" in run.log


def test_a_missing_file_is_named(run_dag: RunDag, emulator: Emulator, tmp_path: Path) -> None:
    fails_with(run_dag, emulator, TogetherUploadFileOperator, "There is no file", path=str(tmp_path / "nowhere.jsonl"))


def test_a_row_over_the_limits_is_named(run_dag: RunDag, emulator: Emulator, tmp_path: Path) -> None:
    rows: list[Any] = [{"prompt": text, "model": MODEL} for text in prompts(3)]
    rows[1] = {"custom_id": "x" * 65, "body": {"model": MODEL, "messages": [{"role": "user", "content": "Hello?"}]}}
    fails_with(
        run_dag,
        emulator,
        TogetherBatchOperator,
        "custom_id",
        rows=rows,
        model=MODEL,
        output_path=str(tmp_path / "out.jsonl"),
        directory=str(tmp_path / "work"),
    )


def test_no_rows_are_refused(run_dag: RunDag, emulator: Emulator, tmp_path: Path) -> None:
    fails_with(
        run_dag,
        emulator,
        TogetherBatchOperator,
        "at least one row",
        rows=[],
        model=MODEL,
        output_path=str(tmp_path / "out.jsonl"),
    )


def test_a_budget_too_small_stops_before_money_is_spent(run_dag: RunDag, emulator: Emulator, tmp_path: Path) -> None:
    file_id = uploaded(emulator, training(tmp_path))
    fails_with(
        run_dag,
        emulator,
        TogetherFineTuneOperator,
        "above the budget of $0.50. Nothing was submitted.",
        training_file=file_id,
        model=MODEL,
        budget=0.5,
    )


def test_a_budget_too_small_for_an_endpoint_stops_before_it_starts(run_dag: RunDag, emulator: Emulator) -> None:
    fails_with(
        run_dag,
        emulator,
        TogetherEndpointOperator,
        "above the budget of $1.00",
        model=MODEL,
        hardware=HARDWARE,
        hours=10,
        budget="1",
    )


def test_a_batch_above_its_budget_is_not_submitted(run_dag: RunDag, emulator: Emulator, tmp_path: Path) -> None:
    fails_with(
        run_dag,
        emulator,
        TogetherBatchOperator,
        "above the budget of $0.00",
        rows=prompts(50),
        model="Qwen/Qwen2.5-72B-Instruct",
        defaults={"max_tokens": 4000},
        budget=0.001,
        output_path=str(tmp_path / "out.jsonl"),
        directory=str(tmp_path / "work"),
    )


def test_an_account_that_may_no_longer_create_endpoints_is_told_what_to_do(run_dag: RunDag, emulator: Emulator) -> None:
    emulator.settings(endpoints_v1_closed=True)
    fails_with(run_dag, emulator, TogetherEndpointOperator, "EndpointCreationClosed", model=MODEL, hardware=HARDWARE)


def test_unknown_hardware_is_refused(run_dag: RunDag, emulator: Emulator) -> None:
    fails_with(run_dag, emulator, TogetherEndpointOperator, "9x_abacus", model=MODEL, hardware="9x_abacus")


def test_an_evaluation_without_data_is_refused(run_dag: RunDag, emulator: Emulator) -> None:
    fails_with(
        run_dag,
        emulator,
        TogetherEvaluationOperator,
        "either input_path or input_file_id",
        evaluation_type="classify",
        judge=JUDGE,
        labels=["good", "bad"],
        pass_labels=["good"],
    )


def test_a_column_that_no_template_reads_is_named_before_it_is_paid_for(
    run_dag: RunDag, emulator: Emulator, tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [{"question": "Why?", "answer": "Because.", "town": "Emden"}])
    fails_with(
        run_dag,
        emulator,
        TogetherEvaluationOperator,
        "town",
        evaluation_type="classify",
        input_path=str(path),
        judge={**JUDGE, "system_template": "Is {{ answer }} right for {{ question }}?"},
        labels=["good", "bad"],
        pass_labels=["good"],
        model_to_evaluate="answer",
    )
    assert emulator.counts()["created"]["file"] == 0


def test_an_evaluation_that_names_a_label_it_does_not_have_is_refused(
    run_dag: RunDag, emulator: Emulator, tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [{"answer": "Because."}])
    fails_with(
        run_dag,
        emulator,
        TogetherEvaluationOperator,
        "'splendid'",
        evaluation_type="classify",
        input_path=str(path),
        judge=JUDGE,
        labels=["good", "bad"],
        pass_labels=["splendid"],
        model_to_evaluate="answer",
    )


@pytest.mark.parametrize(
    ("operation", "arguments", "words"),
    [
        ("fine_tunes.craete", {}, "Did you mean fine_tunes.create"),
        ("fine_tunes.retrieve", {}, "id"),
        ("chat.create", {"model": MODEL, "mesages": []}, "Did you mean 'messages'?"),
        ("files.content", {"id": "file-1"}, "Give it an output_path."),
    ],
)
def test_an_operation_that_cannot_be_sent_says_why(
    operation: str, arguments: dict[str, Any], words: str, run_dag: RunDag, emulator: Emulator
) -> None:
    with DAG("unsendable", schedule=None) as dag:
        TogetherOperator(task_id="task", operation=operation, arguments=arguments, retries=2, retry_delay=0)
    run = run_dag(dag)
    assert run.states == {"task": "failed"}
    assert words in run.log


def test_a_creation_whose_answer_is_lost_is_not_repeated_by_the_general_operator(
    run_dag: RunDag, emulator: Emulator, tmp_path: Path
) -> None:
    file_id = uploaded(emulator, training(tmp_path))
    emulator.fault(method="POST", path="/fine-tunes", drop="after")
    with DAG("lost", schedule=None) as dag:
        TogetherOperator(
            task_id="task",
            operation="fine_tunes.create",
            arguments={"training_file": file_id, "model": MODEL},
            retries=2,
            retry_delay=0,
        )
    run = run_dag(dag)
    assert run.states == {"task": "failed"}
    assert "SubmissionUnknown" in run.log
    assert emulator.counts()["created"]["fine_tune"] == 1


def test_no_secret_reaches_log_or_xcom(run_dag: RunDag, emulator: Emulator, tmp_path: Path) -> None:
    file_id = uploaded(emulator, training(tmp_path))
    with DAG("secret", schedule=None) as dag:
        TogetherFineTuneOperator(
            task_id="tune",
            training_file=file_id,
            model=MODEL,
            wandb_api_key="wandb-secret-of-mine",
            deferrable=True,
            poll_interval=0.5,
        )
    run = run_dag(dag)
    assert run.state == "success", run.log
    shown = run.log + json.dumps(run.xcom("tune"))
    assert "wandb-secret-of-mine" not in shown
    assert emulator.api_key not in shown
