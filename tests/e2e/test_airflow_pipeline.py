"""The shipped DAG in a real Airflow: scheduler, DAG processor, triggerer and API server, each a process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dags_examples.demo.questions import Datasets
from tests.e2e.airflow_cluster import AirflowCluster, airflow_cluster
from tests.e2e.processes import ROOT
from together_flows.emulator import EmulatorProcess

pytestmark = pytest.mark.e2e

DAG = "together_fine_tune_pipeline"


@pytest.fixture(scope="module")
def airflow(emulator: EmulatorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowCluster]:
    connection = {"conn_type": "together", "password": emulator.api_key, "host": emulator.url}
    home = tmp_path_factory.mktemp("airflow")
    dags = ROOT / "dags_examples/airflow"
    with airflow_cluster(home, dags, connections={"together_default": connection}, on_postgres=True) as cluster:
        yield cluster


def params(datasets: Datasets, folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "training_path": str(datasets.training),
        "validation_path": str(datasets.validation),
        "heldout_path": str(datasets.held_out),
        "prompts_path": str(datasets.prompts),
        "output_folder": str(folder),
        "inactive_timeout": 24 * 60,  # half an hour passes in 15 seconds here, which a busy scheduler may take
        **changes,
    }


def test_the_pipeline_runs_through_the_real_triggerer(
    airflow: AirflowCluster, emulator: EmulatorProcess, datasets: Datasets, tmp_path: Path
) -> None:
    emulator.reset()
    run = airflow.trigger(DAG, **params(datasets, tmp_path))
    state = airflow.wait_for_run(DAG, run, within=300)
    tasks = {name: row["state"] for name, row in airflow.tasks(DAG, run).items()}
    assert state == "success", f"{tasks}\n{airflow.report()}"
    assert set(tasks.values()) == {"success"}
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["tuned_score"] > summary["base_score"]
    assert summary["endpoint_ended"]
    assert (summary["batch_succeeded"], summary["batch_failed"]) == (40, 1)
    results = [json.loads(line) for line in (tmp_path / "batch_results.jsonl").read_text().splitlines()]
    asked = [json.loads(line)["custom_id"] for line in datasets.prompts.read_text().splitlines()]
    assert [row["custom_id"] for row in results] == asked
    created = emulator.counts()["created"]
    assert {kind: created[kind] for kind in ("fine_tune", "evaluation", "endpoint", "batch")} == {
        "fine_tune": 1,
        "evaluation": 2,
        "endpoint": 1,
        "batch": 2,  # the rows, and the one that failed once more
    }
    assert emulator.billing() == {}
    log = airflow.task_log("fine_tune")
    assert "TogetherJobTrigger" in log, "the wait was not in the triggerer"
    assert "epoch_complete" in log, "the job's own events are not in the task's log"
    assert emulator.api_key not in log


def test_a_model_that_is_not_good_enough_is_not_deployed(
    airflow: AirflowCluster, emulator: EmulatorProcess, datasets: Datasets, tmp_path: Path
) -> None:
    emulator.reset()
    run = airflow.trigger(DAG, **params(datasets, tmp_path, margin=9.99))
    assert airflow.wait_for_run(DAG, run, within=300) == "failed"
    tasks = {name: row["state"] for name, row in airflow.tasks(DAG, run).items()}
    assert tasks["gate"] == "failed"
    assert tasks["endpoint"] == "upstream_failed"
    assert "Nothing was deployed" in airflow.task_log("gate")
    assert emulator.counts()["created"]["endpoint"] == 0
    assert emulator.billing() == {}
