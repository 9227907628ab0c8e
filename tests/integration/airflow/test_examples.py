"""The example DAGs run as they stand."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from tests.integration.airflow.dag_run import FinishedRun
from tests.integration.airflow.material import training, write_rows
from together_flows.emulator import Emulator

RunDag = Callable[..., FinishedRun]


def example(name: str) -> DAG:
    dag: Any = importlib.reload(importlib.import_module(f"dags_examples.airflow.{name}")).dag
    assert isinstance(dag, DAG)
    return dag


@pytest.fixture
def conf(tmp_path: Path) -> dict[str, Any]:
    def asked(number: int) -> str:
        return f"Where is parcel {number}?"

    write_rows(
        tmp_path / "heldout.jsonl",
        (
            {"question": f"Tell me where parcel {n} is.", "reference": f"Parcel {n} waits in depot {n % 7}."}
            for n in range(20)
        ),
    )
    write_rows(tmp_path / "prompts.jsonl", ({"prompt": asked(n), "number": n} for n in range(15)))
    return {
        "training_path": str(training(tmp_path)),
        "validation_path": str(training(tmp_path)),
        "heldout_path": str(tmp_path / "heldout.jsonl"),
        "prompts_path": str(tmp_path / "prompts.jsonl"),
        "output_folder": str(tmp_path / "out"),
    }


def test_the_pipeline_trains_proves_serves_answers_and_cleans_up(
    conf: dict[str, Any], run_dag: RunDag, emulator: Emulator, tmp_path: Path
) -> None:
    # Half an hour passes in 1.5 seconds here, which a busy machine may take from one task to the next.
    run = run_dag(example("fine_tune_pipeline"), **conf, inactive_timeout=24 * 60)
    assert set(run.states.values()) == {"success"}, run.log
    written = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert written["tuned_score"] > written["base_score"]
    assert written["endpoint_ended"] is True
    assert written["batch_succeeded"] == 15
    assert Path(written["archive"]).stat().st_size > 0
    assert len((tmp_path / "out" / "batch_results.jsonl").read_text().splitlines()) == 15
    counts = emulator.counts()
    assert not any(counts["running"].values())
    created = {kind: number for kind, number in counts["created"].items() if number and kind != "file"}
    assert created == {"fine_tune": 1, "evaluation": 2, "endpoint": 1, "batch": 1}


def test_nothing_is_deployed_when_the_gate_is_not_passed(
    conf: dict[str, Any], run_dag: RunDag, emulator: Emulator
) -> None:
    run = run_dag(example("fine_tune_pipeline"), **conf, margin=9.9)
    assert run.states["gate"] == "failed"
    assert run.states["endpoint"] == "upstream_failed"
    assert run.state == "failed"
    assert "GateNotPassed" in run.log
    assert emulator.counts()["created"]["endpoint"] == 0


def test_a_budget_too_small_stops_the_pipeline_before_the_training(
    conf: dict[str, Any], run_dag: RunDag, emulator: Emulator
) -> None:
    run = run_dag(example("fine_tune_pipeline"), **conf, budget=0.01)
    assert run.states["fine_tune"] == "failed"
    assert emulator.counts()["created"]["fine_tune"] == 0


def test_the_nightly_batch_answers_its_rows(
    conf: dict[str, Any], run_dag: RunDag, emulator: Emulator, tmp_path: Path
) -> None:
    output = tmp_path / "answers.jsonl"
    run = run_dag(
        example("batch_inference"),
        prompts_path=conf["prompts_path"],
        output_path=str(output),
    )
    assert set(run.states.values()) == {"success"}, run.log
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["columns"]["number"] for row in rows] == list(range(15))
    assert run.xcom("report").startswith("15 of 15")
