"""The shipped flow on a real Prefect server, served as a deployment by a process of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dags_examples.demo.questions import Datasets
from tests.e2e.prefect_server import PrefectServer, prefect_server
from tests.e2e.processes import eventually
from together_flows.emulator import EmulatorProcess

pytestmark = pytest.mark.e2e

DEPLOYMENT = "together-fine-tune-pipeline/together-fine-tune-pipeline"


@pytest.fixture(scope="module")
def prefect(emulator: EmulatorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    account = {"TOGETHER_API_KEY": emulator.api_key, "TOGETHER_BASE_URL": emulator.url}
    with prefect_server(tmp_path_factory.mktemp("prefect"), env=account) as server:
        server.serve("dags_examples.prefect.fine_tune_pipeline")
        yield server


def parameters(datasets: Datasets, folder: Path, **changes: object) -> dict[str, object]:
    return {
        "training_path": str(datasets.training),
        "validation_path": str(datasets.validation),
        "heldout_path": str(datasets.held_out),
        "prompts_path": str(datasets.prompts),
        "output_folder": str(folder),
        **changes,
    }


def test_the_deployed_flow_runs_to_its_end_and_shows_what_it_did(
    prefect: PrefectServer, emulator: EmulatorProcess, datasets: Datasets, tmp_path: Path
) -> None:
    emulator.reset()
    run = prefect.run(DEPLOYMENT, parameters(datasets, tmp_path))
    assert prefect.wait_for_run(run) == "COMPLETED", prefect.report()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["tuned_score"] > summary["base_score"]
    assert (summary["batch_succeeded"], summary["batch_failed"]) == (40, 1)
    created = emulator.counts()["created"]
    assert (created["fine_tune"], created["evaluation"], created["endpoint"]) == (1, 2, 1)
    assert emulator.billing() == {}
    artifacts = prefect.artifacts()
    assert {"together-summary", "together-batch-results"} <= {artifact["key"] for artifact in artifacts}
    assert {"markdown", "progress", "table"} <= {artifact["type"] for artifact in artifacts}
    assert emulator.api_key not in json.dumps([prefect.flow_run(run), artifacts])


def test_a_cancelled_run_leaves_no_job_behind(
    prefect: PrefectServer, emulator: EmulatorProcess, datasets: Datasets, tmp_path: Path
) -> None:
    emulator.reset()
    run = prefect.run(DEPLOYMENT, parameters(datasets, tmp_path, n_epochs=20))
    eventually(lambda: emulator.counts()["running"]["fine_tune"], within=120, what="a running fine-tuning job")
    prefect.cancel(run)
    assert prefect.wait_for_run(run) == "CANCELLED", prefect.report()
    eventually(lambda: emulator.billing() == {}, within=60, what="the end of the fine-tuning job")
    assert emulator.counts()["cancelled"]["fine_tune"] == 1
