"""Every operator in a real DAG run, deferred and not."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider.operators.batch import TogetherBatchOperator
from airflow_provider.operators.endpoint import TogetherEndpointOperator
from airflow_provider.operators.evaluation import TogetherEvaluationOperator
from airflow_provider.operators.file import TogetherDownloadFileOperator, TogetherUploadFileOperator
from airflow_provider.operators.fine_tune import TogetherDownloadModelOperator, TogetherFineTuneOperator
from airflow_provider.operators.model_upload import TogetherModelUploadOperator
from airflow_provider.operators.operation import TogetherOperator
from tests.integration.airflow.conftest import SPEED
from tests.integration.airflow.dag_run import FinishedRun
from tests.integration.airflow.material import HARDWARE, JUDGE, MODEL, heldout, prompts, training, write_rows
from together_flows.emulator import Emulator

RunDag = Callable[..., FinishedRun]
deferred_or_not = pytest.mark.parametrize("deferrable", [True, False], ids=["deferred", "in process"])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@deferred_or_not
def test_a_model_is_trained_on_an_uploaded_file_and_downloaded(
    deferrable: bool, run_dag: RunDag, emulator: Emulator, tmp_path: Path
) -> None:
    with DAG("train", schedule=None) as dag:
        upload = TogetherUploadFileOperator(
            task_id="upload", path=str(training(tmp_path)), deferrable=deferrable, poll_interval=0.5
        )
        tune = TogetherFineTuneOperator(
            task_id="tune",
            training_file=upload.output["file_id"],
            model=MODEL,
            n_epochs="{{ 1 + 1 }}",
            suffix="parcels",
            budget="10",
            deferrable=deferrable,
            poll_interval=0.5,
        )
        TogetherDownloadModelOperator(
            task_id="download", ft_id=tune.output["id"], output_path=str(tmp_path / "model" / "tuned.tar.gz")
        )
    run = run_dag(dag)
    assert run.states == {"upload": "success", "tune": "success", "download": "success"}
    tuned = run.xcom("tune")
    assert "parcels" in tuned["model"]
    assert tuned["epochs"] == 2
    assert tuned["price_usd"] > 0
    assert run.xcom("upload", "rows") == 40
    assert run.xcom("tune", "together_jobs") == [tuned["reference"]]
    assert run.xcom("tune", "_link_TogetherJobLink") == tuned["url"]
    assert "Estimated price: $" in run.log
    assert "training_complete" in run.log
    assert tarfile.is_tarfile(tmp_path / "model" / "tuned.tar.gz")
    counts = emulator.counts()
    assert counts["created"]["fine_tune"] == 1
    assert counts["running"]["fine_tune"] == 0


@deferred_or_not
def test_a_judge_scores_a_model_and_the_judged_rows_are_kept(
    deferrable: bool, run_dag: RunDag, emulator: Emulator, tmp_path: Path
) -> None:
    with DAG("judge", schedule=None, params={"model": MODEL}) as dag:
        score = TogetherEvaluationOperator(
            task_id="score",
            evaluation_type="score",
            input_path=str(heldout(tmp_path)),
            judge=JUDGE,
            model_to_evaluate={
                "model": "{{ params.model }}",
                "system_template": "Answer.",
                "input_template": "{{ question }}",
                "max_tokens": 50,
                "temperature": 0.0,
            },
            min_score=1,
            max_score=10,
            pass_threshold=7,
            result_path=str(tmp_path / "judged.jsonl"),
            deferrable=deferrable,
            poll_interval=0.5,
        )
        TogetherDownloadFileOperator(
            task_id="download", file_id=score.output["result_file_id"], output_path=str(tmp_path / "again.jsonl")
        )
    run = run_dag(dag)
    assert run.state == "success", run.log
    scored = run.xcom("score")
    assert 1 <= scored["results"]["aggregated_scores"]["mean_score"] <= 10
    assert len(lines(tmp_path / "judged.jsonl")) == 12
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "judged.jsonl").read_bytes()
    assert emulator.counts()["created"]["evaluation"] == 1


@deferred_or_not
def test_rows_are_answered_in_their_order_over_several_batches(
    deferrable: bool, run_dag: RunDag, emulator: Emulator, tmp_path: Path
) -> None:
    with DAG("answer", schedule=None) as dag:
        TogetherBatchOperator(
            task_id="answer",
            rows=prompts(25),
            model=MODEL,
            max_rows=10,
            defaults={"max_tokens": 20},
            budget=5,
            output_path=str(tmp_path / "answers.jsonl"),
            directory=str(tmp_path / "work"),
            deferrable=deferrable,
            poll_interval=0.5,
        )
    run = run_dag(dag)
    assert run.state == "success", run.log
    answered = run.xcom("answer")
    assert answered["rows"] == answered["succeeded"] == 25
    assert len(answered["batches"]) == 3
    assert answered["completion_tokens"] > 0
    assert [line["index"] for line in lines(tmp_path / "answers.jsonl")] == list(range(25))
    assert emulator.counts()["created"]["batch"] == 3
    assert not any((tmp_path / "work").iterdir())


@deferred_or_not
def test_rows_without_an_answer_are_sent_again_on_their_own(
    deferrable: bool, run_dag: RunDag, emulator: Emulator, tmp_path: Path
) -> None:
    rows = [{"prompt": text, "town": "Emden"} for text in prompts(6)]
    rows[3]["model"] = "no/such-model"
    with DAG("repair", schedule=None) as dag:
        TogetherBatchOperator(
            task_id="answer",
            rows=[
                {"messages": [{"role": "user", "content": row["prompt"]}], "model": row.get("model", MODEL)}
                for row in rows
            ],
            output_path=str(tmp_path / "answers.jsonl"),
            directory=str(tmp_path / "work"),
            deferrable=deferrable,
            poll_interval=0.5,
        )
    run = run_dag(dag)
    assert run.state == "success", run.log
    answered = run.xcom("answer")
    assert (answered["succeeded"], answered["failed"]) == (5, 1)
    assert len(answered["batches"]) == 2
    failed = lines(tmp_path / "answers.jsonl")[3]
    assert failed["status"] == "failed"
    assert failed["error"]["message"]
    assert "1 of 6 rows have no answer and are sent again" in run.log


def test_too_many_rows_without_an_answer_fail_the_task_after_the_output_is_written(
    run_dag: RunDag, emulator: Emulator, tmp_path: Path
) -> None:
    with DAG("strict", schedule=None) as dag:
        TogetherBatchOperator(
            task_id="answer",
            rows=[
                {"messages": [{"role": "user", "content": text}], "model": model}
                for text, model in zip(prompts(4), [MODEL, "no/such-model", MODEL, "no/such-model"], strict=True)
            ],
            max_failed_share=0.25,
            row_retries=0,
            output_path=str(tmp_path / "answers.jsonl"),
            directory=str(tmp_path / "work"),
            deferrable=True,
            poll_interval=0.5,
        )
    run = run_dag(dag)
    assert run.states["answer"] == "failed"
    assert "2 of 4 rows have no answer, and at most 1 may have none." in run.log
    assert len(lines(tmp_path / "answers.jsonl")) == 4


def test_a_batch_runs_on_a_file_that_is_on_the_server_already(
    run_dag: RunDag, emulator: Emulator, tmp_path: Path
) -> None:
    requests = write_rows(
        tmp_path / "requests.jsonl",
        (
            {"custom_id": f"q{number}", "body": {"model": MODEL, "messages": [{"role": "user", "content": text}]}}
            for number, text in enumerate(prompts(3))
        ),
    )
    with DAG("server_file", schedule=None) as dag:
        upload = TogetherUploadFileOperator(
            task_id="upload", path=str(requests), purpose="batch-api", poll_interval=0.5
        )
        TogetherBatchOperator(
            task_id="answer",
            input_file_id=upload.output["file_id"],
            output_path=str(tmp_path / "answers.jsonl"),
            directory=str(tmp_path / "work"),
            poll_interval=0.5,
        )
    run = run_dag(dag)
    assert run.state == "success", run.log
    assert [line["custom_id"] for line in lines(tmp_path / "answers.jsonl")] == ["q0", "q1", "q2"]


@deferred_or_not
def test_an_endpoint_serves_and_is_stopped_when_the_work_is_done(
    deferrable: bool, run_dag: RunDag, emulator: Emulator
) -> None:
    with DAG("serve", schedule=None) as dag:
        endpoint = TogetherEndpointOperator(
            task_id="endpoint",
            model=MODEL,
            hardware=HARDWARE,
            hours=2,
            budget=20,
            deferrable=deferrable,
            poll_interval=0.5,
        )
        with endpoint.teardown():
            TogetherOperator(
                task_id="ask",
                operation="chat.create",
                arguments={"model": endpoint.output["name"], "messages": [{"role": "user", "content": "Good day?"}]},
            )
    run = run_dag(dag)
    assert run.states == {"endpoint": "success", "ask": "success", "stop_endpoint": "success"}, run.log
    if not deferrable:  # a run in one process forgets what the deferral keeps beside its event
        assert run.xcom("endpoint", "estimated_price_usd") == pytest.approx(2 * 60 * 0.0665)
    assert run.xcom("ask")["choices"][0]["message"]["content"]
    assert emulator.counts()["running"]["endpoint"] == 0


def test_an_endpoint_is_stopped_when_the_work_fails(run_dag: RunDag, emulator: Emulator) -> None:
    with DAG("serve_badly", schedule=None) as dag:
        endpoint = TogetherEndpointOperator(task_id="endpoint", model=MODEL, hardware=HARDWARE, poll_interval=0.5)
        with endpoint.teardown(task_id="stop"):

            @task
            def work() -> None:
                raise ValueError("the work went wrong")

            work()
    run = run_dag(dag)
    assert run.states == {"endpoint": "success", "work": "failed", "stop": "success"}
    assert run.state == "failed"
    assert emulator.counts()["running"]["endpoint"] == 0


def test_a_model_is_copied_from_elsewhere(run_dag: RunDag, emulator: Emulator) -> None:
    with DAG("copy", schedule=None) as dag:
        TogetherModelUploadOperator(
            task_id="copy",
            model_name="parcels-7b",
            model_source="someone/parcels-7b",
            deferrable=True,
            poll_interval=0.5,
        )
    run = run_dag(dag)
    assert run.state == "success", run.log
    assert "parcels-7b" in run.xcom("copy", "model")


def test_without_a_wait_the_task_returns_the_reference_at_once(
    run_dag: RunDag, emulator: Emulator, tmp_path: Path
) -> None:
    with DAG("no_wait", schedule=None) as dag:
        upload = TogetherUploadFileOperator(task_id="upload", path=str(training(tmp_path)), poll_interval=0.5)
        TogetherFineTuneOperator(task_id="tune", training_file=upload.output["file_id"], model=MODEL, wait=False)
    emulator.settings(speed=30)
    try:
        run = run_dag(dag)
        assert run.xcom("tune", "reference").startswith("fine_tune:ft-")
        assert emulator.counts()["running"]["fine_tune"] == 1
    finally:
        emulator.settings(speed=SPEED)


def test_a_mapped_task_trains_one_model_for_each_value(run_dag: RunDag, emulator: Emulator, tmp_path: Path) -> None:
    with DAG("mapped", schedule=None) as dag:
        upload = TogetherUploadFileOperator(task_id="upload", path=str(training(tmp_path)), poll_interval=0.5)
        TogetherFineTuneOperator.partial(
            task_id="tune", training_file=upload.output["file_id"], model=MODEL, deferrable=True, poll_interval=0.5
        ).expand(n_epochs=[1, 2])
    run = run_dag(dag)
    assert run.state == "success", run.log
    assert [made["epochs"] for made in run.xcoms("tune")] == [1, 2]
    assert emulator.counts()["created"]["fine_tune"] == 2


def test_any_operation_can_be_sent(run_dag: RunDag, emulator: Emulator, tmp_path: Path) -> None:
    with DAG("any", schedule=None, params={"model": MODEL}) as dag:
        TogetherOperator(task_id="models", operation="models.list", output_path=str(tmp_path / "models.json"))
        TogetherOperator(
            task_id="embed",
            operation="embeddings.create",
            arguments={"model": "BAAI/bge-base-en-v1.5", "input": "parcel"},
        )
    run = run_dag(dag)
    assert run.state == "success", run.log
    assert json.loads((tmp_path / "models.json").read_text())
    assert run.xcom("models")["bytes"] > 100
    assert len(run.xcom("embed")["data"][0]["embedding"]) > 10
