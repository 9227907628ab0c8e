"""A real Prefect server, and deployments served by processes of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.processes import ROOT, Process, clean_environment, eventually, free_port

FINAL = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


class PrefectServer:
    """A Prefect server of its own, with SQLite, on a free port.

    Args:
        home: its PREFECT_HOME.
        env: further environment of the processes that serve deployments.
    """

    def __init__(self, home: Path, *, env: Mapping[str, str] | None = None) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.port = free_port()
        self.root = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.root}/api"
        self.env = clean_environment(
            PREFECT_HOME=str(home),
            PREFECT_API_URL=self.url,
            PREFECT_SERVER_ANALYTICS_ENABLED="false",
            PREFECT_SERVER_DATABASE_TIMEOUT="60",  # seconds that a writer waits for the others, on a busy machine
            PREFECT_UI_API_URL=self.url,
            DO_NOT_TRACK="1",
            **(env or {}),
        )
        self._processes: list[Process] = []
        self.server = self._process("server", f"python -m prefect server start --host 127.0.0.1 --port {self.port}")
        self.rest = httpx2.Client(base_url=self.url, timeout=60)

    def _process(self, name: str, command: str) -> Process:
        process = Process(name, command.split(), log=self.home / f"{name}.log", env=self.env)
        self._processes.append(process)
        return process

    def start(self) -> PrefectServer:
        self.server.start()
        eventually(lambda: self.rest.get("/health").json() is True, within=600, what="the Prefect server's start")
        return self

    def stop(self) -> None:
        self.rest.close()
        for process in self._processes:
            process.ask_to_end()
        for process in reversed(self._processes):
            process.stop()

    def serve(self, module: str, *arguments: str) -> Process:
        """Start a process that serves deployments: `python -m module arguments`."""
        return self._process(
            "-".join(["serve", module, *arguments]), " ".join(["python", "-m", module, *arguments])
        ).start()

    def ask(self, method: str, path: str, body: Any = None, *, within: float = 120) -> Any:
        """The answer to a request. A server on SQLite answers 503 while somebody else writes, and is asked again."""

        def answer() -> list[Any]:
            return [self.rest.request(method, path, json=body).raise_for_status().json()]

        return eventually(answer, within=within, what=f"{method} {path}")[0]

    def work(self, pool: str) -> Process:
        """Start a worker that runs each flow run of a pool as a process."""
        command = f"python -m prefect worker start --type process --pool {pool} --name {pool}"
        return self._process(f"worker-{pool}", command).start()

    def deploy_to_pool(self, like: str, pool: str) -> None:
        """Deploy a flow to a work pool, under the pool's name, that is served already as `flow/deployment`."""
        served = self._deployment(like)
        kept = {name: served[name] for name in ("flow_id", "entrypoint", "parameter_openapi_schema")}
        directory = {"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}
        if self.rest.get(f"/work_pools/{pool}").status_code == 404:
            self.ask("POST", "/work_pools/", {"name": pool, "type": "process"})
        body = {**kept, "name": pool, "work_pool_name": pool, "pull_steps": [directory]}
        self.ask("POST", "/deployments/", body)

    def _deployment(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", f"/deployments/name/{name}", within=300)
        return found

    def run(self, deployment: str, parameters: Mapping[str, Any] | None = None) -> str:
        """Start a run of a deployment named `flow/deployment`, and answer with its id."""
        found = self._deployment(deployment)
        body = {"parameters": dict(parameters or {})}
        run_id: str = self.ask("POST", f"/deployments/{found['id']}/create_flow_run", body)["id"]
        return run_id

    def flow_run(self, run_id: str) -> dict[str, Any]:
        row: dict[str, Any] = self.ask("GET", f"/flow_runs/{run_id}")
        return row

    def wait_for_run(self, run_id: str, *states: str, within: float = 240) -> str:
        wanted = set(states) or FINAL

        def look() -> str | None:
            state = str(self.flow_run(run_id)["state_type"])
            return state if state in wanted else None

        return eventually(look, within=within, what=f"flow run {run_id} in state {' or '.join(sorted(wanted))}")

    def cancel(self, run_id: str) -> None:
        self.ask("POST", f"/flow_runs/{run_id}/set_state", {"state": {"type": "CANCELLING"}, "force": False})

    def artifacts(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.ask("POST", "/artifacts/filter", {"limit": 200})
        return rows

    def report(self) -> str:
        """The ends of all logs, for a failure's message."""
        return "\n".join(f"== {process.name}\n{process.tail()}" for process in self._processes)


@contextmanager
def prefect_server(home: Path, **options: Any) -> Iterator[PrefectServer]:
    """A started Prefect server, stopped at the end whatever happens."""
    server = PrefectServer(home, **options)
    try:
        yield server.start()
    finally:
        server.stop()
