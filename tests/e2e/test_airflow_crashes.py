"""Task processes killed with SIGKILL at named points of a submission, in a real Airflow: one job each, and one bill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dags_examples.demo.questions import Datasets
from tests.e2e.airflow_cluster import AirflowCluster, airflow_cluster
from tests.e2e.dags import crashing
from together_flows import Together
from together_flows.emulator import EmulatorProcess

pytestmark = pytest.mark.e2e

EACH = len(crashing.POINTS)


@pytest.fixture(scope="module")
def airflow(emulator: EmulatorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowCluster]:
    connection = {"conn_type": "together", "password": emulator.api_key, "host": emulator.url}
    home = tmp_path_factory.mktemp("airflow")
    dags = Path(crashing.__file__).parent
    with airflow_cluster(home, dags, connections={"together_default": connection}) as cluster:
        yield cluster


def test_a_task_killed_at_any_point_of_its_submission_pays_for_one_job(
    airflow: AirflowCluster, emulator: EmulatorProcess, datasets: Datasets, tmp_path: Path
) -> None:
    emulator.reset()
    with Together(api_key=emulator.api_key, base_url=emulator.url) as client:
        files = {
            "training_file": client.upload(datasets.training, purpose="fine-tune").id,
            "heldout_file": client.upload(datasets.held_out, purpose="eval").id,
        }
    run = airflow.trigger("crashing", folder=str(tmp_path), **files)
    state = airflow.wait_for_run("crashing", run, within=500)
    tasks = {name: row["state"] for name, row in airflow.tasks("crashing", run).items()}
    assert state == "success", f"{tasks}\n{airflow.report()}"
    assert len(list(tmp_path.glob("*.died"))) == EACH * len(crashing.KINDS), "not every task was killed"
    created = emulator.counts()["created"]
    paid = {kind: created[kind] for kind in ("fine_tune", "batch", "evaluation", "endpoint")}
    assert paid == dict.fromkeys(paid, EACH)
    assert emulator.billing() == {}
    cancelled = emulator.counts()["cancelled"]
    assert (cancelled["fine_tune"], cancelled["batch"]) == (0, 0), "a job that was still wanted was cancelled"
