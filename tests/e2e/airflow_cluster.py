"""A real Airflow: scheduler, DAG processor, triggerer and API server as processes that can be killed one by one."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2

from tests.e2e.postgres import Postgres
from tests.e2e.processes import ROOT, Process, clean_environment, eventually, free_port

FINAL = {"success", "failed", "upstream_failed", "skipped", "removed"}


class AirflowCluster:
    """An Airflow of its own, on free ports.

    Args:
        home: its AIRFLOW_HOME.
        dags: folder of its DAGs.
        connections: connections by id, as plain dicts.
        on_postgres: keep its metadata in a PostgreSQL of its own, as one does in production; SQLite, which refuses
            writers that come at the same time, will do for a run or two.
        env: further environment of all its processes.
    """

    def __init__(
        self,
        home: Path,
        dags: Path,
        *,
        connections: Mapping[str, Mapping[str, Any]],
        on_postgres: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = clean_environment(
            AIRFLOW_HOME=str(home),
            AIRFLOW__CORE__DAGS_FOLDER=str(dags),
            AIRFLOW__CORE__LOAD_EXAMPLES="False",
            AIRFLOW__CORE__PARALLELISM="8",
            AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="True",
            AIRFLOW__CORE__EXECUTION_API_SERVER_URL=f"{self.url}/execution/",
            AIRFLOW__CORE__MP_START_METHOD="fork",
            AIRFLOW__CORE__FERNET_KEY=base64.urlsafe_b64encode(b"a key of the tests, 32 bytes....").decode(),
            AIRFLOW__API__HOST="127.0.0.1",
            AIRFLOW__API__PORT=str(self.port),
            AIRFLOW__API__BASE_URL=self.url,
            AIRFLOW__API__MAXIMUM_PAGE_LIMIT="500",
            AIRFLOW__API__SECRET_KEY="a secret of the tests",
            AIRFLOW__API_AUTH__JWT_SECRET="another secret of the tests, long enough for a signature of 512 bits, yes",
            AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT=str(free_port()),
            AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT=str(free_port()),
            AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC="3",
            AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC="2",
            AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC="2",
            AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD="10",
            AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT="60",
            AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL="5",
            AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
            **{f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in connections.items()},
            **(env or {}),
        )
        self._postgres = Postgres() if on_postgres else None
        if self._postgres is not None:
            self.env.update(self._postgres.environment)
        self.scheduler = self._process("scheduler")
        self.dag_processor = self._process("dag-processor")
        self.triggerer = self._process("triggerer")
        self.api_server = self._process("api-server", "--port", str(self.port), "--host", "127.0.0.1", "--workers", "1")
        self._keeping = threading.Lock()
        self.rest = httpx2.Client(
            base_url=f"{self.url}/api/v2", timeout=60, event_hooks={"request": [self._keep_api_server]}
        )

    def _process(self, *arguments: str) -> Process:
        command = ["python", "-m", "airflow", *arguments]
        return Process(arguments[0], command, log=self.home / f"{arguments[0]}.log", env=self.env)

    def _keep_api_server(self, _: httpx2.Request) -> None:
        """Start the API server again when it has crashed, as systemd or Kubernetes does. It has, by a segfault."""
        with self._keeping:
            if self.api_server.has_crashed:
                warnings.warn(f"Airflow's API server crashed; started again.\n{self.api_server.tail(5)}", stacklevel=2)
                self.api_server.start()

    @property
    def processes(self) -> tuple[Process, ...]:
        return (self.api_server, self.scheduler, self.dag_processor, self.triggerer)

    def start(self) -> AirflowCluster:
        if self._postgres is not None:
            self._postgres.start()
        subprocess.run(
            [sys.executable, "-c", "from airflow.utils.db import initdb; initdb()"],
            env=self.env,
            cwd=ROOT,
            check=True,
            capture_output=True,
            timeout=300,
        )
        for process in self.processes:
            process.start()
        eventually(self._log_in, within=240, what="the API server's start")
        eventually(self._healthy, within=240, what="a healthy scheduler, DAG processor and triggerer")
        return self

    def stop(self) -> None:
        self.rest.close()
        for process in self.processes:
            process.ask_to_end()
        for process in reversed(self.processes):
            process.stop()
        if self._postgres is not None:
            self._postgres.stop()

    def _log_in(self) -> bool:
        token = httpx2.get(f"{self.url}/auth/token", timeout=10).raise_for_status().json()["access_token"]
        self.rest.headers["Authorization"] = f"Bearer {token}"
        return True

    def _healthy(self) -> bool:
        health = self.rest.get("/monitor/health").json()
        return all(health[part]["status"] == "healthy" for part in ("scheduler", "dag_processor", "triggerer"))

    def trigger(self, dag_id: str, **params: Any) -> str:
        """Unpause a DAG, start a run, and answer with its id."""
        eventually(lambda: self.rest.get(f"/dags/{dag_id}").status_code == 200, within=120, what=f"DAG {dag_id}")
        self.rest.patch(f"/dags/{dag_id}", json={"is_paused": False}).raise_for_status()
        run_id = f"test__{uuid.uuid4()}"
        body = {"dag_run_id": run_id, "logical_date": None, "conf": params}
        self.rest.post(f"/dags/{dag_id}/dagRuns", json=body).raise_for_status()
        return run_id

    def run_state(self, dag_id: str, run_id: str) -> str:
        answer = self.rest.get(f"/dags/{dag_id}/dagRuns/{quote(run_id)}").raise_for_status()
        return str(answer.json()["state"])

    def tasks(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """The task instances of a run, by `task_id` or, when mapped, `task_id[map_index]`."""
        answer = self.rest.get(f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances", params={"limit": 500})
        rows = answer.raise_for_status().json()["task_instances"]
        return {
            row["task_id"] if row["map_index"] < 0 else f"{row['task_id']}[{row['map_index']}]": row for row in rows
        }

    def task_state(self, dag_id: str, run_id: str, task: str) -> str | None:
        state: str | None = self.tasks(dag_id, run_id)[task]["state"]
        return state

    def wait_for_task(self, dag_id: str, run_id: str, task: str, *states: str, within: float = 120) -> str:
        def look() -> str | None:
            state = self.task_state(dag_id, run_id, task)
            return state if state in states else None

        return eventually(look, within=within, what=f"{task} in state {' or '.join(states)}")

    def wait_for_run(self, dag_id: str, run_id: str, *, within: float = 300) -> str:
        def look() -> str | None:
            state = self.run_state(dag_id, run_id)
            return state if state in ("success", "failed") else None

        return eventually(look, within=within, what=f"the end of {dag_id}", every=0.5)

    def clear(self, dag_id: str, run_id: str, *tasks: str) -> None:
        body = {
            "dag_run_id": run_id,
            "task_ids": list(tasks),
            "dry_run": False,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        self.rest.post(f"/dags/{dag_id}/clearTaskInstances", json=body).raise_for_status()

    def clear_run(self, dag_id: str, run_id: str) -> None:
        """Clear all tasks of a run."""
        path = f"/dags/{dag_id}/dagRuns/{quote(run_id)}/clear"
        self.rest.post(path, json={"dry_run": False, "only_failed": False}).raise_for_status()

    def mark_run(self, dag_id: str, run_id: str, state: str) -> None:
        self.rest.patch(f"/dags/{dag_id}/dagRuns/{quote(run_id)}", json={"state": state}).raise_for_status()

    def delete_run(self, dag_id: str, run_id: str) -> None:
        self.rest.delete(f"/dags/{dag_id}/dagRuns/{quote(run_id)}").raise_for_status()

    def mark(self, dag_id: str, run_id: str, task: str, state: str) -> None:
        path = f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task}"
        self.rest.patch(path, json={"new_state": state}).raise_for_status()

    def xcom(self, dag_id: str, run_id: str, task: str, key: str = "return_value") -> Any:
        """What a task has pushed; a mapped one is named as in `tasks`."""
        task_id, _, index = task.rstrip("]").partition("[")
        path = f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/xcomEntries/{key}"
        query = {"deserialize": True, "map_index": int(index or -1)}
        value = self.rest.get(path, params=query).raise_for_status().json()["value"]
        return json.loads(value) if isinstance(value, str) and value[:1] in "[{" else value

    def task_log(self, task: str) -> str:
        """Everything that a task's attempts wrote."""
        logs = sorted((self.home / "logs").rglob(f"task_id={task}/**/*.log*"))
        return "\n".join(path.read_text(errors="replace") for path in logs)

    def run_logs(self, dag_id: str, run_id: str, *, lines: int = 25) -> str:
        """The ends of the logs of all attempts of a run's tasks."""
        folder = self.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}"
        return "\n".join(
            f"== {path.relative_to(folder)}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
            for path in sorted(folder.rglob("*.log*"))
        )

    def report(self) -> str:
        """The ends of all logs, for a failure's message."""
        return "\n".join(f"== {process.name}\n{process.tail()}" for process in self.processes)


@contextmanager
def airflow_cluster(home: Path, dags: Path, **options: Any) -> Iterator[AirflowCluster]:
    """A started Airflow, stopped at the end whatever happens."""
    cluster = AirflowCluster(home, dags, **options)
    try:
        yield cluster.start()
    finally:
        cluster.stop()
