"""No secret lies anywhere that an orchestrator writes to: pipelines run, and every byte that they left is searched."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from dags_examples.demo.questions import Datasets
from tests.e2e.airflow_cluster import AirflowCluster, airflow_cluster
from tests.e2e.prefect_server import PrefectServer, prefect_server
from tests.e2e.processes import ROOT
from tests.e2e.secret_search import found_in, found_under
from tests.e2e.secretive.account import KEY, SECRETS, Account, account, prefixed
from together_flows import Together
from together_flows.emulator import EmulatorProcess

pytestmark = pytest.mark.e2e

DAGS = Path(__file__).parent / "secretive" / "dags"
DAG = "secretive"


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with (
        EmulatorProcess(speed=1200, data=tmp_path_factory.mktemp("emulator"), api_key=KEY) as emulator,
        account(emulator.url) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def uploads(together: Account, datasets: Datasets) -> dict[str, str]:
    with Together(api_key=KEY, base_url=together.url) as client:
        return {
            "training_file": client.upload(datasets.training, purpose="fine-tune").id,
            "heldout_file": client.upload(datasets.held_out, purpose="eval").id,
        }


def shown_of(airflow: AirflowCluster, run: str) -> list[Any]:
    """What Airflow's API shows of a run besides its tasks: their XComs in full, and the DAG's source and details."""
    tasks = f"/dags/{DAG}/dagRuns/{quote(run)}/taskInstances"
    rows = airflow.rest.get(f"{tasks}/~/xcomEntries", params={"limit": 500}).raise_for_status().json()["xcom_entries"]
    pages = [f"{tasks}/{row['task_id']}/xcomEntries/{quote(row['key'], safe='')}" for row in rows]
    assert pages, "no task has returned anything"
    pages += [f"/dags/{DAG}/details", f"/dagSources/{DAG}", f"/dags/{DAG}/tasks"]
    as_json = {"Accept": "application/json"}
    return [airflow.rest.get(page, headers=as_json).raise_for_status().json() for page in pages]


def test_airflow_keeps_no_secret(together: Account, uploads: dict[str, str], tmp_path: Path) -> None:
    connections = {
        "together_default": {"conn_type": "together", "password": KEY, "host": together.url},
        "together_wrong": {"conn_type": "together", "password": SECRETS["wrong_key"], "host": together.url},
    }
    env = {
        **prefixed("AIRFLOW_VAR_"),
        **prefixed("IN_THE_FILE_"),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
    }
    home = tmp_path / "airflow"
    with airflow_cluster(home, DAGS, connections=connections, env=env) as airflow:
        run = airflow.trigger(DAG, **uploads)
        airflow.wait_for_run(DAG, run, within=300)
        tasks = airflow.tasks(DAG, run)
        shown = json.dumps([tasks, *shown_of(airflow, run)]).encode()
        report = airflow.report()
    ends = {name: task["state"] for name, task in tasks.items()}
    assert ends == {name: "failed" if "refused" in name or "wrong" in name else "success" for name in tasks}, report
    assert together.seen == set(SECRETS)
    assert found_in(shown, SECRETS) == []
    assert found_under(home, SECRETS) == []


@pytest.fixture(scope="module")
def prefect(together: Account, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    env = {
        "SECRETIVE_URL": together.url,
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_LOGGING_ROOT_LEVEL": "DEBUG",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
    }
    with prefect_server(tmp_path_factory.mktemp("prefect"), env=env) as server:
        flow(server, "save")
        yield server


def flow(server: PrefectServer, *arguments: str) -> str:
    """Run the module with the flows in a process of its own, its output beside the server's."""
    log = server.home / f"{arguments[0]}.log"
    command = [sys.executable, "-m", "tests.e2e.secretive.flow", *arguments]
    with log.open("w") as output:
        ended = subprocess.run(
            command, env=server.env, cwd=ROOT, stdout=subprocess.PIPE, stderr=output, text=True, timeout=300
        )
    assert ended.returncode == 0, log.read_text()[-4000:]
    return ended.stdout


@pytest.mark.parametrize("way", ["sync", "async"])
def test_prefect_keeps_no_secret(way: str, prefect: PrefectServer, together: Account, uploads: dict[str, str]) -> None:
    together.seen.clear()
    output = flow(prefect, way, *uploads.values())
    ends = json.loads(output.splitlines()[-1])
    wrong = [end for end in ends if (end["failed"] == "") is (end["group"] != "works")]
    assert wrong == []
    assert {end["group"] for end in ends} == {"works", "is_refused_here", "is_refused_there"}
    shown = json.dumps(
        [
            prefect.rest.post(f"/{table}/filter", json={"limit": 200}).raise_for_status().json()
            for table in ("flow_runs", "task_runs", "artifacts", "logs", "block_documents", "deployments")
        ]
    )
    assert together.seen == set(SECRETS)
    assert found_in((output + shown).encode(), SECRETS) == []
    assert found_under(prefect.home, SECRETS) == []
