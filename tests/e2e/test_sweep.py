"""A real Airflow sweeps its own account: what a killed task has left is reported, then stopped, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.airflow_cluster import AirflowCluster, airflow_cluster
from tests.e2e.sweep_dags import leaving
from together_flows import Together
from together_flows.api import endpoints
from together_flows.emulator import EmulatorProcess

from .conftest import SPEED

pytestmark = pytest.mark.e2e

#: On such an emulator an endpoint that is starting is starting still when the test is over.
SLOW = 0.2


@pytest.fixture(scope="module")
def airflow(emulator: EmulatorProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowCluster]:
    home = tmp_path_factory.mktemp("airflow")
    together = {"conn_type": "together", "password": emulator.api_key, "host": emulator.url}
    connections = {"together_default": together}
    with airflow_cluster(home, Path(leaving.__file__).parent, connections=connections, on_postgres=True) as cluster:
        api = {"connection_id": "airflow_api", "conn_type": "generic", "host": cluster.url}
        who = {"login": "sweeper", "password": "of the tests"}
        cluster.rest.post("/connections", json={**api, **who}).raise_for_status()
        yield cluster


def sweep(airflow: AirflowCluster, **params: Any) -> tuple[str, dict[str, Any]]:
    """Run the shipped DAG: how it ended, and what it told."""
    run = airflow.trigger("together_sweep", grace_minutes=0, **params)
    state = airflow.wait_for_run("together_sweep", run)
    told = airflow.xcom("together_sweep", run, "sweep") if state == "success" else {}
    return state, told


def test_a_dead_runs_endpoint_is_reported_then_stopped_and_what_is_wanted_or_foreign_stays(
    airflow: AirflowCluster, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    emulator.reset()
    with Together(api_key=emulator.api_key, base_url=emulator.url) as client:
        foreign = client.send(
            endpoints.create(
                model=leaving.MODEL,
                hardware=leaving.HARDWARE,
                autoscaling={"min_replicas": 1, "max_replicas": 1},
                display_name="somebody else's",
            )
        ).id
        left = airflow.trigger("leaving")
        using = airflow.trigger("using", done=str(done))
        assert airflow.wait_for_run("leaving", left) == "failed", airflow.report()
        airflow.wait_for_task("using", using, "served", "success")
        emulator.settings(speed=SLOW)
        waiting = airflow.trigger("waiting")
        airflow.wait_for_task("waiting", waiting, "starting", "deferred")
        before = {endpoint.id for endpoint in client.send(endpoints.list(type="dedicated")).data}

        state, told = sweep(airflow, fail_on_orphans=False)
        assert state == "success", airflow.task_log("sweep")
        jobs = {job["owner"].split(" / ")[0]: job for job in told["jobs"]}
        orphan = jobs.pop("leaving")
        assert (orphan["verdict"], orphan["usd_per_hour"]) == ("orphan", 3.99)
        assert f"{left} / left, try 1" in orphan["owner"]
        assert {owner: job["verdict"] for owner, job in jobs.items()} == {"using": "wanted", "waiting": "wanted"}
        assert told["counts"]["foreign"] == 1
        assert told["summary"] == "1 orphan running, at $3.99 an hour."
        assert {endpoint.id for endpoint in client.send(endpoints.list(type="dedicated")).data} == before

        assert sweep(airflow, fail_on_orphans=True)[0] == "failed", "nobody would hear of the orphan"

        state, told = sweep(airflow, stop=True)
        assert state == "success", airflow.task_log("sweep")
        assert told["summary"] == "1 job ended, which cost $3.99 an hour."
        after = {endpoint.id for endpoint in client.send(endpoints.list(type="dedicated")).data}
        orphan_id = orphan["reference"].partition(":")[2]
        assert after == before - {orphan_id}
        assert foreign in after
        assert emulator.counts()["cancelled"]["endpoint"] == 1

    emulator.settings(speed=SPEED)
    done.touch()
    assert airflow.wait_for_run("using", using) == "success", "the sweep has hurt a run that went on"
    assert airflow.wait_for_run("waiting", waiting) == "success", "the sweep has hurt a run that went on"
